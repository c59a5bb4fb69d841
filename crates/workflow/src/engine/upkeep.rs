//! Upkeep of the engine's file: ended runs and old executions are forgotten, page caches stay small.
//!
//! Deletes go through the library's management functions, in small batches under the writer's turn.

use super::{
    file,
    gate::Gate,
    live::now_ms,
    types::{EngineError, Pruned},
};
use duroxide::providers::{InstanceFilter, ProviderAdmin, PruneOptions};
use std::{sync::Arc, time::Duration};

/// Runs that one transaction deletes.
const PRUNE_BATCH: u32 = 50;
/// Time between two rounds.
const UPKEEP_EVERY: Duration = Duration::from_secs(600);

/// Bounds the file and the caches, for ever.
pub(super) async fn forever(gate: Arc<Gate>, keep: Duration) {
    loop {
        file::trim(gate.inner().get_pool()).await;
        match prune(&gate, keep).await {
            Ok(pruned) if pruned != Pruned::default() => {
                tracing::debug!(pruned.runs, pruned.executions, "the engine forgot ended runs")
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the engine cannot forget ended runs"),
        }
        tokio::time::sleep(UPKEEP_EVERY).await;
    }
}

/// One round.
pub(super) async fn prune(gate: &Gate, keep: Duration) -> Result<Pruned, EngineError> {
    let mut sum = Pruned::default();
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let before = u64::try_from(now_ms().saturating_sub(keep_ms)).unwrap_or(0);
    loop {
        let filter = InstanceFilter { instance_ids: None, completed_before: Some(before), limit: Some(PRUNE_BATCH) };
        let _turn = gate.take_turn().await;
        let deleted = gate.inner().delete_instance_bulk(filter).await?;
        sum.runs += deleted.instances_deleted;
        sum.executions += deleted.executions_deleted;
        if deleted.instances_deleted == 0 {
            break;
        }
    }
    loop {
        let runs = file::with_old_executions(gate.inner().get_pool(), PRUNE_BATCH).await?;
        let mut deleted = 0;
        for run in &runs {
            let _turn = gate.take_turn().await;
            deleted += gate.inner().prune_executions(run, PruneOptions::default()).await?.executions_deleted;
        }
        sum.executions += deleted;
        if deleted == 0 {
            return Ok(sum);
        }
    }
}
