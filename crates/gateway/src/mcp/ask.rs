//! `request_packages` and `ask_human`: from the call to a stored request, and what the agent is told.

use super::{
    call::{Begun, Effect, bad_arguments},
    catalogue::{self, Tool},
};
use crate::sandbox::Sandbox;
use domain::{
    event::Outcome,
    ids::RequestId,
    request::{Ask, Request, RequestStatus, Verdict},
    text::visible,
};
use serde_json::Value;
use std::time::Duration;
use store::{NewRequest, StoreError, Tx};

/// How often, at the most, a waiting call looks at its request.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// What is known before the transaction. Requests of a task are only made by its own sandbox, one at a time, so that it
/// still holds inside.
pub(super) struct Plan {
    /// What is asked and why, or what is wrong with the arguments.
    ask: Result<(Ask, String), String>,
    /// The open requests of the task.
    pub(super) open: Vec<Request>,
    /// Requests of the task that were refused.
    refused: Vec<Request>,
}

/// Reads the arguments and what the task has asked before.
pub(super) async fn plan(sandbox: &Sandbox, tool: Tool, arguments: &Value) -> Result<Plan, StoreError> {
    let ask = match tool {
        Tool::RequestPackages => catalogue::read(arguments)
            .and_then(catalogue::Packages::check)
            .map(|p| (Ask::Packages { packages: p.packages }, p.reason)),
        Tool::AskHuman => catalogue::read(arguments)
            .and_then(catalogue::Question::check)
            .map(|q| (Ask::Question { question: q.question, options: q.options.unwrap_or_default() }, String::new())),
        Tool::ReportProgress => return Ok(Plan { ask: Err(String::new()), open: Vec::new(), refused: Vec::new() }),
        Tool::SubmitResult => Err(String::new()),
    };
    let mut open = Vec::new();
    for status in [RequestStatus::Resolving, RequestStatus::Pending] {
        open.extend(sandbox.shared.store.request_list(Some(sandbox.task), Some(status)).await?);
    }
    let mut refused = Vec::new();
    if tool == Tool::RequestPackages {
        for status in [RequestStatus::Denied, RequestStatus::Suggested] {
            refused.extend(sandbox.shared.store.request_list(Some(sandbox.task), Some(status)).await?);
        }
    }
    Ok(Plan { ask, open, refused })
}

/// Stores the request, or answers from the record.
pub(super) async fn act(tx: &mut Tx, sandbox: &Sandbox, begun: &Begun, plan: Plan) -> Result<Effect, StoreError> {
    let (ask, reason) = match plan.ask {
        Ok(asked) => asked,
        Err(fault) => return Ok(bad_arguments(&fault)),
    };
    let (Some(run), Some(iteration)) = (begun.context.run, begun.context.iteration) else {
        return Err(StoreError::conflict("not_running", "a request outside of an iteration"));
    };
    if let Some(known) = plan.open.iter().find(|r| r.ask.same_as(&ask)) {
        return Ok(match known.status {
            RequestStatus::Resolving => Effect::Resolving(known.id),
            _ => Effect::Over(Outcome::Done, waiting(known.id)),
        });
    }
    // A further run begins with new words of a person, so only this run's refusals stand.
    if let Some(known) = plan.refused.iter().find(|r| r.run == run && r.ask.same_as(&ask)) {
        return Ok(Effect::Over(Outcome::Refused, refused_before(known)));
    }
    if let Some(fault) = beyond_policy(&ask, begun) {
        return Ok(Effect::Over(Outcome::Refused, fault));
    }
    let max_open = begun.context.policy.max_open_requests;
    if plan.open.len() >= usize::try_from(max_open).unwrap_or(usize::MAX) {
        let ids: Vec<_> = plan.open.iter().map(|r| r.id.to_string()).collect();
        let text = format!(
            "Not done: {} requests wait for a person already ({}), and no more may be open. End your turn now; you will \
             be resumed when they are decided and can ask then.",
            ids.len(),
            ids.join(", ")
        );
        return Ok(Effect::Over(Outcome::Refused, text));
    }
    let new = NewRequest {
        task: begun.task,
        run,
        iteration,
        ask,
        reason,
        provenance: begun.provenance,
        ttl: sandbox.shared.config.request_ttl,
        max_open,
    };
    let request = tx.request_insert(new).await?;
    Ok(match request.status {
        RequestStatus::Resolving => Effect::Resolving(request.id),
        _ => Effect::Over(Outcome::Done, waiting(request.id)),
    })
}

