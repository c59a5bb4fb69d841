//! The effects of AgentTaskWorkflow: each is idempotent, keyed by the run and what it concerns, and reads its facts
//! from the store.

mod agent;
mod build;
mod finish;
mod plan;
mod prepare;
mod resolve;

pub(crate) use agent::STOP_GRACE;
pub use agent::{Abandon, RunAgent, StopAgent};
pub use build::Build;
pub use finish::Finish;
pub use plan::{CancelTask, Expire, PREPARE_FAILED, PlanNext, Planned, SideFailed};
pub use prepare::{Prepare, base_row};
pub use resolve::Resolve;

use crate::durable::Fault;
use domain::{
    event::{Event, EventKind, Outcome},
    ids::{OpId, RunId, TaskId},
};
use futures::FutureExt;
use gateway::Gateway;
use image::Images;
use sandbox::Sandboxes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{path::PathBuf, sync::Arc};
use store::{Durability, Store, StoreError};

/// The run that an activity works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRef {
    /// The task.
    pub task: TaskId,
    /// The run.
    pub run: RunId,
}

/// An activity's input: the run, and what it concerns.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Act<I> {
    /// The run.
    pub run: RunRef,
    /// What it concerns.
    pub input: I,
}

/// What the activities work with.
pub struct Services {
    /// The store.
    pub store: Store,
    /// Containers of agents.
    pub sandboxes: Sandboxes,
    /// Images and packages.
    pub images: Images,
    /// What a sandbox can reach.
    pub gateway: Gateway,
    /// The static supervisor binary.
    pub supervisor: PathBuf,
}

/// A shared handle of [`Services`].
pub type Shared = Arc<Services>;

/// An error of the store as the engine sees it: worth another try unless the record says no.
pub(crate) fn store_fault(e: StoreError) -> Fault {
    let retry = matches!(e, StoreError::Database(_) | StoreError::Io(_) | StoreError::DiskFull | StoreError::Audit(_));
    let source = std::error::Error::source(&e).map(|s| format!(": {s}")).unwrap_or_default();
    let message = format!("{e}{source}");
    if retry { Fault::transient("store", message) } else { Fault::fatal("store", message) }
}

/// An error of the sandbox as the engine sees it.
pub(crate) fn sandbox_fault(e: sandbox::Error) -> Fault {
    let message = format!("{e}; {}", e.hint());
    if e.is_transient() { Fault::transient(e.code(), message) } else { Fault::fatal(e.code(), message) }
}

/// Performs an act with a begun and an ended leaf around it. `effect` returns its value and what the ended leaf says.
pub(crate) async fn recorded<T: Send>(
    s: &Shared,
    kind: EventKind,
    run: RunRef,
    data: serde_json::Value,
    effect: impl Future<Output = Result<(T, serde_json::Value), Fault>> + Send,
) -> Result<T, Fault> {
    let op = store::new_id(OpId::from_uuid);
    let begun = Event::begun(kind, op, data).task(run.task).run(run.run);
    s.store.write(Durability::Power, move |tx| tx.leaf(begun).boxed()).await.map_err(store_fault)?;
    let result = effect.await;
    let ended = match &result {
        Ok((_, data)) => Event::ended(kind, op, Outcome::Done, data.clone()),
        Err(fault) => Event::ended(kind, op, Outcome::Failed, json!({"fault": fault.kind})),
    };
    let ended = ended.task(run.task).run(run.run);
    let failure = result.as_ref().err().map(|f| f.message.clone());
    let work = store::work(move |tx| {
        async move {
            let ended = match failure {
                Some(text) => ended.body("fault", tx.body(&run.task, text.as_bytes()).await?),
                None => ended,
            };
            tx.leaf(ended).await
        }
        .boxed()
    });
    s.store.write(Durability::Process, work).await.map_err(store_fault)?;
    result.map(|(value, _)| value)
}

/// The base image below an image of ours. A task keeps its base for as long as it lives.
pub(crate) async fn base_of(s: &Shared, image: &str) -> Result<String, Fault> {
    let row = s.store.image_get(image).await.map_err(store_fault)?;
    Ok(row.base.unwrap_or(row.id))
}

/// An error of images as the engine sees it.
pub(crate) fn image_fault(e: image::ImageError) -> Fault {
    if e.is_transient() { Fault::transient(e.code(), e.to_string()) } else { Fault::fatal(e.code(), e.to_string()) }
}
