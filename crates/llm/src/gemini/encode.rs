//! Answers in Gemini's format, whole and as server-sent events (`alt=sse`).
//!
//! A function call goes out whole, when its arguments are complete. The last piece has the reason of the end and the
//! counts.

use super::{errors, seal};
use crate::{
    ApiError, ErrorKind, Format, Losses, StreamMeta, Usage,
    ir::{Event, Finish, Json, Response, Seal},
    sse::MAX_EVENT_BYTES,
    write,
};
use serde::Deserialize;

/// Writes a stream.
#[derive(Debug)]
pub(crate) struct Encoder {
    meta: StreamMeta,
    calls: Vec<Call>,
    /// Bytes of arguments that are kept.
    kept: usize,
    /// The stream has ended in an error of our own.
    failed: bool,
    usage: Usage,
    finish: Option<Finish>,
}

#[derive(Debug)]
struct Call {
    index: u32,
    id: String,
    name: String,
    custom: bool,
    seal: Option<Seal>,
    arguments: String,
}

/// A part of an answer.
enum Part<'a> {
    Text(&'a str),
    Thought(&'a str),
    /// The seal of a block, and whether it is all there is of it.
    Signature(&'a Seal, bool),
    Call(&'a Call),
}

impl Part<'_> {
    fn put(&self, parts: &mut write::Array<'_>) {
        let mut part = parts.object();
        match self {
            Part::Text(text) => part.put("text", text),
            Part::Thought(text) => {
                part.put("text", text);
                part.put("thought", &true);
            }
            Part::Signature(seal, redacted) => {
                part.put("text", "");
                if seal.origin != Format::Gemini {
                    part.put("thought", &true);
                }
                part.put("thoughtSignature", &seal::write(seal, *redacted));
            }
            Part::Call(call) => {
                let mut function = part.object("functionCall");
                function.put("id", &call.id);
                function.put("name", &call.name);
                function.put("args", &args(&call.arguments, call.custom));
                drop(function);
                part.some("thoughtSignature", &call.seal.as_ref().map(|s| seal::write(s, false)));
            }
        }
    }
}

/// Arguments as an object; a text that is none stands inside one.
fn args(text: &str, custom: bool) -> Json {
    let trimmed = text.trim();
    if trimmed.is_empty() && !custom {
        return Json::of(&serde_json::Map::new());
    }
    let json = Json::parse(trimmed).filter(|_| trimmed.starts_with('{') && !custom);
    let key = if custom { "input" } else { "arguments" };
    json.unwrap_or_else(|| Json::of(&std::collections::BTreeMap::from([(key, text)])))
}

impl Encoder {
    /// An encoder for a call.
    pub(crate) fn new(meta: StreamMeta) -> Self {
        Self { meta, calls: Vec::new(), kept: 0, failed: false, usage: Usage::default(), finish: None }
    }

    fn piece(&self, out: &mut Vec<u8>, part: &Part<'_>) {
        self.chunk(out, part, |_| {}, |_| {});
    }

    /// A piece with more fields of the candidate, and of the whole.
    fn chunk(
        &self,
        out: &mut Vec<u8>,
        part: &Part<'_>,
        more: impl FnOnce(&mut write::Object<'_>),
        last: impl FnOnce(&mut write::Object<'_>),
    ) {
        write::sse(out, None, |out| {
            let mut top = write::Object::new(out);
            let mut candidates = top.array("candidates");
            let mut candidate = candidates.object();
            let mut content = candidate.object("content");
            part.put(&mut content.array("parts"));
            content.put("role", "model");
            drop(content);
            more(&mut candidate);
            candidate.put("index", &0);
            drop(candidate);
            drop(candidates);
            last(&mut top);
            put_names(&mut top, &self.meta);
        });
    }

    /// Keeps more arguments. A call that is too large to go out whole fails the stream: half of it would be another
    /// call.
    fn arguments(&mut self, out: &mut Vec<u8>, index: u32, text: &str) {
        let Some(call) = self.calls.iter_mut().find(|c| c.index == index) else { return };
        if self.kept + text.len() > MAX_EVENT_BYTES {
            let what = "a tool call of the answer is too large to be passed on";
            errors::write_stream_error(&ApiError::new(502, ErrorKind::Server, "answer_too_large", what), out);
            (self.failed, self.calls, self.kept) = (true, Vec::new(), 0);
            return;
        }
        self.kept += text.len();
        call.arguments.push_str(text);
    }

    fn end_call(&mut self, out: &mut Vec<u8>, index: u32) {
        if let Some(at) = self.calls.iter().position(|c| c.index == index) {
            let call = self.calls.remove(at);
            self.kept -= call.arguments.len();
            self.piece(out, &Part::Call(&call));
        }
    }
}

impl crate::codec::Encoder for Encoder {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.failed {
            return;
        }
        match event {
            Event::Text(text) | Event::Refusal(text) => self.piece(out, &Part::Text(text)),
            Event::Reasoning(text) => self.piece(out, &Part::Thought(text)),
            Event::ReasoningBreak => self.piece(out, &Part::Thought("\n\n")),
            Event::ReasoningEnd { id: _, seal: Some(seal), redacted } => {
                self.piece(out, &Part::Signature(seal, *redacted))
            }
            Event::ToolStart { index, id, name, custom, seal } => {
                let (id, name, arguments) = (id.clone(), name.clone(), String::new());
                self.calls.push(Call { index: *index, id, name, custom: *custom, seal: seal.clone(), arguments });
            }
            Event::ToolArguments { index, text } => self.arguments(out, *index, text),
            Event::Logprobs(logprobs) => {
                self.chunk(out, &Part::Text(""), |candidate| put_logprobs(candidate, logprobs), |_| {});
            }
            Event::ToolStop { index } => self.end_call(out, *index),
            Event::Usage(usage) => self.usage.update(*usage),
            Event::Finish(finish) => self.finish = Some(finish.clone()),
            Event::Error(error) => errors::write_stream_error(error, out),
            Event::Start { .. }
            | Event::Annotation(_)
            | Event::ReasoningEnd { .. }
            // The format has no sign of life, and Google's SDKs take a comment for a fault.
            | Event::Ping
            | Event::Loss(_)
            | Event::Malformed
            | Event::Done => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.failed {
            return;
        }
        while let Some(index) = self.calls.first().map(|c| c.index) {
            self.end_call(out, index);
        }
        let reason = word(self.finish.as_ref());
        let usage = |top: &mut write::Object<'_>| put_usage(top, &self.usage, &self.meta);
        self.chunk(out, &Part::Text(""), |candidate| candidate.put("finishReason", reason), usage);
    }
}

/// A whole answer.
pub(crate) fn render_response(response: &Response, meta: &StreamMeta, losses: &mut Losses) -> Vec<u8> {
    use crate::ir::Content;
    let Response { id: _, model: _, created: _, parts, logprobs, finish, usage, service_tier: _, error } = response;
    if let Some(error) = error {
        return errors::render_error(error);
    }
    let mut out = Vec::new();
    let mut top = write::Object::new(&mut out);
    let mut candidates = top.array("candidates");
    let mut candidate = candidates.object();
    let mut content = candidate.object("content");
    let mut array = content.array("parts");
    for part in parts {
        match &part.content {
            Content::Text { text, annotations } => {
                losses.add_if(!annotations.is_empty(), "annotations", "the client's format has none of this kind");
                Part::Text(text).put(&mut array);
            }
            Content::Refusal(text) => Part::Text(text).put(&mut array),
            Content::Reasoning(reasoning) => {
                if !reasoning.texts.is_empty() {
                    Part::Thought(&reasoning.texts.join("\n\n")).put(&mut array);
                }
                if let Some(seal) = &reasoning.seal {
                    Part::Signature(seal, reasoning.redacted).put(&mut array);
                }
            }
            Content::ToolCall(call) => {
                let (id, name, arguments) = (call.id.clone(), call.name.clone(), call.arguments.clone());
                let call = Call { index: 0, id, name, custom: call.custom, seal: call.seal.clone(), arguments };
                Part::Call(&call).put(&mut array);
            }
            Content::Image { .. }
            | Content::File { .. }
            | Content::Audio { .. }
            | Content::ToolResult(_)
            | Content::Opaque(_) => losses.add("content", "this part of the answer has no counterpart"),
        }
    }
    drop(array);
    content.put("role", "model");
    drop(content);
    candidate.put("finishReason", word(finish.as_ref()));
    candidate.put("index", &0);
    if let Some(logprobs) = logprobs {
        put_logprobs(&mut candidate, logprobs);
    }
    drop(candidate);
    drop(candidates);
    put_usage(&mut top, usage, meta);
    put_names(&mut top, meta);
    drop(top);
    out
}

fn put_names(top: &mut write::Object<'_>, meta: &StreamMeta) {
    top.put("modelVersion", &meta.model);
    top.put("responseId", &meta.id);
}

fn put_usage(top: &mut write::Object<'_>, usage: &Usage, meta: &StreamMeta) {
    let Usage { prompt, completion, cached, cache_write: _, reasoning } = *usage;
    let prompt = prompt.or(meta.estimated_prompt).unwrap_or(0);
    let completion = completion.unwrap_or(0);
    let mut out = top.object("usageMetadata");
    out.put("promptTokenCount", &prompt);
    out.put("candidatesTokenCount", &completion.saturating_sub(reasoning.unwrap_or(0)));
    out.put("totalTokenCount", &prompt.saturating_add(completion));
    out.some("cachedContentTokenCount", &cached);
    out.some("thoughtsTokenCount", &reasoning);
}

fn word(finish: Option<&Finish>) -> &'static str {
    match finish {
        None | Some(Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls | Finish::Pause) => "STOP",
        Some(Finish::Length) => "MAX_TOKENS",
        Some(Finish::ContentFilter | Finish::Refusal) => "SAFETY",
        Some(Finish::Other(_)) => "OTHER",
    }
}

#[derive(Deserialize)]
struct Token {
    token: String,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<Token>,
}

/// Probabilities from OpenAI's form.
fn put_logprobs(candidate: &mut write::Object<'_>, logprobs: &Json) {
    let tokens: Vec<Token> = serde_json::from_str(logprobs.get()).unwrap_or_default();
    let put = |array: &mut write::Array<'_>, token: &Token| {
        let mut out = array.object();
        out.put("token", &token.token);
        out.put("logProbability", &token.logprob);
    };
    let mut result = candidate.object("logprobsResult");
    let mut chosen = result.array("chosenCandidates");
    tokens.iter().for_each(|t| put(&mut chosen, t));
    drop(chosen);
    let mut top = result.array("topCandidates");
    for token in &tokens {
        let mut object = top.object();
        let mut array = object.array("candidates");
        token.top_logprobs.iter().for_each(|t| put(&mut array, t));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Encoder as _;

    #[test]
    fn a_call_that_is_too_large_fails_the_stream() {
        let mut encoder = Encoder::new(StreamMeta::default());
        let mut out = Vec::new();
        let start = Event::ToolStart { index: 0, id: "a".into(), name: "f".into(), custom: false, seal: None };
        encoder.encode(&start, &mut out);
        let piece = Event::ToolArguments { index: 0, text: "x".repeat(1 << 20) };
        (0..18).for_each(|_| encoder.encode(&piece, &mut out));
        encoder.encode(&Event::ToolStop { index: 0 }, &mut out);
        encoder.finish(&mut out);
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("data: {\"error\":{\"code\":502,") && out.matches("data:").count() == 1, "{out}");
    }
}
