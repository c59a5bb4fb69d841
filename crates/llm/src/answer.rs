//! What a model answered, added up from the deltas of any format.

use crate::ir::Event;
use serde::{Deserialize, Serialize};

/// The most tool calls that one answer may hold; more are counted as malformed.
pub const MAX_TOOL_CALLS: usize = 256;
/// The most bytes of text, reasoning and arguments that are kept; the recorded stream has all of it.
pub const MAX_KEPT_BYTES: usize = 2 << 20;

/// How much of what went beyond is kept before the newest piece.
const BEYOND_BYTES: usize = 4 << 10;

/// Tokens as the upstream counted them; none is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// In the request, those read from or written to a cache included.
    pub prompt: Option<u64>,
    /// In the answer, reasoning included.
    pub completion: Option<u64>,
    /// Of the request's tokens, those read from a cache.
    pub cached: Option<u64>,
    /// Of the request's tokens, those written to a cache.
    pub cache_write: Option<u64>,
    /// Of the answer's tokens, those spent on reasoning.
    pub reasoning: Option<u64>,
}

impl Usage {
    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// Takes over what a later count knows.
    pub fn update(&mut self, later: Self) {
        self.prompt = later.prompt.or(self.prompt);
        self.completion = later.completion.or(self.completion);
        self.cached = later.cached.or(self.cached);
        self.cache_write = later.cache_write.or(self.cache_write);
        self.reasoning = later.reasoning.or(self.reasoning);
    }
}

