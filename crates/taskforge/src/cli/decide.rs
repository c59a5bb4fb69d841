//! Deciding a request: what is shown is what is decided, by its digest. Nobody fills it in for the person.

use super::{Context, Exit, Failure, Outcome};
use crate::{
    client::Client,
    output::{Style, request},
};
use api::wire::{Request, RequestAsk, RequestDetail, Review, Verb};
use std::io::{BufRead, IsTerminal, Write};

/// What `--approve-all` says to budgets: who gives a limit and walks away wants it kept.
const NOT_BY_ALL: &str = "the budget was set as a limit, and --approve-all does not raise it";
/// What `--approve-all` says to questions, which cannot be approved.
const NOBODY_HERE: &str = "nobody is there to answer questions; decide by yourself and say what you assumed";

/// How requests are decided while a task is watched.
#[derive(Debug, Clone)]
pub(super) enum Manner {
    /// Ask the person at the terminal.
    Ask,
    /// Approve everything, and say what.
    ApproveAll,
    /// Deny everything with this reason.
    DenyAll(String),
    /// Leave it to others, and say how.
    Leave,
}

impl Manner {
    /// By the flags, and by whether somebody is at the terminal.
    pub(super) fn new(c: &Context, approve_all: bool, deny_all: Option<String>) -> Self {
        match (approve_all, deny_all) {
            (true, _) => Self::ApproveAll,
            (false, Some(reason)) => Self::DenyAll(reason),
            (false, None) if !c.out.json && std::io::stdin().is_terminal() => Self::Ask,
            (false, None) => Self::Leave,
        }
    }
}

/// Fetches a request with its candidate.
pub(super) async fn fetch(client: &Client, id: &str) -> Outcome<RequestDetail> {
    client.get(&format!("/api/capabilities/requests/{}", crate::client::encode_value(id))).await
}

/// Sends a decision.
pub(super) async fn send(
    client: &Client,
    id: &str,
    digest: &str,
    decision: Verb,
    words: Option<String>,
) -> Outcome<Request> {
    let mut review = Review { decision, digest: digest.to_owned(), reason: None, alternative: None, answer: None };
    match decision {
        Verb::Approve => {}
        Verb::Deny => review.reason = words,
        Verb::Suggest => review.alternative = words,
        Verb::Answer => review.answer = words,
    }
    client.send_json(&format!("/api/capabilities/requests/{}/review", crate::client::encode_value(id)), &review).await
}

/// Shows a request that waits, and gets it decided in the manner that was chosen. One that no longer waits is skipped.
pub(super) async fn settle(c: &Context, client: &Client, id: &str, manner: &Manner) -> Outcome<()> {
    let detail = fetch(client, id).await?;
    let Some(digest) = detail.request.digest.clone().filter(|_| detail.request.status == "pending") else {
        return Ok(());
    };
    if !c.out.json {
        c.out.line(&format!("\n{}\n", request::show(c.out, &detail, jiff::Timestamp::now(), false)));
    }
    let question = matches!(detail.request.ask, RequestAsk::Question { .. });
    let budget = matches!(detail.request.ask, RequestAsk::Budget { .. });
    let decided = match manner {
        Manner::ApproveAll if question => Some((Verb::Answer, Some(NOBODY_HERE.to_owned()))),
        Manner::ApproveAll if budget => Some((Verb::Deny, Some(NOT_BY_ALL.to_owned()))),
        Manner::ApproveAll => Some((Verb::Approve, None)),
        Manner::DenyAll(reason) => Some((Verb::Deny, Some(reason.clone()))),
        Manner::Ask => ask(c, &detail, question).await?,
        Manner::Leave => None,
    };
    let Some((verb, words)) = decided else {
        if !c.out.json {
            eprintln!("{}", elsewhere(id, &digest, question));
        }
        return Ok(());
    };
    match send(client, id, &digest, verb, words).await {
        Ok(_) => Ok(()),
        // Somebody else decided, or it changed meanwhile: the timeline tells, and a changed one comes again.
        Err(f) if f.exit == Exit::Conflict => {
            eprintln!("{f}");
            Ok(())
        }
        Err(f) => Err(f),
    }
}

fn elsewhere(id: &str, digest: &str, question: bool) -> String {
    let decide = if question { "answer" } else { "approve" };
    let words = if question { " \"...\"" } else { "" };
    format!(
        "it waits: taskforge approvals show {id}\n          taskforge approvals {decide} {id}{words} --digest {digest}"
    )
}

async fn ask(c: &Context, detail: &RequestDetail, question: bool) -> Outcome<Option<(Verb, Option<String>)>> {
    let packages = matches!(detail.request.ask, RequestAsk::Packages { .. });
    let keys = match &detail.request.ask {
        RequestAsk::Question { .. } => "[a]nswer  [n] deny  [d]etails  [l]ater",
        RequestAsk::Packages { .. } => "[a]pprove  [n] deny  [s]uggest  [d]etails  [l]ater",
        RequestAsk::Budget { .. } => "[a]pprove  [n] deny  [d]etails  [l]ater",
    };
    loop {
        let key = read_line(&format!("{} > ", c.out.paint(Style::Bold, keys))).await?;
        let (verb, prompt) = match key.as_deref().map(str::trim) {
            None | Some("l") => return Ok(None),
            Some("d") => {
                c.out.line(&request::show(c.out, detail, jiff::Timestamp::now(), true));
                continue;
            }
            Some("a" | "approve" | "y") if !question => return Ok(Some((Verb::Approve, None))),
            Some("a" | "answer") => (Verb::Answer, "answer > "),
            Some("n" | "deny") => (Verb::Deny, "reason, told to the agent > "),
            Some("s" | "suggest") if packages => (Verb::Suggest, "what to do instead, told to the agent > "),
            Some(_) => continue,
        };
        match read_line(prompt).await? {
            Some(words) if !words.trim().is_empty() => return Ok(Some((verb, Some(words.trim().to_owned())))),
            _ => eprintln!("nothing was decided"),
        }
    }
}

/// Asks a question on the terminal; none at the end of the input.
pub(super) async fn read_line(prompt: &str) -> Outcome<Option<String>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        // Keys that were pressed before the question was on the screen do not answer it.
        rustix::termios::tcflush(&stdin, rustix::termios::QueueSelector::IFlush).map_err(std::io::Error::from)?;
    }
    eprint!("{prompt}");
    std::io::stderr().flush()?;
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        let count = std::io::stdin().lock().read_line(&mut line)?;
        Ok::<_, std::io::Error>((count > 0).then_some(line))
    });
    read.await.map_err(|e| Failure::failed(e.to_string()))?.map_err(Failure::from)
}
