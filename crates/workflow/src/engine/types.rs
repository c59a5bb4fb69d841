//! What the engine is told and what it answers.

use crate::durable::Fault;
use duroxide::{ClientError, providers::ProviderError};
use std::time::Duration;

/// Settings of the engine; `default()` suits a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Turns computed at once. They share one writer: more than two gain nothing.
    pub turns: usize,
    /// Short calls at once.
    pub short_slots: usize,
    /// Long calls (agents, builds) at once; a parked slot costs a few kilobytes.
    pub long_slots: usize,
    /// Lease of a call, renewed while it runs.
    pub lease: Duration,
    /// How long an ended run is kept.
    pub keep_ended: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            turns: 2,
            short_slots: 16,
            long_slots: 256,
            lease: Duration::from_secs(300),
            keep_ended: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// Why the engine refused.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Its file cannot be opened.
    #[error("cannot open the engine's file {0}")]
    Open(String, #[source] sqlx::Error),
    /// Two activities or workflows have one name, or a name that is reserved.
    #[error("the registry is not usable: {0}")]
    Registry(String),
    /// The file cannot be read or written. Trying again may help.
    #[error("the engine's file failed: {0}")]
    Store(String),
    /// An input, signal or id that the engine cannot carry.
    #[error("the engine cannot carry this: {0}")]
    Input(String),
}

impl From<ClientError> for EngineError {
    fn from(e: ClientError) -> Self {
        match e {
            ClientError::InvalidInput { message } => Self::Input(message),
            other => Self::Store(other.to_string()),
        }
    }
}

impl From<sqlx::Error> for EngineError {
    fn from(e: sqlx::Error) -> Self {
        Self::Store(e.to_string())
    }
}

impl From<ProviderError> for EngineError {
    fn from(e: ProviderError) -> Self {
        Self::Store(e.to_string())
    }
}

/// What a start did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// A run begins.
    New,
    /// The id is known: nothing was done.
    Known,
}

/// What became of a signal. None of these is worth a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is in the run's inbox, for good.
    Delivered,
    /// The run has ended.
    Ended,
    /// There is no such run (or it ended so long ago that it was forgotten).
    Unknown,
    /// The run holds too many unread signals; it will look again anyway.
    Full,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Accepted, not begun.
    Queued,
    /// Begun, not ended.
    Running,
    /// Ended with a result.
    Done,
    /// Ended with a fault.
    Failed,
}

/// A run, seen from outside.
#[derive(Clone, Debug)]
pub struct RunState {
    /// Where it is.
    pub phase: Phase,
    /// The workflow's name; empty while queued.
    pub workflow: String,
    /// What it last showed with [`crate::durable::Durable::status`], as JSON.
    pub status: Option<serde_json::Value>,
    /// 1, and one more for each continue-as-new.
    pub execution: u64,
}

/// How a run ended, if it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// Not yet.
    Open,
    /// With a result.
    Done(T),
    /// With a fault.
    Failed(Fault),
    /// There is no such run.
    Unknown,
}

/// What an upkeep round removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ended runs.
    pub runs: u64,
    /// Executions that a continue-as-new had left behind, and those of the runs.
    pub executions: u64,
}

/// Figures for the bench, the health page and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Runs that have begun and not ended.
    pub running: u64,
    /// Runs that ended with a result and are kept.
    pub done: u64,
    /// Runs that ended with a fault and are kept.
    pub failed: u64,
    /// Timers that are not due.
    pub timers: u64,
    /// Messages for runs that are due and not yet taken up.
    pub queued_turns: u64,
    /// Calls that wait for a slot.
    pub queued_calls: u64,
    /// Calls that run.
    pub live_calls: u64,
    /// Calls that run in long slots.
    pub live_long: u64,
}
