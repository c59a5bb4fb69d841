//! What an agent is told at the start of an iteration.
//!
//! Plain sentences that say what happened and what to do next. People's words are quoted as theirs.

use domain::{
    budget::Window,
    plan::Cause,
    request::{Ask, BudgetAsk, Request, RequestStatus},
    task::Agent,
};
use store::IterationStart;

const HOW_TO_WORK: &str = "\
You work in a sealed sandbox: no network, no package installation by yourself. Files live in /workspace.
- If you need a package (pip, apt or npm), call the tool request_packages with the exact names and your reason. Do not try to install it yourself.
- If you need to know something from a person, call ask_human.
- When a tool answers that something is pending, end your turn at once with a short sentence; you will be resumed in a new image with the outcome.
- When the work is done, call submit_result with a short summary and the list of result files, then end your turn.";

/// The prompt of an iteration.
pub fn compose(start: &IterationStart<'_>) -> String {
    let mut parts = Vec::new();
    match start.cause {
        Cause::Start if start.run_number == 1 => {
            parts.push(format!("Task: {}\n\n{}", start.task.name, start.instructions));
            parts.push(HOW_TO_WORK.to_owned());
        }
        Cause::Start => {
            parts.push(format!(
                "The task continues. Your earlier work is still in /workspace. New instructions:\n\n{}",
                start.instructions
            ));
            parts.push("When it is done, call submit_result again and end your turn.".to_owned());
        }
        Cause::Decided => parts.push("Your requests were decided.".to_owned()),
        Cause::Message => parts.push("A person wrote to you.".to_owned()),
        Cause::Resume => parts.push("You were interrupted. Go on where you stopped; what you have already done still stands.".to_owned()),
        Cause::Retry => {
            parts.push("Your last attempt broke off. Go on where you stopped; what you have already done still stands.".to_owned());
        }
        Cause::Nudge => parts.push(
            "You ended your turn without a request and without submitting a result. If the work is done, call submit_result now. \
             If something is missing, ask for it with request_packages or ask_human."
                .to_owned(),
        ),
    }
    parts.extend(start.decided.iter().map(outcome));
    for m in start.messages {
        parts.push(format!("Message from {}:\n{}", m.author, m.text));
    }
    if !start.decided.is_empty() {
        parts.push("Go on with the task. When it is done, call submit_result and end your turn.".to_owned());
    }
    // An agent that was ended before it stored its session, and one that keeps none, must hear the task again.
    let forgetful = matches!(start.task.agent, Agent::Command { .. });
    let stopped = start.decided.iter().any(|r| matches!(r.ask, Ask::Budget(_)));
    if stopped || matches!(start.cause, Cause::Resume | Cause::Retry) || (forgetful && start.cause != Cause::Start) {
        parts.push(format!("The task is:\n{}", start.instructions));
        parts.push(HOW_TO_WORK.to_owned());
    }
    parts.join("\n\n")
}

/// One request's outcome, in words for the agent.
pub fn outcome(r: &Request) -> String {
    let what = subject(&r.ask);
    let words = r.decision.as_ref().and_then(|d| d.verdict.text()).unwrap_or_default();
    let who = r.decision.as_ref().map_or("a person", |d| d.reviewer.as_str());
    let failure = r.failure.as_deref().unwrap_or("no reason was recorded");
    if let Ask::Budget(ask) = &r.ask {
        return budget_outcome(r, ask, who, words);
    }
    match r.status {
        RequestStatus::Applied => format!("Approved: {what}. It is installed now; use it."),
        RequestStatus::Denied => {
            format!("Denied: {what}. Reason given by {who}: {words}\nDo not ask for the same again; go on without it.")
        }
        RequestStatus::Suggested => format!("Not granted: {what}. {who} suggests instead: {words}"),
        RequestStatus::Answered => format!("{what}\nAnswer by {who}: {words}"),
        RequestStatus::Expired => {
            format!("Nobody decided in time: {what}. Go on without it, or ask again if you must.")
        }
        RequestStatus::Rejected => format!("Could not be resolved: {what}. {failure}"),
        RequestStatus::BuildFailed => {
            format!("Approved, but it could not be installed: {what}. {failure}\nYou may ask again for something else.")
        }
        RequestStatus::Withdrawn => format!("Withdrawn: {what}."),
        RequestStatus::Resolving | RequestStatus::Pending | RequestStatus::Approved => format!("Still open: {what}."),
    }
}

fn budget_outcome(r: &Request, ask: &BudgetAsk, who: &str, words: &str) -> String {
    let stopped = format!("You were stopped because this task's budget for model calls ({}) was used up", ask.budget);
    match r.status {
        RequestStatus::Applied => format!(
            "{stopped}. {who} raised it to {}. Go on where you stopped; what you have already done still stands.",
            ask.granted
        ),
        RequestStatus::Denied => format!("{stopped}. {who} refused to raise it: {words}"),
        RequestStatus::Expired if ask.budget.window != Window::Total => {
            format!("{stopped}. It is renewed now. Go on where you stopped; what you have already done still stands.")
        }
        RequestStatus::Expired => format!("{stopped}, and nobody decided in time to raise it."),
        RequestStatus::Withdrawn => format!("{stopped}, and the task ended before anybody decided."),
        RequestStatus::Resolving
        | RequestStatus::Pending
        | RequestStatus::Rejected
        | RequestStatus::Approved
        | RequestStatus::BuildFailed
        | RequestStatus::Suggested
        | RequestStatus::Answered => format!("{stopped}."),
    }
}

fn subject(ask: &Ask) -> String {
    match ask {
        Ask::Packages { packages } => {
            let names: Vec<_> = packages
                .iter()
                .map(|p| {
                    let version = p.version.as_deref().map(|v| format!(" {v}")).unwrap_or_default();
                    format!("{} package {}{version}", p.ecosystem.as_str(), p.name)
                })
                .collect();
            names.join(", ")
        }
        Ask::Question { question, .. } => format!("Your question: {question}"),
        Ask::Budget(ask) => format!("More budget than {}", ask.budget),
    }
}
