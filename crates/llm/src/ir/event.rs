//! What a model answers: as events of a stream, and whole.

use super::{Content, Json, Opaque, Part, Seal, ToolCallPart};
use crate::{ApiError, Loss, Usage};

/// Why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// It had said what it had to say.
    Stop,
    /// A stop sequence, where the provider tells which.
    StopSequence(Option<String>),
    /// The most tokens were reached.
    Length,
    /// It waits for tools.
    ToolCalls,
    /// A filter of the provider stopped it.
    ContentFilter,
    /// It declined.
    Refusal,
    /// The provider paused a long turn; the client sends the answer back to go on (Anthropic).
    Pause,
    /// Another reason in the provider's words.
    Other(String),
}

impl Finish {
    /// The name in records: OpenAI's word where it has one.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop | Self::StopSequence(_) => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Refusal => "refusal",
            Self::Pause => "pause",
            Self::Other(word) => word,
        }
    }
}

/// An event of a streamed answer.
///
/// Order: `Start` first (an encoder starts by itself if a provider has none); text, reasoning and tools in any order;
/// `Finish`; `Usage` at any place and cumulative, the last one counts; `Done` last. A decoder emits `Done` at the end
/// mark of its format only: a stream that ends without it is complete if it had a `Finish`, and cut otherwise.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The answer begins.
    Start {
        /// The provider's id for it.
        id: Option<String>,
        /// The model that answers.
        model: Option<String>,
        /// Seconds since 1970.
        created: Option<u64>,
    },
    /// More of the text.
    Text(String),
    /// A citation or annotation on the text before it.
    Annotation(Opaque),
    /// Probabilities of the text before it: a JSON array of OpenAI's `{token, logprob, bytes, top_logprobs}`.
    Logprobs(Json),
    /// More of a refusal.
    Refusal(String),
    /// More of the reasoning.
    Reasoning(String),
    /// The reasoning goes on in another part of the same block.
    ReasoningBreak,
    /// The block of reasoning ends. Without text before it the block is its seal alone.
    ReasoningEnd {
        /// The provider's id for the block.
        id: Option<String>,
        /// The provider's signature, redacted or encrypted form.
        seal: Option<Seal>,
        /// The seal is all there is (Anthropic's `redacted_thinking`).
        redacted: bool,
    },
    /// A tool call begins.
    ToolStart {
        /// Its place among the tool calls of the answer, from 0 without gaps, in order of beginning.
        index: u32,
        /// Its id, unique in the answer; made up by the decoder where the format has none.
        id: String,
        /// The tool.
        name: String,
        /// The tool takes free text.
        custom: bool,
        /// The provider's signature on the call (Gemini).
        seal: Option<Seal>,
    },
    /// More of a call's arguments. Calls can interleave.
    ToolArguments {
        /// The call.
        index: u32,
        /// The text.
        text: String,
    },
    /// The call is complete.
    ToolStop {
        /// The call.
        index: u32,
    },
    /// Token counts so far.
    Usage(Usage),
    /// Why the model stopped.
    Finish(Finish),
    /// The provider reports an error in place of (more of) an answer.
    Error(ApiError),
    /// A sign of life.
    Ping,
    /// Something that cannot be carried.
    Loss(Loss),
    /// A piece that is not of the format.
    Malformed,
    /// The stream is complete.
    Done,
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Response {
    /// The provider's id for it.
    pub id: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// Seconds since 1970.
    pub created: Option<u64>,
    /// Reasoning, text, refusals and tool calls in the order in which they were emitted.
    pub parts: Vec<Part>,
    /// Probabilities of the text: a JSON array of OpenAI's `{token, logprob, bytes, top_logprobs}`.
    pub logprobs: Option<Json>,
    /// Why the model stopped; none if the provider did not say.
    pub finish: Option<Finish>,
    /// Token counts.
    pub usage: Usage,
    /// The class of service that answered.
    pub service_tier: Option<String>,
    /// An error that stands in place of (more of) an answer.
    pub error: Option<ApiError>,
}

impl Response {
    /// The answer as the events of a stream.
    pub fn events(&self) -> Vec<Event> {
        let start = Event::Start { id: self.id.clone(), model: self.model.clone(), created: self.created };
        let mut events = vec![start];
        let mut index = 0;
        for part in &self.parts {
            part_events(&part.content, &mut index, &mut events);
        }
        events.extend(self.logprobs.clone().map(Event::Logprobs));
        if !self.usage.is_unknown() {
            events.push(Event::Usage(self.usage));
        }
        events.extend(self.finish.clone().map(Event::Finish));
        events.push(self.error.clone().map_or(Event::Done, Event::Error));
        events
    }
}

fn part_events(content: &Content, index: &mut u32, events: &mut Vec<Event>) {
    match content {
        Content::Text { text, annotations } => {
            events.push(Event::Text(text.clone()));
            events.extend(annotations.iter().cloned().map(Event::Annotation));
        }
        Content::Refusal(text) => events.push(Event::Refusal(text.clone())),
        Content::Reasoning(r) => {
            for (i, text) in r.texts.iter().enumerate() {
                if i > 0 {
                    events.push(Event::ReasoningBreak);
                }
                events.push(Event::Reasoning(text.clone()));
            }
            events.push(Event::ReasoningEnd { id: r.id.clone(), seal: r.seal.clone(), redacted: r.redacted });
        }
        Content::ToolCall(call) => {
            let ToolCallPart { id, name, arguments, custom, seal } = call.clone();
            events.push(Event::ToolStart { index: *index, id, name, custom, seal });
            events.push(Event::ToolArguments { index: *index, text: arguments });
            events.push(Event::ToolStop { index: *index });
            *index += 1;
        }
        Content::Opaque(opaque) => events.push(lost(&opaque.kind)),
        Content::Image { .. } => events.push(lost("image")),
        Content::File { .. } => events.push(lost("file")),
        Content::Audio { .. } => events.push(lost("audio")),
        Content::ToolResult(_) => events.push(lost("tool result")),
    }
}

fn lost(kind: &str) -> Event {
    Event::Loss(Loss { field: kind.to_owned(), note: "this part of the answer has no counterpart".to_owned() })
}
