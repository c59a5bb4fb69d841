//! A provider decorator for one process: the library's own SQLite provider behind it, its pitfalls taken out.
//!
//! - **One writer.** Every write takes the turn, so two writers never meet as `database is locked`.
//! - **Wake-ups, not polling.** One waiting fetcher per queue stands in front; the others queue behind it and cost
//!   nothing. It is woken by what enters the queue, by the next due time, or after [`super::front::CAP`].
//! - **Acks that last.** A store error in an ack would fail the activity or the run for good; it is retried instead,
//!   for [`ACK_PATIENCE`], since a full disk can stay full until a person comes.
//! - **Leases of the living.** See [`super::live`].
//! - **Lanes.** Long calls never take the last short slots: see [`crate::durable::Lane`].
//!
//! Cancel: a turn that drops a call tells its token at once, without waiting for the lease's next renewal.

use super::{
    file,
    front::Front,
    live::{Ident, Live, call_of},
    persist::{injected, persist},
};
use async_trait::async_trait;
use duroxide::{
    Event, SystemStats,
    providers::{
        DispatcherCapabilityFilter, ExecutionMetadata, OrchestrationItem, Provider, ProviderAdmin, ProviderError,
        ScheduledActivityIdentifier, SessionFetchConfig, TagFilter, WorkItem, sqlite::SqliteProvider,
    },
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, MutexGuard, watch},
    time::{Instant, timeout_at},
};

/// The tag of calls in the long lane.
pub(super) const LONG: &str = "long";
/// Shortest time without a try to renew after which a call's runner counts as lost.
const DEAD_AFTER: Duration = Duration::from_secs(120);
/// How long an ack is tried.
const ACK_PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long any other write is tried before its caller is told.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

type R<T> = Result<T, ProviderError>;

/// See the module.
pub(crate) struct Gate {
    inner: SqliteProvider,
    live: Arc<Live>,
    long_slots: usize,
    lease: Duration,
    turn: Mutex<()>,
    turns: Front,
    calls: Front,
    /// Counts runs that ended.
    ended: watch::Sender<u64>,
}

fn retryable(e: sqlx::Error) -> ProviderError {
    ProviderError::retryable("lease", e.to_string())
}

impl Gate {
    pub(crate) fn new(inner: SqliteProvider, live: Arc<Live>, long_slots: usize, lease: Duration) -> Self {
        let (ended, _) = watch::channel(0);
        Self {
            inner,
            live,
            long_slots,
            lease,
            turn: Mutex::new(()),
            turns: Front::default(),
            calls: Front::default(),
            ended,
        }
    }

    /// The library's provider, for reads.
    pub(crate) fn inner(&self) -> &SqliteProvider {
        &self.inner
    }

