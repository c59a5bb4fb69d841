//! The real OpenClaw under control: paused, killed, spoken to, continued, and impersonated.

use anyhow::{Context, Result};
use api::wire::{Continue, Task};
use e2e::{Settings, agents::openclaw, docker, wait, world};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_task_goes_on_in_its_session() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&openclaw("slow", "Work: steps=3 seconds=2")).await?;
        w.event(&task, "the second model call", |e| {
            e.kind == "llm.call" && e.phase == json!("begun") && e.data["turn"] == json!(2)
        })
        .await?;
        w.client.command(&task, "pause").await?.ok::<Task>()?;
        w.status(&task, "paused").await?;
        assert!(docker::agent_of(&task).await?.is_none(), "a paused task holds no container");
        w.client.command(&task, "resume").await?.ok::<Task>()?;
        let done = w.completed(&task).await?;
        let causes: Vec<_> = done.runs[0].iterations.iter().map(|i| i.cause.clone()).collect();
        assert_eq!(causes, [json!("start"), json!("resume")]);
        for step in 1..=3 {
            w.delivered(&task, &format!("slow-{step}.txt")).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_container_is_replaced_and_the_session_goes_on() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&openclaw("slow", "Work: steps=3 seconds=2")).await?;
        w.event(&task, "a tool call", |e| e.kind == "tool.call").await?;
        let container = w.container(&task).await?;
        docker::docker(&["kill", "--signal", "KILL", &container]).await?;
        let done = w.completed(&task).await?;
        assert_eq!(done.runs[0].iterations.len(), 2, "{:?}", done.runs[0].iterations);
        let end = done.runs[0].iterations[0].end.clone().context("the first iteration has ended")?;
        assert_eq!(end["end"], json!("interrupted"), "{end}");
        w.delivered(&task, "slow-3.txt").await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_ends_it_at_once() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&openclaw("slow", "Work: steps=50 seconds=2")).await?;
        w.event(&task, "a tool call", |e| e.kind == "tool.call").await?;
        w.client.command(&task, "cancel").await?.ok::<Task>()?;
        let done = w.ended(&task).await?;
        assert_eq!(done.task.status, "cancelled");
        assert!(docker::agent_of(&task).await?.is_none());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_comes_with_the_next_tool_result_or_at_once() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&openclaw("messages", "Listen: seconds=6")).await?;
        w.event(&task, "it listens", |e| e.kind == "agent.progress").await?;
        assert_eq!(w.client.message(&task, "prefer blue 0815", false).await?.status, 201);
        w.completed(&task).await?;
        assert!(w.delivered(&task, "heard.txt").await?.contains("prefer blue 0815"));
        assert_eq!(w.client.task(&task).await?.runs[0].iterations.len(), 1, "it was not restarted");

        let task = w.run(&openclaw("slow", "Work: steps=2 seconds=3")).await?;
        w.event(&task, "a tool call", |e| e.kind == "tool.call").await?;
        assert_eq!(w.client.message(&task, "hurry 4242", true).await?.status, 201);
        let done = w.completed(&task).await?;
        assert_eq!(done.runs[0].iterations.len(), 2, "it was restarted to hear it");
        assert_eq!(done.runs[0].iterations[0].stop, Some(json!("restart")));
        let calls = w.client.calls(&task).await?;
        let mut heard = false;
        for call in calls {
            let detail: api::wire::CallDetail = w.client.get(&format!("/api/llm/calls/{}", call.id)).await?;
            heard |= detail.request.is_some_and(|r| r.contains("hurry 4242"));
        }
        assert!(heard, "the model was told");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_further_run_continues_image_workspace_and_session() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&openclaw("continue", "Take notes.")).await?;
        let first = w.completed(&task).await?;
        let more = Continue { instructions: "and note 31337".to_owned() };
        w.client.post::<Task>(&format!("/api/tasks/{task}/continue"), &more).await?;
        let done = wait::until("the second run", wait::LONG, async || {
            let t = w.client.task(&task).await?;
            Ok((t.task.ended && t.runs.len() == 2).then_some(t))
        })
        .await?;
        assert_eq!(done.task.status, "completed", "{:?}", done.runs[1].failure);
        assert_eq!(done.task.image, first.task.image);
        assert!(w.delivered(&task, "message-1.txt").await?.contains("and note 31337"));
        assert_eq!(w.delivered(&task, "notes.txt").await?, "first run\nmessage 1\n", "the workspace stayed");
        Ok(())
    })
    .await
}

/// A program that the model starts cannot submit in its place.
const FORGERY: &str = r#"exec: python3 -c 'import json,urllib.request as u; print(u.urlopen(u.Request("http://127.0.0.1:8080/mcp", json.dumps({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"submit_result","arguments":{"summary":"forged","files":[]}}}).encode(), {"content-type":"application/json"})).read().decode())' | tee forged.txt
submit: honest | forged.txt"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_cannot_submit_for_the_model() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&openclaw("follow", FORGERY)).await?;
        let done = w.completed(&task).await?;
        assert_eq!(done.runs[0].summary.as_deref(), Some("honest"));
        let told = w.delivered(&task, "forged.txt").await?;
        assert!(told.contains("Not submitted") && told.contains("made by a program"), "{told}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_without_an_end_is_nudged_once() -> Result<()> {
    world(Settings::default(), async |w| {
        let late = w.run(&openclaw("late-submit", "Work.")).await?;
        let never = w.run(&openclaw("plain-end", "Work.")).await?;
        let done = w.completed(&late).await?;
        assert_eq!(done.runs[0].iterations[1].cause, json!("nudge"));
        let done = w.ended(&never).await?;
        assert_eq!(done.task.status, "completed");
        assert_eq!(done.runs[0].outcome.as_deref(), Some("not_submitted"));
        assert_eq!(done.runs[0].iterations.len(), 2);
        Ok(())
    })
    .await
}
