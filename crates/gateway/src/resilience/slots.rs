//! How many calls an endpoint has at once, with a bounded queue for the rest.
//!
//! First come, first served (the semaphore hands a freed slot to the longest waiting). A slot is released when it is
//! dropped; one who stops waiting leaves the queue. When a limit is changed a new [`Slots`] takes over and the old one
//! lives until its last slot is dropped.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// No slot could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// As many wait as may wait.
    #[error("all {slots} slots of the endpoint are taken and {queue} calls wait already")]
    Queue {
        /// Calls at once.
        slots: usize,
        /// Waiting calls at most.
        queue: usize,
    },
    /// It waited as long as it may.
    #[error("no slot of the endpoint became free within {} ms", waited.as_millis())]
    Timeout {
        /// The time.
        waited: Duration,
    },
}

/// The slots of one endpoint.
pub struct Slots {
    semaphore: Arc<Semaphore>,
    slots: usize,
    queue: usize,
    timeout: Duration,
    waiting: AtomicUsize,
}

/// A call under way. Dropping it lets the next one in.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// One who waits; leaves the count however the waiting ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Slots {
    /// `slots` calls at once (at least one), `queue` more that wait for at most `timeout`.
    pub fn new(slots: usize, queue: usize, timeout: Duration) -> Self {
        let slots = slots.clamp(1, Semaphore::MAX_PERMITS);
        Self { semaphore: Arc::new(Semaphore::new(slots)), slots, queue, timeout, waiting: AtomicUsize::new(0) }
    }

    /// Takes a slot, waiting for one if the queue has room.
    pub async fn take(&self) -> Result<Slot, Full> {
        match Arc::clone(&self.semaphore).try_acquire_owned() {
            Ok(permit) => return Ok(Slot { _permit: permit }),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {}
        }
        let joined = self
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < self.queue).then_some(n + 1))
            .map_err(|_| Full::Queue { slots: self.slots, queue: self.queue })?;
        tracing::trace!(ahead = joined, "a call waits for a slot");
        let _waiting = Waiting(&self.waiting);
        let acquired = tokio::time::timeout(self.timeout, Arc::clone(&self.semaphore).acquire_owned()).await;
        match acquired {
            Ok(Ok(permit)) => Ok(Slot { _permit: permit }),
            // The semaphore is never closed; a closed one would have no slots.
            Ok(Err(_)) | Err(_) => Err(Full::Timeout { waited: self.timeout }),
        }
    }

    /// Calls under way.
    pub fn in_use(&self) -> usize {
        self.slots.saturating_sub(self.semaphore.available_permits())
    }

    /// Calls that wait.
    pub fn queued(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future::BoxFuture};
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn the_queue_is_bounded_and_its_wait_too() {
        let slots = Slots::new(1, 1, Duration::from_millis(20));
        let held = slots.take().await.unwrap();
        let (first, second) = tokio::join!(slots.take(), slots.take());
        assert!(matches!(first, Err(Full::Timeout { .. })), "{first:?}");
        assert!(matches!(second, Err(Full::Queue { slots: 1, queue: 1 })), "{second:?}");
        drop(held);
        assert_eq!((slots.in_use(), slots.queued()), (0, 0));
        assert!(slots.take().await.is_ok());
    }

    fn poll(f: &mut BoxFuture<'_, Result<Slot, Full>>) -> Option<Result<Slot, Full>> {
        f.as_mut().now_or_never()
    }

    proptest! {
        /// Takers, releases and takers that give up, in any order, against a model of a first-in-first-out queue.
        #[test]
        fn slots_are_bounded_fair_and_never_lost(
            limit in 1_usize..4,
            queue in 0_usize..5,
            steps in prop::collection::vec((0_u8..3, 0_usize..16), 1..200),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let slots = Slots::new(limit, queue, LONG);
                let mut held: Vec<Slot> = Vec::new();
                let mut waiting: VecDeque<BoxFuture<'_, Result<Slot, Full>>> = VecDeque::new();
                for (what, which) in steps {
                    match what {
                        0 => {
                            let mut f = slots.take().boxed();
                            match poll(&mut f) {
                                Some(Ok(slot)) => {
                                    prop_assert!(waiting.is_empty(), "nobody is overtaken");
                                    held.push(slot);
                                }
                                Some(Err(_)) => prop_assert_eq!(waiting.len(), queue, "refused only when full"),
                                None => waiting.push_back(f),
                            }
                        }
                        1 if !held.is_empty() => {
                            held.swap_remove(which % held.len());
                            // The freed slot is the first one's; the others, asked before it, go on waiting.
                            let mut served = false;
                            for (place, f) in waiting.iter_mut().enumerate().rev() {
                                if let Some(got) = poll(f) {
                                    prop_assert_eq!(place, 0);
                                    held.push(got.unwrap());
                                    served = true;
                                }
                            }
                            prop_assert_eq!(served, !waiting.is_empty());
                            if served {
                                drop(waiting.pop_front());
                            }
                        }
                        2 if !waiting.is_empty() => drop(waiting.remove(which % waiting.len())),
                        _ => {}
                    }
                    prop_assert!(held.len() <= limit);
                    prop_assert_eq!(slots.in_use(), held.len());
                    prop_assert_eq!(slots.queued(), waiting.len());
                    prop_assert!(slots.queued() <= queue);
                }
                Ok(())
            })?;
        }
    }
}
