//! Models that do not exist, may not be used, fail, break off, or are away: each is recorded and said.

use anyhow::{Context, Result};
use api::wire::Call;
use e2e::{
    Settings, World,
    agents::{openclaw, program},
    wait::{LONG, until},
    world,
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_names_a_model_that_exists() -> Result<()> {
    world(Settings::default(), async |w| {
        for (model, status, code) in
            [("openai/qip", 422, "unknown_model"), ("nowhere/pip", 422, "unknown_model"), ("", 400, "invalid_value")]
        {
            let mut new = openclaw("pip", "Work.");
            new.llm_model = model.to_owned();
            let reply = w.client.try_post("/api/tasks", &new).await?;
            assert_eq!((reply.status, reply.code()), (status, code), "{model}: {reply:?}");
            assert!(
                reply.body["error"]["hint"].as_str().is_some_and(|h| !h.is_empty())
                    && reply.body["error"]["request_id"].is_string()
            );
        }
        let reply = w.client.try_post("/api/tasks", &openclaw("pib", "Work.")).await?;
        assert!(
            reply.body["error"]["details"]["near"].to_string().contains("openai/pip"),
            "it names near ones: {reply:?}"
        );
        let mut new = openclaw("pip", "Work.");
        new.llm_model = "pip".to_owned();
        let reply = w.client.try_post("/api/tasks", &new).await?;
        assert_eq!(reply.body["llm_model"], json!("openai/pip"), "a bare name that one provider lists: {reply:?}");
        let tasks: Value = w.client.get("/api/tasks").await?;
        assert_eq!(tasks["items"].as_array().map(Vec::len), Some(1), "no half-made task");
        w.client.command(reply.body["id"].as_str().unwrap_or_default(), "cancel").await?.ok::<Value>()?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_uses_only_its_tasks_models() -> Result<()> {
    world(Settings::default(), async |w| {
        let before = w.seen().await?;
        let task = w.run(&program(&["calls", "openai/echo", "openai/demo", "other/echo", "../admin"])).await?;
        w.completed(&task).await?;
        let got: Value = serde_json::from_slice(&w.client.file(&task, "got.json").await?)?;
        assert_eq!(got["openai/echo"]["status"], json!(200), "{got}");
        for refused in ["openai/demo", "other/echo", "../admin"] {
            assert_eq!(got[refused]["status"], json!(403), "{got}");
        }
        let calls = w.client.calls(&task).await?;
        let statuses: Vec<_> = calls.iter().map(|c| (c.asked_model.as_str(), c.status.as_str())).collect();
        assert_eq!(
            statuses.iter().filter(|(_, s)| *s == "refused").count(),
            3,
            "refused calls are recorded: {statuses:?}"
        );
        let posted = |seen: &Value| seen["paths"]["/v1/chat/completions"].as_u64().unwrap_or(0);
        assert_eq!(posted(&w.seen().await?) - posted(&before), 1, "only one left the machine");
        Ok(())
    })
    .await
}

/// The calls of a task that called a failing model three times, once they are recorded as ended.
async fn three_calls(w: &World, model: &str) -> Result<Vec<Call>> {
    let mut new = program(&["retry"]);
    new.llm_model = format!("openai/{model}");
    let reply = w.client.try_post("/api/tasks", &new).await?;
    // A fault's name is no listed model; the provider's list decides, so it is named in full where it is taken.
    let id = reply.body["id"].as_str().with_context(|| format!("{reply:?}"))?.to_owned();
    w.client.command(&id, "start").await?.ok::<Value>()?;
    w.completed(&id).await?;
    until("the ends of the calls", LONG, async || {
        let calls = w.client.calls(&id).await?;
        Ok((calls.len() == 3 && calls.iter().all(|c| c.ended_at.is_some())).then_some(calls))
    })
    .await
}

/// Two calls failed, each tried again; after five failed attempts in a row the provider is left alone.
fn left_alone_at_last(calls: &[Call]) {
    assert!(calls[..2].iter().all(|c| c.status == "failed" && c.error.is_some()), "{calls:?}");
    assert_eq!(calls.iter().map(|c| c.attempts).collect::<Vec<_>>()[..2], [3, 2], "{calls:?}");
    assert_eq!(calls[2].status, "refused", "{calls:?}");
    assert_eq!(calls[2].error_code.as_deref(), Some("provider_unavailable"), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_away_is_an_error_and_not_a_hang() -> Result<()> {
    world(Settings::default(), async |w| {
        let mut new = program(&["retry"]);
        new.llm_model = "openai/echo".to_owned();
        let task: Value = w.client.post("/api/tasks", &new).await?;
        let id = task["id"].as_str().context("no id")?.to_owned();
        w.model_down().await;
        w.client.command(&id, "start").await?.ok::<Value>()?;
        w.completed(&id).await?;
        let calls = w.client.calls(&id).await?;
        assert_eq!(calls.len(), 3, "{calls:?}");
        left_alone_at_last(&calls);
        let health: Value = w.client.get("/api/system/health").await?;
        assert!(health.to_string().contains("provider:openai"), "{health}");
        let refused = w.client.try_post("/api/tasks", &openclaw("pip", "Work.")).await?;
        assert!(matches!(refused.code(), "provider_unreachable") || refused.status == 201, "{refused:?}");
        if let Some(made) = refused.body["id"].as_str() {
            w.client.command(made, "cancel").await?.ok::<Value>()?;
        }
        w.model_up().await?;
        // It is left alone for some seconds after it failed; then one call finds that it is back.
        until("the provider to be used again", LONG, async || {
            let task = w.run(&program(&["calls", "openai/echo"])).await?;
            w.completed(&task).await?;
            Ok((w.client.calls(&task).await?[0].status == "done").then_some(()))
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_and_a_broken_answer_are_recorded() -> Result<()> {
    world(Settings::default(), async |w| {
        let failed = three_calls(w, "status-500").await?;
        left_alone_at_last(&failed);
        assert!(failed[..2].iter().all(|c| c.http_status == Some(500)), "{failed:?}");
        Ok(())
    })
    .await?;
    world(Settings::default(), async |w| {
        let cut = three_calls(w, "cut").await?;
        assert!(cut.iter().all(|c| c.status == "cut"), "{cut:?}");
        assert!(cut.iter().all(|c| c.response_bytes.unwrap_or(0) > 0), "what came is kept: {cut:?}");
        assert_eq!(cut.iter().filter(|c| c.retry_of.is_some()).count(), 2, "repeats are counted: {cut:?}");
        Ok(())
    })
    .await
}
