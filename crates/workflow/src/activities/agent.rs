//! One iteration: the agent's container from its start to its end, adopted where it runs already.

use super::{Act, RunRef, Shared, sandbox_fault, store_fault};
use crate::{
    durable::{ActCx, Activity, Fault, Lane},
    prompts::compose,
};
use domain::{
    event::{Event, EventKind, Outcome},
    ids::OpId,
    plan::{Cause, IterationEnd, StopReason},
    task::Task,
};
use futures::FutureExt;
use sandbox::{
    Ensured, Exit, Limit, SandboxSpec,
    agent::{AgentEnd, Launch, Turn, interpret, launch},
    logs::Output,
    workspace::{Bounds, EntryKind, Keep},
};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use store::{Durability, Iteration, OutputFile, StoreError};

/// Time that an agent has to end by itself when it is stopped.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(3);
/// The most of an agent's output, per stream, that is recorded.
const MAX_OUTPUT_BYTES: usize = 4 << 20;
/// Context window that agents are told, in tokens, where the model's own is not known.
const CONTEXT_WINDOW: u32 = 200_000;
/// Longest answer that agents are told, in tokens, where the model's own is not known.
const MAX_ANSWER_TOKENS: u32 = 8_192;

/// Runs an iteration to its end.
pub struct RunAgent(pub Shared);

impl Activity for RunAgent {
    const NAME: &'static str = "run_agent";
    const LANE: Lane = Lane::Long;
    type In = Act<(u32, Cause)>;
    type Out = ();

    async fn run(&self, cx: ActCx, act: Self::In) -> Result<(), Fault> {
        let s = &self.0;
        let (number, cause) = act.input;
        let task = s.store.task_get(act.run.task).await.map_err(store_fault)?;
        let iteration = begin(s, &task, act.run, number, cause).await?;
        if iteration.end.is_some() {
            return cleanup(s, &task).await;
        }
        if iteration.stop.is_some() && !s.sandboxes.is_running(&task.id).await.map_err(sandbox_fault)? {
            // Stopped before it was started.
            finish(s, &task, &iteration, &IterationEnd::Stopped, None, &[]).await?;
            return cleanup(s, &task).await;
        }
        start(s, &task, &iteration).await?;
        let exit = tokio::select! {
            exit = s.sandboxes.wait(&task.id) => exit.map_err(sandbox_fault)?,
            // A server that stops leaves the container to the next one.
            () = cx.stopping.cancelled() => return Err(Fault::transient("shutdown", "the server is stopping")),
            () = cx.cancel.cancelled() => return Err(Fault::fatal("cancelled", "the run is over")),
        };
        let output = s.sandboxes.output(&task.id, MAX_OUTPUT_BYTES).await.map_err(sandbox_fault)?;
        collect(s, &task, act.run, &iteration.image).await?;
        let iteration = begin(s, &task, act.run, number, cause).await?;
        let end = judge(s, &task, &iteration, act.run, &exit, &output).await?;
        let log = [output.stderr.as_slice(), output.stdout.as_slice()].concat();
        finish(s, &task, &iteration, &end, Some(exit.code), &log).await?;
        cleanup(s, &task).await
    }
}

async fn begin(s: &Shared, task: &Task, run: RunRef, number: u32, cause: Cause) -> Result<Iteration, Fault> {
    let task = task.clone();
    let work =
        store::work(move |tx| async move { tx.iteration_begin(&task, run.run, number, cause, compose).await }.boxed());
    fail::fail_point!("workflow.iteration_begin.before");
    let iteration = s.store.write(Durability::Power, work).await.map_err(store_fault)?;
    fail::fail_point!("workflow.iteration_begin.after");
    Ok(iteration)
}

/// Opens the gateway's socket, makes the run folder, and starts (or adopts) the container.
async fn start(s: &Shared, task: &Task, i: &Iteration) -> Result<(), Fault> {
    let Launch { argv, env, files } = launch(&Turn {
        task: task.id,
        agent: &task.agent,
        model: &task.llm_model,
        prompt: &i.prompt,
        context_window: CONTEXT_WINDOW,
        max_tokens: MAX_ANSWER_TOKENS,
    });
    let run_dir = s.sandboxes.prepare_run_dir(&task.id, &s.supervisor, files).await.map_err(sandbox_fault)?;
    s.gateway.open(task.id).await.map_err(|e| Fault::transient("gateway", e.to_string()))?;
    let spec = SandboxSpec {
        task: task.id,
        run: i.run,
        iteration: i.number,
        image: i.image.clone(),
        argv,
        env,
        run_dir,
        limits: task.limits,
        runtime: None,
    };
    let ensured = s.sandboxes.ensure(&spec).await.map_err(sandbox_fault)?;
    if ensured == Ensured::Ended || i.posture.is_some() {
        return Ok(());
    }
    let posture = s.sandboxes.posture(&task.id).await.map_err(sandbox_fault)?;
    let violations = posture.violations();
    let value = serde_json::to_value(&posture).map_err(|e| Fault::fatal("internal", e.to_string()))?;
    let (task2, i2) = (task.clone(), i.clone());
    let work = store::work(move |tx| {
        async move { tx.iteration_posture(&task2, &i2, &posture.container, &value).await }.boxed()
    });
    s.store.write(Durability::Process, work).await.map_err(store_fault)?;
    if violations.is_empty() {
        return Ok(());
    }
    s.sandboxes.kill(&task.id).await.map_err(sandbox_fault)?;
    Err(Fault::fatal("posture", format!("the container is not sealed as it must be: {}", violations.join("; "))))
}

