//! What is done now and then: sealing the log, reaping what nobody owns, keeping the reserve.

use super::Parts;
use domain::{
    event::{Event, EventKind, Outcome},
    ids::{OpId, TaskId},
};
use futures::FutureExt;
use sandbox::Sandboxes;
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use store::{Durability, Store};
use tokio_util::sync::CancellationToken;

/// A checkpoint is signed at least this often when there is something new.
const SEAL_EVERY: Duration = Duration::from_secs(5);
/// How often the installation is tidied.
const TIDY_EVERY: Duration = Duration::from_secs(300);
/// Objects that the leaf of a reaping names; the others are counted.
const NAMED: usize = 200;

/// Seals the log until told to stop.
pub(crate) async fn seal_often(store: Store, stop: CancellationToken) {
    loop {
        if let Err(e) = store.seal().await {
            tracing::error!(error = %e, "the log could not be sealed; trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SEAL_EVERY) => {}
        }
    }
}

/// Removes containers, volumes and sockets that no task owns, and bounds what ended runs leave in the engine.
pub(crate) async fn tidy(parts: Arc<Parts>, stop: CancellationToken) {
    loop {
        if let Err(e) = tidy_once(&parts).await {
            tracing::warn!(error = format!("{e:#}"), "tidying failed; trying again later");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TIDY_EVERY) => {}
        }
    }
}

async fn tidy_once(parts: &Parts) -> anyhow::Result<()> {
    parts.store.reserve_restore()?;
    parts.engine.prune().await?;
    let live: BTreeSet<_> = parts.store.task_ids().await?.into_iter().collect();
    reap(&parts.store, &parts.services.sandboxes, &live).await
}

/// Removes what no task owns: an act of its own, where there is something.
async fn reap(store: &Store, sandboxes: &Sandboxes, live: &BTreeSet<TaskId>) -> anyhow::Result<()> {
    let orphans = sandboxes.orphans(live).await?;
    if orphans.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = orphans.iter().take(NAMED).map(|o| o.name.as_str()).collect();
    let op = store::new_id(OpId::from_uuid);
    let begun = Event::begun(EventKind::SandboxReap, op, json!({"objects": names, "count": orphans.len()}));
    store.write(Durability::Power, move |tx| tx.leaf(begun).boxed()).await?;
    let reaped = sandboxes.reap(live).await;
    let (outcome, data) = match &reaped {
        Ok(r) => {
            let outcome = if r.failed.is_empty() { Outcome::Done } else { Outcome::Failed };
            (outcome, json!({"removed": r.removed.len(), "failed": r.failed.len()}))
        }
        Err(e) => (Outcome::Failed, json!({"fault": e.code()})),
    };
    let ended = Event::ended(EventKind::SandboxReap, op, outcome, data);
    store.write(Durability::Process, move |tx| tx.leaf(ended).boxed()).await?;
    let reaped = reaped?;
    for (object, why) in &reaped.failed {
        tracing::warn!(object = object.name, why, "what no task owns could not be removed; trying again later");
    }
    tracing::info!(removed = reaped.removed.len(), "removed what no task owns");
    Ok(())
}
