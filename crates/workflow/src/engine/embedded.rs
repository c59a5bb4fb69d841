//! The embedded engine: one SQLite file, no server.
//!
//! Owns the engine library's runtime, its file, and their upkeep. It is opened by the one process that holds the data
//! directory's lock; opening frees what a dead process held, so a restart goes on at once.
//!
//! Invariants:
//! - An accepted [`Engine::start`] or [`Engine::signal`] is in the file (handed to the OS; a power cut may take the
//!   last moments, so a caller's outbox wakes every open run again when it opens the engine).
//! - A start with an id that is known is not a second run. Ended runs are forgotten after [`Options::keep_ended`]:
//!   whoever starts runs must not start an ended one again.
//! - Nothing is logged except through `tracing`, under the targets `workflow` and `duroxide`.
//!
//! It does not keep application state: that is the store's. Signals are wake-ups.

use super::{
    file,
    gate::Gate,
    host::{INBOX, Registry, heard},
    live::Live,
    replay::History,
    types::{EngineError, Options, Outcome, Phase, Pruned, RunState, Started, Stats, Told},
    upkeep,
};
use crate::durable::{Fault, Workflow};
use duroxide::{
    Client, EventKind,
    providers::{Provider, ProviderAdmin, TagFilter},
    runtime::{Runtime, RuntimeOptions},
};
use std::{fmt, path::Path, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::task::AbortOnDropHandle;

/// Fetches of one message before it is given up as the one that kills the process: far more than restarts in a call's
/// life, far fewer than a crash loop makes in a day.
const MAX_FETCHES: u32 = 10_000;
/// Longest a fetch waits before it looks whether the engine still runs.
const LONG_POLL: Duration = Duration::from_secs(3600);
/// Lease of a turn: turns take milliseconds, and a lease that runs out would run one twice.
const TURN_LEASE: Duration = Duration::from_secs(3600);
/// Signals and events that a run may hold unread before further signals are refused.
const MAX_WEIGHT: i64 = 20_000;
/// Largest signal or input, in bytes: ids and digests, never bodies.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// What the runtime gets to end after the calls have let go.
const LAST_ACKS: Duration = Duration::from_millis(500);

/// Where a run was found.
enum Found {
    /// It has begun, and may have ended.
    Begun(duroxide::InstanceInfo),
    /// Its start was accepted and waits.
    Queued,
    /// Nowhere.
    Unknown,
}

struct Inner {
    runtime: Arc<Runtime>,
    gate: Arc<Gate>,
    client: Client,
    live: Arc<Live>,
    starting: Mutex<()>,
    keep_ended: Duration,
    upkeep: AbortOnDropHandle<()>,
}

/// A handle of the running engine; clones share it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("live", &self.inner.live.count()).finish_non_exhaustive()
    }
}

/// The library installs its own subscriber, which prints to stdout, where there is none. One that drops everything is
/// put in its place: the application's must be installed before.
fn keep_stdout_clean() {
    if !tracing::dispatcher::has_been_set()
        && tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::new()).is_err()
    {
        tracing::debug!("a subscriber was installed just now");
    }
}

fn runtime_options(options: &Options, registry: &Registry) -> RuntimeOptions {
    let mut r = RuntimeOptions {
        dispatcher_min_poll_interval: Duration::from_millis(50),
        dispatcher_long_poll_timeout: LONG_POLL,
        orchestration_concurrency: options.turns.max(1),
        worker_concurrency: options.short_slots.max(1) + options.long_slots.max(1),
        orchestrator_lock_timeout: TURN_LEASE,
        orchestrator_lock_renewal_buffer: TURN_LEASE / 2,
        worker_lock_timeout: options.lease,
        worker_lock_renewal_buffer: options.lease / 2,
        max_attempts: MAX_FETCHES,
        activity_cancellation_grace_period: registry.grace,
        session_lock_timeout: LONG_POLL,
        session_lock_renewal_buffer: LONG_POLL / 2,
        session_idle_timeout: options.lease + LONG_POLL,
        session_cleanup_interval: LONG_POLL,
        worker_node_id: Some("embedded".to_owned()),
        worker_tag_filter: TagFilter::Any,
        ..RuntimeOptions::default()
    };
    r.observability.gauge_poll_interval = Duration::from_secs(24 * 3600);
    r
}

