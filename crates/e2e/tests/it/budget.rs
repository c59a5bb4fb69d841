//! A task whose budget is used up pauses and asks for more instead of failing.

use anyhow::{Result, ensure};
use api::wire::{Budget, BudgetWindow, NewTask, Page, Policy, RequestAsk, RequestDetail};
use e2e::{
    Settings, World,
    agents::program,
    client::{deny, suggest},
    docker,
    wait::{PATIENCE, until},
    world,
};
use serde_json::{Value, json};

fn calls(n: u64) -> Budget {
    Budget { calls: Some(n), ..Budget::default() }
}

/// A program that makes `steps` model calls, with a budget of `budget` of them.
fn spender(steps: u64, budget: u64) -> NewTask {
    NewTask { budget: Some(calls(budget)), ..program(&["spend", &steps.to_string()]) }
}

/// Waits for the request; the agent's process is gone, and what was refused is on the record.
async fn asked(w: &World, task: &str) -> Result<RequestDetail> {
    let shown = w.pending(task, 1).await?.remove(0);
    until("no container while it waits", PATIENCE, async || Ok(docker::agent_of(task).await?.is_none().then_some(())))
        .await?;
    Ok(shown)
}

async fn statuses(w: &World, task: &str) -> Result<Vec<(String, Option<String>)>> {
    Ok(w.client.calls(task).await?.into_iter().map(|c| (c.status, c.error_code)).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_up_budget_waits_and_goes_on_when_it_is_raised() -> Result<()> {
    world(Settings::default(), async |w| {
        let before = w.seen().await?;
        let task = w.run(&spender(5, 2)).await?;
        for (n, (now, more)) in [(2, 4), (4, 6)].into_iter().enumerate() {
            let shown = asked(w, &task).await?;
            let RequestAsk::Budget { budget, used, need, granted, policy_version } = shown.request.ask.clone() else {
                anyhow::bail!("{shown:?}")
            };
            assert_eq!((budget, used.calls, need.calls, granted), (calls(now), now, 1, calls(more)));
            assert_eq!((policy_version as usize, shown.request.provenance.by.as_str()), (n + 1, "taskforge"));
            assert!(shown.candidate.is_none() && shown.request.digest.is_some());
            if n == 0 {
                let digest = shown.request.digest.clone().unwrap_or_default();
                let reply = w.client.review(&shown.request.id, &suggest(&digest, "use less")).await?;
                assert_eq!(reply.code(), "verdict_unfit", "{reply:?}");
            }
            w.approve_shown(&shown).await?;
        }
        let done = w.completed(&task).await?;
        assert_eq!(w.delivered(&task, "steps.txt").await?, "1\n2\n3\n4\n5\n", "each step once");
        let told = w.delivered(&task, "told.txt").await?;
        assert!(told.contains("raised it to 6 calls") && told.contains("The task is:"), "{told}");
        let refused = String::from_utf8(w.client.file(&task, "refused.txt").await?)?;
        let first: Value = serde_json::from_str(refused.lines().next().unwrap_or_default())?;
        assert_eq!(first["error"]["code"], json!("budget_exceeded"), "{refused}");
        let posted = |seen: &Value| seen["paths"]["/v1/chat/completions"].as_u64().unwrap_or(0);
        assert_eq!(posted(&w.seen().await?) - posted(&before), 6, "five steps and the one after the result");
        let seen = statuses(w, &task).await?;
        assert!(seen.contains(&("refused".into(), Some("budget_exceeded".into()))), "{seen:?}");
        let policies: Page<Policy> = w.client.get(&format!("/api/tasks/{task}/policies")).await?;
        let budgets: Vec<_> = policies.items.iter().map(|p| p.budget).collect();
        assert_eq!(budgets, [Some(calls(2)), Some(calls(4)), Some(calls(6))]);
        assert_eq!(done.runs[0].iterations.len(), 3);
        super::crash::nothing_twice(w, &task).await?;
        ensure!(w.client.verify().await?.ok, "the log does not verify");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_budget_ends_the_run_and_a_further_one_asks_again() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&spender(3, 1)).await?;
        let shown = asked(w, &task).await?;
        let digest = shown.request.digest.clone().unwrap_or_default();
        assert_eq!(w.client.review(&shown.request.id, &deny(&digest, "too dear")).await?.status, 200);
        let done = w.ended(&task).await?;
        let run = &done.runs[0];
        assert_eq!((done.task.status.as_str(), run.failure_code.as_deref()), ("failed", Some("budget_denied")));
        assert!(run.failure.as_deref().is_some_and(|f| f.contains("too dear")), "{}", e2e::short(&done));
        let (path, words) = (format!("/api/tasks/{task}/continue"), json!({"instructions": "Once more."}));
        w.client.post::<Value>(&path, &words).await?;
        for _ in 0..2 {
            let shown = asked(w, &task).await?;
            w.approve_shown(&shown).await?;
        }
        w.completed(&task).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_counted_across_a_kill_and_a_bad_one_is_refused() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&spender(4, 3)).await?;
        asked(w, &task).await?;
        w.kill().await?;
        w.up().await?;
        let shown = asked(w, &task).await?;
        w.approve_shown(&shown).await?;
        w.completed(&task).await?;
        for bad in [calls(0), Budget { window: BudgetWindow::Day, ..Budget::default() }] {
            let reply = w.client.try_post("/api/tasks", &NewTask { budget: Some(bad), ..spender(1, 1) }).await?;
            assert_eq!((reply.status, reply.code()), (400, "invalid_value"), "{reply:?}");
        }
        Ok(())
    })
    .await
}
