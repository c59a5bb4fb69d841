//! Streams to Responses clients.
//!
//! One item is open at a time, except tool calls whose arguments interleave:
//!
//! ```text
//! response.created, response.in_progress
//! reasoning   output_item.added (reasoning_summary_part.added, …_text.delta*, …_text.done, …_part.done)* output_item.done
//! message     output_item.added (content_part.added, output_text|refusal.delta*, ….done, content_part.done)* output_item.done
//! tool call   output_item.added, function_call_arguments|custom_tool_call_input.delta*, ….done, output_item.done
//! response.completed | incomplete | failed
//! ```
//!
//! The format repeats each text at the end of its part, its item and the answer, so the answer is kept up to
//! [`MAX_WHOLE_BYTES`].

use super::{
    items,
    output::{Call, Open, Said, content_at, logprobs, message_item, reasoning_item, summary_at, summary_part},
    to_client::{Status, write_object},
};
use crate::{
    ApiError, ErrorKind, Usage,
    codec::{self, Meta},
    ir::{Event, Finish, Seal},
    write,
};

/// The largest answer that is told whole at its end; a larger one fails.
pub(super) const MAX_WHOLE_BYTES: usize = 32 << 20;

/// Writes a streamed answer.
#[derive(Debug)]
pub(crate) struct Encoder {
    meta: Meta,
    sequence: u64,
    begun: bool,
    /// The answer failed or was too large; nothing follows.
    closed: bool,
    /// The answer failed with an item open.
    cut: bool,
    /// Items as they were when they were complete.
    items: Vec<Option<String>>,
    open: Open,
    calls: Vec<Call>,
    finish: Option<Finish>,
    usage: Usage,
    bytes: usize,
}

impl Encoder {
    /// An encoder.
    pub(crate) fn new(meta: Meta) -> Self {
        Self {
            meta,
            sequence: 0,
            begun: false,
            closed: false,
            cut: false,
            items: Vec::new(),
            open: Open::Nothing,
            calls: Vec::new(),
            finish: None,
            usage: Usage::default(),
            bytes: 0,
        }
    }