impl Engine {
    /// Opens the file and goes on with every run in it. Install the process's `tracing` subscriber before.
    pub async fn open(path: &Path, registry: Registry, options: Options) -> Result<Self, EngineError> {
        keep_stdout_clean();
        let runtime_options = runtime_options(&options, &registry);
        let Registry { activities, workflows, live, .. } = registry;
        let activities = activities.build_result().map_err(EngineError::Registry)?;
        let workflows = workflows.build_result().map_err(EngineError::Registry)?;
        let provider = file::open(path).await.map_err(|e| EngineError::Open(path.display().to_string(), e))?;
        let gate = Arc::new(Gate::new(provider, Arc::clone(&live), options.long_slots.max(1), options.lease));
        let store: Arc<dyn Provider> = Arc::clone(&gate) as _;
        let runtime = Runtime::start_with_options(Arc::clone(&store), activities, workflows, runtime_options).await;
        let upkeep = AbortOnDropHandle::new(tokio::spawn(upkeep::forever(Arc::clone(&gate), options.keep_ended)));
        let (client, starting, keep_ended) = (Client::new(store), Mutex::new(()), options.keep_ended);
        Ok(Self { inner: Arc::new(Inner { runtime, gate, client, live, starting, keep_ended, upkeep }) })
    }

    /// Starts a run, once per id.
    pub async fn start<W: Workflow>(&self, id: &str, input: &W::In) -> Result<Started, EngineError> {
        let input = message(input)?;
        let _one = self.inner.starting.lock().await;
        if self.state(id).await?.is_some() {
            return Ok(Started::Known);
        }
        self.inner.client.start_orchestration(id, W::NAME, input).await?;
        Ok(Started::New)
    }

    /// Puts a signal into a run's inbox, also of one that was started and has not begun.
    pub async fn signal<W: Workflow>(&self, id: &str, signal: &W::Signal) -> Result<Told, EngineError> {
        let text = message(signal)?;
        match self.state(id).await?.map(|s| s.phase) {
            None => return Ok(Told::Unknown),
            Some(Phase::Done | Phase::Failed) => return Ok(Told::Ended),
            Some(Phase::Queued | Phase::Running) => {}
        }
        if file::weight(self.inner.gate.inner().get_pool(), id).await? > MAX_WEIGHT {
            return Ok(Told::Full);
        }
        self.inner.client.enqueue_event(id, INBOX, text).await?;
        Ok(Told::Delivered)
    }

    /// Where a run is, and what it shows. `None`: unknown.
    pub async fn state(&self, id: &str) -> Result<Option<RunState>, EngineError> {
        let info = match self.find(id).await? {
            Found::Begun(info) => info,
            Found::Unknown => return Ok(None),
            Found::Queued => {
                let queued = RunState { phase: Phase::Queued, workflow: String::new(), status: None, execution: 0 };
                return Ok(Some(queued));
            }
        };
        let status = self.inner.gate.get_custom_status(id, 0).await?.and_then(|(text, _)| text);
        Ok(Some(RunState {
            phase: phase(&info.status),
            workflow: info.orchestration_name,
            status: status.and_then(|text| serde_json::from_str(&text).ok()),
            execution: info.current_execution_id,
        }))
    }

    /// What a run last showed, typed. `None`: unknown run, nothing shown yet, or another workflow's.
    pub async fn status<W: Workflow>(&self, id: &str) -> Result<Option<W::Status>, EngineError> {
        let status = self.state(id).await?.and_then(|s| s.status);
        Ok(status.and_then(|s| serde_json::from_value(s).ok()))
    }

    /// How a run ended, if it has.
    pub async fn result<W: Workflow>(&self, id: &str) -> Result<Outcome<W::Out>, EngineError> {
        let info = match self.find(id).await? {
            Found::Begun(info) => info,
            Found::Queued => return Ok(Outcome::Open),
            Found::Unknown => return Ok(Outcome::Unknown),
        };
        let output = info.output.unwrap_or_default();
        Ok(match phase(&info.status) {
            Phase::Queued | Phase::Running => Outcome::Open,
            Phase::Failed => Outcome::Failed(heard(output)),
            Phase::Done => match serde_json::from_str(&output) {
                Ok(out) => Outcome::Done(out),
                Err(e) => Outcome::Failed(Fault::fatal("decode", e.to_string())),
            },
        })
    }

    /// Waits for a run's end, at most so long; woken, not polling.
    pub async fn wait<W: Workflow>(&self, id: &str, at_most: Duration) -> Result<Outcome<W::Out>, EngineError> {
        let end = Instant::now() + at_most;
        let mut ended = self.inner.gate.ended();
        loop {
            let outcome = self.result::<W>(id).await?;
            if !matches!(outcome, Outcome::Open) {
                return Ok(outcome);
            }
            if !matches!(tokio::time::timeout_at(end, ended.changed()).await, Ok(Ok(()))) {
                return self.result::<W>(id).await;
            }
        }
    }

