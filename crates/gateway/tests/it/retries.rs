//! Attempts: again, elsewhere, and not at all.

use crate::{
    fake::{Fake, json_answer},
    outside::{Outside, chat, error_code},
};
use gateway::{AliasConfig, ProviderConfig, ProviderKind};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use store::CallStatus;

fn alias(name: &str, targets: &[&str]) -> Vec<AliasConfig> {
    vec![AliasConfig { name: name.into(), targets: targets.iter().map(|t| (*t).to_owned()).collect() }]
}

#[tokio::test]
async fn an_attempt_that_failed_is_made_again_and_each_is_recorded() {
    let w = Outside::new().await;
    for stream in [false, true] {
        let (status, body) = w.ask("/v1/chat/completions", &chat("openai/err-500-then-ok", stream)).await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        let call = w.newest_call(CallStatus::Done).await;
        assert_eq!(call.attempts, 2);
        let attempts = w.store.call_attempts(call.id).await.unwrap();
        let seen: Vec<_> = attempts.iter().map(|a| (a.number, a.http_status, a.status)).collect();
        assert_eq!(seen, [(1, Some(500), CallStatus::Failed), (2, Some(200), CallStatus::Done)]);
        assert!(attempts[0].response.is_some(), "what the provider said is kept");
    }
    assert_eq!(w.seen().len(), 4);
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let w = Outside::new().await;
    let began = Instant::now();
    let (status, body) = w.ask("/v1/messages", &messages("anthropic/err-429-r1-then-ok")).await;
    assert_eq!(status, StatusCode::OK, "{body:?}");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

fn messages(model: &str) -> Value {
    json!({"model":model,"max_tokens":20,"messages":[{"role":"user","content":"hi"}]})
}

#[tokio::test]
async fn an_error_that_stays_is_told_in_the_clients_own_shape() {
    let w = Outside::with(|c| c.retry.attempts = 2, |p| p, Vec::new()).await;
    for (model, attempts) in [("openai/err-400", 1), ("anthropic/err-400", 1), ("gemini/err-503", 2)] {
        let (status, body) = w.ask("/v1/messages", &messages(model)).await;
        let error: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&error["type"], error["error"]["message"].is_string()),
            (&json!("error"), true),
            "{model}: {error}"
        );
        assert!(status.is_client_error() || status.is_server_error());
        assert_eq!(w.newest_call(CallStatus::Failed).await.attempts, attempts, "{model}");
        let (_, body) = w.ask("/v1/chat/completions", &chat(model, false)).await;
        let error: Value = serde_json::from_slice(&body).unwrap();
        assert!(error["error"]["message"].is_string() && error["type"].is_null(), "{model}: {error}");
    }
}

#[tokio::test]
async fn an_alias_goes_on_to_its_next_model() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", gone.local_addr().unwrap());
    drop(gone);
    let with_gone = |mut all: Vec<ProviderConfig>| {
        all.push(ProviderConfig::new("gone", ProviderKind::Openai, url));
        all
    };
    let targets = ["gone/m", "openai/err-500", "anthropic/text"];
    let w = Outside::with(|c| c.retry.attempts = 1, with_gone, alias("smart", &targets)).await;
    let (status, body) = w.ask("/v1/chat/completions", &chat("smart", false)).await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &answer["model"]), (StatusCode::OK, &json!("smart")), "{answer}");
    let call = w.newest_call(CallStatus::Done).await;
    assert_eq!((call.asked_model.as_str(), call.provider.as_deref(), call.attempts), ("smart", Some("anthropic"), 3));
    let attempts = w.store.call_attempts(call.id).await.unwrap();
    let seen: Vec<_> = attempts.iter().map(|a| (a.provider.as_str(), a.format.as_str(), a.http_status)).collect();
    assert_eq!(seen, [("gone", "chat", None), ("openai", "chat", Some(500)), ("anthropic", "messages", Some(200))]);
}

