//! A token bucket: how often a sandbox may do what costs us a record.

use std::{sync::Mutex, time::Instant};

/// A bucket that refills at a steady rate.
pub(crate) struct Bucket {
    burst: f64,
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(crate) fn new(burst: u32, per_second: f64) -> Self {
        Self { burst: f64::from(burst), per_second, state: Mutex::new((f64::from(burst), Instant::now())) }
    }

    /// Takes one, or says no.
    pub(crate) fn take(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (left, since) = *state;
        let left = (left + now.duration_since(since).as_secs_f64() * self.per_second).min(self.burst);
        let taken = left >= 1.0;
        *state = (if taken { left - 1.0 } else { left }, now);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_no_more() {
        let bucket = Bucket::new(3, 1e-9);
        assert_eq!([0; 5].map(|_| bucket.take()), [true, true, true, false, false]);
    }
}
