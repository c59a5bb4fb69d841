//! Watching a task: its timeline as it happens, and its requests as they come.

use super::{Context, Exit, Failure, Outcome, decide};
use crate::{
    client::{Client, Events},
    output::event,
};
use api::wire::{Event, TaskDetail};

/// Follows a task until its newest run has ended. Ctrl-C leaves the task running and says how to come back.
pub(super) async fn follow(
    c: &Context,
    client: &Client,
    task: &str,
    after: Option<u64>,
    manner: &decide::Manner,
) -> Outcome<TaskDetail> {
    let interrupted = tokio::signal::ctrl_c();
    tokio::select! {
        end = watch(c, client, task, after, manner) => end,
        signal = interrupted => {
            signal?;
            let message = format!("interrupted; {task} goes on");
            Err(Failure::new(Exit::Interrupted, "interrupted", message)
                .hint(format!("come back with `taskforge task watch {task}`, or end it with `taskforge task cancel {task}`")))
        }
    }
}

async fn watch(
    c: &Context,
    client: &Client,
    task: &str,
    after: Option<u64>,
    manner: &decide::Manner,
) -> Outcome<TaskDetail> {
    let mut events = Events::new(client, format!("/api/tasks/{task}/events"), after);
    events.on_away = |seconds| {
        if seconds == 1 {
            eprintln!("the server is away; waiting for it");
        }
    };
    loop {
        let event = events.next().await?;
        if c.out.json {
            c.out.item(&event)?;
        } else if let Some(line) = event::line(c.out, &event) {
            c.out.line(&line);
        }
        if let Some(request) = waiting(&event) {
            decide::settle(c, client, request, manner).await?;
        }
        if ends(&event) {
            let detail: TaskDetail = client.get(&format!("/api/tasks/{task}")).await?;
            // Earlier runs of a continued task end in its timeline too.
            if detail.task.ended && detail.task.run == event.run {
                return Ok(detail);
            }
        }
    }
}

/// The request that this event makes ready for a decision.
fn waiting(e: &Event) -> Option<&str> {
    let ready = e.kind == "request.pending" || (e.kind == "request.created" && e.data["status"] == "pending");
    e.data["request"].as_str().filter(|_| ready)
}

fn ends(e: &Event) -> bool {
    e.kind == "task.status" && matches!(e.data["to"].as_str(), Some("completed" | "failed" | "cancelled"))
}

/// How a command ends that followed a task to its end.
pub(super) fn exit_of(detail: &TaskDetail) -> Exit {
    match detail.runs.last().and_then(|r| r.outcome.as_deref()) {
        Some("submitted") => Exit::Ok,
        _ => Exit::TaskFailed,
    }
}