    /// The writer's turn, for management writes that do not pass through this provider.
    pub(crate) async fn take_turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Changes whenever a run ends.
    pub(crate) fn ended(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    /// Keeps the leases of living calls from being taken for those of dead ones. Under the turn.
    async fn revive_overdue(&self) -> R<()> {
        let dead_after = if self.lease.is_zero() { Duration::ZERO } else { DEAD_AFTER.max(self.lease * 2) };
        for lock in self.live.overdue(self.lease / 4, dead_after) {
            self.revive(&lock).await?;
        }
        Ok(())
    }

    /// With no lease of its own the gate believes the file's, as a provider shared by processes must.
    async fn revive(&self, lock: &str) -> R<bool> {
        if self.lease.is_zero() {
            return Ok(false);
        }
        let revived = file::revive(self.inner.get_pool(), lock, self.lease).await.map_err(retryable)?;
        self.live.extended(lock, self.lease);
        Ok(revived)
    }

    /// Renewal of a call's lease that also brings back one that has run out.
    async fn renew(&self, lock: &str, lease: Duration) -> R<()> {
        self.live.cared(lock);
        match self.inner.renew_work_item_lock(lock, lease).await {
            Err(e) if !e.is_retryable() && self.live.holds(lock) && self.revive(lock).await? => Ok(()),
            other => other,
        }
    }

    /// Ack of a call that also succeeds when its lease has run out.
    async fn ack(&self, lock: &str, completion: Option<WorkItem>) -> R<()> {
        self.live.cared(lock);
        match self.inner.ack_work_item(lock, completion.clone()).await {
            Err(e) if !e.is_retryable() && self.live.holds(lock) && self.revive(lock).await? => {
                self.inner.ack_work_item(lock, completion).await
            }
            other => other,
        }
    }

    async fn next_turn(
        &self,
        lock: Duration,
        filter: Option<&DispatcherCapabilityFilter>,
    ) -> R<Option<(OrchestrationItem, String, u32)>> {
        let _turn = self.turn.lock().await;
        injected("engine.turn.fetch")?;
        self.inner.fetch_orchestration_item(lock, Duration::ZERO, filter).await
    }

    async fn next_call(
        &self,
        lease: Duration,
        session: Option<&SessionFetchConfig>,
        tags: &TagFilter,
    ) -> R<Option<(WorkItem, String, u32)>> {
        let _turn = self.turn.lock().await;
        injected("engine.call.fetch")?;
        self.revive_overdue().await?;
        let full = self.live.count().1 >= self.long_slots;
        let tags = if full && matches!(tags, TagFilter::Any) { &TagFilter::DefaultOnly } else { tags };
        loop {
            let fetched = self.inner.fetch_work_item(lease, Duration::ZERO, session, tags).await?;
            if let Some((WorkItem::ActivityExecute { instance, execution_id, id, input, tag, .. }, lock, _)) = &fetched
            {
                let ident = Ident { instance: instance.clone(), execution: *execution_id, activity: *id };
                if let Some(first) = self.living(&ident) {
                    // The clock jumped past the lease between the look at it and the fetch.
                    file::give_back(self.inner.get_pool(), lock, &first).await.map_err(retryable)?;
                    self.live.extended(&first, lease);
                    continue;
                }
                self.live.enter(ident, lock, call_of(input), tag.as_deref() == Some(LONG), lease);
            }
            return Ok(fetched);
        }
    }

    fn living(&self, ident: &Ident) -> Option<String> {
        if self.lease.is_zero() { None } else { self.live.lock_of(ident) }
    }

    /// After this no fetch returns anything.
    async fn stopped(&self, end: Instant) -> bool {
        if self.live.stopping.is_cancelled() {
            tokio::time::sleep_until(end).await;
            return true;
        }
        false
    }

    fn left(&self, lock: &str) {
        if self.live.leave(lock) {
            self.calls.wake.notify_one();
        }
    }
}

#[async_trait]
impl Provider for Gate {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn version(&self) -> &str {
        self.inner.version()
    }

