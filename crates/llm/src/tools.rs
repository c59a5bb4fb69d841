//! Telling tool calls apart in a stream.
//!
//! Providers number calls, name them by id, do both, or neither, and some give every call number 0. Here each gets its
//! place in order of beginning and an id. A call ends when the next begins and its arguments are a complete JSON value,
//! or with the answer: calls that interleave stay open side by side.

use crate::{
    MAX_TOOL_CALLS,
    ir::{Event, Seal},
};

/// A piece of a tool call as a provider sent it.
pub(crate) struct Piece<'a> {
    /// The provider's number of it; none: the newest, or a new one if there is an id.
    pub(crate) slot: Option<u32>,
    pub(crate) id: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) text: &'a str,
    pub(crate) custom: bool,
    pub(crate) seal: Option<Seal>,
}

/// The tool calls of an answer.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    calls: Vec<Tool>,
    /// How many have begun.
    begun: u32,
}

#[derive(Debug, Default)]
struct Tool {
    slot: Option<u32>,
    id: String,
    /// The provider gave no id, or none yet.
    made: bool,
    /// Its place in order of beginning.
    index: u32,
    /// Arguments that came before the name, without which the call cannot begin.
    waiting: Option<String>,
    shape: Shape,
    stopped: bool,
}

/// The most argument bytes that wait for a name.
const MAX_WAITING: usize = 1 << 20;

impl Tools {
    /// Reads a piece. `base` makes ids where the provider gives none.
    pub(crate) fn piece(&mut self, piece: Piece<'_>, base: &str, found: &mut dyn FnMut(Event)) {
        let Some(at) = self.place(&piece, base) else { return found(Event::Malformed) };
        let is_new = self.calls.get(at).is_some_and(|t| t.waiting.is_some());
        if is_new {
            self.stop_complete(at, found);
        }
        let Some(tool) = self.calls.get_mut(at) else { return };
        tool.shape.read(piece.text);
        match (&mut tool.waiting, piece.name.filter(|n| !n.is_empty())) {
            (None, _) => {
                let index = tool.index;
                if !piece.text.is_empty() {
                    found(Event::ToolArguments { index, text: piece.text.to_owned() });
                }
            }
            (Some(waiting), None) => {
                waiting.push_str(piece.text);
                if waiting.len() > MAX_WAITING {
                    waiting.clear();
                    found(Event::Malformed);
                }
            }
            (Some(waiting), Some(name)) => {
                let text = std::mem::take(waiting) + piece.text;
                tool.waiting = None;
                let index = self.begun;
                tool.index = index;
                self.begun += 1;
                let (id, name) = (tool.id.clone(), name.to_owned());
                found(Event::ToolStart { index, id, name, custom: piece.custom, seal: piece.seal });
                if !text.is_empty() {
                    found(Event::ToolArguments { index, text });
                }
            }
        }
    }

    fn place(&mut self, piece: &Piece<'_>, base: &str) -> Option<usize> {
        let id = piece.id.filter(|i| !i.is_empty());
        let known = match piece.slot {
            Some(_) => self.calls.iter().rposition(|t| t.slot == piece.slot),
            None => self.calls.len().checked_sub(1),
        };
        if let Some(at) = known
            && let Some(tool) = self.calls.get_mut(at)
        {
            // A name and arguments behind complete arguments are another call, whatever its number.
            let again = piece.name.is_some_and(|n| !n.is_empty()) && !piece.text.is_empty();
            let over = tool.waiting.is_none() && again && tool.shape.is_complete();
            let late = tool.made && piece.slot.is_some() && !over;
            if let Some(id) = id.filter(|_| late && tool.waiting.is_some()) {
                id.clone_into(&mut tool.id);
                tool.made = false;
            }
            // So is another id, also under the same number.
            if late || id.map_or(!over, |i| tool.id == i) {
                return Some(at);
            }
        }
        if self.calls.len() >= MAX_TOOL_CALLS {
            return None;
        }
        let at = self.calls.len();
        let made = id.is_none();
        let id = id.map_or_else(|| made_id(base, at), str::to_owned);
        self.calls.push(Tool { slot: piece.slot, id, made, waiting: Some(String::new()), ..Tool::default() });
        Some(at)
    }

    fn stop_complete(&mut self, before: usize, found: &mut dyn FnMut(Event)) {
        for tool in self.calls.iter_mut().take(before) {
            if !tool.stopped && tool.waiting.is_none() && tool.shape.is_complete() {
                tool.stopped = true;
                found(Event::ToolStop { index: tool.index });
            }
        }
    }

    /// Ends every call.
    pub(crate) fn finish(&mut self, found: &mut dyn FnMut(Event)) {
        for tool in &mut self.calls {
            if !std::mem::replace(&mut tool.stopped, true) {
                match tool.waiting {
                    // A call of nothing cannot be made.
                    Some(_) => found(Event::Malformed),
                    None => found(Event::ToolStop { index: tool.index }),
                }
            }
        }
    }
}

/// An id for a call that has none: the same for the same answer, and unique in a conversation.
pub(crate) fn made_id(base: &str, at: usize) -> String {
    let base: String = base.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("call_{}_{at}", &base[base.len().saturating_sub(24)..])
}

/// Whether a text that arrives in pieces is a complete JSON object or array.
#[derive(Debug, Default)]
struct Shape {
    depth: usize,
    in_string: bool,
    escaped: bool,
    complete: bool,
}

impl Shape {
    fn read(&mut self, text: &str) {
        for b in text.bytes() {
            if self.in_string {
                self.in_string = self.escaped || b != b'"';
                self.escaped = !self.escaped && b == b'\\';
                continue;
            }
            match b {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.complete = self.depth == 0;
                }
                _ => {}
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.complete && self.depth == 0
    }
}
