//! A circuit breaker: an endpoint that fails is left alone for a while, then tried with single probes.
//!
//! ```text
//! closed ──failures──► open ──rest is over──► half-open ──probes succeed──► closed
//!                       ▲                        │
//!                       └───────a probe fails────┘   (the rest doubles, up to a bound)
//! ```
//! Invariants: while open nothing passes; half-open passes at most [`BreakerPolicy::probes`] at once; a result counts
//! only in the state in which its call was admitted; a call that is dropped without a result (the client went away)
//! counts for nothing and frees its probe.

use super::Failure;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it.
    pub in_a_row: u32,
    /// Share of failures within the window that opens it, in percent.
    pub percent: u32,
    /// Calls in the window before their share means something.
    pub at_least: u32,
    /// The window over which the share is taken.
    pub window: Duration,
    /// The first rest.
    pub rest: Duration,
    /// The longest rest.
    pub longest_rest: Duration,
    /// Probes at once while half-open, and successes in a row that close it.
    pub probes: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            in_a_row: 5,
            percent: 50,
            at_least: 20,
            window: Duration::from_secs(30),
            rest: Duration::from_secs(5),
            longest_rest: Duration::from_secs(120),
            probes: 1,
        }
    }
}

/// Where a breaker stands, for people and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Nothing passes.
    Open,
    /// Probes pass.
    HalfOpen,
}

/// Refused: the endpoint is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint failed repeatedly and is left alone for now")]
pub struct Open {
    /// When to try again.
    pub retry_after: Duration,
}

/// While probes are under way, how long those turned away should wait.
const PROBING_WAIT: Duration = Duration::from_secs(1);

enum State {
    Closed {
        in_a_row: u32,
        since: Instant,
        /// Calls and failures of this window and of the one before.
        counts: [(u32, u32); 2],
    },
    Open {
        until: Instant,
        rest: Duration,
    },
    HalfOpen {
        probing: u32,
        succeeded: u32,
        rest: Duration,
    },
}

struct Inner {
    state: State,
    /// Changes with each change of state, so that late results of an earlier one are known.
    era: u64,
}

/// The breaker of one endpoint.
pub struct Breaker {
    policy: BreakerPolicy,
    inner: Arc<Mutex<Inner>>,
}

/// A call that may leave. Say how it ended; dropped without a word it counts for nothing.
pub struct Permit {
    policy: BreakerPolicy,
    inner: Arc<Mutex<Inner>>,
    era: u64,
    spent: bool,
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn closed(since: Instant) -> State {
    State::Closed { in_a_row: 0, since, counts: [(0, 0); 2] }
}

impl Inner {
    fn become_state(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }

    fn open(&mut self, now: Instant, rest: Duration) {
        self.become_state(State::Open { until: now + rest, rest });
    }
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy) -> Self {
        let policy = BreakerPolicy { probes: policy.probes.max(1), in_a_row: policy.in_a_row.max(1), ..policy };
        Self { policy, inner: Arc::new(Mutex::new(Inner { state: closed(Instant::now()), era: 0 })) }
    }

    /// Lets a call pass, or says when to try again.
    pub fn admit(&self, now: Instant) -> Result<Permit, Open> {
        let mut inner = lock(&self.inner);
        if let State::Open { until, rest } = inner.state {
            if now < until {
                return Err(Open { retry_after: until - now });
            }
            inner.become_state(State::HalfOpen { probing: 0, succeeded: 0, rest });
        }
        if let State::HalfOpen { probing, .. } = &mut inner.state {
            if *probing >= self.policy.probes {
                return Err(Open { retry_after: PROBING_WAIT });
            }
            *probing += 1;
        }
        Ok(Permit { policy: self.policy, inner: Arc::clone(&self.inner), era: inner.era, spent: false })
    }

