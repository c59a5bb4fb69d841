//! `report_progress` and `submit_result`.

use super::{
    ask::Plan,
    call::{Begun, Effect},
    catalogue::{Progress, Submission},
};
use domain::{
    event::{Event, EventKind, Outcome},
    request::Provenance,
    task::Agent,
};
use serde_json::json;
use store::{StoreError, Tx};

/// Records a progress report.
pub(super) async fn progress(tx: &mut Tx, begun: &Begun, progress: Progress) -> Result<Effect, StoreError> {
    let body = tx.body(&begun.task, progress.message.as_bytes()).await?;
    let data = json!({ "percent": progress.percent, "provenance": begun.provenance });
    tx.leaf(begun.place(Event::point(EventKind::AgentProgress, data)).body("message", body)).await?;
    Ok(Effect::Over(Outcome::Done, "Noted. Go on.".to_owned()))
}

/// Stores the agent's submission.
pub(super) async fn submit(
    tx: &mut Tx,
    begun: &Begun,
    submission: Submission,
    plan: Plan,
) -> Result<Effect, StoreError> {
    let refuse = |text: &str| Ok(Effect::Over(Outcome::Refused, format!("Not submitted: {text}")));
    if begun.context.agent == Agent::Openclaw && begun.provenance == Provenance::Program {
        return refuse(
            "this call was made by a program in the sandbox. Call the tool submit_result yourself, with the same \
             arguments.",
        );
    }
    if !plan.open.is_empty() {
        let ids: Vec<_> = plan.open.iter().map(|r| r.id.to_string()).collect();
        return refuse(&format!(
            "{} wait(s) for a person. End your turn now; you will be resumed when that is decided and can submit then.",
            ids.join(", ")
        ));
    }
    let Some(run) = begun.context.run else { return refuse("no run is under way.") };
    let files = submission.files.unwrap_or_default();
    if !tx.run_submit(run, &submission.summary, &files).await? {
        return refuse("a result was submitted before, and the first one counts. End your turn now.");
    }
    let body = tx.body(&begun.task, submission.summary.as_bytes()).await?;
    let list = tx.body(&begun.task, json!(files).to_string().as_bytes()).await?;
    let data = json!({ "files": files.len(), "provenance": begun.provenance });
    let event = Event::point(EventKind::AgentSubmitted, data);
    tx.leaf(begun.place(event).body("summary", body).body("files", list)).await?;
    tx.wake(begun.task).await?;
    Ok(Effect::Over(Outcome::Done, "Submitted. End your turn now.".to_owned()))
}
