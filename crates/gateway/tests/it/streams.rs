//! Streams over TCP: at once, bounded, cut properly, cancelled with their client.

use crate::{
    outside::{Outside, chat},
    world::eventually,
};
use http_body_util::BodyExt;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use store::CallStatus;

/// How soon a provider must be let go when a client leaves.
const CANCEL_LIMIT: Duration = Duration::from_millis(50);

fn live(w: &Outside) -> u64 {
    let active = w.emulator.active();
    active["live"].as_u64().unwrap_or_else(|| panic!("{active}"))
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_provider_at_once() {
    let w = Outside::new().await;
    for model in ["openai/slow-d5-n2000-i5", "anthropic/slow-d5-n2000-i5"] {
        let mut connection = w.connect().await;
        let response =
            connection.send_request(w.request(&w.key, "/v1/chat/completions", &chat(model, true))).await.unwrap();
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        assert_eq!(live(&w), 1);
        let left = Instant::now();
        drop((body, connection));
        eventually("the provider is let go", || async { (live(&w) == 0).then_some(()) }).await;
        let took = left.elapsed();
        let call = w.newest_call(CallStatus::Cut).await;
        assert_eq!(call.error_code.as_deref(), Some("client_gone"), "{model}");
        assert!(call.response_size.is_some_and(|n| n > 0), "what had arrived is recorded");
        assert!(took < CANCEL_LIMIT * 10, "{took:?}; on a quiet machine it is below {CANCEL_LIMIT:?}");
    }
}

#[tokio::test]
async fn a_cut_stream_ends_with_an_error_event_of_the_clients_format() {
    let w = Outside::new().await;
    let cells: [(&str, Value, &str); 3] = [
        ("/v1/chat/completions", chat("openai/cut", true), "\"error\""),
        (
            "/v1/messages",
            json!({"model":"openai/cut","stream":true,"max_tokens":20,
            "messages":[{"role":"user","content":"hi"}]}),
            "event: error",
        ),
        ("/v1/responses", json!({"model":"anthropic/cut","stream":true,"input":"hi"}), "error"),
    ];
    for (path, body, mark) in cells {
        let response = w.send(&w.key, path, &body).await;
        assert_eq!(response.status(), StatusCode::OK);
        let (mut got, mut body, mut broken) = (Vec::new(), response.into_body(), false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => got.extend_from_slice(frame.data_ref().unwrap()),
                Err(_) => broken = true,
            }
        }
        let text = String::from_utf8_lossy(&got);
        let last = text.trim_end().rsplit("\n\n").next().unwrap_or_default();
        assert!(last.contains(mark) && broken, "{path}: {text}");
        let call = w.newest_call(CallStatus::Cut).await;
        assert_eq!(call.error_code.as_deref(), Some("upstream_cut"), "{path}");
        assert!(call.response_size.is_some_and(|n| n > 0));
    }
}

#[tokio::test]
async fn odd_chunks_make_no_difference() {
    let w = Outside::new().await;
    for provider in ["openai", "anthropic", "gemini", "ollama", "openai-compatible"] {
        for way in ["odd", "bytes"] {
            let mut asked = chat(&format!("{provider}/{way}"), true);
            asked["tools"] = json!([{"type":"function","function":{"name":"weather","parameters":{"type":"object",
                "properties":{"city":{"type":"string"}}}}}]);
            let (status, body) = w.ask("/v1/chat/completions", &asked).await;
            assert_eq!(status, StatusCode::OK, "{provider}/{way}: {body:?}");
            let mut reader = llm::StreamReader::new(llm::Format::Chat).unwrap();
            reader.feed(&body);
            let answer = reader.finish();
            assert!(answer.is_complete() && answer.malformed == 0, "{provider}/{way}: {answer:?}");
            w.newest_call(CallStatus::Done).await;
        }
    }
}

#[tokio::test]
async fn a_large_stream_is_recorded_whole() {
    let w = Outside::new().await;
    for model in ["openai/big-3", "anthropic/big-3"] {
        let (status, body) = w.ask("/v1/chat/completions", &chat(model, true)).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.len() > 3 << 20, "{model}: {} bytes", body.len());
        let call = w.newest_call(CallStatus::Done).await;
        assert!(call.response_size.is_some_and(|n| n > 3 << 20), "{model}: {call:?}");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_ended() {
    let w = Outside::with(|c| c.client_stall_timeout = Duration::from_millis(200), |p| p, Vec::new()).await;
    let response = w.send(&w.key, "/v1/chat/completions", &chat("openai/big-32", true)).await;
    // Nobody reads the body.
    let call = w.newest_call(CallStatus::Cut).await;
    assert_eq!(call.error_code.as_deref(), Some("client_stalled"));
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_gateway_that_stops_ends_its_streams_with_a_record() {
    let w = Outside::new().await;
    let mut body = w.send(&w.key, "/v1/chat/completions", &chat("openai/slow-d5-n2000-i5", true)).await.into_body();
    body.frame().await.unwrap().unwrap();
    w.gateway.shutdown().await;
    let call = w.calls().await.pop().unwrap();
    assert_eq!((call.status, call.error_code.as_deref()), (CallStatus::Cut, Some("sandbox_closed")));
    assert!(body.collect().await.is_err());
}
