//! Every API that clients speak, to every provider: streamed and not, text and tools.

use crate::{
    outside::{self, Outside},
    world::{World, command_agent, connect, nobody, request as on_socket, running_task},
};
use bytes::Bytes;
use gateway::ProviderKind;
use http_body_util::BodyExt;
use hyper::StatusCode;
use llm::{Answer, Format, StreamReader};
use provider_emulator::Emulator;
use serde_json::{Value, json};
use store::CallStatus;

const INGRESSES: [Format; 4] = [Format::Chat, Format::Responses, Format::Messages, Format::Gemini];

/// The path and body of a request in a format.
fn request(format: Format, model: &str, stream: bool) -> (String, Value) {
    let schema = json!({"type":"object","properties":{"city":{"type":"string"}},"required":["city"]});
    match format {
        Format::Chat => (
            "/v1/chat/completions".into(),
            json!({"model":model,"stream":stream,"messages":[{"role":"system","content":"be brief"},
                {"role":"user","content":"weather?"}],
                "tools":[{"type":"function","function":{"name":"weather","description":"d","parameters":schema}}]}),
        ),
        Format::Responses => (
            "/v1/responses".into(),
            json!({"model":model,"stream":stream,"instructions":"be brief","input":"weather?",
                "tools":[{"type":"function","name":"weather","description":"d","parameters":schema,"strict":false}]}),
        ),
        Format::Messages => (
            "/v1/messages".into(),
            json!({"model":model,"stream":stream,"max_tokens":200,"system":"be brief",
                "messages":[{"role":"user","content":"weather?"}],
                "tools":[{"name":"weather","description":"d","input_schema":schema}]}),
        ),
        Format::Gemini => {
            let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            (
                format!("/v1beta/models/{}:{method}", model.replace('/', "%2F")),
                json!({"systemInstruction":{"parts":[{"text":"be brief"}]},
                    "contents":[{"role":"user","parts":[{"text":"weather?"}]}],
                    "tools":[{"functionDeclarations":[{"name":"weather","description":"d","parameters":schema}]}]}),
            )
        }
        Format::Ollama => unreachable!("no client speaks it here"),
    }
}

fn read(format: Format, stream: bool, body: &Bytes) -> Answer {
    if !stream {
        return llm::read_answer(format, body);
    }
    let mut reader = StreamReader::new(format).unwrap();
    reader.feed(body);
    reader.finish()
}

#[tokio::test]
async fn every_ingress_reaches_every_provider() {
    let w = Outside::new().await;
    let mut calls = 0;
    for format in INGRESSES {
        for kind in ProviderKind::ALL {
            for (model, stream) in [("text", false), ("text", true), ("tools2", false), ("tools2", true)] {
                let what = format!("{format} → {kind}/{model}, stream: {stream}");
                let (path, body) = request(format, &format!("{kind}/{model}"), stream);
                let (status, answer) = w.ask(&path, &body).await;
                let text = String::from_utf8_lossy(&answer);
                assert_eq!(status, StatusCode::OK, "{what}: {text}");
                let read = read(format, stream, &answer);
                assert_eq!((read.malformed, &read.error), (0, &None), "{what}: {text}");
                assert!(read.is_complete(), "{what}: {text}");
                if model == "text" {
                    assert!(!read.text.is_empty(), "{what}: {text}");
                } else {
                    assert_eq!(read.tool_calls.len(), 2, "{what}: {text}");
                    let ids: std::collections::HashSet<_> = read.tool_calls.iter().map(|t| &t.id).collect();
                    assert!(format == Format::Gemini || ids.len() == 2, "{what}: ids {ids:?}");
                    for call in &read.tool_calls {
                        assert_eq!(call.name, "weather", "{what}");
                        assert!(serde_json::from_str::<Value>(&call.arguments).is_ok_and(|a| a.is_object()), "{what}");
                    }
                }
                let call = w.newest_call(CallStatus::Done).await;
                calls += 1;
                assert_eq!(
                    (call.ingress.as_str(), call.provider.as_deref(), call.model.as_deref(), call.attempts),
                    (format.as_str(), Some(kind.as_str()), Some(model), 1),
                    "{what}"
                );
                assert!(call.prompt_tokens.is_some() && call.completion_tokens.is_some(), "{what}: {call:?}");
                assert!(call.key.is_some() && call.task.is_none());
                let shown = w.store.body_text(call.response.as_ref().unwrap()).await.unwrap();
                // What was left out of a stream for the client's sake is the one difference.
                let exact = !(format == Format::Chat && stream);
                assert!(!exact || shown == text, "{what}: recorded {shown}");
            }
        }
    }
    assert_eq!(w.calls().await.len(), calls);
    assert_eq!(w.seen().len(), calls);
}

