//! Answers of providers that speak Chat Completions.

use super::{
    thinking,
    wire::{Choice, Chunk, WireDelta, WireToolCall, text_of, text_or_json},
};
use crate::{
    Format, Loss, Losses, TranslateError, codec,
    ir::{Content, Event, Finish, Json, Opaque, Part, Reasoning, Response, Seal, ToolCallPart},
    openai,
    read::{Object, items},
    sse,
    tools::{Piece, Tools},
};

/// The data that ends a stream.
const DONE: &[u8] = b"[DONE]";

/// Reads a whole answer.
pub(crate) fn parse_response(body: &[u8], losses: &mut Losses) -> Result<Response, TranslateError> {
    let bad = |why: String| TranslateError::Malformed { format: Format::Chat, what: "the answer".into(), why };
    let mut chunk: Chunk<'_> = serde_json::from_slice(body).map_err(|e| bad(e.to_string()))?;
    let error = chunk.error.filter(|e| e.get() != "null").map(|e| openai::read_error(200, e));
    let choices = chunk.choices.take().unwrap_or_default();
    if choices.is_empty() && error.is_none() {
        return Err(bad("it holds no choice".into()));
    }
    let mut response = Response {
        id: text_of(chunk.id),
        model: text_of(chunk.model),
        created: chunk.created,
        parts: Vec::new(),
        logprobs: None,
        finish: None,
        usage: chunk.usage.map(|u| u.counts()).unwrap_or_default(),
        service_tier: text_of(chunk.service_tier),
        error,
    };
    for choice in choices {
        if choice.index.unwrap_or(0) != 0 {
            losses.add("choices", "more than one answer cannot be carried");
            continue;
        }
        response.finish = choice.finish_reason.as_deref().map(finish);
        response.logprobs = choice.logprobs.and_then(|l| l.content).filter(|c| c.get() != "null").map(Json::from);
        if let Some(message) = choice.message.or(choice.delta) {
            message_parts(message, response.id.as_deref().unwrap_or_default(), &mut response.parts, losses)?;
        }
    }
    Ok(response)
}

fn message_parts(
    message: WireDelta<'_>,
    id: &str,
    parts: &mut Vec<Part>,
    losses: &mut Losses,
) -> Result<(), TranslateError> {
    let blocks = match message.thinking_blocks.filter(|b| b.get() != "null") {
        Some(raw) => {
            let blocks = items(Format::Chat, "thinking_blocks", raw)?.into_iter().map(|i| i.object());
            thinking::read(blocks.collect::<Result<Vec<Object<'_>>, _>>()?)?
        }
        None => Vec::new(),
    };
    let thought = text_of(message.reasoning_content).or_else(|| text_of(message.reasoning));
    if blocks.is_empty()
        && let Some(text) = thought.filter(|t| !t.is_empty())
    {
        parts.push(Content::Reasoning(Reasoning { texts: vec![text], ..Reasoning::default() }).into());
    }
    parts.extend(blocks.into_iter().map(|b| Part::from(Content::Reasoning(b))));
    if let Some(text) = text_of(message.content).filter(|t| !t.is_empty()) {
        let annotations = message.annotations.unwrap_or_default().into_iter().map(annotation).collect();
        parts.push(Content::Text { text, annotations }.into());
    }
    if let Some(text) = text_of(message.refusal).filter(|t| !t.is_empty()) {
        parts.push(Content::Refusal(text).into());
    }
    for (i, call) in message.tool_calls.unwrap_or_default().into_iter().enumerate() {
        let call = Call::of(call);
        parts.push(
            Content::ToolCall(ToolCallPart {
                id: call.id.filter(|i| !i.is_empty()).unwrap_or_else(|| crate::tools::made_id(id, i)),
                name: call.name.unwrap_or_default(),
                arguments: call.arguments,
                custom: call.custom,
                seal: call.seal,
            })
            .into(),
        );
    }
    losses.add_if(message.audio.is_some_and(|a| a.get() != "null"), "audio", "sound in an answer cannot be carried");
    losses.add_if(message.images.is_some_and(|a| a.get() != "null"), "images", "images in an answer cannot be carried");
    Ok(())
}

/// A tool call, whether of a function or of a custom tool.
struct Call {
    index: Option<u32>,
    id: Option<String>,
    name: Option<String>,
    arguments: String,
    custom: bool,
    seal: Option<Seal>,
}

impl Call {
    fn of(call: WireToolCall<'_>) -> Self {
        let custom = call.custom.is_some();
        let of = call.custom.unwrap_or_default();
        let function = call.function.unwrap_or_default();
        let signature = call.extra_content.and_then(|e| e.google).and_then(|g| g.thought_signature);
        Self {
            index: call.index,
            id: call.id,
            name: of.name.or(function.name),
            arguments: text_or_json(of.input.or(function.arguments)).into_owned(),
            custom,
            seal: signature.and_then(|s| Seal::read(Format::Gemini, &s)),
        }
    }
}

fn annotation(raw: &serde_json::value::RawValue) -> Opaque {
    Opaque { format: Format::Chat, kind: "annotation".into(), value: Json::from(raw) }
}

fn finish(word: &str) -> Finish {
    match word {
        "stop" | "eos" | "end_turn" => Finish::Stop,
        "length" | "max_tokens" => Finish::Length,
        "tool_calls" | "function_call" | "tool_use" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        other => Finish::Other(other.to_owned()),
    }
}

/// Reads a streamed answer.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    scanner: sse::Scanner,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    id: String,
    started: bool,
    /// A block of reasoning is open.
    reasoning: bool,
    /// The open block is one of `thinking_blocks`, whose text stands in `reasoning_content` again.
    block: Option<Block>,
    tools: Tools,
}