#[tokio::test]
async fn what_one_target_cannot_carry_goes_to_the_next() {
    let w = Outside::with(|_| {}, |p| p, alias("embed", &["anthropic/text", "ollama/text"])).await;
    let (status, body) = w.ask("/v1/embeddings", &json!({"model":"embed","input":"x"})).await;
    assert_eq!(status, StatusCode::OK, "{body:?}");
    assert_eq!(w.newest_call(CallStatus::Done).await.provider.as_deref(), Some("ollama"));
}

#[tokio::test]
async fn a_provider_that_keeps_failing_is_left_alone_for_a_while() {
    let rest = |c: &mut gateway::Config| {
        c.retry.attempts = 1;
        c.breaker.in_a_row = 3;
    };
    let w = Outside::with(rest, |p| p, Vec::new()).await;
    for _ in 0..3 {
        w.ask("/v1/chat/completions", &chat("openai/err-500", false)).await;
    }
    let response = w.send(&w.key, "/v1/chat/completions", &chat("openai/text", false)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(w.newest_call(CallStatus::Refused).await.error_code.as_deref(), Some("provider_unavailable"));
    assert_eq!(w.seen().len(), 3, "nothing went there any more");
    let (status, _) = w.ask("/v1/chat/completions", &chat("anthropic/text", false)).await;
    assert_eq!(status, StatusCode::OK, "the others are not concerned");
    let (status, _) = w.ask("/v1/embeddings", &json!({"model":"openai/text","input":"x"})).await;
    assert_eq!(status, StatusCode::OK, "nor is another endpoint of the same provider");
}

#[tokio::test]
async fn a_provider_gets_no_more_calls_at_once_than_it_may() {
    let limited = |mut all: Vec<ProviderConfig>| {
        for p in &mut all {
            (p.max_concurrency, p.queue) = (Some(1), Some(1));
        }
        all
    };
    let w = Outside::with(|c| c.retry.attempts = 1, limited, Vec::new()).await;
    let slow = chat("openai/slow-d300", false);
    let ask = || w.ask("/v1/chat/completions", &slow);
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    let mut statuses = [a.0, b.0, c.0].map(|s| s.as_u16());
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503], "one runs, one waits, one is turned away");
    let busy = w.calls().await.into_iter().find(|c| c.status == CallStatus::Failed).unwrap();
    assert_eq!(busy.error_code.as_deref(), Some("provider_busy"));
    assert_eq!(w.seen().len(), 2);
}

#[tokio::test]
async fn nothing_is_sent_again_once_something_was_passed_on() {
    let w = Outside::new().await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let before = w.seen().len();
        let mut body = messages("openai/cut");
        body["stream"] = true.into();
        let response = w.send(&w.key, path, &body).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(http_body_util::BodyExt::collect(response.into_body()).await.is_err());
        assert_eq!(w.newest_call(CallStatus::Cut).await.attempts, 1);
        assert_eq!(w.seen().len(), before + 1);
    }
}

#[tokio::test]
async fn no_second_attempt_leaves_without_a_record() {
    // A fake whose first answer makes the journal unwritable would be a failpoint, which is global; what can be shown
    // here is the order: when the provider sees the second attempt, the first one's end is recorded.
    let fake = Fake::start(|_| json_answer(500, &json!({"error":{"message":"no"}}))).await;
    let url = fake.url();
    let w = Outside::with(
        |c| c.retry.attempts = 3,
        |_| vec![ProviderConfig::new("up", ProviderKind::OpenaiCompatible, url)],
        Vec::new(),
    )
    .await;
    let (status, body) = w.ask("/v1/chat/completions", &chat("up/m", false)).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{body:?}");
    let call = w.newest_call(CallStatus::Failed).await;
    assert_eq!((call.attempts as usize, fake.seen().len()), (3, 3));
    let (status, body) = w.ask("/v1/chat/completions", &chat("nope/m", false)).await;
    assert_eq!((status, error_code(&body).as_str()), (StatusCode::NOT_FOUND, "model_not_found"));
}
