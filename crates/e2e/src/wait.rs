//! Waiting for conditions, with a bound and a name for what was awaited.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How long a condition may take that needs no build: an agent's start on a loaded machine is most of it.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// How long a condition may take that needs packages or an image to be made.
pub const LONG: Duration = Duration::from_secs(420);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(60);

/// Looks until `look` finds something. An error of `look` ends the wait: what cannot be looked at cannot come true.
pub async fn until<T>(what: &str, at_most: Duration, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if began.elapsed() > at_most {
            bail!("waited {} s in vain for: {what}", at_most.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