    /// Writes an event, with its type and number.
    fn event(&mut self, out: &mut Vec<u8>, kind: &str, write: impl FnOnce(&Self, &mut write::Object<'_>)) {
        let number = self.sequence;
        self.sequence += 1;
        write::sse(out, Some(kind), |out| {
            let mut o = write::Object::new(out);
            o.put("type", kind);
            o.put("sequence_number", &number);
            write(self, &mut o);
        });
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        for kind in ["response.created", "response.in_progress"] {
            self.event(out, kind, |this, o| {
                write_object(&mut o.object("response"), &this.meta, &Status::InProgress, "", None, None);
            });
        }
    }

    fn item_id(&self, prefix: &str, at: usize) -> String {
        format!("{prefix}_{}_{at}", self.meta.id)
    }

    /// Tells that an item begins; gives its place.
    fn add_item(&mut self, out: &mut Vec<u8>, item: impl FnOnce(&Self, usize) -> String) -> usize {
        let at = self.items.len();
        self.items.push(None);
        let item = item(self, at);
        self.event(out, "response.output_item.added", |_, o| {
            o.put("output_index", &at);
            o.raw("item", &item);
        });
        at
    }

    /// Tells that an item is complete.
    fn end_item(&mut self, out: &mut Vec<u8>, at: usize, item: String) {
        self.event(out, "response.output_item.done", |_, o| {
            o.put("output_index", &at);
            o.raw("item", &item);
        });
        if let Some(slot) = self.items.get_mut(at) {
            *slot = Some(item);
        }
    }

    fn reasoning(&mut self, text: &str, next: bool, out: &mut Vec<u8>) {
        if !matches!(self.open, Open::Reasoning { .. }) {
            self.close_open(None, out);
            let at = self.add_item(out, |this, at| reasoning_item(&this.item_id("rs", at), &[], None));
            self.open = Open::Reasoning { at, texts: Vec::new() };
        }
        let Open::Reasoning { at, mut texts } = std::mem::take(&mut self.open) else { return };
        let id = self.item_id("rs", at);
        if texts.is_empty() || next {
            self.end_summary(out, &id, at, &texts);
            let index = texts.len();
            self.event(out, "response.reasoning_summary_part.added", |_, o| {
                summary_at(o, &id, at, index);
                summary_part(&mut o.object("part"), "");
            });
            texts.push(String::new());
        }
        if let Some(last) = texts.last_mut().filter(|_| !text.is_empty()) {
            last.push_str(text);
            let index = texts.len() - 1;
            self.event(out, "response.reasoning_summary_text.delta", |_, o| {
                summary_at(o, &id, at, index);
                o.put("delta", text);
            });
        }
        self.open = Open::Reasoning { at, texts };
    }

    /// Tells that the last part of a summary is complete.
    fn end_summary(&mut self, out: &mut Vec<u8>, id: &str, at: usize, texts: &[String]) {
        let Some(text) = texts.last() else { return };
        let index = texts.len() - 1;
        self.event(out, "response.reasoning_summary_text.done", |_, o| {
            summary_at(o, id, at, index);
            o.put("text", text);
        });
        self.event(out, "response.reasoning_summary_part.done", |_, o| {
            summary_at(o, id, at, index);
            summary_part(&mut o.object("part"), text);
        });
    }

    fn say(&mut self, text: &str, refusal: bool, out: &mut Vec<u8>) {
        if !matches!(self.open, Open::Message { .. }) {
            self.close_open(None, out);
            let at = self.add_item(out, |this, at| message_item(&this.item_id("msg", at), "in_progress", ""));
            self.open = Open::Message { at, parts: String::new(), count: 0, part: None };
        }
        if matches!(&self.open, Open::Message { part: Some(p), .. } if p.refusal != refusal) {
            self.end_part(out);
        }
        let Open::Message { at, parts, count, part } = std::mem::take(&mut self.open) else { return };
        let id = self.item_id("msg", at);
        let mut part = match part {
            Some(part) => part,
            None => {
                let said = Said { refusal, ..Said::default() };
                self.event(out, "response.content_part.added", |_, o| {
                    content_at(o, &id, at, count);
                    o.raw("part", &said.json());
                });
                said
            }
        };
        part.text.push_str(text);
        let kind = if refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        self.event(out, kind, |_, o| {
            content_at(o, &id, at, count);
            o.put("delta", text);
            if !refusal {
                o.put("logprobs", &[(); 0]);
            }
        });
        self.open = Open::Message { at, parts, count, part: Some(part) };
    }

    /// Tells that the open part of the open message is complete.
    fn end_part(&mut self, out: &mut Vec<u8>) {
        let Open::Message { at, mut parts, count, part: Some(part) } = std::mem::take(&mut self.open) else { return };
        let id = self.item_id("msg", at);
        let kind = if part.refusal { "response.refusal.done" } else { "response.output_text.done" };
        self.event(out, kind, |_, o| {
            content_at(o, &id, at, count);
            o.put(if part.refusal { "refusal" } else { "text" }, &part.text);
            if !part.refusal {
                o.raw("logprobs", &format!("[{}]", part.logprobs));
            }
        });
        let json = part.json();
        self.event(out, "response.content_part.done", |_, o| {
            content_at(o, &id, at, count);
            o.raw("part", &json);
        });
        if !parts.is_empty() {
            parts.push(',');
        }
        parts.push_str(&json);
        self.open = Open::Message { at, parts, count: count + 1, part: None };
    }

    /// Closes the open reasoning or message. A seal that belongs to no open reasoning is an item of its own.
    fn close_open(&mut self, sealed: Option<&str>, out: &mut Vec<u8>) {
        if matches!(self.open, Open::Message { part: Some(_), .. }) {
            self.end_part(out);
        }
        match std::mem::take(&mut self.open) {
            Open::Nothing => {}
            Open::Message { at, parts, .. } => {
                let item = message_item(&self.item_id("msg", at), self.end_status(), &parts);
                self.end_item(out, at, item);
            }
            Open::Reasoning { at, texts } => {
                let id = self.item_id("rs", at);
                self.end_summary(out, &id, at, &texts);
                return self.end_item(out, at, reasoning_item(&id, &texts, sealed));
            }
        }
        if let Some(sealed) = sealed {
            let at = self.add_item(out, |this, at| reasoning_item(&this.item_id("rs", at), &[], None));
            let item = reasoning_item(&self.item_id("rs", at), &[], Some(sealed));
            self.end_item(out, at, item);
        }
    }

    fn start_call(&mut self, id: &str, name: &str, custom: bool, seal: Option<&Seal>, out: &mut Vec<u8>) {
        self.close_open(seal.map(items::encrypted_call).as_deref(), out);
        let mut call = Call { at: 0, id: id.into(), name: name.into(), arguments: String::new(), custom, done: false };
        call.at = self.add_item(out, |this, at| call.json(&this.call_id(&call, at), "in_progress"));
        self.calls.push(call);
    }

    fn call_id(&self, call: &Call, at: usize) -> String {
        self.item_id(if call.custom { "ctc" } else { "fc" }, at)
    }

    fn arguments(&mut self, index: u32, text: &str, out: &mut Vec<u8>) {
        let Some(call) = self.calls.get_mut(index as usize) else { return };
        call.arguments.push_str(text);
        let (at, custom) = (call.at, call.custom);
        let id = self.item_id(if custom { "ctc" } else { "fc" }, at);
        let kind =
            if custom { "response.custom_tool_call_input.delta" } else { "response.function_call_arguments.delta" };
        self.event(out, kind, |_, o| {
            o.put("item_id", &id);
            o.put("output_index", &at);
            o.put("delta", text);
        });
    }

    fn end_call(&mut self, index: usize, out: &mut Vec<u8>) {
        let Some(call) = self.calls.get_mut(index).filter(|c| !c.done) else { return };
        call.done = true;
        let (at, custom, arguments) = (call.at, call.custom, call.arguments.clone());
        let id = self.item_id(if custom { "ctc" } else { "fc" }, at);
        let (kind, field) = if custom {
            ("response.custom_tool_call_input.done", "input")
        } else {
            ("response.function_call_arguments.done", "arguments")
        };
        self.event(out, kind, |_, o| {
            o.put("item_id", &id);
            o.put("output_index", &at);
            o.put(field, &arguments);
        });
        let status = self.end_status();
        let item = self.calls.get(index).map(|c| c.json(&id, status)).unwrap_or_default();
        self.end_item(out, at, item);
    }

    /// How an item ends that ends with the answer.
    fn end_status(&self) -> &'static str {
        let short = matches!(self.finish, Some(Finish::Length | Finish::ContentFilter));
        if self.cut || short { "incomplete" } else { "completed" }
    }