/// A tool call that the model emitted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The upstream's id for it; empty if it gave none.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as text, JSON if the model did well.
    pub arguments: String,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta<'a> {
    /// Visible text.
    Text(&'a str),
    /// Reasoning text.
    Reasoning(&'a str),
    /// The model declines in these words.
    Refusal(&'a str),
    /// A part of a tool call.
    ToolCall {
        /// Which choice and which of its tool calls; none: the newest, or a new one if there is an id.
        slot: Option<(u32, u32)>,
        /// The upstream's id, where this piece carries it.
        id: Option<&'a str>,
        /// The tool, where this piece carries it.
        name: Option<&'a str>,
        /// More of the arguments.
        arguments: &'a str,
    },
    /// Why the model stopped.
    Finish(&'a str),
    /// Token counts so far.
    Usage(Usage),
    /// The upstream reports an error in place of (more of) an answer.
    Error(String),
    /// A piece that is not of the format.
    Malformed,
    /// The stream is complete.
    Done,
}

/// What a model answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Visible text.
    pub text: String,
    /// Reasoning text.
    pub reasoning: String,
    /// The words in which the model declined.
    pub refusal: String,
    /// Tool calls in order of their beginning.
    pub tool_calls: Vec<ToolCall>,
    /// Token counts.
    pub usage: Usage,
    /// Why the model stopped.
    pub finish_reason: Option<String>,
    /// An error that the upstream reported inside the answer.
    pub error: Option<String>,
    /// Pieces that were not of the format.
    pub malformed: u64,
    /// Whether the end mark of the stream was seen.
    pub done: bool,
    /// Text, reasoning or arguments went beyond [`MAX_KEPT_BYTES`] and are kept in part.
    pub truncated: bool,
    /// The last few thousand bytes of what went beyond, for a look at all that passes.
    #[serde(skip)]
    pub beyond: String,
    #[serde(skip)]
    kept: usize,
    #[serde(skip)]
    slots: Vec<Option<(u32, u32)>>,
}

impl Answer {
    /// Adds a piece.
    pub fn add(&mut self, delta: Delta<'_>) {
        match delta {
            Delta::Text(t) => {
                let t = self.keep(t);
                self.text.push_str(t);
            }
            Delta::Reasoning(t) => {
                let t = self.keep(t);
                self.reasoning.push_str(t);
            }
            Delta::Refusal(t) => {
                let t = self.keep(t);
                self.refusal.push_str(t);
            }
            Delta::ToolCall { slot, id, name, arguments } => self.add_tool_call(slot, id, name, arguments),
            Delta::Finish(reason) => self.finish_reason = Some(reason.to_owned()),
            Delta::Usage(u) => self.usage.update(u),
            Delta::Error(e) => self.error = Some(e),
            Delta::Malformed => self.malformed += 1,
            Delta::Done => self.done = true,
        }
    }

    /// Whether the model came to an end: a finish reason or the end mark.
    pub fn is_complete(&self) -> bool {
        self.error.is_none() && (self.done || self.finish_reason.is_some())
    }

    /// Adds an event of any format.
    pub fn observe(&mut self, event: &Event) {
        match event {
            Event::Text(t) => self.add(Delta::Text(t)),
            Event::Reasoning(t) => self.add(Delta::Reasoning(t)),
            Event::ReasoningBreak => self.add(Delta::Reasoning("\n\n")),
            Event::Refusal(t) => self.add(Delta::Refusal(t)),
            Event::ToolStart { index, id, name, .. } => {
                self.add(Delta::ToolCall { slot: Some((0, *index)), id: Some(id), name: Some(name), arguments: "" });
            }
            Event::ToolArguments { index, text } => {
                self.add(Delta::ToolCall { slot: Some((0, *index)), id: None, name: None, arguments: text });
            }
            Event::Usage(u) => self.add(Delta::Usage(*u)),
            Event::Finish(f) => self.add(Delta::Finish(f.as_str())),
            Event::Error(e) => self.add(Delta::Error(e.message.clone())),
            Event::Malformed => self.add(Delta::Malformed),
            Event::Done => self.add(Delta::Done),
            Event::Start { .. }
            | Event::Annotation(_)
            | Event::Logprobs(_)
            | Event::ReasoningEnd { .. }
            | Event::ToolStop { .. }
            | Event::Ping
            | Event::Loss(_) => {}
        }
    }

    /// As much of a text as may still be kept.
    fn keep<'t>(&mut self, text: &'t str) -> &'t str {
        let room = MAX_KEPT_BYTES.saturating_sub(self.kept);
        let kept = &text[..text.floor_char_boundary(room)];
        self.kept += kept.len();
        let rest = &text[kept.len()..];
        if !rest.is_empty() {
            self.truncated = true;
            self.beyond.push_str(rest);
            if self.beyond.len() > 2 * BEYOND_BYTES + rest.len() {
                let from = self.beyond.floor_char_boundary(self.beyond.len() - BEYOND_BYTES - rest.len());
                self.beyond.drain(..from);
            }
        }
        kept
    }

    fn add_tool_call(&mut self, slot: Option<(u32, u32)>, id: Option<&str>, name: Option<&str>, arguments: &str) {
        let id = id.filter(|i| !i.is_empty());
        let arguments = self.keep(arguments);
        // Some upstreams give every call index 0 or none at all: another id means another call, and so do a name and
        // arguments behind complete arguments.
        let again = name.is_some_and(|n| !n.is_empty()) && !arguments.is_empty();
        let is_over = |known: &ToolCall| {
            again && known.id.is_empty() && serde_json::from_str::<serde::de::IgnoredAny>(&known.arguments).is_ok()
        };
        let is_same = |known: &ToolCall| {
            id.map_or(!is_over(known), |i| known.id == i || (known.id.is_empty() && !is_over(known)))
        };
        let at = match slot {
            Some(_) => self.slots.iter().rposition(|s| *s == slot),
            None => self.tool_calls.len().checked_sub(1),
        }
        .filter(|at| self.tool_calls.get(*at).is_some_and(is_same));
        let call = match at {
            Some(at) => &mut self.tool_calls[at],
            None if self.tool_calls.len() >= MAX_TOOL_CALLS => {
                self.malformed += 1;
                return;
            }
            None => {
                self.slots.push(slot);
                self.tool_calls.push(ToolCall::default());
                let last = self.tool_calls.len() - 1;
                &mut self.tool_calls[last]
            }
        };
        if let Some(id) = id
            && call.id.is_empty()
        {
            id.clone_into(&mut call.id);
        }
        if let Some(name) = name
            && call.name != name
        {
            call.name.push_str(name);
        }
        call.arguments.push_str(arguments);
    }
}
