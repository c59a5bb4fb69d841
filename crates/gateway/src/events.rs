//! `/tf/events`: what the plugin inside tells about its progress. Advisory: anything in the sandbox can send it, and
//! the log says so.

use crate::{
    body,
    reply::{self, Refusal, Reply},
    sandbox::Sandbox,
};
use domain::event::{Actor, Event, EventKind};
use futures::FutureExt;
use hyper::{Request, StatusCode, body::Incoming};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use store::{Durability, StoreError};

/// The largest event.
const MAX_EVENT_BYTES: usize = 16 << 10;
/// The longest name of an event.
const MAX_NAME_CHARS: usize = 40;

/// Records one event.
pub(crate) async fn post(sandbox: &Arc<Sandbox>, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    if !sandbox.events.take() {
        let message = "too many events; they are advisory, leave some out";
        return Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_events", message).retry_after(1).reply();
    }
    let (bytes, _held) = match body::read(&sandbox.memory, &parts.headers, body, MAX_EVENT_BYTES).await {
        Ok(read) => read,
        Err(refusal) => return refusal.reply(),
    };
    let Ok(event) = serde_json::from_slice::<Map<String, Value>>(&bytes) else {
        return Refusal::new(StatusCode::BAD_REQUEST, "bad_event", "an event is a JSON object").reply();
    };
    let name = event.get("ev").and_then(Value::as_str).unwrap_or("event");
    let name: String = domain::text::visible_line(name).chars().take(MAX_NAME_CHARS).collect();
    let task = sandbox.task;
    let written = sandbox.shared.store.write(Durability::Process, move |tx| {
        async move {
            let context = tx.call_context(task).await?;
            let body = tx.body(&task, &bytes).await?;
            let mut event = Event::point(EventKind::AgentEvent, json!({ "ev": name })).by(Actor::Sandbox).task(task);
            event.run = context.run;
            event.iteration = context.iteration;
            tx.leaf(event.body("event", body)).await?;
            Ok::<_, StoreError>(())
        }
        .boxed()
    });
    match written.await {
        Ok(()) => reply::empty(StatusCode::NO_CONTENT),
        Err(e) => {
            tracing::warn!(task.id = %task, error = %e, "an event of a sandbox could not be recorded");
            Refusal::log_unwritable().reply()
        }
    }
}
