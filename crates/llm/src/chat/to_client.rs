//! Answers to Chat Completions clients.

use super::thinking;
use crate::{
    ApiError, Losses, Usage,
    codec::{self, Meta},
    ir::{Content, Event, Finish, Json, Reasoning, Response, Seal},
    openai, write,
};

/// Writes a whole answer.
pub(crate) fn render_response(response: &Response, meta: &Meta, losses: &mut Losses) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(error) = &response.error {
        return openai::render_error(error);
    }
    let mut o = write::Object::new(&mut out);
    head(&mut o, &meta.id, "chat.completion", response.created.unwrap_or(meta.created), &meta.model);
    o.some("service_tier", &response.service_tier);
    {
        let mut choices = o.array("choices");
        let mut choice = choices.object();
        choice.put("index", &0);
        let calls = write_message(&mut choice.object("message"), response, losses);
        write_logprobs(&mut choice, response.logprobs.as_ref());
        choice.put("finish_reason", finish_word(response.finish.as_ref().unwrap_or(&Finish::Stop), calls));
    }
    write_usage(&mut o, &response.usage);
    o.null("system_fingerprint");
    drop(o);
    out
}

/// Writes the message; tells whether it calls a tool.
fn write_message(o: &mut write::Object<'_>, response: &Response, losses: &mut Losses) -> bool {
    let (mut text, mut refusal, mut calls, mut thoughts) = (String::new(), None::<String>, Vec::new(), Vec::new());
    for part in &response.parts {
        match &part.content {
            Content::Text { text: t, annotations: _ } => text.push_str(t),
            Content::Refusal(t) => refusal.get_or_insert_default().push_str(t),
            Content::ToolCall(call) => calls.push(call),
            Content::Reasoning(r) => thoughts.push(r),
            Content::Opaque(opaque) => losses.add(&opaque.kind, "this part of the answer has no counterpart"),
            Content::Image { .. } | Content::File { .. } | Content::Audio { .. } | Content::ToolResult(_) => {
                losses.add("content", "only text, reasoning and tool calls of an answer have a counterpart");
            }
        }
    }
    o.put("role", "assistant");
    o.put("content", &(!text.is_empty() || (calls.is_empty() && refusal.is_none())).then_some(text));
    o.put("refusal", &refusal);
    write_thoughts(o, &thoughts);
    if !calls.is_empty() {
        let mut list = o.array("tool_calls");
        for call in &calls {
            let mut c = list.object();
            c.put("id", &call.id);
            write_call(&mut c, call.custom, &call.name, &call.arguments);
            write_call_seal(&mut c, call.seal.as_ref());
        }
    }
    o.put("annotations", &[(); 0]);
    !calls.is_empty()
}

fn write_thoughts(o: &mut write::Object<'_>, thoughts: &[&Reasoning]) {
    if thoughts.is_empty() {
        return;
    }
    let texts: Vec<&str> = thoughts.iter().flat_map(|r| r.texts.iter().map(String::as_str)).collect();
    if !texts.is_empty() {
        o.put("reasoning_content", &texts.join("\n\n"));
    }
    let mut list = o.array("thinking_blocks");
    for (i, r) in thoughts.iter().enumerate() {
        let mut block = list.object();
        block.put("index", &i);
        thinking::write(&mut block, Some(&r.texts.join("\n\n")), r.id.as_deref(), r.seal.as_ref(), r.redacted);
    }
}

fn write_call(o: &mut write::Object<'_>, custom: bool, name: &str, arguments: &str) {
    let (kind, key) = if custom { ("custom", "input") } else { ("function", "arguments") };
    o.put("type", kind);
    let mut of = o.object(kind);
    of.put("name", name);
    of.put(key, arguments);
}

/// Gemini's signature where Gemini's own endpoint in this format has it; any other stands in `thinking_blocks`.
fn write_call_seal(o: &mut write::Object<'_>, seal: Option<&Seal>) {
    if let Some(seal) = seal {
        o.object("extra_content").object("google").put("thought_signature", &seal.text_for(crate::Format::Gemini));
    }
}

fn write_logprobs(o: &mut write::Object<'_>, logprobs: Option<&Json>) {
    match logprobs {
        Some(content) => {
            let mut l = o.object("logprobs");
            l.put("content", content);
            l.null("refusal");
        }
        None => o.null("logprobs"),
    }
}

fn head(o: &mut write::Object<'_>, id: &str, object: &str, created: u64, model: &str) {
    o.put("id", &format_args!("chatcmpl-{id}"));
    o.put("object", object);
    o.put("created", &created);
    o.put("model", model);
}

fn finish_word(finish: &Finish, calls: bool) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::ContentFilter | Finish::Refusal => "content_filter",
        Finish::ToolCalls => "tool_calls",
        Finish::Stop | Finish::StopSequence(_) | Finish::Pause | Finish::Other(_) if calls => "tool_calls",
        Finish::Stop | Finish::StopSequence(_) | Finish::Pause | Finish::Other(_) => "stop",
    }
}

fn write_usage(o: &mut write::Object<'_>, usage: &Usage) {
    let Usage { prompt, completion, cached, cache_write, reasoning } = *usage;
    if usage.is_unknown() {
        return o.null("usage");
    }
    let (prompt, completion) = (prompt.unwrap_or(0), completion.unwrap_or(0));
    let mut u = o.object("usage");
    u.put("prompt_tokens", &prompt);
    u.put("completion_tokens", &completion);
    u.put("total_tokens", &prompt.saturating_add(completion));
    {
        let mut d = u.object("prompt_tokens_details");
        d.put("cached_tokens", &cached.unwrap_or(0));
        d.put("audio_tokens", &0);
        d.put("cache_write_tokens", &cache_write.unwrap_or(0));
    }
    let mut d = u.object("completion_tokens_details");
    d.put("reasoning_tokens", &reasoning.unwrap_or(0));
    d.put("audio_tokens", &0);
    d.put("accepted_prediction_tokens", &0);
    d.put("rejected_prediction_tokens", &0);
}

