//! The emulator over HTTP: it refuses what the providers refuse, breaks as it is told, and tells what it saw.
#![cfg(test)]

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use provider_emulator::Emulator;
use serde_json::{Value, json};
use std::time::Duration;

type Http = Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>;

fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

fn request(emulator: &Emulator, path: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::post(format!("http://{}{path}", emulator.address()))
        .header("content-type", "application/json")
        .header("authorization", "Bearer key")
        .header("x-api-key", "key")
        .header("x-goog-api-key", "key")
        .header("anthropic-version", "2023-06-01")
        .body(Full::from(body.to_string()))
        .unwrap()
}

async fn post(emulator: &Emulator, path: &str, body: &Value) -> (u16, String) {
    let response = http().request(request(emulator, path, body)).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

const CHAT: &str = "/openai/v1/chat/completions";
const RESPONSES: &str = "/openai/v1/responses";
const MESSAGES: &str = "/anthropic/v1/messages";
const GEMINI: &str = "/gemini/v1beta/models/text:generateContent";
const OLLAMA: &str = "/ollama/api/chat";

#[track_caller]
fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

#[tokio::test]
async fn what_a_provider_refuses_is_refused_in_its_words() {
    let emulator = Emulator::start().await.unwrap();
    for (path, body, words) in refused() {
        let (status, text) = post(&emulator, path, &body).await;
        assert_eq!(status, 400, "{path} {body}: {text}");
        assert!(text.contains(words), "{path} {body}: {text}");
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn refused() -> Vec<(&'static str, Value, &'static str)> {
    let chat = |extra: Value| merged(json!({"model": "text", "messages": user("x")}), extra);
    let message = |extra: Value| merged(json!({"model": "text", "max_tokens": 50, "messages": user("x")}), extra);
    let response = |extra: Value| merged(json!({"model": "text", "input": "x"}), extra);
    let content = |extra: Value| merged(json!({"contents": [{"parts": [{"text": "x"}]}]}), extra);
    let call = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let used = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]});
    let called = json!({"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]});
    vec![
        (CHAT, chat(json!({"foo": 1})), "Unrecognized request argument supplied: foo"),
        (CHAT, json!({"model": "text"}), "Missing required parameter: 'messages'."),
        (CHAT, chat(json!({"stop": ["a", "b", "c", "d", "e"]})), "maximum length 4"),
        (CHAT, chat(json!({"max_tokens": 1, "max_completion_tokens": 1})), "at the same time"),
        (CHAT, chat(json!({"model": "reason", "max_tokens": 1})), "Use 'max_completion_tokens' instead"),
        (
            CHAT,
            chat(json!({"messages": [{"role": "assistant", "content": null, "tool_calls": call}]})),
            "did not have response messages: c",
        ),
        (CHAT, chat(json!({"stream_options": {"include_usage": true}})), "only allowed when 'stream' is enabled"),
        (RESPONSES, response(json!({"messages": []})), "Unrecognized request argument supplied: messages"),
        (RESPONSES, response(json!({"max_output_tokens": 1})), "Expected a value >= 16"),
        (
            RESPONSES,
            response(json!({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]})),
            "No tool call found",
        ),
        (
            RESPONSES,
            response(json!({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]})),
            "Supported values are: 'input_text'",
        ),
        (MESSAGES, json!({"model": "text", "messages": user("x")}), "max_tokens: Field required"),
        (MESSAGES, message(json!({"seed": 1})), "seed: Extra inputs are not permitted"),
        (
            MESSAGES,
            message(json!({"messages": [{"role": "tool", "content": "x"}]})),
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        (MESSAGES, message(json!({"messages": [used]})), "first message must use the \\\"user\\\" role"),
        (
            MESSAGES,
            message(json!({"messages": [{"role": "user", "content": ""}, used]})),
            "`tool_use` ids were found without `tool_result`",
        ),
        (
            MESSAGES,
            message(json!({"thinking": {"type": "enabled", "budget_tokens": 5}})),
            "greater than or equal to 1024",
        ),
        (MESSAGES, message(json!({"temperature": 1.5})), "less than or equal to 1"),
        (GEMINI, content(json!({"generationConfig": {"foo": 1}})), "Unknown name \\\"foo\\\" at 'generation_config'"),
        (
            GEMINI,
            content(json!({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]})),
            "valid role: user, model",
        ),
        (
            GEMINI,
            content(
                json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}, called, {"role": "user", "parts": [{"text": "x"}]}]}),
            ),
            "number of function response parts",
        ),
        (
            OLLAMA,
            json!({"model": "text", "messages": [{"role": "user", "content": []}]}),
            "ChatRequest.messages.content",
        ),
        (
            OLLAMA,
            json!({"model": "text", "messages": [{"role": "user", "content": "x", "images": ["data:image/png;base64,AA"]}]}),
            "illegal base64",
        ),
    ]
}

