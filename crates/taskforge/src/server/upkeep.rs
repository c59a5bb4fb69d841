//! What is done now and then: sealing the log, reaping what nobody owns, keeping the reserve.

use super::Parts;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use store::Store;
use tokio_util::sync::CancellationToken;

/// A checkpoint is signed at least this often when there is something new.
const SEAL_EVERY: Duration = Duration::from_secs(5);
/// How often the installation is tidied.
const TIDY_EVERY: Duration = Duration::from_secs(300);

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
    let reaped = parts.services.sandboxes.reap(&live).await?;
    if !reaped.removed.is_empty() {
        tracing::info!(removed = reaped.removed.len(), "removed what no task owns");
    }
    Ok(())
}
