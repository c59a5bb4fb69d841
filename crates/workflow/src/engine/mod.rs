//! The engines that run workflows. One for now: embedded, in this process, on a SQLite file.
//!
//! Only this module names the engine library; workflows and activities see [`crate::durable`] alone.
//!
//! | file | owns |
//! |---|---|
//! | `embedded.rs` | [`Engine`]: open, start, signal, status, result, cancel, shutdown, maintenance |
//! | `host.rs` | [`Registry`]; the adapter that makes an engine context a [`crate::durable::Durable`] and runs activities |
//! | `gate.rs` | the provider decorator: one writer, wake-ups, lasting acks, lanes |
//! | `front.rs` | who waits at a queue, and what wakes them |
//! | `live.rs` | the calls that run in this process: their leases and cancel tokens |
//! | `persist.rs` | writes that outlast a failing store |
//! | `file.rs` | the few statements on the engine's own tables that its API lacks |
//! | `types.rs` | what the engine is told and what it answers |
//! | `upkeep.rs` | forgetting ended runs, bounding caches |
//! | `replay.rs` | recorded histories: export and replay |

mod embedded;
mod file;
mod front;
mod gate;
mod host;
mod live;
mod persist;
mod replay;
mod types;
mod upkeep;

pub use embedded::Engine;
pub use host::{Host, Registry, Work};
pub use replay::{History, ReplayError, replay};
pub use types::{EngineError, Options, Outcome, Phase, Pruned, RunState, Started, Stats, Told};

/// The gated provider without a runtime, and without lasting leases: for the library's own validation suite.
#[doc(hidden)]
pub async fn bare_provider(
    path: &std::path::Path,
) -> Result<std::sync::Arc<dyn duroxide::providers::Provider>, EngineError> {
    let inner = file::open(path).await.map_err(|e| EngineError::Open(path.display().to_string(), e))?;
    Ok(std::sync::Arc::new(gate::Gate::new(inner, std::sync::Arc::default(), usize::MAX, std::time::Duration::ZERO)))
}
