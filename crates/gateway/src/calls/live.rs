//! The streamed answers under way: those whose client has stalled are ended, and all of them when the gateway stops.

use super::{failure::Failure, stream::Cell};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How often stalled clients are looked for, at least.
const LONGEST_ROUND: Duration = Duration::from_secs(5);
/// How often at most.
const SHORTEST_ROUND: Duration = Duration::from_millis(20);

/// The streamed answers under way. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Live(Arc<Inner>);

struct Inner {
    epoch: Instant,
    stall_limit: Duration,
    next: AtomicU64,
    watching: AtomicBool,
    cells: Mutex<HashMap<u64, Weak<Cell>>>,
}

/// Being in the list; dropping it leaves the list.
pub(super) struct Registration {
    live: Live,
    id: u64,
}

impl Live {
    pub(crate) fn new(stall_limit: Duration) -> Self {
        Self(Arc::new(Inner {
            epoch: Instant::now(),
            stall_limit,
            next: AtomicU64::new(0),
            watching: AtomicBool::new(false),
            cells: Mutex::default(),
        }))
    }

    /// Milliseconds since the gateway's beginning, never zero.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.0.epoch.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.cells().len()
    }

    fn cells(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Weak<Cell>>> {
        self.0.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn register(&self, cell: &Arc<Cell>) -> Registration {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.cells().insert(id, Arc::downgrade(cell));
        if !self.0.watching.swap(true, Ordering::AcqRel) {
            tokio::spawn(watch(self.clone()));
        }
        Registration { live: self.clone(), id }
    }

    /// Ends all of them, as cut.
    pub(crate) fn end_all(&self) {
        for cell in self.all() {
            cell.end(Some(Failure::closed()));
        }
    }

    fn all(&self) -> Vec<Arc<Cell>> {
        self.cells().values().filter_map(Weak::upgrade).collect()
    }

    fn end_stalled(&self) {
        let (now, limit) = (self.now_ms(), self.0.stall_limit);
        for cell in self.all() {
            if cell.stalled_for(now).is_some_and(|d| d >= limit) {
                cell.end(Some(Failure::cut("client_stalled", format!("the client took nothing for {limit:?}"))));
            }
        }
    }
}

impl Registration {
    pub(super) fn now_ms(&self) -> u64 {
        self.live.now_ms()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.live.cells().remove(&self.id);
    }
}

/// Looks for stalled clients while there are any streams.
async fn watch(live: Live) {
    let mut rounds = tokio::time::interval((live.0.stall_limit / 4).clamp(SHORTEST_ROUND, LONGEST_ROUND));
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    rounds.tick().await;
    loop {
        rounds.tick().await;
        live.end_stalled();
        if live.count() == 0 {
            live.0.watching.store(false, Ordering::Release);
            // One that came between the look and the mark is watched on.
            if live.count() == 0 || live.0.watching.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }
}