    /// Where it stands; an open one whose rest is over shows as half-open.
    pub fn state(&self, now: Instant) -> BreakerState {
        match lock(&self.inner).state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until, .. } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

impl Permit {
    /// The endpoint did its work.
    pub fn succeeded(mut self, now: Instant) {
        self.finish(true, now);
    }

    /// It did not. A failure that says nothing about the endpoint (a 4xx) counts as success: it answered.
    pub fn failed(mut self, failure: &Failure, now: Instant) {
        self.finish(!failure.harms_endpoint(), now);
    }

    fn finish(&mut self, good: bool, now: Instant) {
        self.spent = true;
        let mut inner = lock(&self.inner);
        if inner.era != self.era {
            return;
        }
        let policy = self.policy;
        match &mut inner.state {
            State::Closed { in_a_row, since, counts } => {
                turn_window(since, counts, now, policy.window);
                counts[0].0 = counts[0].0.saturating_add(1);
                if good {
                    *in_a_row = 0;
                    return;
                }
                counts[0].1 = counts[0].1.saturating_add(1);
                *in_a_row = in_a_row.saturating_add(1);
                let calls = u64::from(counts[0].0) + u64::from(counts[1].0);
                let failures = u64::from(counts[0].1) + u64::from(counts[1].1);
                let too_many =
                    calls >= u64::from(policy.at_least) && failures * 100 >= calls * u64::from(policy.percent);
                if *in_a_row >= policy.in_a_row || too_many {
                    inner.open(now, policy.rest);
                }
            }
            State::HalfOpen { probing, succeeded, rest } => {
                *probing = probing.saturating_sub(1);
                if !good {
                    let rest = rest.saturating_mul(2).min(policy.longest_rest.max(policy.rest));
                    inner.open(now, rest);
                    return;
                }
                *succeeded += 1;
                if *succeeded >= policy.probes {
                    inner.become_state(closed(now));
                }
            }
            State::Open { .. } => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.spent {
            return;
        }
        let mut inner = lock(&self.inner);
        if inner.era == self.era
            && let State::HalfOpen { probing, .. } = &mut inner.state
        {
            *probing = probing.saturating_sub(1);
        }
    }
}

/// Two half windows: the older one falls out when the newer is full.
fn turn_window(since: &mut Instant, counts: &mut [(u32, u32); 2], now: Instant, window: Duration) {
    let half = window / 2;
    let passed = now.saturating_duration_since(*since);
    if passed < half {
        return;
    }
    counts[1] = if passed < window { counts[0] } else { (0, 0) };
    counts[0] = (0, 0);
    *since = now;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOWN: Failure = Failure::NoAnswer;

    fn fail_times(b: &Breaker, n: u32, now: Instant) {
        for _ in 0..n {
            b.admit(now).unwrap().failed(&DOWN, now);
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_probe_closes_it() {
        let b = Breaker::new(BreakerPolicy::default());
        let now = Instant::now();
        fail_times(&b, 4, now);
        b.admit(now).unwrap().succeeded(now);
        fail_times(&b, 4, now);
        assert_eq!(b.state(now), BreakerState::Closed);
        fail_times(&b, 1, now);
        assert_eq!(b.admit(now).err(), Some(Open { retry_after: Duration::from_secs(5) }));
        let later = now + Duration::from_secs(5);
        assert_eq!(b.state(later), BreakerState::HalfOpen);
        let probe = b.admit(later).unwrap();
        assert!(b.admit(later).is_err(), "one probe at once");
        probe.succeeded(later);
        assert_eq!(b.state(later), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_doubles_the_rest_up_to_a_bound() {
        let b = Breaker::new(BreakerPolicy::default());
        let mut now = Instant::now();
        fail_times(&b, 5, now);
        for expected in [5, 10, 20, 40, 80, 120, 120] {
            let wait = b.admit(now).err().unwrap().retry_after;
            assert_eq!(wait, Duration::from_secs(expected));
            now += wait;
            b.admit(now).unwrap().failed(&DOWN, now);
        }
    }

    #[test]
    fn a_share_of_failures_opens_it_and_old_ones_are_forgotten() {
        let b = Breaker::new(BreakerPolicy::default());
        let now = Instant::now();
        let mixed = |n: u32, now| {
            for _ in 0..n {
                b.admit(now).unwrap().succeeded(now);
                b.admit(now).unwrap().failed(&DOWN, now);
            }
        };
        mixed(9, now);
        let later = now + Duration::from_secs(31);
        mixed(9, later);
        assert_eq!(b.state(later), BreakerState::Closed, "18 of the old window do not count");
        b.admit(later).unwrap().succeeded(later);
        b.admit(later).unwrap().failed(&DOWN, later);
        assert_eq!(b.state(later), BreakerState::Open);
    }

    #[test]
    fn errors_of_the_request_do_not_open_it_and_a_lost_probe_is_freed() {
        let b = Breaker::new(BreakerPolicy::default());
        let now = Instant::now();
        for _ in 0..50 {
            b.admit(now).unwrap().failed(&Failure::answered(429, super::super::RetryHint::default()), now);
        }
        assert_eq!(b.state(now), BreakerState::Closed);
        fail_times(&b, 5, now);
        let later = now + Duration::from_secs(6);
        drop(b.admit(later).unwrap());
        assert!(b.admit(later).is_ok(), "the client of the first probe went away");
    }

    #[test]
    fn late_results_of_an_earlier_state_count_for_nothing() {
        let b = Breaker::new(BreakerPolicy::default());
        let now = Instant::now();
        let slow: Vec<_> = (0..10).map(|_| b.admit(now).unwrap()).collect();
        fail_times(&b, 5, now);
        let later = now + Duration::from_secs(5);
        let probe = b.admit(later).unwrap();
        for permit in slow {
            permit.failed(&DOWN, later);
        }
        assert_eq!(b.state(later), BreakerState::HalfOpen, "only the probe decides");
        probe.succeeded(later);
        assert_eq!(b.state(later), BreakerState::Closed);
    }

    proptest! {
        /// Any interleaving of admissions, results, drops and time.
        #[test]
        fn open_passes_nothing_and_half_open_passes_its_probes(
            probes in 1_u32..4,
            steps in prop::collection::vec((0_u8..5, 0_usize..64, 0_u64..4000), 1..300),
        ) {
            let policy = BreakerPolicy { probes, ..BreakerPolicy::default() };
            let b = Breaker::new(policy);
            let mut now = Instant::now();
            let mut out: Vec<(Permit, BreakerState)> = Vec::new();
            for (what, which, millis) in steps {
                match what {
                    0 | 1 => {
                        let before = b.state(now);
                        match b.admit(now) {
                            Ok(permit) => {
                                prop_assert_ne!(before, BreakerState::Open, "nothing passes an open breaker");
                                out.push((permit, before));
                            }
                            Err(open) => {
                                prop_assert_ne!(before, BreakerState::Closed);
                                prop_assert!(open.retry_after <= policy.longest_rest);
                            }
                        }
                    }
                    2 if !out.is_empty() => out.swap_remove(which % out.len()).0.succeeded(now),
                    3 if !out.is_empty() => out.swap_remove(which % out.len()).0.failed(&DOWN, now),
                    4 if !out.is_empty() => drop(out.swap_remove(which % out.len())),
                    _ => {}
                }
                now += Duration::from_millis(millis);
                let era = lock(&b.inner).era;
                let probing = out.iter().filter(|(p, s)| *s == BreakerState::HalfOpen && p.era == era).count();
                prop_assert!(probing <= probes as usize, "at most the probes are under way");
            }
            // Whatever happened, it is never stuck: when all are gone and the rest is over, a call passes.
            out.clear();
            prop_assert!(b.admit(now + policy.longest_rest).is_ok());
        }
    }
}