#[tokio::test]
async fn embeddings_and_counts_reach_the_providers_that_have_them() {
    let w = Outside::new().await;
    for provider in ["openai", "gemini", "ollama", "openai-compatible"] {
        let body = json!({"model":format!("{provider}/text"),"input":["a","b"]});
        let (status, answer) = w.ask("/v1/embeddings", &body).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(status, StatusCode::OK, "{provider}: {answer}");
        assert_eq!(answer["data"].as_array().map(Vec::len), Some(2), "{provider}: {answer}");
        assert_eq!(answer["object"], "list");
        assert_eq!(w.newest_call(CallStatus::Done).await.ingress, "embeddings");
    }
    let (status, answer) = w.ask("/v1/embeddings", &json!({"model":"anthropic/text","input":"a"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer:?}");
    w.newest_call(CallStatus::Refused).await;

    let sent = w.seen().len();
    let body = |p: &str| json!({"model":format!("{p}/text"),"messages":[{"role":"user","content":"hello there"}]});
    for (provider, asked) in [("anthropic", 1), ("gemini", 1), ("openai", 0), ("ollama", 0), ("openai-compatible", 0)] {
        let before = w.seen().len();
        let response = w.send(&w.key, "/v1/messages/count_tokens", &body(provider)).await;
        let estimated = response.headers().contains_key("x-taskforge-estimated");
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer["input_tokens"].as_u64().is_some_and(|n| n > 0), "{provider}: {answer}");
        assert_eq!((w.seen().len() - before, estimated), (asked, asked == 0), "{provider}");
    }
    assert_eq!(w.seen().len(), sent + 2);
}

#[tokio::test]
async fn reasoning_survives_a_client_that_drops_it() {
    let w = Outside::new().await;
    for provider in ["anthropic", "gemini"] {
        let model = format!("{provider}/verify-signature");
        let (_, body) = request(Format::Chat, &model, false);
        let (status, answer) = w.ask("/v1/chat/completions", &body).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(status, StatusCode::OK, "{provider}: {answer}");
        let message = &answer["choices"][0]["message"];
        let calls = message["tool_calls"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let mut next = body.clone();
        let messages = next["messages"].as_array_mut().unwrap();
        // All that is not of the published shape is dropped, as the official clients' types do.
        messages.push(json!({"role":"assistant","content":message["content"],"tool_calls":calls.iter().map(|c|
            json!({"id":c["id"],"type":"function","function":c["function"]})).collect::<Vec<_>>()}));
        for call in calls {
            messages.push(json!({"role":"tool","tool_call_id":call["id"],"content":"sunny"}));
        }
        let (status, answer) = w.ask("/v1/chat/completions", &next).await;
        assert_eq!(status, StatusCode::OK, "{provider}: {}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn a_sandbox_speaks_every_format_and_stays_within_its_policy() {
    let w = World::new(nobody).await;
    let emulator = Emulator::start().await.unwrap();
    w.gateway.registry().replace(outside::providers(&emulator), Vec::new()).unwrap();
    for kind in ProviderKind::ALL {
        let (task, run) = running_task(&w.store, command_agent(), &format!("{kind}/tools2")).await;
        let socket = w.gateway.open(task).await.unwrap().path;
        let ask = |(path, body): (String, Value)| {
            let socket = socket.clone();
            async move {
                let mut connection = connect(&socket).await;
                let answer = connection.send_request(on_socket("POST", &path, body.to_string())).await.unwrap();
                (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
            }
        };
        for format in INGRESSES {
            for stream in [false, true] {
                let what = format!("{format} → {kind}, stream: {stream}");
                let (status, answer) = ask(request(format, &format!("{kind}/tools2"), stream)).await;
                assert_eq!(status, StatusCode::OK, "{what}: {answer:?}");
                let read = read(format, stream, &answer);
                assert!(read.is_complete() && read.tool_calls.len() == 2, "{what}: {answer:?}");
                let call = w.store.call_list(&task.into()).await.unwrap().pop().unwrap();
                assert_eq!((call.status, call.run, call.iteration), (CallStatus::Done, Some(run), Some(1)), "{what}");
                assert!(call.turn.is_some(), "{what}");
            }
            let (status, answer) = ask(request(format, &format!("{kind}/text"), false)).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{format} → {kind}: {answer:?}");
        }
    }
    let seen = emulator.seen("limit=4096");
    let left = seen["entries"].as_array().unwrap().iter().filter(|r| r["method"] == "POST");
    assert_eq!(left.count(), ProviderKind::ALL.len() * INGRESSES.len() * 2, "what was refused did not leave");
}

#[tokio::test]
async fn what_is_left_out_there_and_back_is_in_the_record() {
    let w = Outside::new().await;
    for stream in [false, true] {
        let body = json!({"model":"anthropic/stop","stream":stream,"seed":7,"x_unknown":1,"stop":["END"],
            "messages":[{"role":"user","content":"hi"}]});
        let (status, answer) = w.ask("/v1/chat/completions", &body).await;
        assert_eq!(status, StatusCode::OK, "{answer:?}");
        let call = w.newest_call(CallStatus::Done).await;
        let normalised = w.store.body_text(&call.normalised.unwrap()).await.unwrap();
        let normalised: Value = serde_json::from_str(&normalised).unwrap();
        let fields: Vec<_> =
            normalised["losses"].as_array().unwrap().iter().map(|l| l["field"].as_str().unwrap()).collect();
        for field in ["seed", "x_unknown", "stop_sequence"] {
            assert!(fields.contains(&field), "stream: {stream}: {normalised}");
        }
        let same = json!({"model":"openai/text","stream":stream,"seed":7,"messages":[{"role":"user","content":"hi"}]});
        assert_eq!(w.ask("/v1/chat/completions", &same).await.0, StatusCode::OK);
        if let Some(normalised) = w.newest_call(CallStatus::Done).await.normalised {
            let text = w.store.body_text(&normalised).await.unwrap();
            assert!(!text.contains("losses"), "nothing is left out: {text}");
        }
    }
}
