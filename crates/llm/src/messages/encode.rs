//! Writing a stream as Anthropic's clients expect it.
//!
//! `message_start`, then for each block `content_block_start`, its deltas and `content_block_stop`, then
//! `message_delta` with the reason of the end and the final counts, and `message_stop`. One block is open at a time,
//! except for tool calls that a provider really interleaves: they stay open side by side.

use super::{
    errors,
    wire::{Holds, message_id, put_usage, render_stop},
};
use crate::{
    Format, StreamMeta, Usage,
    ir::{Event, Finish},
    write,
};

/// Writes a stream.
#[derive(Debug)]
pub(crate) struct Encoder {
    meta: StreamMeta,
    started: bool,
    /// The number of blocks that were opened.
    blocks: u32,
    /// The block of text or thinking that is open.
    open: Option<(Open, u32)>,
    /// The block of each tool call.
    tools: Vec<Tool>,
    refused: bool,
    usage: Usage,
    finish: Option<Finish>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
}

#[derive(Debug)]
struct Tool {
    block: u32,
    /// The call's number in the events.
    index: u32,
    /// The arguments of a free text tool, which go into an object: the quote has been opened.
    custom: bool,
    open: bool,
}

impl Encoder {
    /// An encoder for a call.
    pub(crate) fn new(meta: StreamMeta) -> Self {
        Self {
            meta,
            started: false,
            blocks: 0,
            open: None,
            tools: Vec::new(),
            refused: false,
            usage: Usage::default(),
            finish: None,
        }
    }

    fn start(&mut self, id: Option<&str>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let prompt = self.usage.prompt.or(self.meta.estimated_prompt);
        let usage = Usage { prompt, completion: Some(self.usage.completion.unwrap_or(0)), ..self.usage };
        event(out, "message_start", |data| {
            let mut message = data.object("message");
            message.put("id", &message_id(id, &self.meta.id));
            message.put("type", "message");
            message.put("role", "assistant");
            message.put("model", &self.meta.model);
            message.put("content", &[(); 0]);
            message.null("stop_reason");
            message.null("stop_sequence");
            put_usage(&mut message, &usage);
        });
    }

    /// Makes `wanted` the open block, and tells its number.
    fn switch(&mut self, wanted: Open, out: &mut Vec<u8>) -> u32 {
        if let Some((_, block)) = self.open.filter(|(open, _)| *open == wanted) {
            return block;
        }
        self.close(out);
        let block = self.block_start(out, |block| match wanted {
            Open::Thinking => {
                block.put("type", "thinking");
                block.put("thinking", "");
                block.put("signature", "");
            }
            Open::Text => {
                block.put("type", "text");
                block.put("text", "");
            }
        });
        self.open = Some((wanted, block));
        block
    }

    fn block_start(&mut self, out: &mut Vec<u8>, content: impl FnOnce(&mut write::Object<'_>)) -> u32 {
        let index = self.blocks;
        self.blocks += 1;
        event(out, "content_block_start", |data| {
            data.put("index", &index);
            content(&mut data.object("content_block"));
        });
        index
    }

    /// Closes the block of text or thinking that is open.
    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some((_, block)) = self.open.take() {
            block_stop(out, block);
        }
    }

    fn tool_start(&mut self, out: &mut Vec<u8>, index: u32, id: &str, name: &str, custom: bool) {
        self.close(out);
        let block = self.block_start(out, |block| {
            block.put("type", "tool_use");
            block.put("id", id);
            block.put("name", name);
            drop(block.object("input"));
        });
        if custom {
            delta(out, block, "input_json_delta", "partial_json", "{\"input\":\"");
        }
        self.tools.push(Tool { block, index, custom, open: true });
    }

    fn arguments(&self, out: &mut Vec<u8>, index: u32, text: &str) {
        let Some(tool) = self.tools.iter().find(|t| t.index == index && t.open) else { return };
        if tool.custom {
            let quoted = serde_json::Value::from(text).to_string();
            delta(out, tool.block, "input_json_delta", "partial_json", &quoted[1..quoted.len() - 1]);
        } else {
            delta(out, tool.block, "input_json_delta", "partial_json", text);
        }
    }