fn merged(mut base: Value, extra: Value) -> Value {
    let Value::Object(extra) = extra else { return base };
    base.as_object_mut().unwrap().extend(extra);
    base
}

#[tokio::test]
async fn keys_are_looked_for_where_the_provider_does() {
    let emulator = Emulator::start().await.unwrap();
    let body = json!({"model": "text", "max_tokens": 5, "messages": user("x")});
    for (path, header, status) in
        [(CHAT, "authorization", 401), (MESSAGES, "x-api-key", 401), (GEMINI, "x-goog-api-key", 403)]
    {
        let mut bare = request(&emulator, path, &body);
        bare.headers_mut().remove("authorization");
        bare.headers_mut().remove(header);
        let response = http().request(bare).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn a_failure_passes() {
    let emulator = Emulator::start().await.unwrap();
    let body = json!({"model": "err-503-then-ok", "messages": user("marker-f1")});
    assert_eq!(post(&emulator, CHAT, &body).await.0, 503);
    assert_eq!(post(&emulator, CHAT, &body).await.0, 200);
    let seen = emulator.seen("contains=marker-f1");
    assert_eq!(seen["entries"].as_array().unwrap().len(), 2);
    assert_eq!(seen["entries"][0]["headers"]["authorization"], "Bearer key");
    assert_eq!(seen["statuses"], json!({"200": 1, "503": 1}));
}

#[tokio::test]
async fn a_stream_breaks_off_and_a_client_that_leaves_is_noticed() {
    let emulator = Emulator::start().await.unwrap();
    let cut = json!({"model": "cut", "stream": true, "messages": user("x")});
    let body = http().request(request(&emulator, CHAT, &cut)).await.unwrap().into_body();
    assert!(body.collect().await.is_err());

    let slow = json!({"model": "slow-n1000-i5", "stream": true, "messages": user("x")});
    let mut body = http().request(request(&emulator, CHAT, &slow)).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(emulator.active()["live"], 1);
    drop(body);
    let noticed = async {
        while emulator.active()["live"] != 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), noticed).await.unwrap();
    assert_eq!(emulator.active()["cancelled"], 1);
}

#[tokio::test]
async fn any_split_of_a_stream_is_the_same_stream() {
    let emulator = Emulator::start().await.unwrap();
    for path in [CHAT, RESPONSES, MESSAGES, OLLAMA] {
        let ask = |model: &str| {
            let body = json!({"model": model, "stream": true});
            let more = match path {
                RESPONSES => json!({"input": "x"}),
                MESSAGES => json!({"max_tokens": 5, "messages": user("x")}),
                _ => json!({"messages": user("x")}),
            };
            merged(body, more)
        };
        let plain = without_names(&post(&emulator, path, &ask("gpt-text")).await.1, "gpt-text");
        let split = without_names(&post(&emulator, path, &ask("gpt-text+bytes")).await.1, "gpt-text+bytes");
        assert_eq!(plain, split, "{path}");
        assert!(plain.contains("你好"), "{plain}");
    }
}

/// The stream without the numbers and names that differ from answer to answer.
fn without_names(text: &str, model: &str) -> String {
    let text = text.replace(&format!("\"{model}\""), "MODEL");
    let ids = |word: &str| ["chatcmpl-", "resp_", "msg_"].iter().any(|p| word.starts_with(p));
    text.split('"').map(|word| if ids(word) { "ID" } else { word }).collect::<Vec<_>>().join("\"")
}
