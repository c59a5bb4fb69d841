//! Writes that outlast a store which fails for a while.

use duroxide::providers::ProviderError;
use std::time::Duration;

/// First and longest pause between two tries of a write.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

/// Runs a write under the turn until it succeeds, fails for good, or patience ends.
macro_rules! persist {
    ($gate:ident, $patience:expr, $point:literal, $op:expr) => {{
        let started = tokio::time::Instant::now();
        let mut pause = $crate::engine::persist::PAUSE.0;
        loop {
            let result = {
                let _turn = $gate.turn.lock().await;
                match $crate::engine::persist::injected($point) {
                    Ok(()) => $op.await,
                    Err(e) => Err(e),
                }
            };
            match result {
                Err(e) if e.is_retryable() && started.elapsed() < $patience => {
                    tracing::warn!(error = %e, point = $point, "a write of the engine failed and is tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min($crate::engine::persist::PAUSE.1);
                }
                other => break other,
            }
        }
    }};
}

/// A failpoint that makes a store write fail as a busy or full disk does. Compiled to nothing without `failpoints`.
pub(super) fn injected(point: &str) -> Result<(), ProviderError> {
    fail::fail_point!(point, |_| Err(ProviderError::retryable("failpoint", "injected")));
    let _unused_without_failpoints = point;
    Ok(())
}

pub(super) use persist;
