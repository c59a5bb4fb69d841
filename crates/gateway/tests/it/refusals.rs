//! Calls that are refused: the upstream sees nothing, the record says why.

use crate::world::{World, chat_body, nobody, our_tools};
use bytes::Bytes;
use domain::{
    event::{EventKind, Outcome},
    task::{Agent, Command},
};
use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::StatusCode;
use serde_json::{Value, json};
use store::{CallStatus, Durability};

#[tokio::test]
async fn a_model_outside_the_policy_is_refused_and_recorded() {
    let w = World::new(nobody).await;
    let mut expected = Vec::new();
    for model in ["up/other", "other", "elsewhere/m", "up/m "] {
        let (status, body) = w.chat(&chat_body(&[("model", json!(model))])).await;
        let error: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &error["error"]["code"]), (StatusCode::FORBIDDEN, &json!("model_not_allowed")));
        assert!(error["error"]["message"].as_str().unwrap().contains("up/m"), "it says what is allowed");
        expected.push((model.to_owned(), "model_not_allowed"));
    }
    for body in [
        r#"{"model":"up/m","Model":"up/secret","messages":[]}"#,
        r#"{"model":"up/m","model":"up/secret","messages":[]}"#,
        r#"{"messages":"#,
    ] {
        assert_eq!(w.ask("POST", "/v1/chat/completions", body).await.0, StatusCode::BAD_REQUEST);
        expected.push((String::new(), "bad_request"));
    }
    assert!(w.fake.seen().is_empty());
    let calls = w.calls().await;
    let seen: Vec<_> =
        calls.iter().map(|c| (c.asked_model.clone(), c.error_code.as_deref().unwrap_or_default())).collect();
    assert_eq!(seen, expected);
    assert!(calls.iter().all(|c| c.status == CallStatus::Refused && c.turn.is_none()));
    let leaves = w.leaves(EventKind::LlmRefused).await;
    assert_eq!(leaves.len(), calls.len());
    assert!(leaves.iter().all(|l| l.event.outcome == Some(Outcome::Refused)));
    assert!(w.body_of(&leaves[0], "request").await.contains("up/other"));
    assert_eq!(w.store.call_totals(w.task).await.unwrap().refused, 7);
}

#[tokio::test]
async fn a_task_that_is_being_paused_or_stopped_lets_nothing_out() {
    for (command, code) in [(Command::Pause, "task_pausing"), (Command::Cancel, "task_stopping")] {
        let w = World::new(nobody).await;
        let task = w.task;
        w.store
            .write(Durability::Process, move |tx| {
                async move { tx.task_command(task, command, "tester").await.map(drop) }.boxed()
            })
            .await
            .unwrap();
        let response = w.send("POST", "/v1/chat/completions", chat_body(&[]).to_string()).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()["retry-after"], "5");
        let error: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(error["error"]["code"], code);
        assert!(w.tool("report_progress", &json!({"message":"m"})).await.starts_with("Not done"));
        assert!(w.fake.seen().is_empty());
        assert_eq!(w.newest_call(CallStatus::Refused).await.error_code.as_deref(), Some(code));
    }
}

#[tokio::test]
async fn a_first_request_without_our_tools_fails_the_run_once() {
    let w = World::with(Agent::Openclaw, |_| {}, nobody).await;
    let intents = w.store.intents().await.unwrap().len();
    let mut three = our_tools();
    three.as_array_mut().unwrap().pop();
    for tools in [json!([]), three] {
        let (status, body) = w.chat(&chat_body(&[("tools", tools)])).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{body:?}");
    }
    assert!(w.fake.seen().is_empty());
    assert_eq!(w.store.run_get(w.run).await.unwrap().tools_missing, 1);
    assert_eq!(w.leaves(EventKind::AgentToolsMissing).await.len(), 1);
    assert_eq!(w.store.intents().await.unwrap().len(), intents + 1, "the workflow is woken");

    w.fake.answer(|_| crate::fake::sse_answer(&crate::fake::stream_of("x", &[])));
    assert_eq!(w.chat(&chat_body(&[("tools", our_tools())])).await.0, StatusCode::OK);
    assert_eq!(w.chat(&chat_body(&[])).await.0, StatusCode::OK, "only the first request is judged by this");
}

#[tokio::test]
async fn bodies_are_bounded() {
    let tweak = |c: &mut gateway::Config| {
        c.max_request_bytes = 1000;
        c.max_response_bytes = 1000;
    };
    let w = World::with(crate::world::command_agent(), tweak, nobody).await;
    let (status, body) = w.ask("POST", "/v1/chat/completions", vec![b'x'; 1001]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body:?}");
    assert_eq!(w.newest_call(CallStatus::Refused).await.error_code.as_deref(), Some("body_too_large"));
    w.fake.answer(|_| crate::fake::sse_answer(&format!("data: {}\n\n", "x".repeat(2000))));
    let mut connection = w.connect().await;
    let asked = crate::world::request("POST", "/v1/chat/completions", chat_body(&[]).to_string());
    // Broken off within the answer, or before the head of it has left.
    if let Ok(response) = connection.send_request(asked).await {
        assert!(response.into_body().collect().await.is_err());
    }
    assert_eq!(w.newest_call(CallStatus::Cut).await.error_code.as_deref(), Some("response_too_large"));
    assert_eq!(w.ask("POST", "/tf/events", vec![b' '; 20 << 10]).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn events_are_advisory_bounded_and_marked() {
    let w = World::new(nobody).await;
    let (status, _) = w.ask("POST", "/tf/events", r#"{"ev":"tool_start","tool":"exec"}"#).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(w.ask("POST", "/tf/events", "[1]").await.0, StatusCode::BAD_REQUEST);
    let leaf = w.leaves(EventKind::AgentEvent).await.pop().unwrap();
    assert_eq!((&leaf.event.actor, &leaf.event.data["ev"]), (&domain::event::Actor::Sandbox, &json!("tool_start")));
    assert_eq!(leaf.event.run, Some(w.run));
    assert!(w.body_of(&leaf, "event").await.contains("exec"));
    let mut refused = Bytes::new();
    for _ in 0..400 {
        let (status, body) = w.ask("POST", "/tf/events", "{}").await;
        if status == StatusCode::TOO_MANY_REQUESTS {
            refused = body;
            break;
        }
    }
    assert!(String::from_utf8_lossy(&refused).contains("too_many_events"));
}
