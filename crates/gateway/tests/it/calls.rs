//! Calls that work: what passes, what is recorded.

use crate::{
    fake::{json_answer, piecewise, sse_answer, stream_of},
    world::{World, chat_body, eventually, nobody, request},
};
use bytes::Bytes;
use domain::event::{EventKind, Phase};
use futures::StreamExt;
use http_body_util::BodyExt;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::CallStatus;

#[tokio::test]
async fn a_stream_passes_at_once_and_is_recorded_whole() {
    let w = World::new(nobody).await;
    let (pieces, _live, response) = piecewise("text/event-stream");
    let mut response = Some(response);
    w.fake.answer(move |_| response.take().unwrap());
    let args = json!({"command":"ls"});
    let stream = stream_of("Grüße", &[("call_1", "exec", &args)]);
    let (first, rest) = stream.split_once("\n\n").unwrap();
    let first = format!("{first}\n\n");

    pieces.send(Ok(Bytes::from(first.clone()))).unwrap();
    let answer = w.send("POST", "/v1/chat/completions", chat_body(&[]).to_string()).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut body = answer.into_body();
    let got = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(got, first, "the first piece is there while the upstream has not said more");
    let begun = w.newest_call(CallStatus::Open).await;
    assert_eq!((begun.turn, begun.iteration, begun.run), (Some(1), Some(1), Some(w.run)));

    pieces.send(Ok(Bytes::from(rest.to_owned()))).unwrap();
    drop(pieces);
    let last = body.collect().await.unwrap().to_bytes();
    assert_eq!([got, last].concat(), stream.as_bytes());
    // The end of the answer comes after its record.
    let call = w.calls().await.pop().unwrap();
    assert_eq!(call.status, CallStatus::Done);
    assert_eq!((call.prompt_tokens, call.completion_tokens, call.cached_tokens), (Some(25), Some(7), Some(8)));
    assert_eq!((call.finish_reason.as_deref(), call.http_status), (Some("tool_calls"), Some(200)));
    assert!(call.first_byte_ms <= call.total_ms && call.total_ms.is_some());
    assert_eq!(w.store.body_text(&call.request).await.unwrap(), chat_body(&[]).to_string());
    assert_eq!(w.store.body_text(call.response.as_ref().unwrap()).await.unwrap(), stream);
    let leaves = w.leaves(EventKind::LlmCall).await;
    let phases: Vec<_> = leaves.iter().map(|l| (l.event.phase, l.event.op)).collect();
    assert_eq!(phases, [(Phase::Begun, Some(call.op)), (Phase::Ended, Some(call.op))]);
    let headers = leaves[0].event.data["headers"].to_string();
    assert!(headers.contains("sha256:") && !headers.contains("unused-by-the-gateway"), "{headers}");
}

#[tokio::test]
async fn the_upstream_sees_the_request_with_its_own_model_name_and_the_key() {
    let w = World::new(|_| sse_answer(&stream_of("x", &[]))).await;
    let text = r#"{ "zeta":1e2, "model":"m" ,"stream":true,"stream_options":{"include_usage":true},"messages":[] }"#;
    let (status, _) = w.ask("POST", "/v1/chat/completions", text).await;
    assert_eq!(status, StatusCode::OK);
    let (_, _) = w.ask("POST", "/v1/chat/completions", text.replace("\"m\"", "\"up/m\"")).await;
    for seen in w.fake.seen() {
        assert_eq!(seen.path, "/v1/chat/completions");
        assert_eq!(seen.body, text, "byte by byte, but for the model's name");
        assert_eq!(seen.headers["authorization"], format!("Bearer {}", crate::world::KEY));
        assert_eq!(seen.headers["accept-encoding"], "identity");
        assert_eq!(seen.headers["host"], w.fake.address.to_string());
    }
    assert_eq!(w.fake.seen().len(), 2);
    eventually("one pooled connection", || async { (w.fake.connections() == 1).then_some(()) }).await;
}

#[tokio::test]
async fn token_counts_are_asked_for_and_kept_from_a_client_that_did_not() {
    let stream = stream_of("x", &[]);
    let counts = "data: {\"choices\":[],\"usage\"";
    let shown = stream.clone();
    let w = World::new(move |_| sse_answer(&shown)).await;
    let (_, body) = w.chat(&json!({"model":"up/m","stream":true,"messages":[]})).await;
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(stream.contains(counts) && !body.contains(counts) && body.ends_with("data: [DONE]\n\n"), "{body}");
    let call = w.newest_call(CallStatus::Done).await;
    assert_eq!(call.prompt_tokens, Some(25));
    assert_eq!(w.store.body_text(call.response.as_ref().unwrap()).await.unwrap(), stream, "recorded as it came");
    assert_eq!(w.fake.seen()[0].json()["stream_options"], json!({"include_usage":true}));
}