/// How the iteration ended: the Engine's facts first, then what we did, then what the agent says.
async fn judge(
    s: &Shared,
    task: &Task,
    i: &Iteration,
    run: RunRef,
    exit: &Exit,
    output: &Output,
) -> Result<IterationEnd, Fault> {
    if i.stop.is_some() {
        return Ok(IterationEnd::Stopped);
    }
    if s.store.iteration_lacks_tools(run.run, i.number).await.map_err(store_fault)? {
        return Ok(IterationEnd::Failed {
            reason: "the agent's first model request lacked TaskForge's tools".to_owned(),
        });
    }
    Ok(match interpret(&task.agent, exit, &output.stdout, &output.stderr) {
        AgentEnd::Done { .. } => IterationEnd::TurnEnded,
        AgentEnd::Failed { reason } => IterationEnd::Failed { reason },
        AgentEnd::Limit { limit } => IterationEnd::Limit {
            limit: match limit {
                Limit::Memory => "memory",
                Limit::Time => "time",
                Limit::Disk => "disk",
            }
            .to_owned(),
        },
        AgentEnd::Interrupted { code } => {
            IterationEnd::Interrupted { reason: format!("the container was ended from outside (exit code {code})") }
        }
        AgentEnd::GatewayAway => IterationEnd::Interrupted { reason: "the gateway was away for too long".to_owned() },
        AgentEnd::NotStarted { reason } => IterationEnd::Fatal { code: "agent_not_started".to_owned(), reason },
    })
}

async fn finish(
    s: &Shared,
    task: &Task,
    i: &Iteration,
    end: &IterationEnd,
    code: Option<i64>,
    log: &[u8],
) -> Result<(), Fault> {
    let make = || {
        let (task, i, end, log) = (task.clone(), i.clone(), end.clone(), log.to_vec());
        store::work(move |tx| async move { tx.iteration_end(&task, &i, &end, code, &log).await }.boxed())
    };
    fail::fail_point!("workflow.iteration_end.before");
    s.store.write_stopping(make).await.map_err(store_fault)?;
    fail::fail_point!("workflow.iteration_end.after");
    Ok(())
}

async fn cleanup(s: &Shared, task: &Task) -> Result<(), Fault> {
    s.gateway.close(task.id).await;
    s.sandboxes.remove(&task.id).await.map_err(sandbox_fault)
}

/// Records what is in the workspace and keeps the bytes of its regular files.
async fn collect(s: &Shared, task: &Task, run: RunRef, image: &str) -> Result<(), Fault> {
    let op = store::new_id(OpId::from_uuid);
    let begun = Event::begun(EventKind::FilesCollect, op, json!({})).task(run.task).run(run.run);
    s.store.write(Durability::Process, move |tx| tx.leaf(begun).boxed()).await.map_err(store_fault)?;
    let Err(fault) = collect_files(s, task, run, image, op).await else { return Ok(()) };
    let ended = Event::ended(EventKind::FilesCollect, op, Outcome::Failed, json!({"fault": fault.kind}));
    let ended = ended.task(run.task).run(run.run);
    s.store.write(Durability::Process, move |tx| tx.leaf(ended).boxed()).await.map_err(store_fault)?;
    Err(fault)
}

/// Collects; what was found and the end of the act are one transaction.
async fn collect_files(s: &Shared, task: &Task, run: RunRef, image: &str, op: OpId) -> Result<(), Fault> {
    let folder = s.store.output_folder(task.id);
    tokio::fs::create_dir_all(&folder).await.map_err(|e| store_fault(StoreError::from(e)))?;
    let found =
        s.sandboxes.collect(&task.id, image, Bounds::default(), Keep::Store(folder)).await.map_err(sandbox_fault)?;
    let record = s.store.run_get(run.run).await.map_err(store_fault)?;
    let inputs = s.store.input_file_list(task.id).await.map_err(store_fault)?;
    let known: BTreeSet<(&str, Option<&str>)> =
        inputs.iter().map(|f| (f.path.as_str(), Some(f.sha256.as_str()))).collect();
    let is_deliverable = |path: &str, sha256: Option<&str>| match &record.submitted {
        None => false,
        // Nothing named: all that is new or changed.
        Some(named) if named.is_empty() => !known.contains(&(path, sha256)),
        Some(named) => named.iter().any(|n| same_path(n, path)),
    };
    let files: Vec<OutputFile> = found
        .entries
        .iter()
        .map(|e| OutputFile {
            path: e.path.clone(),
            kind: kind_name(e.kind).to_owned(),
            size: e.size,
            mode: e.mode,
            sha256: e.sha256.clone(),
            kept: e.sha256.is_some() && e.skipped.is_none() && e.plain,
            skipped: e.skipped.clone(),
            deliverable: e.kind == EntryKind::File && is_deliverable(&e.path, e.sha256.as_deref()),
        })
        .collect();
    let data = json!({"entries": files.len(), "bytes": found.bytes, "incomplete": found.incomplete,
        "deliverables": files.iter().filter(|f| f.deliverable).count()});
    let task = task.id;
    let work = store::work(move |tx| {
        async move {
            tx.output_files_replace(task, run.run, &files).await?;
            let manifest = tx.body(&task, serde_json::to_string(&files)?.as_bytes()).await?;
            let event = Event::ended(EventKind::FilesCollect, op, Outcome::Done, data).task(task).run(run.run);
            tx.leaf(event.body("manifest", manifest)).await
        }
        .boxed()
    });
    s.store.write(Durability::Process, work).await.map(drop).map_err(store_fault)
}

