//! `taskforge llm`: make a model call, look at those that were made, erase what they said.

mod chat;
mod erase;
mod look;

use super::{Context, Outcome, served::Missing};
use clap::{Args, Subcommand};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  taskforge llm chat openai/gpt-4o \"Say hello\"
  taskforge llm calls --key ci --status failed --since 2h
  taskforge llm calls --task task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 --json
  taskforge llm calls --count
  taskforge llm show call_0193a7c05c5a7f1e8b4de1a3c6f7b2d9
  taskforge llm export --since 2026-11-01T00:00:00Z --output calls.jsonl
  taskforge llm erase --key ci \"asked for in ticket 4711\"

Every call has a state: begun (it left, and has not ended), ended, failed, timed_out, cut (broken off; what had arrived
is kept), refused (it did not leave), unknown (a crash left it open).";

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Llm {
    /// Call a model and print its answer as it comes.
    #[command(after_help = "Examples:\n  taskforge llm chat openai/gpt-4o \"Say hello\"")]
    Chat(chat::Chat),
    /// List calls, the newest last.
    #[command(after_help = "Examples:\n  taskforge llm calls --key ci --status failed --since 2h")]
    Calls(Calls),
    /// Show a call with its attempts and whole bodies.
    #[command(after_help = "Examples:\n  taskforge llm show call_0193a7c05c5a7f1e8b4de1a3c6f7b2d9")]
    Show {
        /// The call.
        call: String,
        /// Print this body alone, as it is: request, response, sent (of the last attempt).
        #[arg(long, value_name = "NAME")]
        body: Option<String>,
    },
    /// Write calls with their bodies, one JSON document per line.
    #[command(after_help = "Examples:\n  taskforge llm export --since 1d --output calls.jsonl")]
    Export {
        #[command(flatten)]
        filter: Filter,
        /// The file; otherwise stdout.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Erase every body of a task, a key or a token for good; the records and the audit log stay.
    Erase(erase::Erase),
}

/// Which calls.
#[derive(Debug, Clone, Args)]
pub(super) struct Filter {
    /// Only this task's.
    #[arg(long)]
    task: Option<String>,
    /// Only this key's, by name or id.
    #[arg(long)]
    key: Option<String>,
    /// Only those of this API token: `llm chat` and the playground.
    #[arg(long)]
    token: Option<String>,
    /// Only those of this model, as asked for or as the provider names it.
    #[arg(long)]
    model: Option<String>,
    /// Only those that went to this provider.
    #[arg(long)]
    provider: Option<String>,
    /// Only those in this state: begun, ended, failed, timed_out, cut, refused or unknown.
    #[arg(long)]
    status: Option<String>,
    /// Only those that began after this: a time as RFC 3339, or a span back from now such as `2h`.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those that began before this.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only those whose model, provider, error or finish reason contains this.
    #[arg(long)]
    text: Option<String>,
}

/// Arguments of `calls`.
#[derive(Debug, Args)]
pub(super) struct Calls {
    #[command(flatten)]
    filter: Filter,
    /// How many of the newest; with --json all of them unless given.
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u64>,
    /// Print how many there are.
    #[arg(long)]
    count: bool,
}

pub(super) async fn run(c: &Context, command: Llm) -> Outcome {
    if let Llm::Chat(args) = command {
        return chat::run(c, args).await;
    }
    let served = c.served(Missing::Refuse).await?;
    let result = match command {
        Llm::Calls(args) => look::calls(c, &served.client, args).await,
        Llm::Show { call, body } => look::show(c, &served.client, &call, body.as_deref()).await,
        Llm::Export { filter, output } => look::export(&served.client, &filter, output.as_deref()).await,
        Llm::Erase(args) => erase::run(c, &served.client, args).await,
        Llm::Chat(args) => chat::run(c, args).await,
    };
    served.end().await?;
    result
}
