//! What keeps one bad endpoint from becoming everybody's trouble: retries, circuit breakers, concurrency slots.
//!
//! - [`RetryPolicy`]: whether a failed attempt is made again, on which endpoint, and after what rest. Full jitter, the
//!   provider's `Retry-After` honoured up to a bound, a bound on attempts and on the time of the whole call.
//! - [`Breaker`]: one per endpoint. Opens after failures, lets single probes through after a rest, closes on their
//!   success.
//! - [`Slots`]: how many calls an endpoint has at once; the rest waits in a bounded first-in-first-out queue for a
//!   bounded time.
//!
//! Time and random numbers are arguments (only the queue of [`Slots`] waits by the runtime's clock), so that each
//! state machine is tested without waiting. Nothing here does IO or knows a provider's format.
//!
//! ```no_run
//! use gateway::resilience::{Breaker, BreakerPolicy, Failure, Next, RetryHint, RetryPolicy, Slots};
//! use std::time::{Duration, Instant, SystemTime};
//!
//! # async fn attempt() -> Result<hyper::Response<()>, Failure> { unimplemented!() }
//! # async fn example() -> Option<()> {
//! let breaker = Breaker::new(BreakerPolicy::default()); // one per endpoint, kept
//! let slots = Slots::new(32, 128, Duration::from_secs(30)); // one per endpoint, kept
//! let mut retries = RetryPolicy::default().start(Instant::now()); // one per call
//! loop {
//!     let permit = breaker.admit(Instant::now()).ok()?; // open: the next target, or 503 with its `retry_after`
//!     let _slot = slots.take().await.ok()?; // full: 503, or 429 to the caller
//!     let failure = match attempt().await {
//!         Ok(response) if response.status().is_success() => {
//!             permit.succeeded(Instant::now());
//!             return Some(());
//!         }
//!         Ok(response) => {
//!             Failure::answered(response.status().as_u16(), RetryHint::read(response.headers(), SystemTime::now()))
//!         }
//!         Err(failure) => failure,
//!     };
//!     permit.failed(&failure, Instant::now());
//!     match retries.next(&failure, Instant::now(), gateway::resilience::random()) {
//!         Next::Again { after } => tokio::time::sleep(after).await,
//!         Next::Elsewhere => retries.next_target(), // the alias's next target, if there is one
//!         Next::Stop => return None,
//!     }
//! }
//! # }
//! ```

mod breaker;
mod retry;
mod slots;

pub use breaker::{Breaker, BreakerPolicy, BreakerState, Open, Permit};
pub use retry::{Failure, Next, Retries, RetryHint, RetryPolicy, random};
pub use slots::{Full, Slot, Slots};
