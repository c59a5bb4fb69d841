//! `taskforge llm erase`: bodies of a task, a key or a token, for good.

use super::super::{Context, Exit, Failure, Outcome, decide};
use crate::client::Client;
use api::wire::{EraseBodies, ErasedBodies};
use clap::Args;
use std::io::IsTerminal;

const EXAMPLES: &str = "\
Examples:
  taskforge llm erase --key ci \"asked for in ticket 4711\"
  taskforge llm erase --task task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 --yes --json \"the project is over\"

The reason stands in the audit log. A task must have ended, and no call may be under way. The key or token goes on
working: what it records from now on is encrypted under a fresh key.";

/// Arguments of `erase`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Erase {
    #[command(flatten)]
    whose: Whose,
    /// Why; it stands in the audit log.
    reason: String,
    /// Do not ask, also at a terminal.
    #[arg(long)]
    yes: bool,
}

/// Whose bodies.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// A task's: prompts, answers, files.
    #[arg(long)]
    task: Option<String>,
    /// A key's, by name or id.
    #[arg(long)]
    key: Option<String>,
    /// An API token's: `llm chat` and the playground.
    #[arg(long)]
    token: Option<String>,
}

pub(super) async fn run(c: &Context, client: &Client, args: Erase) -> Outcome {
    let Erase { whose: Whose { task, key, token }, reason, yes } = args;
    if !yes && !std::io::stdin().is_terminal() {
        return Err(Failure::usage("erasing cannot be undone, and there is no terminal to ask at").hint("add --yes"));
    }
    if !yes {
        let named = [("task", &task), ("key", &key), ("token", &token)];
        let whose = named.iter().find_map(|(kind, name)| name.as_ref().map(|n| format!("{kind} {n}")));
        let whose = domain::text::visible_line(&whose.unwrap_or_default());
        let question = format!("erase every body of {whose} for good? [y/N] > ");
        let answer = decide::read_line(&question).await?;
        if !matches!(answer.as_deref().map(str::trim), Some("y" | "yes")) {
            return Err(Failure::failed("nothing was erased"));
        }
    }
    let body = EraseBodies { task, key, token, reason };
    let erased: ErasedBodies = client.send_json("/api/llm/bodies/erase", &body).await?;
    if c.out.json {
        c.out.document(&erased)?;
    } else {
        c.out.line(&format!("{} bodies are erased; entry {} of the audit log says so", erased.bodies, erased.entry));
    }
    Ok(Exit::Ok)
}
