//! The bridge from the store's outbox to the engine.
//!
//! An intent is removed after the engine has taken it, so a crash between the two delivers it again: a start of a known
//! run and a wake-up too many do no harm.

use crate::{
    activities::{
        Abandon, Build, CancelTask, Expire, Finish, PlanNext, Prepare, Resolve, RunAgent, RunRef, Shared, SideFailed,
        StopAgent,
    },
    engine::{Engine, EngineError, Registry},
    flow::{AgentTask, Signal},
    workflows,
};
use futures::FutureExt;
use std::{sync::Arc, time::Duration};
use store::{Durability, IntentKind, IntentRow, Store, StoreError};
use tokio_util::sync::CancellationToken;

/// How often the outbox is looked at although nothing called.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// All workflows and activities.
pub fn registry(services: &Shared) -> Registry {
    let s = || Arc::clone(services);
    let registry = Registry::new()
        .activity(PlanNext(s()))
        .activity(Prepare(s()))
        .activity(Resolve(s()))
        .activity(Build(s()))
        .activity(Expire(s()))
        .activity(SideFailed(s()))
        .activity(CancelTask(s()))
        .activity(RunAgent(s()))
        .activity(StopAgent(s()))
        .activity(Abandon(s()))
        .activity(Finish(s()));
    workflows!(registry; AgentTask)
}

/// Delivers intents until told to stop.
pub async fn dispatch(store: Store, engine: Engine, stop: CancellationToken) {
    let mut changes = store.changes();
    while !stop.is_cancelled() {
        if let Err(e) = deliver_all(&store, &engine).await {
            tracing::warn!(error = %e, "an intent could not be delivered; it stays");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// After a start: makes sure that every open run is known to the engine and looks again.
///
/// The engine's file is not flushed at every commit, so a power failure may have taken its last start or wake-up.
pub async fn take_up(store: &Store, engine: &Engine) -> Result<usize, DispatchError> {
    let open = store.task_active().await?;
    for task in &open {
        let Some(run) = task.run else { continue };
        engine.start::<AgentTask>(&run.to_string(), &RunRef { task: task.id, run }).await?;
        engine.signal::<AgentTask>(&run.to_string(), &Signal::Wake).await?;
    }
    Ok(open.len())
}

/// Why an intent was not delivered; it stays.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The store.
    #[error("the outbox failed: {0}")]
    Store(#[from] StoreError),
    /// The engine.
    #[error("the engine failed: {0}")]
    Engine(#[from] EngineError),
}

async fn deliver_all(store: &Store, engine: &Engine) -> Result<(), DispatchError> {
    loop {
        let rows = store.intents().await?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut ids = Vec::with_capacity(rows.len());
        let mut woken = Vec::new();
        for row in &rows {
            // Wake-ups of one run that wait together are one.
            if row.intent.kind == IntentKind::Start || !woken.contains(&row.intent.run) {
                deliver(engine, row).await?;
            }
            if row.intent.kind == IntentKind::Wake {
                woken.push(row.intent.run);
            }
            ids.push(row.id);
        }
        fail::fail_point!("workflow.dispatch.delivered");
        let work = store::work(move |tx| {
            async move {
                for id in ids {
                    tx.intent_delivered(id).await?;
                }
                Ok(())
            }
            .boxed()
        });
        store.write(Durability::Process, work).await?;
    }
}

async fn deliver(engine: &Engine, row: &IntentRow) -> Result<(), EngineError> {
    let id = row.intent.run.to_string();
    match row.intent.kind {
        IntentKind::Start => {
            let input = RunRef { task: row.intent.task, run: row.intent.run };
            let started = engine.start::<AgentTask>(&id, &input).await?;
            tracing::info!(run.id = id, ?started, "run started");
        }
        IntentKind::Wake => {
            let told = engine.signal::<AgentTask>(&id, &Signal::Wake).await?;
            tracing::debug!(run.id = id, ?told, "run woken");
        }
    }
    Ok(())
}