    /// Asks a run to end: through its own clean-up where [`Workflow::cancelled`] gives a signal, else at once.
    pub async fn cancel<W: Workflow>(&self, id: &str, why: &str) -> Result<Told, EngineError> {
        if let Some(signal) = W::cancelled(why.to_owned()) {
            return self.signal::<W>(id, &signal).await;
        }
        match self.state(id).await?.map(|s| s.phase) {
            None => Ok(Told::Unknown),
            Some(Phase::Done | Phase::Failed) => Ok(Told::Ended),
            Some(Phase::Queued | Phase::Running) => {
                self.inner.client.cancel_instance(id, why).await?;
                Ok(Told::Delivered)
            }
        }
    }

    /// The recorded executions of a run that are still kept, oldest first.
    pub async fn history(&self, id: &str) -> Result<Vec<History>, EngineError> {
        let mut all = Vec::new();
        for execution in self.inner.client.list_executions(id).await? {
            let events = self.inner.client.read_execution_history(id, execution).await?;
            let started = matches!(events.first().map(|e| &e.kind), Some(EventKind::OrchestrationStarted { .. }));
            if started {
                all.push(History { run: id.to_owned(), execution, events });
            }
        }
        Ok(all)
    }

    /// Ids of the runs that have begun and not ended.
    pub async fn running(&self) -> Result<Vec<String>, EngineError> {
        Ok(self.inner.client.list_instances_by_status("Running").await?)
    }

    /// Deletes ended runs and old executions, as the engine does by itself every ten minutes.
    pub async fn prune(&self) -> Result<Pruned, EngineError> {
        upkeep::prune(&self.inner.gate, self.inner.keep_ended).await
    }

    /// Figures of the moment.
    pub async fn stats(&self) -> Result<Stats, EngineError> {
        let metrics = self.inner.client.get_system_metrics().await?;
        let depths = self.inner.client.get_queue_depths().await?;
        let timers = file::timers(self.inner.gate.inner().get_pool()).await?;
        let (live, long) = self.inner.live.count();
        Ok(Stats {
            running: metrics.running_instances,
            done: metrics.completed_instances,
            failed: metrics.failed_instances,
            timers,
            queued_turns: (depths.orchestrator_queue as u64).saturating_sub(timers),
            queued_calls: depths.worker_queue as u64,
            live_calls: live as u64,
            live_long: long as u64,
        })
    }

    /// Stops: nothing new begins, running calls are told through [`crate::durable::ActCx::stopping`] and have `grace`
    /// to end or let go, the rest is dropped and run again by the next process. Ends within `grace` and a second.
    pub async fn shutdown(&self, grace: Duration) {
        self.inner.live.stopping.cancel();
        self.inner.upkeep.abort();
        let end = Instant::now() + grace;
        loop {
            let changed = self.inner.live.changed.notified();
            if self.inner.live.quiet() || tokio::time::timeout_at(end, changed).await.is_err() {
                break;
            }
        }
        let last = u64::try_from(LAST_ACKS.as_millis()).unwrap_or(u64::MAX);
        Arc::clone(&self.inner.runtime).shutdown(Some(last)).await;
        self.inner.gate.inner().get_pool().close().await;
    }

    async fn find(&self, id: &str) -> Result<Found, EngineError> {
        if let Some(info) = self.info(id).await? {
            return Ok(Found::Begun(info));
        }
        if file::start_pending(self.inner.gate.inner().get_pool(), id).await? {
            return Ok(Found::Queued);
        }
        // It may have left the queue and begun between the two looks.
        Ok(self.info(id).await?.map_or(Found::Unknown, Found::Begun))
    }

    async fn info(&self, id: &str) -> Result<Option<duroxide::InstanceInfo>, EngineError> {
        match ProviderAdmin::get_instance_info(self.inner.gate.inner(), id).await {
            Ok(info) => Ok(Some(info)),
            Err(e) if !e.is_retryable() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

fn message<T: serde::Serialize>(value: &T) -> Result<String, EngineError> {
    let text = serde_json::to_string(value).map_err(|e| EngineError::Input(e.to_string()))?;
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(EngineError::Input(format!(
            "{} bytes are more than the {MAX_MESSAGE_BYTES} a message may have",
            text.len()
        )));
    }
    Ok(text)
}

fn phase(status: &str) -> Phase {
    match status {
        "Completed" => Phase::Done,
        "Failed" => Phase::Failed,
        _ => Phase::Running,
    }
}