/// Whether a path as the agent named it is this entry or a folder above it.
fn same_path(named: &str, path: &str) -> bool {
    let named = named.strip_prefix("/workspace").unwrap_or(named);
    let named = named.trim_start_matches("./").trim_matches('/');
    path == named || path.strip_prefix(named).is_some_and(|rest| rest.starts_with('/'))
}

const fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Dir => "dir",
        EntryKind::Symlink => "symlink",
        EntryKind::Fifo => "fifo",
        EntryKind::Device => "device",
        EntryKind::Socket => "socket",
    }
}

/// Stops the running iteration; [`RunAgent`] then sees its end.
pub struct StopAgent(pub Shared);

impl Activity for StopAgent {
    const NAME: &'static str = "stop_agent";
    type In = Act<(u32, StopReason)>;
    type Out = ();

    async fn run(&self, _: ActCx, act: Self::In) -> Result<(), Fault> {
        let s = &self.0;
        let (number, reason) = act.input;
        let run = act.run;
        let op = store::new_id(OpId::from_uuid);
        let make = move || {
            store::work(move |tx| {
                async move {
                    tx.iteration_stop(run.run, number, reason).await?;
                    let event = Event::begun(EventKind::SandboxStop, op, json!({"reason": reason}));
                    tx.leaf(event.task(run.task).run(run.run).iteration(number)).await
                }
                .boxed()
            })
        };
        // Stopping never waits for the log: if even the reserve cannot help, the container is stopped all the same.
        let begun = s.store.write_stopping(make).await;
        let stopped = s.sandboxes.stop(&run.task, STOP_GRACE).await;
        let recorded = match begun {
            Ok(_) => stop_ended(s, run, number, op, reason, &stopped).await,
            Err(e) => Err(e),
        };
        if let Err(e) = recorded {
            tracing::error!(task.id = %run.task, error = %e, "a stop could not be recorded");
        }
        stopped.map_err(sandbox_fault)
    }
}

/// Records how a stop ended. Where that cannot be recorded, the next start looks at the container.
async fn stop_ended(
    s: &Shared,
    run: RunRef,
    number: u32,
    op: OpId,
    reason: StopReason,
    stopped: &Result<(), sandbox::Error>,
) -> Result<(), StoreError> {
    let (outcome, data) = match stopped {
        Ok(()) => (Outcome::Done, json!({"reason": reason})),
        Err(e) => (Outcome::Failed, json!({"reason": reason, "fault": e.code()})),
    };
    let event = Event::ended(EventKind::SandboxStop, op, outcome, data);
    let event = event.task(run.task).run(run.run).iteration(number);
    let make = move || {
        let event = event.clone();
        store::work(move |tx| tx.leaf(event).boxed())
    };
    s.store.write_stopping(make).await.map(drop)
}

/// Ends an iteration that could not be followed to its end.
pub struct Abandon(pub Shared);

impl Activity for Abandon {
    const NAME: &'static str = "abandon_iteration";
    type In = Act<(u32, String)>;
    type Out = ();

    async fn run(&self, _: ActCx, act: Self::In) -> Result<(), Fault> {
        let s = &self.0;
        let (number, reason) = act.input;
        let task = s.store.task_get(act.run.task).await.map_err(store_fault)?;
        let run = act.run.run;
        let all = s.store.iteration_list(run).await.map_err(store_fault)?;
        if let Some(i) = all.into_iter().find(|i| i.number == number) {
            let end = IterationEnd::Fatal { code: "sandbox_failed".to_owned(), reason };
            finish(s, &task, &i, &end, None, &[]).await?;
        } else {
            return Err(Fault::fatal("sandbox_failed", reason));
        }
        cleanup(s, &task).await
    }
}

#[cfg(test)]
mod tests {
    use super::same_path;

    #[test]
    fn named_files_are_found_however_the_agent_writes_them() {
        for named in ["report.md", "./report.md", "/workspace/report.md"] {
            assert!(same_path(named, "report.md"), "{named}");
        }
        assert!(same_path("out", "out/a/b.txt"), "a folder names what is below it");
        assert!(!same_path("out", "output.txt"));
        assert!(!same_path("report.md", "other/report.md"));
    }
}
