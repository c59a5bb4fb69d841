//! Calls that go wrong half-way, and calls that must not leave.

use crate::{
    fake::{json_answer, piecewise, sse_answer, stream_of},
    world::{World, chat_body, eventually, nobody, request},
};
use bytes::Bytes;
use domain::event::EventKind;
use gateway::{Config, Gateway};
use http_body_util::BodyExt;
use hyper::StatusCode;
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use store::CallStatus;

fn code(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap();
    value["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_that_goes_away_stops_the_upstream_and_what_arrived_is_recorded() {
    let w = World::new(nobody).await;
    let (pieces, live, response) = piecewise("text/event-stream");
    let mut response = Some(response);
    w.fake.answer(move |_| response.take().unwrap());
    let first = "data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n";
    pieces.send(Ok(Bytes::from(first))).unwrap();
    let mut connection = w.connect().await;
    let answer =
        connection.send_request(request("POST", "/v1/chat/completions", chat_body(&[]).to_string())).await.unwrap();
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    let left = Instant::now();
    drop((body, connection));
    eventually("the upstream is cancelled", || async {
        // The upstream notices a closed connection when it next writes.
        drop(pieces.send(Ok(Bytes::from_static(b": ping\n\n"))));
        (live.load(Ordering::SeqCst) == 0).then_some(())
    })
    .await;
    assert!(left.elapsed() < Duration::from_secs(2), "{:?}", left.elapsed());
    let call = w.newest_call(CallStatus::Cut).await;
    assert_eq!(call.error_code.as_deref(), Some("client_gone"));
    assert!(w.store.body_text(call.response.as_ref().unwrap()).await.unwrap().starts_with(first));
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_answer_is_noticed_too() {
    let w = World::new(nobody).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", silent.local_addr().unwrap());
    let (other, socket) = second_gateway(&w, url, |_| {}).await;
    let mut connection = crate::world::connect(&socket).await;
    let asked = request("POST", "/v1/chat/completions", chat_body(&[]).to_string());
    let mut upstream = {
        let answer = connection.send_request(asked);
        futures::pin_mut!(answer);
        let accepted = silent.accept();
        futures::pin_mut!(accepted);
        match futures::future::select(answer, accepted).await {
            futures::future::Either::Right((accepted, _)) => accepted.unwrap().0,
            futures::future::Either::Left(_) => panic!("answered by a silent upstream"),
        }
    };
    drop(connection);
    assert_eq!(w.newest_call(CallStatus::Cut).await.error_code.as_deref(), Some("client_gone"));
    // The request, and then the end: the upstream's connection is gone too.
    tokio::io::AsyncReadExt::read_to_end(&mut upstream, &mut Vec::new()).await.unwrap();
    other.shutdown().await;
}

#[tokio::test]
async fn an_upstream_that_breaks_off_never_looks_like_a_good_end_and_the_next_call_is_a_retry() {
    let w = World::new(nobody).await;
    for clean in [false, true] {
        let (pieces, _live, response) = piecewise("text/event-stream");
        let mut response = Some(response);
        w.fake.answer(move |_| response.take().unwrap());
        let half = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"exec\",\"arguments\":\"{}\"}}]}}]}\n\n";
        pieces.send(Ok(Bytes::from(half))).unwrap();
        let answer = w.send("POST", "/v1/chat/completions", chat_body(&[]).to_string()).await;
        let mut body = answer.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), half);
        if !clean {
            pieces.send(Err(std::io::Error::other("broken"))).unwrap();
        }
        drop(pieces);
        assert!(body.collect().await.is_err(), "clean end: {clean}");
        let call = w.newest_call(CallStatus::Cut).await;
        assert_eq!(call.error_code.as_deref(), Some("upstream_cut"));
    }
    assert!(w.store.tool_call_list(w.task, 0).await.unwrap().is_empty(), "half an answer asks for nothing");
    w.fake.answer(|_| sse_answer(&stream_of("x", &[])));
    w.chat(&chat_body(&[])).await;
    let calls = w.calls().await;
    let retries: Vec<_> = calls.iter().map(|c| c.retry_of).collect();
    assert_eq!(retries, [None, Some(calls[0].id), Some(calls[1].id)]);
    assert_eq!(w.store.call_totals(w.task).await.unwrap().retries, 2);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let trap = crate::fake::Fake::start(nobody).await;
    let target = format!("{}/chat/completions", trap.url());
    let w = World::new(move |_| {
        let mut r = json_answer(307, &Value::Null);
        r.headers_mut().insert("location", target.parse().unwrap());
        r
    })
    .await;
    let (status, body) = w.chat(&chat_body(&[])).await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::BAD_GATEWAY, "upstream_redirect"));
    assert!(trap.seen().is_empty() && w.fake.seen().len() == 1);
    let call = w.newest_call(CallStatus::Failed).await;
    assert_eq!((call.http_status, call.error_code.as_deref()), (Some(307), Some("upstream_redirect")));
}

