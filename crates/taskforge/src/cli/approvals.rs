//! `taskforge approvals`: requests of agents, and the decisions on them.

use super::{Context, Exit, Failure, Outcome, decide};
use crate::{client::encode_value, output::request};
use api::wire::{Page, Request, Verb};
use clap::{Args, Subcommand};
use std::io::IsTerminal;

const EXAMPLES: &str = "\
Examples:
  taskforge approvals list
  taskforge approvals show req_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 --full
  taskforge approvals approve req_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 --digest 5f2c...
  taskforge approvals deny req_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 \"too large\" --digest 5f2c...

A decision is bound to the digest that `show` prints. Without --digest the request is shown first and
the decision is asked for at the terminal.";

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Approvals {
    /// List requests that wait for a decision.
    #[command(after_help = "Examples:\n  taskforge approvals list\n  taskforge approvals list --status all")]
    List {
        /// Those in another state, or `all`.
        #[arg(long, default_value = "pending")]
        status: String,
        /// Only this task's.
        #[arg(long)]
        task: Option<String>,
        /// How many, at the most.
        #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show a request with exactly what an approval would grant.
    #[command(after_help = "Examples:\n  taskforge approvals show req_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 --full")]
    Show {
        /// The request.
        request: String,
        /// With whole hashes, addresses and the Dockerfile.
        #[arg(long)]
        full: bool,
    },
    /// Grant exactly what was shown.
    #[command(
        after_help = "Examples:\n  taskforge approvals approve req_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 --digest 5f2c..."
    )]
    Approve(Shown),
    /// Refuse; the agent is told the reason.
    #[command(
        after_help = "Examples:\n  taskforge approvals deny req_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 \"too large\" --digest 5f2c..."
    )]
    Deny {
        /// The request.
        request: String,
        /// Why.
        reason: String,
        /// The digest that was shown.
        #[arg(long)]
        digest: Option<String>,
    },
    /// Refuse, and tell the agent what to do instead.
    #[command(
        after_help = "Examples:\n  taskforge approvals suggest req_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 \"use the csv module\" --digest 5f2c..."
    )]
    Suggest {
        /// The request.
        request: String,
        /// What to do instead.
        alternative: String,
        /// The digest that was shown.
        #[arg(long)]
        digest: Option<String>,
    },
    /// Answer a question.
    #[command(
        after_help = "Examples:\n  taskforge approvals answer req_0193a7c05c5a7f1e8b4de1a3c6f7b2d9 \"in euros\" --digest 5f2c..."
    )]
    Answer {
        /// The request.
        request: String,
        /// The answer.
        answer: String,
        /// The digest that was shown.
        #[arg(long)]
        digest: Option<String>,
    },
}

/// A request as it was shown.
#[derive(Debug, Args)]
pub(super) struct Shown {
    /// The request.
    request: String,
    /// The digest that was shown.
    #[arg(long)]
    digest: Option<String>,
}

pub(super) async fn run(c: &Context, command: Approvals) -> Outcome {
    match command {
        Approvals::List { status, task, limit } => list(c, &status, task.as_deref(), limit).await,
        Approvals::Show { request, full } => show(c, &request, full).await,
        Approvals::Approve(Shown { request, digest }) => decide(c, &request, digest, Verb::Approve, None).await,
        Approvals::Deny { request, reason, digest } => decide(c, &request, digest, Verb::Deny, Some(reason)).await,
        Approvals::Suggest { request, alternative, digest } => {
            decide(c, &request, digest, Verb::Suggest, Some(alternative)).await
        }
        Approvals::Answer { request, answer, digest } => decide(c, &request, digest, Verb::Answer, Some(answer)).await,
    }
}

async fn list(c: &Context, status: &str, task: Option<&str>, limit: u32) -> Outcome {
    let client = c.client().await?;
    let mut query = "/api/capabilities/requests?".to_owned();
    if status != "all" {
        query.push_str(&format!("status={}&", encode_value(status)));
    }
    if let Some(task) = task {
        query.push_str(&format!("task={}&", encode_value(task)));
    }
    let mut page: Page<Request> = Page { items: Vec::new(), next_cursor: None };
    while page.items.len() < limit as usize {
        let size = (limit - page.items.len() as u32).min(api::MAX_PAGE);
        let cursor = page.next_cursor.as_deref().map(|c| format!("&cursor={}", encode_value(c))).unwrap_or_default();
        let next: Page<Request> = client.get(&format!("{query}limit={size}{cursor}")).await?;
        page.items.extend(next.items);
        page.next_cursor = next.next_cursor;
        if page.next_cursor.is_none() {
            break;
        }
    }
    if c.out.json {
        c.out.document(&page)?;
    } else if page.items.is_empty() {
        c.out.line(if status == "pending" { "nothing waits for a decision" } else { "no requests" });
    } else {
        request::list(c.out, &page.items, jiff::Timestamp::now());
        if page.next_cursor.is_some() {
            eprintln!("there are more; see them with -n");
        }
    }
    Ok(Exit::Ok)
}

async fn show(c: &Context, id: &str, full: bool) -> Outcome {
    let detail = decide::fetch(&c.client().await?, id).await?;
    if c.out.json {
        c.out.document(&detail)?;
    } else {
        c.out.line(&request::show(c.out, &detail, jiff::Timestamp::now(), full));
    }
    Ok(Exit::Ok)
}

async fn decide(c: &Context, id: &str, digest: Option<String>, verb: Verb, words: Option<String>) -> Outcome {
    let client = c.client().await?;
    let digest = match digest {
        Some(digest) => digest,
        None => confirm(c, &client, id, verb).await?,
    };
    let decided = decide::send(&client, id, &digest, verb, words).await?;
    if c.out.json {
        c.out.document(&decided)?;
    } else {
        let by =
            decided.decision.map(|d| format!(" by {}", domain::text::visible_line(&d.reviewer))).unwrap_or_default();
        c.out.line(&format!("{id} is {}{by}", decided.status));
    }
    Ok(Exit::Ok)
}

/// Shows the request and asks; returns the digest that was on the screen.
async fn confirm(c: &Context, client: &crate::client::Client, id: &str, verb: Verb) -> Outcome<String> {
    let missing = || {
        Failure::usage("--digest is missing")
            .hint(format!("review `taskforge approvals show {id}` and give the digest that it prints"))
    };
    if c.out.json || !std::io::stdin().is_terminal() {
        return Err(missing());
    }
    let detail = decide::fetch(client, id).await?;
    c.out.line(&request::show(c.out, &detail, jiff::Timestamp::now(), true));
    let digest = detail.request.digest.ok_or_else(|| {
        Failure::new(
            Exit::Conflict,
            "request_not_pending",
            format!("{id} is {}; it cannot be decided", detail.request.status),
        )
    })?;
    let verb = format!("{verb:?}").to_lowercase();
    let answer = decide::read_line(&format!("\n{verb} exactly this? [y/N] > ")).await?;
    match answer.as_deref().map(str::trim) {
        Some("y" | "yes") => Ok(digest),
        _ => Err(Failure::failed("nothing was decided")),
    }
}
