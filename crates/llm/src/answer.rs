//! What a model answered, added up from the deltas of any format.

/// The most tool calls that one answer may hold; more are counted as malformed.
pub const MAX_TOOL_CALLS: usize = 256;

/// Tokens as the upstream counted them; none is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// In the request, cached ones included.
    pub prompt: Option<u64>,
    /// In the answer.
    pub completion: Option<u64>,
    /// Of the request's tokens, those read from a cache.
    pub cached: Option<u64>,
}

/// A tool call that the model emitted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Visible text.
    pub text: String,
    /// Reasoning text.
    pub reasoning: String,
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
    slots: Vec<Option<(u32, u32)>>,
}

impl Answer {
    /// Adds a piece.
    pub fn add(&mut self, delta: Delta<'_>) {
        match delta {
            Delta::Text(t) => self.text.push_str(t),
            Delta::Reasoning(t) => self.reasoning.push_str(t),
            Delta::ToolCall { slot, id, name, arguments } => self.add_tool_call(slot, id, name, arguments),
            Delta::Finish(reason) => self.finish_reason = Some(reason.to_owned()),
            Delta::Usage(u) => {
                self.usage = Usage {
                    prompt: u.prompt.or(self.usage.prompt),
                    completion: u.completion.or(self.usage.completion),
                    cached: u.cached.or(self.usage.cached),
                }
            }
            Delta::Error(e) => self.error = Some(e),
            Delta::Malformed => self.malformed += 1,
            Delta::Done => self.done = true,
        }
    }

    /// Whether the model came to an end: a finish reason or the end mark.
    pub fn is_complete(&self) -> bool {
        self.error.is_none() && (self.done || self.finish_reason.is_some())
    }

    fn add_tool_call(&mut self, slot: Option<(u32, u32)>, id: Option<&str>, name: Option<&str>, arguments: &str) {
        let id = id.filter(|i| !i.is_empty());
        // Some upstreams give every call index 0 or none at all: another id means another call.
        let is_same = |known: &ToolCall| id.is_none_or(|i| known.id.is_empty() || known.id == i);
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
