//! Requests of Anthropic's clients there and back: what both formats have survives.

use llm::{Format, translate_gemini_request, translate_request};
use proptest::prelude::*;
use serde_json::{Value, json};

const MODEL: &str = "claude-sonnet-4-5";
/// A version that reads images within the results of functions.
const GEMINI: &str = "gemini-3-pro";

fn text() -> impl Strategy<Value = String> {
    // A text that is a JSON object is taken for one by formats whose results are objects.
    "[a-zA-Zäöü東🚀\"\\\\ \n:,.\\[\\]]{0,20}[a-z]"
}

fn image() -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}})
}

fn text_block(text: String) -> Value {
    json!({"type": "text", "text": text})
}

fn user() -> impl Strategy<Value = Vec<Value>> {
    let media = prop_oneof![
        Just(image()),
        Just(json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}})),
        Just(
            json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}})
        ),
    ];
    let block = prop_oneof![3 => text().prop_map(text_block), 1 => media];
    prop::collection::vec(block, 1..4)
}

/// A turn of the model and the results of its calls; ids are numbered later.
fn tools() -> impl Strategy<Value = (Vec<Value>, Vec<Value>)> {
    let argument =
        prop_oneof![text().prop_map(Value::from), any::<i32>().prop_map(Value::from), Just(json!([null, {}]))];
    let call = (argument, text(), any::<bool>(), any::<bool>(), prop_oneof!["get_weather", "get_time"]);
    (prop::option::of(text()), prop::collection::vec(call, 1..4)).prop_map(|(said, calls)| {
        let mut turn: Vec<Value> = said.into_iter().map(text_block).collect();
        let mut results = Vec::new();
        for (argument, result, fails, shows, name) in calls {
            turn.push(json!({"type": "tool_use", "id": "", "name": name, "input": {"z": argument, "a": 1.5}}));
            let mut content = vec![text_block(result)];
            content.extend(shows.then(image));
            let mut result = json!({"type": "tool_result", "tool_use_id": "", "content": content});
            if fails {
                result["is_error"] = true.into();
            }
            results.push(result);
        }
        (turn, results)
    })
}

fn conversation() -> impl Strategy<Value = Vec<Value>> {
    let round = (user(), tools(), prop::option::of(user()), text());
    prop::collection::vec(round, 1..4).prop_map(|rounds| {
        let (mut messages, mut id) = (Vec::new(), 0);
        for (question, (mut turn, mut results), more, answer) in rounds {
            let calls = turn.iter_mut().filter(|b| b["type"] == "tool_use");
            for (call, result) in calls.zip(&mut results) {
                id += 1;
                let name = format!("toolu_{id}");
                call["id"] = name.clone().into();
                result["tool_use_id"] = name.into();
            }
            results.extend(more.into_iter().flatten());
            for (role, content) in
                [("user", question), ("assistant", turn), ("user", results), ("assistant", vec![text_block(answer)])]
            {
                messages.push(json!({"role": role, "content": content}));
            }
        }
        messages.push(json!({"role": "user", "content": [text_block("And?".into())]}));
        messages
    })
}

fn request() -> impl Strategy<Value = Value> {
    let choice = prop_oneof![
        Just(json!({"type": "any"})),
        Just(json!({"type": "none"})),
        Just(json!({"type": "tool", "name": "get_time"})),
    ];
    let schema = json!({"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}},
        "required": ["b", "a"], "additionalProperties": false});
    let form = json!({"format": {"type": "json_schema", "schema": schema}});
    let settings = (
        prop::option::of(prop::collection::vec(text(), 1..3)),
        prop::option::of(choice),
        prop::option::of(prop::collection::vec(text(), 1..3)),
        prop::option::of(0_u8..=100),
        prop::option::of(1_u64..500),
        prop::option::of(1024_u64..4000),
        prop::option::of(Just(form)),
        any::<bool>(),
    );
    (conversation(), settings).prop_map(|(messages, settings)| {
        let (system, choice, stop, temperature, top_k, budget, form, stream) = settings;
        let mut request = json!({"model": MODEL, "max_tokens": 8000, "messages": messages, "tools": [
            {"name": "get_weather", "description": "w", "input_schema": {"type": "object", "properties": {"z": {}}}},
            {"name": "get_time", "input_schema": {"type": "object", "properties": {}}},
        ]});
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                request[key] = value;
            }
        };
        set("system", system.map(|s| s.into_iter().map(text_block).collect()));
        set("tool_choice", choice);
        set("stop_sequences", stop.map(Value::from));
        // While the model thinks it takes neither.
        set("temperature", temperature.filter(|_| budget.is_none()).map(|t| (f64::from(t) / 100.0).into()));
        set("top_k", top_k.filter(|_| budget.is_none()).map(Value::from));
        // A forced call leaves no room for thinking, and calls of the turn under way would need it before them.
        let budget =
            budget.filter(|_| !request["tool_choice"]["type"].as_str().is_some_and(|t| t == "any" || t == "tool"));
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                request[key] = value;
            }
        };
        set("thinking", budget.map(|b| json!({"type": "enabled", "budget_tokens": b})));
        set("output_config", form);
        set("stream", stream.then(|| true.into()));
        request
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn through_the_representation(request in request()) {
        let body = request.to_string();
        let there = translate_request(Format::Messages, Format::Messages, body.as_bytes(), MODEL, &|_| None).unwrap();
        prop_assert_eq!(there.losses, []);
        let back: Value = serde_json::from_slice(&there.body).unwrap();
        prop_assert_eq!(back, request);
    }

    #[test]
    fn through_gemini(request in request()) {
        let body = request.to_string();
        let stream = request["stream"] == true;
        let there = translate_request(Format::Messages, Format::Gemini, body.as_bytes(), GEMINI, &|_| None).unwrap();
        let back = translate_gemini_request(Format::Messages, &there.body, MODEL, stream, &|_| None).unwrap();
        prop_assert_eq!(back.losses, []);
        let back: Value = serde_json::from_slice(&back.body).unwrap();
        prop_assert_eq!(back, request);
    }

    #[test]
    fn to_ollama_every_result_keeps_its_call(request in request()) {
        let inlined = request.to_string().replace(r#"{"type":"url","url":"https://example.com/a.png"}"#,
            r#"{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}"#).replace("application/pdf", "text/plain")
            .replace("JVBERi0=", "aGk=");
        let sorted: Value = serde_json::from_str(&inlined).unwrap();
        let inlined = sorted.to_string().replace(r#""source":{"type":"url","url":"https://example.com/a.png"}"#,
            r#""source":{"data":"iVBORw0KGgo=","media_type":"image/png","type":"base64"}"#);
        let there = translate_request(Format::Messages, Format::Ollama, inlined.as_bytes(), "qwen3:8b", &|_| None).unwrap();
        let there: Value = serde_json::from_slice(&there.body).unwrap();
        let messages = there["messages"].as_array().unwrap();
        let calls: Vec<_> = messages.iter().flat_map(|m| m["tool_calls"].as_array().into_iter().flatten())
            .map(|c| (c["id"].clone(), c["function"]["name"].clone())).collect();
        let results: Vec<_> = messages.iter().filter(|m| m["role"] == "tool")
            .map(|m| (m["tool_call_id"].clone(), m["tool_name"].clone())).collect();
        prop_assert_eq!(calls, results);
    }
}
