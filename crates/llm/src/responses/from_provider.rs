//! Answers of OpenAI's Responses.

use super::items::{self, Thought};
use crate::{
    ApiError, ErrorKind, Format, Loss, Losses, MAX_TOOL_CALLS, TranslateError, Usage, codec,
    ir::{Content, Event, Finish, Json, Part, Response, Seal},
    openai,
    read::{Object, text_of},
    sse,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

/// The most items of an answer that are told apart.
const MAX_ITEMS: usize = 4096;

/// What is read of a response beside its items.
#[derive(Deserialize)]
struct Head<'a> {
    id: Option<String>,
    model: Option<String>,
    created_at: Option<serde_json::Number>,
    status: Option<String>,
    service_tier: Option<String>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    incomplete_details: Option<Incomplete>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

#[derive(Deserialize)]
struct WireUsage {
    input_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

impl WireUsage {
    fn counts(&self) -> Usage {
        let (input, output) = (self.input_tokens_details.as_ref(), self.output_tokens_details.as_ref());
        Usage {
            prompt: self.input_tokens,
            completion: self.output_tokens,
            cached: input.and_then(|d| d.cached_tokens),
            cache_write: input.and_then(|d| d.cache_write_tokens),
            reasoning: output.and_then(|d| d.reasoning_tokens),
        }
    }
}

impl Head<'_> {
    fn created(&self) -> Option<u64> {
        let n = self.created_at.as_ref()?;
        n.as_u64().or_else(|| n.to_string().split('.').next()?.parse().ok())
    }

    fn finish(&self, calls: bool) -> Finish {
        let reason = self.incomplete_details.as_ref().and_then(|d| d.reason.as_deref());
        match (self.status.as_deref(), reason) {
            (Some("incomplete"), Some("content_filter")) => Finish::ContentFilter,
            (Some("incomplete"), Some("max_output_tokens") | None) => Finish::Length,
            (Some("incomplete"), Some(other)) => Finish::Other(other.to_owned()),
            _ if calls => Finish::ToolCalls,
            _ => Finish::Stop,
        }
    }

    fn error(&self) -> Option<ApiError> {
        if let Some(error) = self.error.filter(|e| e.get() != "null") {
            return Some(openai::read_error(200, error));
        }
        let status = self.status.as_deref().filter(|s| matches!(*s, "failed" | "cancelled"))?;
        Some(ApiError::new(502, ErrorKind::Server, "server_error", format!("the answer is {status}")))
    }
}

/// Reads a whole answer.
pub(crate) fn parse_response(body: &[u8], losses: &mut Losses) -> Result<Response, TranslateError> {
    let bad = |e: serde_json::Error| TranslateError::Malformed {
        format: Format::Responses,
        what: "the answer".into(),
        why: e.to_string(),
    };
    let head: Head<'_> = serde_json::from_slice(body).map_err(bad)?;
    let mut o = Object::of_body(Format::Responses, body)?;
    let error = head.error();
    let mut read = Items::default();
    match o.objects("output")? {
        Some(output) => output.into_iter().try_for_each(|item| read.item(item, losses))?,
        None if error.is_some() => {}
        None => return Err(o.bad("output", "it is missing")),
    }
    let calls = read.parts.iter().any(|p| matches!(p.content, Content::ToolCall(_)));
    Ok(Response {
        finish: head.status.as_ref().filter(|_| error.is_none()).map(|_| head.finish(calls)),
        created: head.created(),
        usage: head.usage.as_ref().map(WireUsage::counts).unwrap_or_default(),
        id: head.id,
        model: head.model,
        parts: read.parts,
        logprobs: read.logprobs,
        service_tier: head.service_tier,
        error,
    })
}

#[derive(Default)]
struct Items {
    parts: Vec<Part>,
    logprobs: Option<Json>,
    seal: Option<Seal>,
}

impl Items {
    fn item(&mut self, mut o: Object<'_>, losses: &mut Losses) -> Result<(), TranslateError> {
        let kind: String = o.need("type")?;
        match kind.as_str() {
            "message" => {
                for mut part in o.objects("content")?.unwrap_or_default() {
                    if self.logprobs.is_none() {
                        self.logprobs = part.json("logprobs").filter(|l| l.get() != "[]");
                    }
                    self.parts.push(items::part(part, losses)?);
                }
            }
            "reasoning" => match items::thought(&mut o)? {
                Thought::Block(block) => self.parts.push(Content::Reasoning(block).into()),
                Thought::OfCall(seal) => self.seal = Some(seal),
            },
            "function_call" | "custom_tool_call" => {
                let call = items::tool_call(&mut o, kind == "custom_tool_call", self.seal.take())?;
                self.parts.push(Content::ToolCall(call).into());
            }
            other => losses.add(other, "the trace of a tool that runs at the provider has no counterpart"),
        }
        Ok(())
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
    started: bool,
    items: BTreeMap<u64, ItemState>,
    calls: u32,
}

/// What was told of an item, so that what came whole at its end is not told twice.
#[derive(Debug, Default)]
struct ItemState {
    /// Its place among the tool calls.
    call: Option<u32>,
    told: bool,
    done: bool,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    output_index: Option<u64>,
    summary_index: Option<u64>,
    delta: Option<String>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    annotation: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<Head<'a>>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    message: Option<String>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl codec::Decoder for Decoder {
    fn feed(&mut self, bytes: &[u8], found: &mut dyn FnMut(Event)) {
        let Self { scanner, state } = self;
        scanner.feed(bytes, |event| state.event(event, found));
    }

    fn finish(&mut self, found: &mut dyn FnMut(Event)) {
        let Self { scanner, state } = self;
        scanner.finish(|event| state.event(event, found));
    }
}

impl State {
    fn event(&mut self, event: sse::Event<'_>, found: &mut dyn FnMut(Event)) {
        let sse::Event::Message { data, .. } = event else { return found(Event::Malformed) };
        if data.trim_ascii() == b"[DONE]" {
            return;
        }
        match serde_json::from_slice::<Wire<'_>>(data) {
            Ok(wire) => self.wire(wire, found),
            Err(_) => found(Event::Malformed),
        }
    }

    fn wire(&mut self, wire: Wire<'_>, found: &mut dyn FnMut(Event)) {
        let index = wire.output_index.unwrap_or(0);
        match &*wire.kind {
            "response.created" | "response.in_progress" | "response.queued" => self.start(wire.response, found),
            "response.output_item.added" => self.added(index, wire.item, found),
            "response.output_item.done" => self.done(index, wire.item, found),
            "response.output_text.delta" => {
                self.tell(index, wire.delta, Event::Text, found);
                if let Some(logprobs) = wire.logprobs.filter(|l| !matches!(l.get(), "[]" | "null")) {
                    found(Event::Logprobs(Json::from(logprobs)));
                }
            }
            "response.output_text.annotation.added" => {
                if let Some(raw) = wire.annotation {
                    found(Event::Annotation(items::annotation(Json::from(raw))));
                }
            }
            "response.refusal.delta" => self.tell(index, wire.delta, Event::Refusal, found),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.tell(index, wire.delta, Event::Reasoning, found);
            }
            "response.reasoning_summary_part.added" if wire.summary_index.is_some_and(|i| i > 0) => {
                found(Event::ReasoningBreak);
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                if let Some(call) = self.items.get(&index).and_then(|i| i.call) {
                    self.tell(index, wire.delta, |text| Event::ToolArguments { index: call, text }, found);
                } else {
                    found(Event::Malformed);
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                self.end(wire.response, found);
            }
            "error" => found(Event::Error(match wire.error.filter(|e| e.get() != "null") {
                Some(error) => openai::read_error(200, error),
                None => openai::make_error(200, wire.code.and_then(text_of).as_deref(), wire.message.as_deref()),
            })),
            // The other events repeat what was told, or tell of tools that run at OpenAI, whose items are reported.
            _ => {}
        }
    }

    fn start(&mut self, head: Option<Head<'_>>, found: &mut dyn FnMut(Event)) {
        if let Some(head) = head.filter(|_| !std::mem::replace(&mut self.started, true)) {
            found(Event::Start { created: head.created(), id: head.id, model: head.model });
        }
    }

    fn tell(
        &mut self,
        index: u64,
        delta: Option<String>,
        event: impl FnOnce(String) -> Event,
        found: &mut dyn FnMut(Event),
    ) {
        if let Some(text) = delta.filter(|t| !t.is_empty()) {
            if let Some(item) = self.item(index) {
                item.told = true;
            }
            found(event(text));
        }
    }

    fn item(&mut self, index: u64) -> Option<&mut ItemState> {
        if self.items.len() >= MAX_ITEMS && !self.items.contains_key(&index) {
            return None;
        }
        Some(self.items.entry(index).or_default())
    }

    fn added(&mut self, index: u64, item: Option<&RawValue>, found: &mut dyn FnMut(Event)) {
        #[derive(Deserialize)]
        struct Added {
            #[serde(rename = "type")]
            kind: String,
            call_id: Option<String>,
            name: Option<String>,
        }
        let Some(item) = item.and_then(|i| serde_json::from_str::<Added>(i.get()).ok()) else {
            return found(Event::Malformed);
        };
        let call = self.calls;
        let Some(state) = self.item(index) else { return found(Event::Malformed) };
        match item.kind.as_str() {
            "function_call" | "custom_tool_call" if state.call.is_none() => {
                let (Some(id), Some(name)) = (item.call_id, item.name) else { return found(Event::Malformed) };
                if call as usize >= MAX_TOOL_CALLS {
                    return found(Event::Malformed);
                }
                state.call = Some(call);
                self.calls += 1;
                let custom = item.kind == "custom_tool_call";
                found(Event::ToolStart { index: call, id, name, custom, seal: None });
            }
            "function_call" | "custom_tool_call" | "message" | "reasoning" => {}
            other => {
                let note = "the trace of a tool that runs at the provider has no counterpart".to_owned();
                found(Event::Loss(Loss { field: other.chars().take(64).collect(), note }));
            }
        }
    }

    /// An item is complete: what was not told piece by piece is told now.
    fn done(&mut self, index: u64, item: Option<&RawValue>, found: &mut dyn FnMut(Event)) {
        let Some(raw) = item else { return found(Event::Malformed) };
        let kind = Object::of(Format::Responses, "item", raw).and_then(|mut o| o.need::<String>("type"));
        let is_call = kind.is_ok_and(|k| matches!(k.as_str(), "function_call" | "custom_tool_call"));
        if is_call && self.items.get(&index).is_none_or(|i| i.call.is_none()) {
            self.added(index, item, found);
        }
        let Some(state) = self.item(index) else { return found(Event::Malformed) };
        if std::mem::replace(&mut state.done, true) {
            return;
        }
        let (told, call) = (state.told, state.call);
        let mut read = Items::default();
        let parsed = Object::of(Format::Responses, "item", raw).and_then(|o| read.item(o, &mut Losses::default()));
        if parsed.is_err() {
            found(Event::Malformed);
        }
        for part in read.parts {
            match part.content {
                Content::Reasoning(r) => {
                    for text in r.texts.into_iter().filter(|_| !told) {
                        found(Event::Reasoning(text));
                    }
                    found(Event::ReasoningEnd { id: r.id, seal: r.seal, redacted: r.redacted });
                }
                Content::Text { text, .. } if !told && !text.is_empty() => found(Event::Text(text)),
                Content::Refusal(text) if !told && !text.is_empty() => found(Event::Refusal(text)),
                Content::ToolCall(of) => {
                    let Some(index) = call else { continue };
                    if !told && !of.arguments.is_empty() {
                        found(Event::ToolArguments { index, text: of.arguments });
                    }
                    found(Event::ToolStop { index });
                }
                _ => {}
            }
        }
    }

    fn end(&mut self, head: Option<Head<'_>>, found: &mut dyn FnMut(Event)) {
        let Some(head) = head else { return found(Event::Malformed) };
        if let Some(usage) = &head.usage {
            found(Event::Usage(usage.counts()));
        }
        if let Some(error) = head.error() {
            return found(Event::Error(error));
        }
        found(Event::Finish(head.finish(self.calls > 0)));
        found(Event::Done);
    }
}
