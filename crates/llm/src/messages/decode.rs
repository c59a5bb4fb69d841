//! Reading Anthropic's stream.

use super::{
    errors,
    wire::{Counts, parse_stop},
};
use crate::{
    Format, Loss,
    ir::{Event, Json, Opaque, Seal},
    sse,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The most blocks that are open at once; Anthropic has one.
const MAX_OPEN: usize = 64;
/// The longest signature.
const MAX_SEAL_BYTES: usize = 1 << 20;

/// Reads a stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    scanner: sse::Scanner,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    open: Vec<(u32, Block)>,
    tools: u32,
    counts: Counts,
}

#[derive(Debug)]
enum Block {
    Text,
    Thinking(String),
    Redacted(String),
    Tool {
        index: u32,
        begun: bool,
    },
    /// A block that no other format has.
    Foreign,
}

impl crate::codec::Decoder for Decoder {
    fn feed(&mut self, bytes: &[u8], found: &mut dyn FnMut(Event)) {
        let Self { scanner, state } = self;
        scanner.feed(bytes, |event| state.read(event, found));
    }

    fn finish(&mut self, found: &mut dyn FnMut(Event)) {
        let Self { scanner, state } = self;
        scanner.finish(|event| state.read(event, found));
    }
}

impl State {
    fn read(&mut self, event: sse::Event<'_>, found: &mut dyn FnMut(Event)) {
        let sse::Event::Message { data, .. } = event else { return found(Event::Malformed) };
        let Ok(wire) = serde_json::from_slice::<Wire<'_>>(data) else { return found(Event::Malformed) };
        match &*wire.kind {
            "message_start" => self.start(wire.message, found),
            "content_block_start" => match (wire.index, wire.content_block) {
                (Some(index), Some(block)) => self.open(index, block, found),
                _ => found(Event::Malformed),
            },
            "content_block_delta" => match (wire.index, wire.delta) {
                (Some(index), Some(delta)) => self.delta(index, delta, found),
                _ => found(Event::Malformed),
            },
            "content_block_stop" => self.close(wire.index, found),
            "message_delta" => {
                if let Some(usage) = wire.usage {
                    self.counts.merge(usage);
                    found(Event::Usage(self.counts.usage()));
                }
                if let Some(Delta { stop_reason: Some(reason), stop_sequence, .. }) = wire.delta {
                    found(Event::Finish(parse_stop(&reason, stop_sequence)));
                }
            }
            "message_stop" => found(Event::Done),
            "ping" => found(Event::Ping),
            "error" => found(Event::Error(errors::parse_error(0, data))),
            // The API's versioning policy lets new events appear at any time.
            kind => found(Event::Loss(Loss { field: kind.to_owned(), note: "an event that is not known".into() })),
        }
    }

    fn start(&mut self, message: Option<Message>, found: &mut dyn FnMut(Event)) {
        let message = message.unwrap_or_default();
        found(Event::Start { id: message.id, model: message.model, created: None });
        if let Some(usage) = message.usage {
            self.counts.merge(usage);
            found(Event::Usage(self.counts.usage()));
        }
    }

    fn open(&mut self, index: u32, raw: &RawValue, found: &mut dyn FnMut(Event)) {
        let Ok(start) = serde_json::from_str::<Start<'_>>(raw.get()) else { return found(Event::Malformed) };
        if self.open.len() >= MAX_OPEN || self.open.iter().any(|(i, _)| *i == index) {
            return found(Event::Malformed);
        }
        let block = match &*start.kind {
            "text" => {
                text(start.text, Event::Text, found);
                Block::Text
            }
            "thinking" => {
                text(start.thinking, Event::Reasoning, found);
                Block::Thinking(start.signature.unwrap_or_default())
            }
            "redacted_thinking" => Block::Redacted(start.data.unwrap_or_default()),
            "tool_use" => {
                let tool = self.tools;
                self.tools += 1;
                let (id, name) = (start.id.unwrap_or_default(), start.name.unwrap_or_default());
                found(Event::ToolStart { index: tool, id, name, custom: false, seal: None });
                // Compatible servers send the whole input here instead of in pieces.
                let input = start.input.map(|i| Json::from(i).compact()).filter(|i| i != "{}" && i != "null");
                let begun = input.is_some();
                text(input, |text| Event::ToolArguments { index: tool, text }, found);
                Block::Tool { index: tool, begun }
            }
            kind => {
                let note = "a block that only Anthropic's own clients know".into();
                found(Event::Loss(Loss { field: kind.to_owned(), note }));
                Block::Foreign
            }
        };
        self.open.push((index, block));
    }

    fn delta(&mut self, index: u32, delta: Delta<'_>, found: &mut dyn FnMut(Event)) {
        let Some((_, block)) = self.open.iter_mut().find(|(i, _)| *i == index) else { return found(Event::Malformed) };
        match (delta.kind.as_deref(), block) {
            (Some("text_delta"), _) => text(delta.text, Event::Text, found),
            (Some("thinking_delta"), _) => text(delta.thinking, Event::Reasoning, found),
            (Some("signature_delta"), Block::Thinking(signature)) => {
                let more = delta.signature.unwrap_or_default();
                if signature.len() + more.len() > MAX_SEAL_BYTES {
                    return found(Event::Malformed);
                }
                signature.push_str(&more);
            }
            (Some("input_json_delta"), Block::Tool { index, begun }) => {
                let (index, more) = (*index, delta.partial_json.unwrap_or_default());
                *begun |= !more.is_empty();
                text(Some(more), |text| Event::ToolArguments { index, text }, found);
            }
            (Some("citations_delta"), _) => {
                if let Some(citation) = delta.citation {
                    let value = Json::from(citation);
                    found(Event::Annotation(Opaque { format: Format::Messages, kind: "citation".into(), value }));
                }
            }
            (_, Block::Foreign) => {}
            _ => found(Event::Malformed),
        }
    }

    fn close(&mut self, index: Option<u32>, found: &mut dyn FnMut(Event)) {
        let Some(at) = self.open.iter().position(|(i, _)| Some(*i) == index) else { return found(Event::Malformed) };
        match self.open.remove(at).1 {
            Block::Text | Block::Foreign => {}
            Block::Thinking(signature) => {
                let seal = Seal::read(Format::Messages, &signature);
                found(Event::ReasoningEnd { id: None, seal, redacted: false });
            }
            Block::Redacted(data) => {
                let seal = Seal::read(Format::Messages, &data);
                found(Event::ReasoningEnd { id: None, seal, redacted: true });
            }
            Block::Tool { index, begun } => {
                if !begun {
                    found(Event::ToolArguments { index, text: "{}".into() });
                }
                found(Event::ToolStop { index });
            }
        }
    }
}

/// Reports a text that is not empty.
fn text(text: Option<String>, event: impl FnOnce(String) -> Event, found: &mut dyn FnMut(Event)) {
    if let Some(text) = text.filter(|t| !t.is_empty()) {
        found(event(text));
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    index: Option<u32>,
    message: Option<Message>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    usage: Option<Counts>,
}

#[derive(Deserialize, Default)]
struct Message {
    id: Option<String>,
    model: Option<String>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Start<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    data: Option<String>,
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    partial_json: Option<String>,
    #[serde(borrow)]
    citation: Option<&'a RawValue>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}
