//! Pause, resume, cancel and message in every state, with a small real program as the agent.

use anyhow::{Result, ensure};
use api::wire::{Task, TaskDetail};
use e2e::{
    Reply, Settings, World,
    agents::program,
    docker,
    wait::{self, until},
    world,
};
use serde_json::json;

fn legal(reply: &Reply, expect: Result<(), &str>) -> Result<()> {
    match expect {
        Ok(()) => ensure!((200..300).contains(&reply.status), "{reply:?}"),
        Err(code) => ensure!(reply.status == 409 && reply.code() == code, "{reply:?}"),
    }
    Ok(())
}

const ILLEGAL: Result<(), &str> = Err("illegal_transition");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_has_not_started_or_has_ended_refuses_what_makes_no_sense() -> Result<()> {
    world(Settings::default(), async |w| {
        let created: Task = w.client.post("/api/tasks", &program(&["listen"])).await?;
        let id = &created.id;
        for command in ["pause", "resume"] {
            legal(&w.client.command(id, command).await?, ILLEGAL)?;
        }
        legal(&w.client.message(id, "hello", false).await?, ILLEGAL)?;
        legal(&w.client.command(id, "cancel").await?, Ok(()))?;
        assert_eq!(w.client.task(id).await?.task.status, "cancelled");
        for command in ["start", "pause", "resume", "cancel"] {
            legal(&w.client.command(id, command).await?, ILLEGAL)?;
        }
        legal(&w.client.message(id, "hello", true).await?, ILLEGAL)?;
        assert!(docker::objects(&w.installation).await?.iter().all(|o| o.task != *id), "it made nothing");
        Ok(())
    })
    .await
}

async fn cancelled(w: &World, task: &str) -> Result<TaskDetail> {
    legal(&w.client.command(task, "cancel").await?, Ok(()))?;
    let done = w.ended(task).await?;
    ensure!(done.task.status == "cancelled", "{}", e2e::short(&done));
    ensure!(docker::agent_of(task).await?.is_none(), "its container is still there");
    Ok(done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn right_after_its_start() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["listen"])).await?;
        cancelled(w, &task).await?;
        let task = w.run(&program(&["listen"])).await?;
        legal(&w.client.command(&task, "pause").await?, Ok(()))?;
        legal(&w.client.message(&task, "while starting", false).await?, Ok(()))?;
        w.status(&task, "paused").await?;
        legal(&w.client.command(&task, "resume").await?, Ok(()))?;
        w.completed(&task).await?;
        assert!(w.delivered(&task, "heard.txt").await?.contains("while starting"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_runs() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["listen"])).await?;
        w.event(&task, "it works", |e| e.kind == "agent.progress").await?;
        legal(&w.client.command(&task, "start").await?, ILLEGAL)?;
        legal(&w.client.command(&task, "resume").await?, ILLEGAL)?;
        legal(&w.client.command(&task, "pause").await?, Ok(()))?;
        legal(&w.client.command(&task, "pause").await?, ILLEGAL)?;
        w.status(&task, "paused").await?;
        assert!(docker::agent_of(&task).await?.is_none());
        legal(&w.client.message(&task, "while paused", false).await?, Ok(()))?;
        assert_eq!(w.client.task(&task).await?.task.status, "paused", "a message does not resume");
        legal(&w.client.command(&task, "resume").await?, Ok(()))?;
        w.completed(&task).await?;
        assert!(w.delivered(&task, "heard.txt").await?.contains("while paused"));

        let task = w.run(&program(&["listen"])).await?;
        w.event(&task, "it works", |e| e.kind == "agent.progress").await?;
        legal(&w.client.command(&task, "pause").await?, Ok(()))?;
        w.status(&task, "paused").await?;
        cancelled(w, &task).await?;

        let task = w.run(&program(&["listen"])).await?;
        w.event(&task, "it works", |e| e.kind == "agent.progress").await?;
        legal(&w.client.message(&task, "while running", false).await?, Ok(()))?;
        let done = w.completed(&task).await?;
        assert_eq!(done.runs[0].iterations.len(), 1);
        assert!(w.delivered(&task, "heard.txt").await?.contains("while running"));

        let task = w.run(&program(&["forever"])).await?;
        w.container(&task).await?;
        w.status(&task, "running").await?;
        cancelled(w, &task).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_request_is_resolved() -> Result<()> {
    world(Settings::default(), async |w| {
        for command in ["cancel", "pause"] {
            let task = w.run(&program(&["packages", "six"])).await?;
            w.event(&task, "resolving", |e| e.kind == "request.resolve" && e.phase == json!("begun")).await?;
            if command == "cancel" {
                cancelled(w, &task).await?;
                let request = w.client.requests(&task).await?.remove(0);
                assert_eq!(request.status, "withdrawn");
                continue;
            }
            legal(&w.client.command(&task, "pause").await?, Ok(()))?;
            w.status(&task, "paused").await?;
            legal(&w.client.message(&task, "never mind", false).await?, Ok(()))?;
            legal(&w.client.command(&task, "resume").await?, Ok(()))?;
            w.approve(&task).await?;
            w.completed(&task).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_waits() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["packages", "six"])).await?;
        let shown = w.pending(&task, 1).await?.remove(0);
        cancelled(w, &task).await?;
        let late = w
            .client
            .review(&shown.request.id, &e2e::client::approve(shown.request.digest.as_deref().unwrap_or_default()))
            .await?;
        assert_eq!(late.status, 409, "{late:?}");

        let task = w.run(&program(&["packages", "six"])).await?;
        let shown = w.pending(&task, 1).await?.remove(0);
        legal(&w.client.command(&task, "pause").await?, Ok(()))?;
        w.status(&task, "paused").await?;
        legal(&w.client.message(&task, "while waiting", false).await?, Ok(()))?;
        w.approve_shown(&shown).await?;
        assert_eq!(w.client.task(&task).await?.task.desired, "pause", "a decision does not resume");
        legal(&w.client.command(&task, "resume").await?, Ok(()))?;
        w.completed(&task).await?;
        assert!(w.delivered(&task, "result.txt").await?.contains("six works"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_builds() -> Result<()> {
    world(Settings::default(), async |w| {
        let building = async |package: &str| -> Result<String> {
            let task = w.run(&program(&["packages", package])).await?;
            w.approve(&task).await?;
            w.event(&task, "a build", |e| e.kind == "image.build" && e.phase == json!("begun")).await?;
            Ok(task)
        };
        let task = building("six").await?;
        cancelled(w, &task).await?;

        let task = building("toml").await?;
        legal(&w.client.command(&task, "pause").await?, Ok(()))?;
        w.status(&task, "paused").await?;
        legal(&w.client.message(&task, "while building", false).await?, Ok(()))?;
        let before = w.client.task(&task).await?;
        until("the build's end", wait::LONG, async || {
            let events = w.client.events(&task).await?;
            Ok(events.iter().any(|e| e.kind == "image.build" && e.phase == json!("ended")).then_some(()))
        })
        .await?;
        let paused = w.client.task(&task).await?;
        assert_eq!(
            (paused.task.status.as_str(), &paused.task.image),
            ("paused", &before.task.image),
            "kept and not applied"
        );
        legal(&w.client.command(&task, "resume").await?, Ok(()))?;
        w.completed(&task).await?;
        assert!(w.delivered(&task, "result.txt").await?.contains("toml works"));
        Ok(())
    })
    .await
}