#[tokio::test]
async fn silence_is_bounded_and_named() {
    let tweak = |c: &mut Config| {
        c.first_byte_timeout = Duration::from_millis(150);
        c.idle_timeout = Duration::from_millis(150);
    };
    let w = World::with(crate::world::command_agent(), tweak, nobody).await;
    let (pieces, _live, response) = piecewise("text/event-stream");
    let mut response = Some(response);
    w.fake.answer(move |_| response.take().unwrap());
    pieces.send(Ok(Bytes::from_static(b": ping\n\n"))).unwrap();
    let answer = w.send("POST", "/v1/chat/completions", chat_body(&[]).to_string()).await;
    assert!(answer.into_body().collect().await.is_err());
    assert_eq!(w.newest_call(CallStatus::TimedOut).await.error_code.as_deref(), Some("upstream_idle_timeout"));

    // A listener that accepts and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", silent.local_addr().unwrap());
    let (status, body) = call_through(&w, url, tweak).await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::GATEWAY_TIMEOUT, "upstream_first_byte_timeout"));
    assert_eq!(w.newest_call(CallStatus::TimedOut).await.error_code.as_deref(), Some("upstream_first_byte_timeout"));

    drop(silent);
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", gone.local_addr().unwrap());
    drop(gone);
    let (status, body) = call_through(&w, url, tweak).await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::BAD_GATEWAY, "upstream_unreachable"));
}

/// Another gateway for the world's task, whose upstream is at `url`.
async fn second_gateway(w: &World, url: String, tweak: impl FnOnce(&mut Config)) -> (Gateway, PathBuf) {
    let mut config = Config::new(w.dir.path().join("run2"));
    tweak(&mut config);
    config.retry.attempts = 1;
    let provider = crate::world::provider("up", gateway::ProviderKind::OpenaiCompatible, url);
    let registry = gateway::Registry::new(vec![provider], Vec::new(), &config).unwrap();
    let other = Gateway::new(config, w.store.clone(), registry);
    let socket = other.open(w.task).await.unwrap().path;
    (other, socket)
}

/// One call through a gateway whose upstream is at `url`.
async fn call_through(w: &World, url: String, tweak: impl FnOnce(&mut Config)) -> (StatusCode, Bytes) {
    let (other, socket) = second_gateway(w, url, tweak).await;
    let mut connection = crate::world::connect(&socket).await;
    let answer =
        connection.send_request(request("POST", "/v1/chat/completions", chat_body(&[]).to_string())).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    other.shutdown().await;
    (status, body)
}

#[tokio::test]
async fn a_closed_sandbox_ends_its_calls_with_a_record() {
    let w = World::new(nobody).await;
    let (pieces, _live, response) = piecewise("text/event-stream");
    let mut response = Some(response);
    w.fake.answer(move |_| response.take().unwrap());
    pieces.send(Ok(Bytes::from_static(b": ping\n\n"))).unwrap();
    let mut body = w.send("POST", "/v1/chat/completions", chat_body(&[]).to_string()).await.into_body();
    body.frame().await.unwrap().unwrap();
    w.gateway.shutdown().await;
    let call = w.calls().await.pop().unwrap();
    assert_eq!((call.status, call.error_code.as_deref()), (CallStatus::Cut, Some("sandbox_closed")));
    assert!(body.collect().await.is_err());
}

