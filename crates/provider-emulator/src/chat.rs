//! OpenAI Chat Completions, and the same as other servers speak it: answers, whole and as a stream.
//!
//! A compatible server shows its reasoning as `reasoning_content`, and `verify-signature` wants it back with the calls
//! that followed it.

use crate::{
    answer::{Answer, Asked, CACHED, Finish, INPUT, Part, call_id, split},
    delivery::Event,
    model::Plan,
    provider::Provider,
    signature::sign,
};
use serde_json::{Value, json};

/// The characters of arguments in one event.
const ARGUMENT_PIECE: usize = 9;

/// What a compatible server shows of its reasoning. Its end is a signature over it and the calls.
fn reasoning(answer: &Answer, provider: Provider) -> Option<String> {
    let text = answer.parts.iter().find_map(|p| if let Part::Thinking { text, .. } = p { Some(text) } else { None })?;
    if provider == Provider::OpenAi {
        return None;
    }
    let ids: Vec<String> = calls(answer, provider).map(|(id, _, _)| id).collect();
    let mut covered = vec![text.as_str()];
    covered.extend(ids.iter().map(String::as_str));
    Some(format!("{text}#{}", sign(answer.serial, &covered)))
}

fn calls(answer: &Answer, provider: Provider) -> impl Iterator<Item = (String, &str, String)> {
    answer.parts.iter().filter_map(move |part| match part {
        Part::Call { id, name, arguments, .. } => Some((call_id(provider, id), name.as_str(), arguments.to_string())),
        Part::Text(_) | Part::Thinking { .. } | Part::Redacted(_) | Part::Refusal(_) => None,
    })
}

fn finish(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Stop | Finish::Sequence(_) | Finish::Refusal => "stop",
        Finish::Calls => "tool_calls",
        Finish::Length => "length",
    }
}

fn usage(answer: &Answer) -> Value {
    let output = answer.output();
    json!({"prompt_tokens": INPUT, "completion_tokens": output, "total_tokens": INPUT + output,
        "prompt_tokens_details": {"cached_tokens": CACHED, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": answer.thought, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}})
}

fn logprob(token: &str) -> Value {
    json!({"token": token, "logprob": -0.25, "bytes": token.as_bytes(), "top_logprobs": []})
}

/// The answer in one piece.
pub(crate) fn whole(provider: Provider, asked: &Asked, answer: &Answer) -> Value {
    let mut message = json!({"role": "assistant", "content": null, "refusal": null});
    let text: String =
        answer.parts.iter().filter_map(|p| if let Part::Text(t) = p { Some(t.as_str()) } else { None }).collect();
    if !text.is_empty() {
        message["content"] = json!(text);
    }
    for part in &answer.parts {
        if let Part::Refusal(refusal) = part {
            message["refusal"] = json!(refusal);
        }
    }
    if provider == Provider::OpenAi {
        message["annotations"] = json!([]);
    }
    if let Some(reasoning) = reasoning(answer, provider) {
        message["reasoning_content"] = json!(reasoning);
    }
    let calls: Vec<Value> = calls(answer, provider)
        .map(|(id, name, arguments)| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
        .collect();
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    let logprobs = asked.logprobs.then(|| json!({"content": [logprob(&text)], "refusal": null}));
    json!({"id": format!("chatcmpl-{:x}", answer.serial), "object": "chat.completion", "created": 1_790_000_000,
        "model": asked.model, "service_tier": "default", "system_fingerprint": "fp_emulator",
        "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish(answer)}],
        "usage": usage(answer)})
}

/// The answer as the events of a stream.
pub(crate) fn events(provider: Provider, asked: &Asked, answer: &Answer, plan: &Plan) -> Vec<Event> {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({"id": format!("chatcmpl-{:x}", answer.serial), "object": "chat.completion.chunk",
            "created": 1_790_000_000, "model": asked.model, "service_tier": "default",
            "system_fingerprint": "fp_emulator", "choices": choices});
        if asked.include_usage {
            chunk["usage"] = usage;
        }
        Event::bare(&chunk)
    };
    let choice = |delta: Value, logprobs: Value, finish: Value| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]), Value::Null)
    };
    let delta = |delta: Value| choice(delta, Value::Null, Value::Null);
    let mut events = vec![delta(json!({"role": "assistant", "content": "", "refusal": null}))];
    if plan.odd {
        events.extend([delta(json!({})), chunk(json!([]), Value::Null), delta(json!({"content": null}))]);
    }
    if let Some(reasoning) = reasoning(answer, provider) {
        events.extend(split(&reasoning, 24).into_iter().map(|piece| delta(json!({"reasoning_content": piece}))));
    }
    for part in &answer.parts {
        match part {
            Part::Text(text) => events.extend(answer.split(text).into_iter().map(|piece| {
                let logprobs =
                    if asked.logprobs { json!({"content": [logprob(piece)], "refusal": null}) } else { Value::Null };
                choice(json!({"content": piece}), logprobs, Value::Null)
            })),
            Part::Refusal(text) => {
                events.extend(answer.split(text).into_iter().map(|piece| delta(json!({"refusal": piece}))));
            }
            Part::Thinking { .. } | Part::Redacted(_) | Part::Call { .. } => {}
        }
    }
    events.extend(call_deltas(provider, answer, plan).into_iter().map(|call| delta(json!({"tool_calls": [call]}))));
    events.push(choice(json!({}), Value::Null, json!(finish(answer))));
    if asked.include_usage {
        events.push(chunk(json!([]), usage(answer)));
    }
    if !plan.odd {
        events.push(Event::done());
    }
    events
}

/// Calls in fragments, one call after the other; of an odd model in turns.
fn call_deltas(provider: Provider, answer: &Answer, plan: &Plan) -> Vec<Value> {
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for (index, (id, name, arguments)) in calls(answer, provider).enumerate() {
        let start = json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
        let rest = split(&arguments, if plan.odd { 3 } else { ARGUMENT_PIECE });
        let rest = rest.into_iter().map(|piece| json!({"index": index, "function": {"arguments": piece}}));
        rows.push([start].into_iter().chain(rest).collect());
    }
    if !plan.odd {
        return rows.concat();
    }
    let longest = rows.iter().map(Vec::len).max().unwrap_or_default();
    (0..longest).flat_map(|n| rows.iter().filter_map(move |row| row.get(n).cloned())).collect()
}
