//! The front of a queue: who waits for its next item, and what wakes them.

use std::time::Duration;
use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, timeout},
};

/// Longest sleep of a fetcher that nothing woke: a clock that jumped is noticed within this.
pub(super) const CAP: Duration = Duration::from_secs(5);

/// One fetcher holds the place and rests; the others wait for the place and cost nothing.
#[derive(Default)]
pub(super) struct Front {
    pub(super) place: Mutex<()>,
    pub(super) wake: Notify,
}

impl Front {
    /// Rests until something is woken, something is due, or `end`. A wake-up of before is not missed.
    pub(super) async fn rest(&self, due: Option<Duration>, end: Instant) {
        let nap = due.unwrap_or(CAP).min(CAP).min(end.saturating_duration_since(Instant::now()));
        // Both outcomes mean the same: look again.
        drop(timeout(nap, self.wake.notified()).await);
    }
}