    /// Ends a call, or all of them.
    fn tool_stop(&mut self, out: &mut Vec<u8>, index: Option<u32>) {
        for tool in self.tools.iter_mut().filter(|t| t.open && index.is_none_or(|i| t.index == i)) {
            tool.open = false;
            if tool.custom {
                delta(out, tool.block, "input_json_delta", "partial_json", "\"}");
            }
            block_stop(out, tool.block);
        }
    }

    fn reasoning_end(&mut self, out: &mut Vec<u8>, data: &str, redacted: bool) {
        if redacted {
            self.close(out);
            let block = self.block_start(out, |block| {
                block.put("type", "redacted_thinking");
                block.put("data", data);
            });
            return block_stop(out, block);
        }
        if data.is_empty() && !matches!(self.open, Some((Open::Thinking, _))) {
            return;
        }
        let block = self.switch(Open::Thinking, out);
        piece(out, block, "signature_delta", "signature", data);
        self.close(out);
    }
}

impl crate::codec::Encoder for Encoder {
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Usage(usage) => return self.usage.update(*usage),
            Event::Finish(finish) => return self.finish = Some(finish.clone()),
            Event::Error(error) => return errors::write_stream_error(error, out),
            Event::Start { id, .. } => return self.start(id.as_deref(), out),
            _ => self.start(None, out),
        }
        match event {
            Event::Text(text) | Event::Refusal(text) => {
                self.refused |= matches!(event, Event::Refusal(_));
                let block = self.switch(Open::Text, out);
                piece(out, block, "text_delta", "text", text);
            }
            Event::Reasoning(text) => {
                let block = self.switch(Open::Thinking, out);
                piece(out, block, "thinking_delta", "thinking", text);
            }
            Event::ReasoningBreak => {
                if let Some((Open::Thinking, block)) = self.open {
                    piece(out, block, "thinking_delta", "thinking", "\n\n");
                }
            }
            Event::ReasoningEnd { id: _, seal, redacted } => {
                let data = seal.as_ref().map(|s| s.text_for(Format::Messages)).unwrap_or_default();
                self.reasoning_end(out, &data, *redacted);
            }
            Event::ToolStart { index, id, name, custom, seal: _ } => {
                if self.tools.len() < crate::MAX_TOOL_CALLS {
                    self.tool_start(out, *index, id, name, *custom);
                }
            }
            Event::ToolArguments { index, text } => self.arguments(out, *index, text),
            Event::ToolStop { index } => self.tool_stop(out, Some(*index)),
            Event::Ping => out.extend_from_slice(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"),
            Event::Annotation(_)
            | Event::Logprobs(_)
            | Event::Loss(_)
            | Event::Malformed
            | Event::Done
            | Event::Start { .. }
            | Event::Usage(_)
            | Event::Finish(_)
            | Event::Error(_) => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.start(None, out);
        self.close(out);
        self.tool_stop(out, None);
        let finish = self.finish.take().unwrap_or(Finish::Stop);
        let (reason, sequence) = render_stop(&finish, Holds { tools: !self.tools.is_empty(), refusal: self.refused });
        event(out, "message_delta", |data| {
            let mut delta = data.object("delta");
            delta.put("stop_reason", reason);
            delta.put("stop_sequence", &sequence);
            drop(delta);
            let prompt = self.usage.prompt.or(self.meta.estimated_prompt);
            put_usage(data, &Usage { prompt, ..self.usage });
        });
        event(out, "message_stop", |_| {});
    }
}

/// An event, whose data begins with its type.
fn event(out: &mut Vec<u8>, kind: &str, content: impl FnOnce(&mut write::Object<'_>)) {
    write::sse(out, Some(kind), |out| {
        let mut data = write::Object::new(out);
        data.put("type", kind);
        content(&mut data);
    });
}

fn block_stop(out: &mut Vec<u8>, index: u32) {
    event(out, "content_block_stop", |data| data.put("index", &index));
}

/// A piece that is not empty.
fn piece(out: &mut Vec<u8>, index: u32, kind: &str, field: &str, text: &str) {
    if !text.is_empty() {
        delta(out, index, kind, field, text);
    }
}

fn delta(out: &mut Vec<u8>, index: u32, kind: &str, field: &str, text: &str) {
    event(out, "content_block_delta", |data| {
        data.put("index", &index);
        let mut delta = data.object("delta");
        delta.put("type", kind);
        delta.put(field, text);
    });
}