#[derive(Debug, Default)]
struct Block {
    index: Option<u64>,
    id: Option<String>,
    seal: String,
    redacted: bool,
}

impl Decoder {
    /// A decoder that makes ids of tool calls from the answer's own where the provider gives none.
    pub(crate) fn new(id: &str) -> Self {
        Self { scanner: sse::Scanner::default(), state: State { id: id.to_owned(), ..State::default() } }
    }
}

impl codec::Decoder for Decoder {
    fn feed(&mut self, bytes: &[u8], found: &mut dyn FnMut(Event)) {
        let Self { scanner, state } = self;
        scanner.feed(bytes, |event| state.event(event, found));
    }

    fn finish(&mut self, found: &mut dyn FnMut(Event)) {
        let Self { scanner, state } = self;
        scanner.finish(|event| state.event(event, found));
        state.end_reasoning(found);
        state.tools.finish(found);
    }
}

impl State {
    fn event(&mut self, event: sse::Event<'_>, found: &mut dyn FnMut(Event)) {
        match event {
            sse::Event::Message { data, .. } if data.trim_ascii() == DONE => {
                self.end_reasoning(found);
                self.tools.finish(found);
                found(Event::Done);
            }
            sse::Event::Message { data, .. } => match serde_json::from_slice::<Chunk<'_>>(data) {
                Ok(chunk) => self.chunk(chunk, found),
                Err(_) => found(Event::Malformed),
            },
            sse::Event::TooLarge => found(Event::Malformed),
        }
    }

    fn chunk(&mut self, chunk: Chunk<'_>, found: &mut dyn FnMut(Event)) {
        if let Some(error) = chunk.error.filter(|e| e.get() != "null") {
            return found(Event::Error(openai::read_error(200, error)));
        }
        if !std::mem::replace(&mut self.started, true) {
            found(Event::Start { id: text_of(chunk.id), model: text_of(chunk.model), created: chunk.created });
        }
        for choice in chunk.choices.unwrap_or_default() {
            self.choice(choice, found);
        }
        if let Some(usage) = chunk.usage {
            found(Event::Usage(usage.counts()));
        }
    }

    fn choice(&mut self, choice: Choice<'_>, found: &mut dyn FnMut(Event)) {
        if choice.index.unwrap_or(0) != 0 {
            let note = "more than one answer cannot be carried".to_owned();
            return found(Event::Loss(Loss { field: "choices".into(), note }));
        }
        if let Some(delta) = choice.delta.or(choice.message) {
            self.delta(delta, found);
        }
        if let Some(content) = choice.logprobs.and_then(|l| l.content).filter(|c| !matches!(c.get(), "null" | "[]")) {
            found(Event::Logprobs(Json::from(content)));
        }
        if let Some(word) = choice.finish_reason {
            self.end_reasoning(found);
            self.tools.finish(found);
            found(Event::Finish(finish(&word)));
        }
    }

    fn delta(&mut self, delta: WireDelta<'_>, found: &mut dyn FnMut(Event)) {
        let blocks = delta.thinking_blocks.filter(|b| b.get() != "null");
        if let Some(blocks) = blocks {
            if self.blocks(blocks, found).is_err() {
                found(Event::Malformed);
            }
        } else if let Some(text) = some_text(text_of(delta.reasoning_content).or_else(|| text_of(delta.reasoning))) {
            if self.block.is_some() {
                self.end_reasoning(found);
            }
            self.reasoning = true;
            found(Event::Reasoning(text));
        }
        if let Some(text) = some_text(text_of(delta.content)) {
            self.end_reasoning(found);
            found(Event::Text(text));
        }
        for note in delta.annotations.unwrap_or_default() {
            found(Event::Annotation(annotation(note)));
        }
        if let Some(text) = some_text(text_of(delta.refusal)) {
            self.end_reasoning(found);
            found(Event::Refusal(text));
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.end_reasoning(found);
            let Call { index, id, name, arguments, custom, seal } = Call::of(call);
            let piece = Piece { slot: index, id: id.as_deref(), name: name.as_deref(), text: &arguments, custom, seal };
            self.tools.piece(piece, &self.id, found);
        }
        for (lost, field) in [(delta.audio, "audio"), (delta.images, "images")] {
            if lost.is_some_and(|v| v.get() != "null") {
                found(Event::Loss(Loss { field: field.into(), note: "it cannot be carried in an answer".into() }));
            }
        }
    }

    /// Pieces of signed reasoning.
    fn blocks(
        &mut self,
        raw: &serde_json::value::RawValue,
        found: &mut dyn FnMut(Event),
    ) -> Result<(), TranslateError> {
        for item in items(Format::Chat, "thinking_blocks", raw)? {
            let mut piece = item.object()?;
            let index = piece.get("index")?;
            if self.block.as_ref().is_none_or(|b| b.index != index) {
                self.end_reasoning(found);
            }
            self.reasoning = true;
            let block = self.block.get_or_insert_with(|| Block { index, ..Block::default() });
            block.redacted |= piece.string("type")?.as_deref() == Some("redacted_thinking");
            block.id = piece.string("id")?.or(block.id.take());
            for key in ["signature", "data"] {
                block.seal.push_str(&piece.string(key)?.unwrap_or_default());
            }
            let oversized = block.seal.len() > sse::MAX_EVENT_BYTES;
            if let Some(text) = some_text(piece.string("thinking")?) {
                found(Event::Reasoning(text));
            }
            if oversized {
                block.seal.clear();
                found(Event::Malformed);
            }
        }
        Ok(())
    }

    fn end_reasoning(&mut self, found: &mut dyn FnMut(Event)) {
        if std::mem::take(&mut self.reasoning) {
            let block = self.block.take().unwrap_or_default();
            let seal = Seal::read(Format::Messages, &block.seal);
            found(Event::ReasoningEnd { id: block.id, seal, redacted: block.redacted });
        }
    }
}

fn some_text(text: Option<String>) -> Option<String> {
    text.filter(|t| !t.is_empty())
}
