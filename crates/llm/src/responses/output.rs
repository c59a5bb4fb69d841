//! Items of an answer as the format writes them.

use crate::{ir::Json, write};
use serde::Deserialize;

/// The item under way.
#[derive(Debug, Default)]
pub(super) enum Open {
    #[default]
    Nothing,
    Reasoning {
        at: usize,
        texts: Vec<String>,
    },
    Message {
        at: usize,
        /// Complete parts, joined by commas, and how many.
        parts: String,
        count: usize,
        part: Option<Said>,
    },
}

#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) refusal: bool,
    pub(super) text: String,
    /// Probabilities, joined by commas.
    pub(super) logprobs: String,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) at: usize,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
    pub(super) custom: bool,
    pub(super) done: bool,
}

impl Said {
    pub(super) fn json(&self) -> String {
        json(|o| {
            if self.refusal {
                o.put("type", "refusal");
                o.put("refusal", &self.text);
            } else {
                o.put("type", "output_text");
                o.put("annotations", &[(); 0]);
                o.raw("logprobs", &format!("[{}]", self.logprobs));
                o.put("text", &self.text);
            }
        })
    }
}

impl Call {
    pub(super) fn json(&self, item_id: &str, status: &str) -> String {
        json(|o| {
            o.put("id", item_id);
            o.put("type", if self.custom { "custom_tool_call" } else { "function_call" });
            o.put("status", status);
            o.put(if self.custom { "input" } else { "arguments" }, &self.arguments);
            o.put("call_id", &self.id);
            o.put("name", &self.name);
        })
    }
}

fn json(write: impl FnOnce(&mut write::Object<'_>)) -> String {
    let mut out = Vec::new();
    write(&mut write::Object::new(&mut out));
    String::from_utf8(out).unwrap_or_default()
}

pub(super) fn message_item(id: &str, status: &str, parts: &str) -> String {
    json(|o| {
        o.put("id", id);
        o.put("type", "message");
        o.put("status", status);
        o.put("role", "assistant");
        o.raw("content", &format!("[{parts}]"));
    })
}

pub(super) fn reasoning_item(id: &str, texts: &[String], sealed: Option<&str>) -> String {
    json(|o| {
        o.put("id", id);
        o.put("type", "reasoning");
        {
            let mut summary = o.array("summary");
            texts.iter().for_each(|text| summary_part(&mut summary.object(), text));
        }
        o.some("encrypted_content", &sealed);
    })
}

pub(super) fn summary_part(o: &mut write::Object<'_>, text: &str) {
    o.put("type", "summary_text");
    o.put("text", text);
}

pub(super) fn summary_at(o: &mut write::Object<'_>, id: &str, at: usize, index: usize) {
    o.put("item_id", id);
    o.put("output_index", &at);
    o.put("summary_index", &index);
}

pub(super) fn content_at(o: &mut write::Object<'_>, id: &str, at: usize, index: usize) {
    o.put("item_id", id);
    o.put("output_index", &at);
    o.put("content_index", &index);
}

#[derive(Deserialize)]
struct Token {
    token: String,
    logprob: serde_json::Number,
    bytes: Option<Vec<u8>>,
    #[serde(default)]
    top_logprobs: Vec<Token>,
}

impl Token {
    /// Here the bytes are never null, as they may be in Chat Completions.
    fn write(&self, o: &mut write::Object<'_>, alternatives: bool) {
        let Self { token, logprob, bytes, top_logprobs } = self;
        o.put("token", token);
        o.put("bytes", bytes.as_deref().unwrap_or(token.as_bytes()));
        o.put("logprob", logprob);
        if alternatives {
            let mut list = o.array("top_logprobs");
            top_logprobs.iter().for_each(|t| t.write(&mut list.object(), false));
        }
    }
}

/// Probabilities, joined by commas.
pub(super) fn logprobs(list: &Json) -> String {
    let tokens: Vec<Token> = serde_json::from_str(list.get()).unwrap_or_default();
    tokens.iter().map(|t| json(|o| t.write(o, true))).collect::<Vec<_>>().join(",")
}
