//! Recorded histories. Every release records one of each workflow; CI replays them against the code of the day, so
//! that a change which would strand a waiting task is found before it ships.

use super::host::Registry;
use duroxide::{
    Event, EventKind,
    runtime::replay_engine::{ReplayEngine, TurnResult},
};
use serde::{Deserialize, Serialize};

/// One execution of a run, as recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct History {
    pub(super) run: String,
    pub(super) execution: u64,
    pub(super) events: Vec<Event>,
}

impl History {
    /// How many events it has.
    pub fn len(&self) -> usize {
        self.events.len()
    }
    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// Why a history does not replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The history does not begin with a start.
    #[error("the history of {0} does not begin with a start")]
    NoStart(String),
    /// Its workflow is not registered.
    #[error("the workflow {0} is not registered")]
    NoWorkflow(String),
    /// The registry itself is not usable.
    #[error("the registry is not usable: {0}")]
    Registry(String),
    /// The code goes another way than the record.
    #[error("the run {run} goes another way than its record: {how}")]
    Diverged {
        /// The run's id.
        run: String,
        /// In what.
        how: String,
    },
}

/// How a recorded execution ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Open,
    Done(String),
    Failed(String),
    Again(String),
}

/// Replays one recorded execution against the registered code: every decision must be the recorded one.
pub fn replay(registry: Registry, history: &History) -> Result<(), ReplayError> {
    let handlers = registry.workflows.build_result().map_err(ReplayError::Registry)?;
    let Some(EventKind::OrchestrationStarted { name, version, input, .. }) = history.events.first().map(|e| &e.kind)
    else {
        return Err(ReplayError::NoStart(history.run.clone()));
    };
    let (_, handler) = handlers.resolve_handler(name).ok_or_else(|| ReplayError::NoWorkflow(name.clone()))?;
    let (past, recorded) = split(&history.events);
    let mut engine = ReplayEngine::new(history.run.clone(), history.execution, past);
    let turn = engine.execute_orchestration(handler, input.clone(), name.clone(), version.clone(), "replay");
    let found = match turn {
        TurnResult::Continue => End::Open,
        TurnResult::Completed(out) => End::Done(out),
        TurnResult::Failed(details) => End::Failed(details.display_message()),
        TurnResult::ContinueAsNew { input, .. } => End::Again(input),
        TurnResult::Cancelled(why) => End::Failed(format!("canceled: {why}")),
    };
    let diverged = |how| Err(ReplayError::Diverged { run: history.run.clone(), how });
    if found != recorded {
        return diverged(format!("it ends with {found:?}, recorded is {recorded:?}"));
    }
    let new = engine.pending_actions();
    if recorded == End::Open && !new.is_empty() {
        return diverged(format!("it would do {new:?} next, and had not when it was recorded"));
    }
    Ok(())
}

/// The events before the end, and the end.
fn split(events: &[Event]) -> (Vec<Event>, End) {
    let mut end = End::Open;
    let mut past = Vec::with_capacity(events.len());
    for event in events {
        match &event.kind {
            EventKind::OrchestrationCompleted { output } => end = End::Done(output.clone()),
            EventKind::OrchestrationFailed { details } => end = End::Failed(details.display_message()),
            EventKind::OrchestrationContinuedAsNew { input } => end = End::Again(input.clone()),
            _ => past.push(event.clone()),
        }
    }
    (past, end)
}