#[tokio::test]
async fn a_whole_answer_and_an_upstreams_error_pass() {
    let good = json!({"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}});
    let shown = good.clone();
    let w = World::new(move |_| json_answer(200, &shown)).await;
    let asked = json!({"model":"up/m","messages":[]});
    let (status, body) = w.chat(&asked).await;
    assert_eq!((status, serde_json::from_slice::<Value>(&body).unwrap()), (StatusCode::OK, good));
    assert_eq!(w.newest_call(CallStatus::Done).await.prompt_tokens, Some(1));

    w.fake.answer(|_| {
        let mut r = json_answer(429, &json!({"error":{"message":"slow down"}}));
        r.headers_mut().insert("retry-after", "7".parse().unwrap());
        r.headers_mut().insert("set-cookie", "a=b".parse().unwrap());
        r
    });
    let response = w.send("POST", "/v1/chat/completions", asked.to_string()).await;
    assert_eq!(
        (response.status(), &response.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"7".parse().unwrap())
    );
    assert!(!response.headers().contains_key("set-cookie"));
    assert!(response.into_body().collect().await.unwrap().to_bytes().starts_with(b"{\"error\""));
    let call = w.newest_call(CallStatus::Failed).await;
    assert_eq!(
        (call.http_status, call.error_code.as_deref(), call.turn),
        (Some(429), Some("upstream_status"), Some(2))
    );
}

#[tokio::test]
async fn tool_calls_and_their_results_are_recorded_once_each() {
    let args = json!({"command":"ls -l"});
    let stream = stream_of("", &[("call_1", "exec", &args), ("call_2", "read", &json!({}))]);
    let w = World::new(move |_| sse_answer(&stream)).await;
    w.chat(&chat_body(&[])).await;
    let tools = w.store.tool_call_list(w.task, 0).await.unwrap();
    let names: Vec<_> = tools.iter().map(|t| (t.tool_id.as_str(), t.name.as_str(), t.turn)).collect();
    assert_eq!(names, [("call_1", "exec", 1), ("call_2", "read", 1)]);
    assert_eq!(w.store.body_text(&tools[0].arguments).await.unwrap(), args.to_string());

    w.fake.answer(|_| sse_answer(&stream_of("done", &[])));
    let messages = json!([{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[]},
        {"role":"tool","tool_call_id":"call_1","content":"total 0"},{"role":"tool","tool_call_id":"other","content":"x"}]);
    w.chat(&chat_body(&[("messages", messages.clone())])).await;
    w.chat(&chat_body(&[("messages", messages)])).await;
    let tools = w.store.tool_call_list(w.task, 0).await.unwrap();
    assert_eq!(w.store.body_text(tools[0].result.as_ref().unwrap()).await.unwrap(), "\"total 0\"");
    assert!(tools[1].result.is_none());
    let stages: Vec<_> = w.leaves(EventKind::ToolCall).await.iter().map(|l| l.event.data["stage"].clone()).collect();
    assert_eq!(stages, ["emitted", "emitted", "result"]);
}

#[tokio::test]
async fn a_slow_reader_holds_the_upstream_back() {
    const PIECE: usize = 64 << 10;
    const PIECES: usize = 512;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let w = World::new(move |_| {
        let counter = Arc::clone(&counter);
        let pieces = futures::stream::iter(0..PIECES).map(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; PIECE]))
        });
        axum::http::Response::builder().body(axum::body::Body::from_stream(pieces)).unwrap()
    })
    .await;
    let mut body = w.send("POST", "/v1/chat/completions", chat_body(&[]).to_string()).await.into_body();
    let mut read = body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    let mut before = 0;
    let mut still = 0;
    let held = eventually("the upstream is held back", || {
        let now = sent.load(Ordering::SeqCst);
        still = if now == before { still + 1 } else { 0 };
        before = now;
        async move { (still > 60).then_some(now) }
    })
    .await;
    assert!(held < PIECES * 3 / 4, "{held} of {PIECES} pieces went out while nobody read");
    while let Some(frame) = body.frame().await {
        read += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!((read, sent.load(Ordering::SeqCst)), (PIECE * PIECES, PIECES));
    // Too large to be held, so nobody knows what it says; the record has all of it.
    assert_eq!(w.newest_call(CallStatus::Done).await.response_size, Some((PIECE * PIECES) as u64));
}

#[tokio::test]
async fn many_calls_on_one_connection_are_numbered_in_order() {
    let w = World::new(|_| sse_answer(&stream_of("x", &[]))).await;
    let mut connection = w.connect().await;
    for _ in 0..20 {
        connection.ready().await.unwrap();
        let r =
            connection.send_request(request("POST", "/v1/chat/completions", chat_body(&[]).to_string())).await.unwrap();
        r.into_body().collect().await.unwrap();
    }
    let turns: Vec<_> = w.calls().await.iter().map(|c| c.turn.unwrap()).collect();
    assert_eq!(turns, (1..=20).collect::<Vec<_>>());
    assert_eq!(w.store.call_totals(w.task).await.unwrap().sent, 20);
}

#[tokio::test]
async fn a_large_request_arrives_and_is_recorded_whole() {
    let w = World::new(|_| sse_answer(&stream_of("x", &[]))).await;
    let image = "QUJD".repeat(400_000);
    let content = json!([{"type":"image_url","image_url":{"url":format!("data:image/png;base64,{image}")}}]);
    let body = chat_body(&[("messages", json!([{"role":"user","content":content}]))]).to_string();
    assert_eq!(w.ask("POST", "/v1/chat/completions", body.clone()).await.0, StatusCode::OK);
    let sent = w.fake.seen().pop().unwrap().body;
    assert!(sent == body.replace("\"up/m\"", "\"m\""), "the upstream saw {} bytes of {}", sent.len(), body.len());
    let call = w.newest_call(CallStatus::Done).await;
    assert!(w.store.body_text(&call.request).await.unwrap() == body, "the record holds all of it");
}
