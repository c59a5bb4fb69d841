//! Limits are enforced from outside and named: memory, time, disk, iterations.

use anyhow::Result;
use api::wire::{NewTask, TaskDetail};
use e2e::{
    Settings, World,
    agents::{limited, program},
    client::answer,
    world,
};

async fn failed(w: &World, new: &NewTask, code: &str) -> Result<TaskDetail> {
    let task = w.run(new).await?;
    let done = w.ended(&task).await?;
    let run = &done.runs[0];
    assert_eq!(
        (done.task.status.as_str(), run.failure_code.as_deref()),
        ("failed", Some(code)),
        "{}",
        e2e::short(&done)
    );
    Ok(done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_time_and_disk_are_named() -> Result<()> {
    world(Settings::default(), async |w| {
        failed(w, &limited(program(&["memory"]), |l| l.memory_bytes = 128 << 20), "limit_memory").await?;
        failed(w, &limited(program(&["forever"]), |l| l.run_time_s = 5), "limit_time").await?;
        failed(w, &limited(program(&["disk"]), |l| l.disk_bytes = 64 << 20), "limit_disk").await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn iterations_are_counted() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&NewTask { max_iterations: Some(2), ..program(&["again"]) }).await?;
        for _ in 0..2 {
            let shown = w.pending(&task, 1).await?.remove(0);
            let digest = shown.request.digest.clone().unwrap_or_default();
            assert_eq!(w.client.review(&shown.request.id, &answer(&digest, "yes")).await?.status, 200);
        }
        let done = w.ended(&task).await?;
        assert_eq!(done.runs[0].failure_code.as_deref(), Some("iteration_limit"), "{}", e2e::short(&done));
        assert_eq!(done.runs[0].iterations.len(), 2);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_neither_asks_nor_submits_is_nudged_once() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["silent"])).await?;
        let done = w.ended(&task).await?;
        assert_eq!((done.task.status.as_str(), done.runs[0].outcome.as_deref()), ("completed", Some("not_submitted")));
        assert_eq!(done.runs[0].iterations.len(), 2);
        let told = String::from_utf8(w.client.file(&task, "prompt-2.txt").await?)?;
        assert!(told.contains("without submitting"), "{told}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_not_there_fails_with_its_reason() -> Result<()> {
    world(Settings::default(), async |w| {
        let new = NewTask { command: Some(vec!["no-such-program".into()]), ..program(&["silent"]) };
        let done = failed(w, &new, "agent_not_started").await?;
        assert_eq!(done.runs[0].iterations.len(), 1, "it is not tried again");
        Ok(())
    })
    .await
}
