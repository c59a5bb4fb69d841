//! Signatures of Anthropic and Gemini through every client and back: sent back as they came, dropped by the client and
//! put back from what was kept, and never given to another provider.

use crate::{snapshots::meta, world::CLIENTS};
use llm::{Format, translate_gemini_request, translate_request, translate_response};
use serde_json::{Value, json};

const ANTHROPIC: &str = include_str!("../fixtures/answers/messages/thinking_tools.json");
const GEMINI: &str = include_str!("../fixtures/answers/gemini/thinking_tools.json");

struct Turn {
    /// The second request of the client, with the answer as it came.
    request: Value,
    carries: Vec<(String, Vec<u8>)>,
}

/// The answer to a client, and the client's next request.
fn turn(provider: Format, client: Format, answer: &str) -> Turn {
    let done = translate_response(provider, client, answer.as_bytes(), &meta()).unwrap();
    let answer: Value = serde_json::from_slice(&done.body).unwrap();
    let ids: Vec<Value> = done.answer.tool_calls.iter().map(|c| c.id.clone().into()).collect();
    let names: Vec<Value> = done.answer.tool_calls.iter().map(|c| c.name.clone().into()).collect();
    let calls = ids.into_iter().zip(names);
    let request = match client {
        Format::Chat => {
            let mut messages = vec![json!({"role": "user", "content": "x"}), answer["choices"][0]["message"].clone()];
            messages.extend(calls.map(|(id, _)| json!({"role": "tool", "tool_call_id": id, "content": "ok"})));
            json!({"model": "m", "messages": messages})
        }
        Format::Responses => {
            let mut input = vec![json!({"role": "user", "content": "x"})];
            input.extend(answer["output"].as_array().unwrap().iter().cloned());
            input.extend(calls.map(|(id, _)| json!({"type": "function_call_output", "call_id": id, "output": "ok"})));
            json!({"model": "m", "input": input})
        }
        Format::Messages => {
            let results = calls.map(|(id, _)| json!({"type": "tool_result", "tool_use_id": id, "content": "ok"}));
            json!({"model": "m", "max_tokens": 100, "messages": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": answer["content"]},
                {"role": "user", "content": results.collect::<Vec<_>>()},
            ]})
        }
        Format::Gemini => {
            let results = calls
                .map(|(id, name)| json!({"functionResponse": {"id": id, "name": name, "response": {"output": "ok"}}}));
            json!({"contents": [
                {"role": "user", "parts": [{"text": "x"}]},
                answer["candidates"][0]["content"],
                {"role": "user", "parts": results.collect::<Vec<_>>()},
            ]})
        }
        Format::Ollama => panic!("no client speaks it"),
    };
    Turn { request, carries: done.carries }
}

/// The request without what a client may not know.
fn forget(client: Format, request: &mut Value) {
    let list = match client {
        Format::Responses => &mut request["input"],
        Format::Gemini => &mut request["contents"],
        _ => &mut request["messages"],
    };
    let list = list.as_array_mut().unwrap();
    list.retain(|item| item["type"] != "reasoning");
    for item in list {
        if let Some(message) = item.as_object_mut() {
            message.remove("thinking_blocks");
            message.remove("reasoning_content");
        }
        for call in item["tool_calls"].as_array_mut().into_iter().flatten() {
            call.as_object_mut().unwrap().remove("extra_content");
        }
        if let Some(content) = item["content"].as_array_mut() {
            content.retain(|b| b["type"] != "thinking" && b["type"] != "redacted_thinking");
        }
        if let Some(parts) = item["parts"].as_array_mut() {
            parts.retain(|p| p["thought"] != true && p["text"] != "");
            parts.iter_mut().for_each(|p| {
                p.as_object_mut().unwrap().remove("thoughtSignature");
            });
        }
    }
}

fn to_provider(client: Format, provider: Format, model: &str, turn: &Turn, carried: bool) -> Value {
    let body = turn.request.to_string();
    let carry = |id: &str| carried.then(|| turn.carries.iter().find(|(k, _)| k == id).map(|(_, v)| v.clone()))?;
    let done = match client {
        Format::Gemini => translate_gemini_request(provider, body.as_bytes(), model, false, &carry),
        _ => translate_request(client, provider, body.as_bytes(), model, &carry),
    };
    serde_json::from_slice(&done.unwrap().body).unwrap()
}

/// The signed blocks that Anthropic gets back.
fn blocks(request: &Value) -> Vec<Value> {
    let content = request["messages"][1]["content"].as_array().unwrap();
    content.iter().filter(|b| b["type"].as_str().unwrap().ends_with("thinking")).cloned().collect()
}

/// The calls that Gemini gets back, with their signatures.
fn signatures(request: &Value) -> Vec<(Value, Value)> {
    let parts = request["contents"][1]["parts"].as_array().unwrap().iter();
    let calls = parts.filter(|p| p.get("functionCall").is_some());
    calls.map(|p| (p["functionCall"]["args"].clone(), p["thoughtSignature"].clone())).collect()
}

#[test]
fn anthropic_gets_its_thinking_back_from_every_client() {
    let answer: Value = serde_json::from_str(ANTHROPIC).unwrap();
    let expected: Vec<Value> = answer["content"].as_array().unwrap()[..2].to_vec();
    for client in CLIENTS.iter().copied().filter(|c| *c != Format::Messages) {
        let mut turn = turn(Format::Messages, client, ANTHROPIC);
        assert_eq!(blocks(&to_provider(client, Format::Messages, "m", &turn, false)), expected, "{client}");
        forget(client, &mut turn.request);
        assert!(blocks(&to_provider(client, Format::Messages, "m", &turn, false)).is_empty(), "{client}");
        assert_eq!(blocks(&to_provider(client, Format::Messages, "m", &turn, true)), expected, "{client} forgot");
        let elsewhere = to_provider(client, Format::Gemini, "gemini-2.5-pro", &turn, true).to_string();
        assert!(!elsewhere.contains("EqQB") && !elsewhere.contains("EmwK"), "{client}: {elsewhere}");
    }
}

#[test]
fn gemini_gets_its_signatures_back_from_every_client() {
    let signed = json!("CsQBAXLI2nw=");
    let expected =
        [(json!({"city": "Zürich"}), signed), (json!({"city": "Bern"}), Value::Null), (json!({}), Value::Null)];
    for client in CLIENTS.iter().copied().filter(|c| *c != Format::Gemini) {
        let mut turn = turn(Format::Gemini, client, GEMINI);
        // Anthropic's shape of a tool call has no place for one, and what was kept helps there too.
        let kept = client == Format::Messages;
        let found = signatures(&to_provider(client, Format::Gemini, "gemini-3-pro", &turn, kept));
        assert_eq!(found, expected, "{client}");
        forget(client, &mut turn.request);
        let found = signatures(&to_provider(client, Format::Gemini, "gemini-3-pro", &turn, true));
        assert_eq!(found, expected, "{client} forgot");
        let unsigned = signatures(&to_provider(client, Format::Gemini, "gemini-3-pro", &turn, false));
        assert_eq!(unsigned[0].1, "skip_thought_signature_validator", "{client} forgot, and nothing was kept");
        let elsewhere = to_provider(client, Format::Messages, "m", &turn, true).to_string();
        assert!(!elsewhere.contains("CsQB"), "{client}: {elsewhere}");
    }
}
