//! What follows when a call has no room in a budget: the refusal, and for a task the request to a person.

use super::{OverBudget, Refused};
use crate::reply::Refusal;
use domain::ids::TaskId;
use futures::FutureExt;
use hyper::StatusCode;
use std::time::Duration;
use store::{BudgetShort, Durability, Store};

/// The code of a call that has no room in its budget. Another try of the same does not help.
pub(crate) const EXCEEDED: &str = "budget_exceeded";
/// When calls under way hold the rest, seconds until another try makes sense.
const HELD_RETRY_S: u32 = 1;

/// What a task's agent hears; without `asks` a caller with a key.
pub(crate) fn refusal(refused: &Refused, asks: bool) -> Refusal {
    match refused {
        Refused::OverBudget(over) => {
            let what_next = match (asks, over.resets_ms) {
                (true, _) => {
                    "A person is asked to raise it. End your turn now: you are stopped, and resumed when it is."
                }
                (false, Some(_)) => "Wait until its span is over, or ask for a larger budget for this key.",
                (false, None) => "Ask for a larger budget for this key.",
            };
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, EXCEEDED, format!("{over}. {what_next}"))
        }
        Refused::Held(over) => {
            let message = format!("{over}. Try again when one of the calls under way has ended.");
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "budget_held", message).retry_after(HELD_RETRY_S)
        }
        Refused::PriceUnknown => Refusal::new(StatusCode::FORBIDDEN, "price_unknown", refused.to_string()),
    }
}

/// Stops the iteration whose call was refused, and asks a person for more. The refusal has been recorded before.
///
/// If it cannot be stored the agent has been refused all the same; its next call comes here again.
pub(crate) async fn ask_for_more(store: &Store, task: TaskId, iteration: u32, over: &OverBudget, ttl: Duration) {
    let short =
        BudgetShort { iteration, used: over.spent.plus(&over.held), need: over.need, resets_ms: over.resets_ms, ttl };
    fail::fail_point!("gateway.budget.before_asked");
    let asked = store.write(Durability::Power, move |tx| tx.budget_ask(task, short).boxed()).await;
    fail::fail_point!("gateway.budget.after_asked");
    match asked {
        Ok(Some(request)) => tracing::info!(task.id = %task, request.id = %request.id, "a task asks for more budget"),
        Ok(None) => {}
        Err(e) => tracing::error!(task.id = %task, error = %e, "a request for more budget could not be stored"),
    }
}
