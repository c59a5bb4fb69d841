//! Wire format, key, faults, counters.

use crate::agent::{Agent, Model};
use scripted_model::Options;
use serde_json::{Value, json};

fn plain(model: &str, stream: bool) -> Vec<u8> {
    let messages = json!([{ "role": "user", "content": "Grüße 東京, and a longer sentence that is cut into pieces." }]);
    json!({ "model": model, "messages": messages, "stream": stream, "stream_options": { "include_usage": true } })
        .to_string()
        .into_bytes()
}

fn events(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    let data: Vec<_> = text.split("\n\n").filter_map(|e| e.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"));
    data[..data.len() - 1].iter().map(|d| serde_json::from_str(d).unwrap()).collect()
}

#[tokio::test]
async fn a_stream_adds_up_to_the_whole_answer() {
    let model = Model::start(Options::default()).await;
    let mut agent = Agent::new(&model, "openai/demo");
    agent.messages.push(json!({ "role": "user", "content": [{ "type": "text", "text": "Chart it." }] }));
    let mut request = agent.request();
    let whole = model.ask(&request).await;
    request["stream"] = json!(true);
    request["stream_options"] = json!({ "include_usage": true });
    let (_, body) = model.post(request.to_string().as_bytes(), None).await.unwrap();
    let events = events(&body);

    let (mut text, mut arguments, mut first) = (String::new(), String::new(), Value::Null);
    for event in &events {
        let delta = &event["choices"][0]["delta"];
        text.push_str(delta["content"].as_str().unwrap_or_default());
        if let Some(call) = delta["tool_calls"].get(0) {
            if call["id"].is_string() {
                first = call.clone();
            }
            arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
        }
    }
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["content"], text);
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], arguments);
    assert_eq!(message["tool_calls"][0]["id"], first["id"]);
    assert_eq!(first["function"]["name"], "exec");
    let last = events.last().unwrap();
    assert_eq!(last["usage"], whole["usage"]);
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "tool_calls");
    let fragments = events.iter().filter(|e| e["choices"][0]["delta"]["tool_calls"].is_array()).count();
    assert!(fragments > 2, "arguments come in fragments");
}

#[tokio::test]
async fn the_same_request_gets_the_same_bytes() {
    let model = Model::start(Options::default()).await;
    let (_, first) = model.post(&plain("echo", true), None).await.unwrap();
    let (_, second) = model.post(&plain("echo", true), None).await.unwrap();
    assert_eq!(first, second);
    let said: String =
        events(&first).iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect();
    assert_eq!(said, "Grüße 東京, and a longer sentence that is cut into pieces.");
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_counted() {
    let model = Model::start(Options { api_key: Some("right".into()), ..Options::default() }).await;
    for key in [None, Some("wrong"), Some("")] {
        assert_eq!(model.post(&plain("echo", false), key).await.unwrap().0, 401);
    }
    assert_eq!(model.post(&plain("echo", false), Some("right")).await.unwrap().0, 200);
    let (_, seen) = model.get("/_seen").await;
    assert_eq!(seen["requests"], 4);
    assert_eq!(seen["refused"], 3);
    assert_eq!(seen["models"], json!({ "echo": 1 }));
    assert_eq!(seen["paths"], json!({ "/v1/chat/completions": 4 }));
}

#[tokio::test]
async fn faults_have_the_shape_of_a_provider() {
    let model = Model::start(Options::default()).await;
    for (body, status, code) in [
        (plain("no-such", false), 404, "model_not_found"),
        (b"{".to_vec(), 400, "invalid_request_error"),
        (plain("status-429", true), 429, "scripted_fault"),
        (plain("openai/status-503", false), 503, "scripted_fault"),
    ] {
        let (got, body) = model.post(&body, None).await.unwrap();
        let error: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((got, error["error"]["code"].as_str()), (status, Some(code)));
    }
    assert!(model.post(&plain("cut", true), None).await.is_err(), "the stream breaks off");
}

#[tokio::test]
async fn models_are_listed() {
    let model = Model::start(Options::default()).await;
    let (_, list) = model.get("/v1/models").await;
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"demo") && ids.contains(&"plain-end"), "{ids:?}");
    let (status, _) = model.post(&plain(ids[0], false), None).await.unwrap();
    assert_eq!(status, 200);
}

#[tokio::test]
async fn requests_are_recorded_as_they_came() {
    let dir = tempfile::tempdir().unwrap();
    let model = Model::start(Options { record: Some(dir.path().to_owned()), ..Options::default() }).await;
    let body = plain("echo", false);
    model.post(&body, None).await.unwrap();
    assert_eq!(std::fs::read(dir.path().join("00001-request.json")).unwrap(), body);
    let turn: Value = serde_json::from_slice(&std::fs::read(dir.path().join("00001-turn.json")).unwrap()).unwrap();
    assert!(turn["text"].as_str().unwrap().starts_with("Grüße"));
}