    /// Closes all that is open.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        self.close_open(None, out);
        for index in 0..self.calls.len() {
            self.end_call(index, out);
        }
    }

    fn output(&self) -> String {
        self.items.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(",")
    }

    /// Writes the whole answer.
    pub(super) fn write_whole(&self, out: &mut Vec<u8>, service_tier: Option<&str>) {
        let finish = self.finish.clone().unwrap_or(Finish::Stop);
        let mut o = write::Object::new(out);
        write_object(&mut o, &self.meta, &Status::Ended(&finish), &self.output(), Some(&self.usage), service_tier);
    }

    fn fail(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        // The SDKs take no error before the beginning.
        self.begin(out);
        // What was open is told in the response alone.
        let sequence = self.sequence;
        self.cut = true;
        self.close(&mut Vec::new());
        self.sequence = sequence;
        let (output, usage) = (self.output(), self.usage);
        self.event(out, "response.failed", |this, o| {
            let status = Status::Failed(error);
            write_object(&mut o.object("response"), &this.meta, &status, &output, Some(&usage), None);
        });
    }
}

impl codec::Encoder for Encoder {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        if let Event::Text(t) | Event::Reasoning(t) | Event::Refusal(t) | Event::ToolArguments { text: t, .. } = event {
            self.bytes += t.len();
            if self.bytes > MAX_WHOLE_BYTES {
                let message = "the answer is too large to be told whole at its end, as this format demands";
                return self.fail(&ApiError::new(502, ErrorKind::Server, "answer_too_large", message), out);
            }
        }
        if !matches!(event, Event::Error(_)) {
            if let Event::Start { created: Some(created), .. } = event
                && !self.begun
            {
                self.meta.created = *created;
            }
            self.begin(out);
        }
        match event {
            Event::Text(text) => self.say(text, false, out),
            Event::Refusal(text) => self.say(text, true, out),
            Event::Reasoning(text) => self.reasoning(text, false, out),
            Event::ReasoningBreak => self.reasoning("", true, out),
            Event::ReasoningEnd { id: _, seal, redacted } => {
                let sealed = seal.as_ref().map(|s| items::encrypted(s, *redacted));
                if sealed.is_some() || matches!(self.open, Open::Reasoning { .. }) {
                    self.close_open(sealed.as_deref(), out);
                }
            }
            Event::Logprobs(content) => {
                if let Open::Message { part: Some(part), .. } = &mut self.open {
                    let entries = logprobs(content);
                    if !part.logprobs.is_empty() && !entries.is_empty() {
                        part.logprobs.push(',');
                    }
                    part.logprobs.push_str(&entries);
                    self.bytes += entries.len();
                }
            }
            Event::ToolStart { index: _, id, name, custom, seal } => {
                self.start_call(id, name, *custom, seal.as_ref(), out);
            }
            Event::ToolArguments { index, text } => self.arguments(*index, text, out),
            Event::ToolStop { index } => self.end_call(*index as usize, out),
            Event::Usage(usage) => self.usage.update(*usage),
            Event::Finish(finish) => self.finish = Some(finish.clone()),
            Event::Error(error) => self.fail(error, out),
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::Start { .. } | Event::Annotation(_) | Event::Loss(_) | Event::Malformed | Event::Done => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.begin(out);
        self.close(out);
        let finish = self.finish.clone().unwrap_or(Finish::Stop);
        let status = Status::Ended(&finish);
        let (output, usage) = (self.output(), self.usage);
        self.event(out, status.event(), |this, o| {
            write_object(&mut o.object("response"), &this.meta, &status, &output, Some(&usage), None);
        });
    }
}
