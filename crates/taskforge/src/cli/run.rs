//! `taskforge run`: one command from the prompt to the result.

use super::{Context, Failure, Outcome, decide::Manner, files, task::NewArgs, watch};
use crate::{client::Client, output};
use api::wire::{FileList, Task, TaskDetail};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  taskforge run \"Process sales.csv and write a summary\" --model openai/gpt-4o --file sales.csv
  taskforge run \"Draw the chart\" --model ollama/qwen3 --file data.csv --output ./result
  taskforge run \"Try it\" --model ollama/qwen3 --deny-all \"no packages today\"

Ctrl-C leaves the task running. The exit code is 0 if the agent submitted its result, 6 if it did not.";

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    /// What the agent shall do.
    prompt: String,
    #[command(flatten)]
    new: NewArgs,
    /// Download the result into this folder.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Download everything in the workspace, not only the submitted files.
    #[arg(long, requires = "output")]
    all_files: bool,
    /// Approve every request without asking, and print what was approved. For demonstrations.
    #[arg(long, conflicts_with = "deny_all")]
    approve_all: bool,
    /// Deny every request with this reason, without asking.
    #[arg(long, value_name = "REASON")]
    deny_all: Option<String>,
}

pub(super) async fn run(c: &Context, args: Run) -> Outcome {
    let client = c.client().await?;
    let manner = Manner::new(c, args.approve_all, args.deny_all.clone());
    let task: Task = args.new.create(&client, &args.prompt).await?;
    if !c.out.json {
        c.out.line(&format!("task {}", task.id));
    }
    let _: Task = client.post(&format!("/api/tasks/{}/start", task.id)).await?;
    let detail = watch::follow(c, &client, &task.id, None, &manner).await?;
    let result = result(c, &client, &detail, &args).await;
    result.map(|()| watch::exit_of(&detail))
}

async fn result(c: &Context, client: &Client, detail: &TaskDetail, args: &Run) -> Outcome<()> {
    let id = &detail.task.id;
    let list: FileList = client.get(&format!("/api/tasks/{id}/files")).await?;
    let wanted = files::wanted(&list, args.all_files);
    let mut written = Vec::new();
    if let Some(dir) = &args.output {
        written = files::download(client, id, &wanted, dir).await?;
    }
    if c.out.json {
        return c.out.item(&json!({"result": detail, "files": wanted, "downloaded": written})).map_err(Failure::from);
    }
    c.out.line("");
    c.out.line(&output::task::show(c.out, detail, jiff::Timestamp::now()));
    if !wanted.is_empty() {
        c.out.line("");
        output::task::files(c.out, &wanted);
    }
    match &args.output {
        Some(dir) => c.out.line(&format!("\n{} files in {}", written.len(), dir.display())),
        None if !wanted.is_empty() => c.out.line(&format!("\nget them with `taskforge task files {id} --output DIR`")),
        None => {}
    }
    Ok(())
}