/// Writes an error inside a stream.
pub(crate) fn write_stream_error(error: &ApiError, out: &mut Vec<u8>) {
    write::sse(out, None, |out| openai::write_error(error, &mut write::Object::new(out)));
}

/// Writes a streamed answer.
#[derive(Debug)]
pub(crate) struct Encoder {
    meta: Meta,
    created: u64,
    begun: bool,
    /// Of each tool call, whether the tool is a custom one.
    calls: Vec<bool>,
    /// Which of `thinking_blocks` is open, or comes next.
    block: u32,
    finish: Option<Finish>,
    usage: Usage,
}

impl Encoder {
    /// An encoder.
    pub(crate) fn new(meta: Meta) -> Self {
        let created = meta.created;
        Self { meta, created, begun: false, calls: Vec::new(), block: 0, finish: None, usage: Usage::default() }
    }

    fn chunk(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Delta<'_>)) {
        let begins = !std::mem::replace(&mut self.begun, true);
        if begins {
            self.raw_chunk(out, &mut |delta| {
                let mut d = delta.0.object("delta");
                d.put("role", "assistant");
                d.put("content", "");
                d.null("refusal");
            });
        }
        let mut write = Some(write);
        self.raw_chunk(out, &mut |delta| {
            if let Some(write) = write.take() {
                write(delta);
            }
        });
    }

    fn raw_chunk(&self, out: &mut Vec<u8>, write: &mut dyn FnMut(&mut Delta<'_>)) {
        write::sse(out, None, |out| {
            let mut o = write::Object::new(out);
            head(&mut o, &self.meta.id, "chat.completion.chunk", self.created, &self.meta.model);
            o.null("system_fingerprint");
            {
                let mut choices = o.array("choices");
                let mut delta = Delta(choices.object(), None, None);
                delta.0.put("index", &0);
                write(&mut delta);
                let Delta(mut choice, logprobs, finish) = delta;
                write_logprobs(&mut choice, logprobs.as_ref());
                choice.put("finish_reason", &finish);
            }
            if self.meta.include_usage {
                o.null("usage");
            }
        });
    }

    fn delta(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut write::Object<'_>)) {
        self.chunk(out, |delta| write(&mut delta.0.object("delta")));
    }
}

/// A choice under way, its probabilities and its end.
struct Delta<'a>(write::Object<'a>, Option<Json>, Option<&'static str>);

impl codec::Encoder for Encoder {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { created, .. } => self.created = created.unwrap_or(self.created),
            Event::Text(text) => self.delta(out, |d| d.put("content", text)),
            Event::Refusal(text) => self.delta(out, |d| d.put("refusal", text)),
            Event::Reasoning(text) => self.reasoning(text, out),
            Event::ReasoningBreak => self.reasoning("\n\n", out),
            Event::ReasoningEnd { id, seal, redacted } => {
                let index = self.block;
                self.block += 1;
                if seal.is_some() || id.is_some() {
                    self.delta(out, |d| {
                        let mut list = d.array("thinking_blocks");
                        let mut block = list.object();
                        block.put("index", &index);
                        thinking::write(&mut block, None, id.as_deref(), seal.as_ref(), *redacted);
                    });
                }
            }
            Event::Logprobs(content) => {
                let content = Json::parse(&content.compact());
                self.chunk(out, |delta| {
                    drop(delta.0.object("delta"));
                    delta.1 = content;
                });
            }
            Event::ToolStart { index, id, name, custom, seal } => {
                if self.calls.len() < crate::MAX_TOOL_CALLS {
                    self.calls.push(*custom);
                }
                self.delta(out, |d| {
                    let mut list = d.array("tool_calls");
                    let mut c = list.object();
                    c.put("index", index);
                    c.put("id", id);
                    write_call(&mut c, *custom, name, "");
                    write_call_seal(&mut c, seal.as_ref());
                });
            }
            Event::ToolArguments { index, text } => {
                let custom = self.calls.get(*index as usize).is_some_and(|c| *c);
                let (kind, key) = if custom { ("custom", "input") } else { ("function", "arguments") };
                self.delta(out, |d| {
                    let mut list = d.array("tool_calls");
                    let mut c = list.object();
                    c.put("index", index);
                    c.object(kind).put(key, text);
                });
            }
            Event::Usage(usage) => self.usage.update(*usage),
            Event::Finish(finish) => self.finish = Some(finish.clone()),
            Event::Error(error) => write_stream_error(error, out),
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::ToolStop { .. } | Event::Annotation(_) | Event::Loss(_) | Event::Malformed | Event::Done => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let word = finish_word(self.finish.as_ref().unwrap_or(&Finish::Stop), !self.calls.is_empty());
        self.chunk(out, |delta| {
            drop(delta.0.object("delta"));
            delta.2 = Some(word);
        });
        if self.meta.include_usage {
            write::sse(out, None, |out| {
                let mut o = write::Object::new(out);
                head(&mut o, &self.meta.id, "chat.completion.chunk", self.created, &self.meta.model);
                o.null("system_fingerprint");
                drop(o.array("choices"));
                write_usage(&mut o, &self.usage);
            });
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

impl Encoder {
    fn reasoning(&mut self, text: &str, out: &mut Vec<u8>) {
        let index = self.block;
        self.delta(out, |d| {
            d.put("reasoning_content", text);
            let mut list = d.array("thinking_blocks");
            let mut block = list.object();
            block.put("index", &index);
            block.put("type", "thinking");
            block.put("thinking", text);
        });
    }
}