fn beyond_policy(ask: &Ask, begun: &Begun) -> Option<String> {
    let Ask::Packages { packages } = ask else { return None };
    let allowed = &begun.context.policy.ecosystems;
    let outside = packages.iter().find(|p| !allowed.contains(&p.ecosystem))?;
    let names: Vec<_> = allowed.iter().map(|e| e.as_str()).collect();
    Some(format!(
        "Not done: this task's policy does not let you ask for {} packages; it allows: {}.",
        outside.ecosystem.as_str(),
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    ))
}

/// Waits until a request is resolved, for a bounded time. Returns what the agent is told, and whether that is the
/// request's outcome.
pub(super) async fn wait(sandbox: &Sandbox, id: RequestId) -> Result<(Outcome, String, bool), StoreError> {
    let mut changes = sandbox.shared.store.changes();
    let deadline = tokio::time::sleep(sandbox.shared.config.resolve_wait);
    tokio::pin!(deadline);
    loop {
        changes.mark_unchanged();
        let request = sandbox.shared.store.request_get(id).await?;
        if request.status != RequestStatus::Resolving {
            return Ok(outcome(&request));
        }
        tokio::select! {
            () = &mut deadline => return Ok((Outcome::Done, still_resolving(id), false)),
            () = sandbox.cancel.cancelled() => return Ok((Outcome::Done, still_resolving(id), false)),
            changed = changes.changed() => changed.map_err(|_| StoreError::Closed)?,
        }
        // Every leaf of every task is a change; one look for many of them is enough.
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn outcome(request: &Request) -> (Outcome, String, bool) {
    let id = request.id;
    match request.status {
        RequestStatus::Rejected => {
            let failure = request.failure.as_deref().unwrap_or("no reason was recorded");
            let text = format!(
                "Request {id} could not be prepared, and nothing was installed: {failure}\nCorrect the request (names, \
                 versions) and call request_packages again, or go on without these packages."
            );
            (Outcome::Failed, text, true)
        }
        RequestStatus::Pending => (Outcome::Done, waiting(id), false),
        RequestStatus::Resolving => (Outcome::Done, still_resolving(id), false),
        RequestStatus::Withdrawn => {
            (Outcome::NotDone, format!("Request {id} was withdrawn because the task ended. End your turn now."), true)
        }
        RequestStatus::Approved
        | RequestStatus::Applied
        | RequestStatus::BuildFailed
        | RequestStatus::Denied
        | RequestStatus::Suggested
        | RequestStatus::Answered
        | RequestStatus::Expired => {
            let text =
                format!("Request {id} has been decided. End your turn now; you will be resumed and told the outcome.");
            (Outcome::Done, text, false)
        }
    }
}

fn waiting(id: RequestId) -> String {
    format!(
        "Request {id} is waiting for a person. End your turn now: call no further tool and do not work around it. You will \
         be resumed in this session, with the same workspace, and told the outcome."
    )
}

fn still_resolving(id: RequestId) -> String {
    format!(
        "Request {id} is still being prepared and will then wait for a person. End your turn now: call no further tool and \
         do not work around it. You will be resumed in this session, with the same workspace, and told the outcome."
    )
}

fn refused_before(known: &Request) -> String {
    let id = known.id;
    let advice = "Do not ask for the same again: go on without it, or ask for something else.";
    match known.decision.as_ref().map(|d| (&d.verdict, &d.reviewer)) {
        Some((Verdict::Suggest { alternative }, who)) => {
            format!("{who} has already answered this as request {id}. Suggestion: {}\n{advice}", visible(alternative))
        }
        Some((verdict, who)) => {
            let reason = verdict.text().map(visible).unwrap_or_default();
            format!("{who} has already denied this as request {id}. Reason: {reason}\n{advice}")
        }
        None => format!("This was already refused as request {id}. {advice}"),
    }
}