    async fn fetch_orchestration_item(
        &self,
        lock: Duration,
        poll: Duration,
        filter: Option<&DispatcherCapabilityFilter>,
    ) -> R<Option<(OrchestrationItem, String, u32)>> {
        if poll.is_zero() {
            return self.next_turn(lock, filter).await;
        }
        let end = Instant::now() + poll;
        let Ok(_front) = timeout_at(end, self.turns.place.lock()).await else { return Ok(None) };
        loop {
            if self.stopped(end).await {
                return Ok(None);
            }
            if let Some(found) = self.next_turn(lock, filter).await? {
                return Ok(Some(found));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            self.turns.rest(file::next_turn(self.inner.get_pool()).await, end).await;
        }
    }

    async fn ack_orchestration_item(
        &self,
        token: &str,
        execution: u64,
        history: Vec<Event>,
        work: Vec<WorkItem>,
        turns: Vec<WorkItem>,
        metadata: ExecutionMetadata,
        cancelled: Vec<ScheduledActivityIdentifier>,
    ) -> R<()> {
        fail::fail_point!("engine.turn.before");
        let result = persist!(
            self,
            ACK_PATIENCE,
            "engine.turn.write",
            self.inner.ack_orchestration_item(
                token,
                execution,
                history.clone(),
                work.clone(),
                turns.clone(),
                metadata.clone(),
                cancelled.clone(),
            )
        );
        fail::fail_point!("engine.turn.after");
        if result.is_ok() {
            for c in cancelled {
                self.live.cancel(&Ident { instance: c.instance, execution: c.execution_id, activity: c.activity_id });
            }
            if matches!(metadata.status.as_deref(), Some("Completed" | "Failed")) {
                self.ended.send_modify(|n| *n += 1);
            }
        }
        if !work.is_empty() {
            self.calls.wake.notify_one();
        }
        self.turns.wake.notify_one();
        result
    }

    async fn abandon_orchestration_item(&self, token: &str, delay: Option<Duration>, ignore: bool) -> R<()> {
        let result = persist!(
            self,
            WRITE_PATIENCE,
            "engine.turn.abandon",
            self.inner.abandon_orchestration_item(token, delay, ignore)
        );
        self.turns.wake.notify_one();
        result
    }

    async fn renew_orchestration_item_lock(&self, token: &str, lock: Duration) -> R<()> {
        persist!(self, WRITE_PATIENCE, "engine.turn.renew", self.inner.renew_orchestration_item_lock(token, lock))
    }

    async fn enqueue_for_orchestrator(&self, item: WorkItem, delay: Option<Duration>) -> R<()> {
        fail::fail_point!("engine.enqueue.before");
        let result = persist!(
            self,
            WRITE_PATIENCE,
            "engine.enqueue.write",
            self.inner.enqueue_for_orchestrator(item.clone(), delay)
        );
        fail::fail_point!("engine.enqueue.after");
        self.turns.wake.notify_one();
        result
    }

    async fn enqueue_for_worker(&self, item: WorkItem) -> R<()> {
        let result = persist!(self, WRITE_PATIENCE, "engine.call.enqueue", self.inner.enqueue_for_worker(item.clone()));
        self.calls.wake.notify_one();
        result
    }

    async fn fetch_work_item(
        &self,
        lease: Duration,
        poll: Duration,
        session: Option<&SessionFetchConfig>,
        tags: &TagFilter,
    ) -> R<Option<(WorkItem, String, u32)>> {
        if poll.is_zero() {
            return self.next_call(lease, session, tags).await;
        }
        let end = Instant::now() + poll;
        let Ok(_front) = timeout_at(end, self.calls.place.lock()).await else { return Ok(None) };
        loop {
            if self.stopped(end).await {
                return Ok(None);
            }
            if let Some(found) = self.next_call(lease, session, tags).await? {
                return Ok(Some(found));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            self.calls.rest(file::next_call(self.inner.get_pool()).await, end).await;
        }
    }

    async fn ack_work_item(&self, token: &str, completion: Option<WorkItem>) -> R<()> {
        fail::fail_point!("engine.call.before");
        let result = persist!(self, ACK_PATIENCE, "engine.call.write", self.ack(token, completion.clone()));
        fail::fail_point!("engine.call.after");
        self.left(token);
        self.turns.wake.notify_one();
        result
    }

    async fn renew_work_item_lock(&self, token: &str, lease: Duration) -> R<()> {
        let result = persist!(self, ACK_PATIENCE, "engine.call.renew", self.renew(token, lease));
        if result.is_ok() {
            self.live.extended(token, lease);
        }
        result
    }

    async fn abandon_work_item(&self, token: &str, delay: Option<Duration>, ignore: bool) -> R<()> {
        let result =
            persist!(self, WRITE_PATIENCE, "engine.call.abandon", self.inner.abandon_work_item(token, delay, ignore));
        self.left(token);
        self.calls.wake.notify_one();
        result
    }

    async fn renew_session_lock(&self, owners: &[&str], lock: Duration, idle: Duration) -> R<usize> {
        persist!(self, WRITE_PATIENCE, "engine.session.renew", self.inner.renew_session_lock(owners, lock, idle))
    }
    async fn cleanup_orphaned_sessions(&self, idle: Duration) -> R<usize> {
        persist!(self, WRITE_PATIENCE, "engine.session.clean", self.inner.cleanup_orphaned_sessions(idle))
    }
    async fn append_with_execution(&self, instance: &str, execution: u64, events: Vec<Event>) -> R<()> {
        persist!(
            self,
            WRITE_PATIENCE,
            "engine.append",
            self.inner.append_with_execution(instance, execution, events.clone())
        )
    }

    async fn read(&self, instance: &str) -> R<Vec<Event>> {
        self.inner.read(instance).await
    }
    async fn read_with_execution(&self, instance: &str, execution: u64) -> R<Vec<Event>> {
        self.inner.read_with_execution(instance, execution).await
    }
    fn as_management_capability(&self) -> Option<&dyn ProviderAdmin> {
        self.inner.as_management_capability()
    }
    async fn get_custom_status(&self, instance: &str, seen: u64) -> R<Option<(Option<String>, u64)>> {
        self.inner.get_custom_status(instance, seen).await
    }
    async fn get_kv_value(&self, instance: &str, key: &str) -> R<Option<String>> {
        self.inner.get_kv_value(instance, key).await
    }
    async fn get_kv_all_values(&self, instance: &str) -> R<HashMap<String, String>> {
        self.inner.get_kv_all_values(instance).await
    }
    async fn get_instance_stats(&self, instance: &str) -> R<Option<SystemStats>> {
        self.inner.get_instance_stats(instance).await
    }
}
