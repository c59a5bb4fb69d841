//! Anthropic Messages: answers, whole and as a stream.

use crate::{
    answer::{Answer, Asked, CACHE_WRITE, CACHED, Finish, INPUT, Part, call_id, split},
    delivery::Event,
    model::Plan,
    provider::Provider,
};
use serde_json::{Value, json};

fn stop(answer: &Answer) -> (&'static str, Value) {
    match &answer.finish {
        Finish::Stop => ("end_turn", Value::Null),
        Finish::Sequence(sequence) => ("stop_sequence", json!(sequence)),
        Finish::Calls => ("tool_use", Value::Null),
        Finish::Length => ("max_tokens", Value::Null),
        Finish::Refusal => ("refusal", Value::Null),
    }
}

fn usage(output: u64) -> Value {
    json!({"input_tokens": INPUT - CACHED - CACHE_WRITE, "cache_creation_input_tokens": CACHE_WRITE,
        "cache_read_input_tokens": CACHED,
        "cache_creation": {"ephemeral_5m_input_tokens": CACHE_WRITE, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output, "service_tier": "standard"})
}

fn block(part: &Part) -> Value {
    match part {
        Part::Text(text) | Part::Refusal(text) => json!({"type": "text", "text": text}),
        Part::Thinking { text, signature } => json!({"type": "thinking", "thinking": text, "signature": signature}),
        Part::Redacted(data) => json!({"type": "redacted_thinking", "data": data}),
        Part::Call { id, name, arguments, .. } => {
            json!({"type": "tool_use", "id": call_id(Provider::Anthropic, id), "name": name, "input": arguments})
        }
    }
}

fn message(asked: &Asked, answer: &Answer) -> Value {
    json!({"id": format!("msg_{:024x}", answer.serial), "type": "message", "role": "assistant", "model": asked.model,
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage(1)})
}

/// The answer in one piece.
pub(crate) fn whole(asked: &Asked, answer: &Answer) -> Value {
    let (reason, sequence) = stop(answer);
    let mut message = message(asked, answer);
    message["content"] = answer.parts.iter().map(block).collect();
    message["stop_reason"] = json!(reason);
    message["stop_sequence"] = sequence;
    message["usage"] = usage(answer.output());
    message
}

/// The answer as the events of a stream.
pub(crate) fn events(asked: &Asked, answer: &Answer, plan: &Plan) -> Vec<Event> {
    let event = |data: Value| Event::named(data["type"].as_str().unwrap_or_default(), &data);
    let ping = || event(json!({"type": "ping"}));
    let mut events = vec![event(json!({"type": "message_start", "message": message(asked, answer)})), ping()];
    for (index, part) in answer.parts.iter().enumerate() {
        let mut start = block(part);
        for key in ["text", "thinking", "signature"] {
            if start.get(key).is_some() {
                start[key] = json!("");
            }
        }
        if start["type"] == "tool_use" {
            start["input"] = json!({});
        }
        events.push(event(json!({"type": "content_block_start", "index": index, "content_block": start})));
        if plan.odd {
            events.push(ping());
        }
        for delta in deltas(answer, part, plan) {
            events.push(event(json!({"type": "content_block_delta", "index": index, "delta": delta})));
        }
        events.push(event(json!({"type": "content_block_stop", "index": index})));
    }
    let (reason, sequence) = stop(answer);
    let output = json!({"output_tokens": answer.output()});
    let usage = if plan.odd { output } else { usage(answer.output()) };
    events.push(event(json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": sequence},
        "usage": usage})));
    events.push(event(json!({"type": "message_stop"})));
    events
}

fn deltas(answer: &Answer, part: &Part, plan: &Plan) -> Vec<Value> {
    let empty = plan.odd.then_some("");
    match part {
        Part::Text(text) | Part::Refusal(text) => {
            let pieces = empty.into_iter().chain(answer.split(text));
            pieces.map(|piece| json!({"type": "text_delta", "text": piece})).collect()
        }
        Part::Thinking { text, signature } => {
            let pieces =
                answer.split(text).into_iter().map(|piece| json!({"type": "thinking_delta", "thinking": piece}));
            pieces.chain([json!({"type": "signature_delta", "signature": signature})]).collect()
        }
        Part::Redacted(_) => Vec::new(),
        Part::Call { arguments, .. } => {
            // The first piece is always empty.
            let arguments = arguments.to_string();
            let pieces = [""].into_iter().chain(split(&arguments, if plan.odd { 3 } else { 9 }));
            pieces.map(|piece| json!({"type": "input_json_delta", "partial_json": piece})).collect()
        }
    }
}