#[tokio::test]
async fn calls_that_a_crash_left_open_are_closed_as_unknown() {
    use futures::FutureExt;
    let w = World::new(nobody).await;
    let (pieces, _live, response) = piecewise("text/event-stream");
    let mut response = Some(response);
    w.fake.answer(move |_| response.take().unwrap());
    pieces.send(Ok(Bytes::from_static(b": ping\n\n"))).unwrap();
    let body = w.send("POST", "/v1/chat/completions", chat_body(&[]).to_string()).await.into_body();
    let recover = || w.store.write(store::Durability::Power, |tx| tx.calls_recover().boxed());
    assert_eq!((recover().await.unwrap(), recover().await.unwrap()), (1, 0));
    let call = w.calls().await.pop().unwrap();
    assert_eq!((call.status, call.error_code.as_deref()), (CallStatus::Unknown, Some("interrupted")));
    let ended = w.leaves(EventKind::LlmCall).await.pop().unwrap();
    assert_eq!(ended.event.outcome, Some(domain::event::Outcome::Unknown));
    // The one that still runs cannot end twice: its client sees a broken answer.
    drop(pieces);
    assert!(body.collect().await.is_err());
    assert_eq!(w.leaves(EventKind::LlmCall).await.len(), 2);
}

/// Runs in a process of its own, because a failpoint is global.
#[tokio::test]
#[ignore = "run by nothing_leaves_when_the_log_cannot_be_written in a process of its own"]
async fn child_log_unwritable() {
    let w = World::new(|_| sse_answer(&stream_of("x", &[]))).await;
    // Neither where the task's state cannot be read, nor where a record cannot be written.
    fail::cfg("store.begin", "return").unwrap();
    assert_eq!(w.chat(&chat_body(&[])).await.0, StatusCode::SERVICE_UNAVAILABLE);
    fail::remove("store.begin");
    fail::cfg("store.journal.append.before", "return").unwrap();
    fail::cfg("store.begin", "return").unwrap();
    let response = w.send("POST", "/v1/chat/completions", chat_body(&[]).to_string()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(code(&response.into_body().collect().await.unwrap().to_bytes()), "log_unwritable");
    let submit = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"submit_result","arguments":{"summary":"s"}}}"#;
    let (_, body) = w.ask("POST", "/mcp", submit).await;
    assert!(String::from_utf8_lossy(&body).contains("-32603"), "{body:?}");
    assert!(w.fake.seen().is_empty(), "the upstream saw a call that is not recorded");
    fail::remove("store.begin");
    let (status, _) = w.chat(&chat_body(&[])).await;
    assert_eq!(
        (status, w.fake.seen().len()),
        (StatusCode::SERVICE_UNAVAILABLE, 0),
        "the gate is open, the journal not"
    );
    fail::remove("store.journal.append.before");
    assert!(w.store.run_get(w.run).await.unwrap().submitted.is_none());
    assert_eq!(w.chat(&chat_body(&[])).await.0, StatusCode::OK, "it works again");

    // The end cannot be recorded: the answer must not look whole.
    let (pieces, _live, response) = piecewise("text/event-stream");
    let mut response = Some(response);
    w.fake.answer(move |_| response.take().unwrap());
    pieces.send(Ok(Bytes::from_static(b": ping\n\n"))).unwrap();
    let mut body = w.send("POST", "/v1/chat/completions", chat_body(&[]).to_string()).await.into_body();
    body.frame().await.unwrap().unwrap();
    fail::cfg("store.journal.append.before", "return").unwrap();
    pieces.send(Ok(Bytes::from(stream_of("x", &[])))).unwrap();
    let rest = body.collect().await;
    fail::remove("store.journal.append.before");
    assert!(rest.is_err(), "an answer ended well without a record of it");
    println!("child ran to its end");
}

#[test]
fn nothing_leaves_when_the_log_cannot_be_written() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::child_log_unwritable", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && text.contains("child ran to its end"),
        "{text}\n{}",
        String::from_utf8_lossy(&child.stderr)
    );
}
