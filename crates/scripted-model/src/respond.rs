//! A [`Turn`] in the wire format of Chat Completions: one JSON object, or a stream of fragments.

use crate::job::Turn;
use serde_json::{Value, json};

/// Characters of text per stream event.
const TEXT_FRAGMENT: usize = 16;
/// Characters of tool arguments per stream event; small enough that every argument object is cut.
const ARGUMENT_FRAGMENT: usize = 24;
/// What an answer's `created` says; constant, because an answer depends on its request alone.
const CREATED: u64 = 1_700_000_000;
/// The usual estimate of an English token's length.
const CHARACTERS_PER_TOKEN: usize = 4;

/// An answer on its way out.
pub(crate) struct Answer<'a> {
    pub(crate) id: String,
    pub(crate) model: &'a str,
    pub(crate) turn: &'a Turn,
    pub(crate) prompt_characters: usize,
}

impl Answer<'_> {
    /// The answer as one object.
    pub(crate) fn whole(&self) -> Value {
        let calls: Vec<_> =
            self.turn.calls.iter().enumerate().map(|(i, c)| self.call(i, &c.arguments.to_string())).collect();
        let mut message = json!({ "role": "assistant", "content": self.turn.text });
        if !calls.is_empty() {
            message["tool_calls"] = json!(calls);
        }
        json!({
            "id": self.id, "object": "chat.completion", "created": CREATED, "model": self.model,
            "choices": [{ "index": 0, "message": message, "finish_reason": self.finish_reason(), "logprobs": null }],
            "usage": self.usage(),
        })
    }

    /// The answer as stream events, without the closing `[DONE]`.
    pub(crate) fn events(&self, include_usage: bool) -> Vec<Value> {
        let mut events = vec![self.event(json!({ "role": "assistant", "content": "" }), None)];
        events.extend(fragments(&self.turn.text, TEXT_FRAGMENT).map(|t| self.event(json!({ "content": t }), None)));
        for (i, call) in self.turn.calls.iter().enumerate() {
            let mut first = self.call(i, "");
            first["index"] = json!(i);
            events.push(self.event(json!({ "tool_calls": [first] }), None));
            let arguments = call.arguments.to_string();
            events.extend(
                fragments(&arguments, ARGUMENT_FRAGMENT).map(|f| {
                    self.event(json!({ "tool_calls": [{ "index": i, "function": { "arguments": f } }] }), None)
                }),
            );
        }
        events.push(self.event(json!({}), Some(self.finish_reason())));
        if include_usage {
            let mut last = self.event(json!({}), None);
            last["choices"] = json!([]);
            last["usage"] = self.usage();
            events.push(last);
        }
        events
    }

    fn event(&self, delta: Value, finish_reason: Option<&str>) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": CREATED, "model": self.model,
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
        })
    }

    fn call(&self, i: usize, arguments: &str) -> Value {
        let name = self.turn.calls.get(i).map_or("", |c| c.name.as_str());
        json!({
            "id": format!("call_{}_{i}", self.id.trim_start_matches("chatcmpl-")),
            "type": "function",
            "function": { "name": name, "arguments": arguments },
        })
    }

    fn finish_reason(&self) -> &'static str {
        if self.turn.calls.is_empty() { "stop" } else { "tool_calls" }
    }

    fn usage(&self) -> Value {
        let calls: usize = self.turn.calls.iter().map(|c| c.name.len() + c.arguments.to_string().len()).sum();
        let completion = (self.turn.text.len() + calls).div_ceil(CHARACTERS_PER_TOKEN);
        let prompt = self.prompt_characters.div_ceil(CHARACTERS_PER_TOKEN);
        json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
    }
}

/// `text` in pieces of `size` characters, never splitting one.
fn fragments(text: &str, size: usize) -> impl Iterator<Item = String> {
    let mut rest = text.chars();
    std::iter::from_fn(move || Some(rest.by_ref().take(size).collect::<String>()).filter(|piece| !piece.is_empty()))
}
