//! The activity calls that run in this process: their leases, their cancel tokens, the slots they hold.
//!
//! The installation is one process (it holds the data directory's lock), so this table *is* the truth about who runs
//! what; the leases in the file only serve a process that died. Hence a lease that ran out while its call still lives
//! (the machine slept, the disk was full) is revived instead of being given to a second run.

use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One scheduled activity, as the engine library numbers it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ident {
    pub(crate) instance: String,
    pub(crate) execution: u64,
    pub(crate) activity: u64,
}

#[derive(Debug)]
struct Entry {
    lock: String,
    call: Option<String>,
    long: bool,
    cancel: CancellationToken,
    /// Wall clock, as the file's lease: may pass while the process sleeps.
    until_ms: i64,
    /// Monotonic: since when its runner has not tried to renew, while the process was awake.
    renewed: Instant,
}

#[derive(Debug, Default)]
struct Table {
    calls: BTreeMap<Ident, Entry>,
    by_lock: BTreeMap<String, Ident>,
    by_call: BTreeMap<String, Ident>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Live {
    table: Mutex<Table>,
    /// Cancelled when the engine shuts down.
    pub(crate) stopping: CancellationToken,
    parked: AtomicUsize,
    /// Told whenever a call ends or parks.
    pub(crate) changed: Notify,
}

/// The part of a call's input that names it.
#[derive(Deserialize)]
struct Called {
    key: String,
    attempt: u32,
}

/// The name of one attempt of a call.
pub(super) fn call_name(key: &str, attempt: u32) -> String {
    format!("{key}#{attempt}")
}

/// The name of the call that this input belongs to, if it is one of ours.
pub(super) fn call_of(input: &str) -> Option<String> {
    serde_json::from_str::<Called>(input).ok().map(|c| call_name(&c.key, c.attempt))
}

/// Milliseconds since 1970, the file's clock.
pub(crate) fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

impl Live {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a call that was just fetched. `call` is its key and attempt, where it is one of ours.
    pub(crate) fn enter(&self, id: Ident, lock: &str, call: Option<String>, long: bool, lease: Duration) {
        let mut t = self.table();
        if let Some(old) = t.calls.remove(&id) {
            t.by_lock.remove(&old.lock);
        }
        t.by_lock.insert(lock.to_owned(), id.clone());
        if let Some(call) = &call {
            t.by_call.insert(call.clone(), id.clone());
        }
        let until_ms = now_ms().saturating_add(millis(lease));
        let cancel = CancellationToken::new();
        t.calls.insert(id, Entry { lock: lock.to_owned(), call, long, cancel, until_ms, renewed: Instant::now() });
    }

    /// The call under this lock ended; true if it held a long slot.
    pub(crate) fn leave(&self, lock: &str) -> bool {
        let mut t = self.table();
        let Some(entry) = t.by_lock.remove(lock).and_then(|id| t.calls.remove(&id)) else { return false };
        if let Some(call) = &entry.call {
            t.by_call.remove(call);
        }
        drop(t);
        self.changed.notify_waiters();
        entry.long
    }

    /// Notes a lease that lasts this long from now.
    pub(crate) fn extended(&self, lock: &str, lease: Duration) {
        self.with(lock, |e| e.until_ms = now_ms().saturating_add(millis(lease)));
    }

    /// Notes that the call's runner cares for its lease, even if the file cannot take it yet.
    pub(crate) fn cared(&self, lock: &str) {
        self.with(lock, |e| e.renewed = Instant::now());
    }

    fn with(&self, lock: &str, change: impl FnOnce(&mut Entry)) {
        let mut t = self.table();
        let Some(id) = t.by_lock.get(lock).cloned() else { return };
        if let Some(e) = t.calls.get_mut(&id) {
            change(e);
        }
    }

    /// The lock of a call that runs here and is wanted.
    pub(crate) fn lock_of(&self, id: &Ident) -> Option<String> {
        self.table().calls.get(id).filter(|e| !e.cancel.is_cancelled()).map(|e| e.lock.clone())
    }

    /// Whether this lock belongs to a call that lives here and was not cancelled.
    pub(crate) fn holds(&self, lock: &str) -> bool {
        let t = self.table();
        t.by_lock.get(lock).and_then(|id| t.calls.get(id)).is_some_and(|e| !e.cancel.is_cancelled())
    }

    /// Locks whose lease has run out, or does within `margin`, although their call lives. Calls that nobody renewed for `dead_after` of waking time
    /// have lost their runner: they are forgotten, and run again.
    pub(crate) fn overdue(&self, margin: Duration, dead_after: Duration) -> Vec<String> {
        let now = now_ms().saturating_add(millis(margin));
        let mut t = self.table();
        let overdue = |e: &Entry| e.until_ms <= now && !e.cancel.is_cancelled();
        let dead: Vec<String> = t
            .calls
            .values()
            .filter(|e| overdue(e) && e.renewed.elapsed() >= dead_after)
            .map(|e| e.lock.clone())
            .collect();
        for lock in dead {
            if let Some(e) = t.by_lock.remove(&lock).and_then(|id| t.calls.remove(&id)) {
                tracing::warn!(call = ?e.call, "a call lost its runner and will be run again");
                e.cancel.cancel();
                if let Some(call) = &e.call {
                    t.by_call.remove(call);
                }
            }
        }
        t.calls.values().filter(|e| overdue(e)).map(|e| e.lock.clone()).collect()
    }

    /// Tells the given call, if it runs here, that its workflow no longer wants it.
    pub(crate) fn cancel(&self, id: &Ident) {
        if let Some(e) = self.table().calls.get(id) {
            e.cancel.cancel();
        }
    }

    /// The cancel token of a running call.
    pub(crate) fn token(&self, call: &str) -> Option<CancellationToken> {
        let t = self.table();
        t.by_call.get(call).and_then(|id| t.calls.get(id)).map(|e| e.cancel.clone())
    }

    /// Calls that run, and how many of them in long slots.
    pub(crate) fn count(&self) -> (usize, usize) {
        let t = self.table();
        (t.calls.len(), t.calls.values().filter(|e| e.long).count())
    }

    /// A call has let go for the shutdown and only waits to be dropped.
    pub(crate) fn park(&self) {
        self.parked.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether every call has ended or let go.
    pub(crate) fn quiet(&self) -> bool {
        self.table().calls.len() <= self.parked.load(Ordering::SeqCst)
    }
}
