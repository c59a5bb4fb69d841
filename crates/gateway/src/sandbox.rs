//! One sandbox as the gateway sees it, and what all of them share.

use crate::{
    Config, Upstreams,
    body::Memory,
    budget::{Account, Ledger, Scope},
    rate::Bucket,
};
use domain::ids::TaskId;
use std::sync::{Arc, atomic::AtomicBool};
use store::{Store, StoreError};
use tokio::sync::{Mutex, OnceCell};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// MCP tool calls of a sandbox: at once, and per second after that.
const TOOL_CALLS: (u32, f64) = (30, 1.0);
/// Advisory events of a sandbox: at once, and per second after that.
const EVENTS: (u32, f64) = (200, 20.0);

/// What all sandboxes share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) upstreams: Upstreams,
    pub(crate) tracker: TaskTracker,
    pub(crate) ledger: Ledger,
}

/// One sandbox.
pub(crate) struct Sandbox {
    pub(crate) task: TaskId,
    pub(crate) shared: Arc<Shared>,
    /// Cancelled when the sandbox is closed: calls under way end as cut.
    pub(crate) cancel: CancellationToken,
    /// What its bodies may take in memory.
    pub(crate) memory: Memory,
    /// Whether results of tool calls may still have to be recorded; true until known otherwise.
    pub(crate) unanswered: Arc<AtomicBool>,
    /// Held while a request is checked against those that are there and stored.
    pub(crate) asking: Mutex<()>,
    pub(crate) tool_calls: Bucket,
    pub(crate) events: Bucket,
    /// What its task has used of models; loaded with its first call.
    account: OnceCell<Arc<Account>>,
}

impl Sandbox {
    pub(crate) fn new(task: TaskId, shared: Arc<Shared>, cancel: CancellationToken) -> Self {
        let memory = Memory::new(shared.config.max_held_bytes);
        Self {
            task,
            shared,
            cancel,
            memory,
            unanswered: Arc::new(AtomicBool::new(true)),
            asking: Mutex::new(()),
            tool_calls: Bucket::new(TOOL_CALLS.0, TOOL_CALLS.1),
            events: Bucket::new(EVENTS.0, EVENTS.1),
            account: OnceCell::new(),
        }
    }

    /// The account of its task.
    pub(crate) async fn account(&self) -> Result<&Arc<Account>, StoreError> {
        let load = || self.shared.store.task_spent(self.task);
        self.account.get_or_try_init(|| self.shared.ledger.account(Scope::Task(self.task), load)).await
    }
}
