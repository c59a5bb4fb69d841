//! One sandbox as the gateway sees it, and what all of them share.

use crate::{
    Config, Registry,
    body::Memory,
    budget::{Account, Ledger, Scope},
    calls::Live,
    metrics::Metrics,
    prices::PriceTable,
    rate::Bucket,
};
use domain::ids::{KeyId, TaskId};
use std::sync::{Arc, PoisonError, RwLock};
use store::{CallScope, Recorder, Store, StoreError};
use tokio::sync::{Mutex, OnceCell};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// MCP tool calls of a sandbox: at once, and per second after that.
const TOOL_CALLS: (u32, f64) = (30, 1.0);
/// Advisory events of a sandbox: at once, and per second after that.
const EVENTS: (u32, f64) = (200, 20.0);

/// Refusals of wrong keys that are recorded: at once, and per second after that.
const UNKNOWN_KEYS: (u32, f64) = (200, 5.0);

/// What all sandboxes and callers share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) recorder: Recorder,
    pub(crate) registry: Registry,
    pub(crate) tracker: TaskTracker,
    pub(crate) ledger: Ledger,
    /// None: no table could be read.
    prices: RwLock<Option<Arc<PriceTable>>>,
    /// Streamed answers under way.
    pub(crate) live: Live,
    /// What bodies of callers may take in memory, all of them together.
    pub(crate) memory: Memory,
    pub(crate) unknown_keys: Bucket,
    pub(crate) metrics: Metrics,
}

impl Shared {
    pub(crate) fn new(config: Config, store: Store, registry: Registry) -> Self {
        let prices = PriceTable::bundled()
            .inspect_err(|e| tracing::error!(error = %e, "the table of prices cannot be read; all prices are unknown"));
        Self {
            recorder: store.recorder(config.call_durability),
            ledger: Ledger::new(),
            prices: RwLock::new(prices.ok().map(Arc::new)),
            live: Live::new(config.client_stall_timeout),
            memory: Memory::new(config.max_held_bytes),
            tracker: TaskTracker::new(),
            unknown_keys: Bucket::new(UNKNOWN_KEYS.0, UNKNOWN_KEYS.1),
            metrics: Metrics::default(),
            config,
            store,
            registry,
        }
    }

    pub(crate) fn prices(&self) -> Option<Arc<PriceTable>> {
        self.prices.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace_prices(&self, table: PriceTable) {
        *self.prices.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(table));
    }

    /// The account of a key.
    pub(crate) async fn key_account(&self, key: KeyId) -> Result<Arc<Account>, StoreError> {
        self.ledger.account(Scope::Key(key), || self.store.call_spent(CallScope::Key(key))).await
    }
}

/// One sandbox.
pub(crate) struct Sandbox {
    pub(crate) task: TaskId,
    pub(crate) shared: Arc<Shared>,
    /// Cancelled when the sandbox is closed: calls under way end as cut.
    pub(crate) cancel: CancellationToken,
    /// What its bodies may take in memory.
    pub(crate) memory: Memory,
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
            asking: Mutex::new(()),
            tool_calls: Bucket::new(TOOL_CALLS.0, TOOL_CALLS.1),
            events: Bucket::new(EVENTS.0, EVENTS.1),
            account: OnceCell::new(),
        }
    }

    /// The account of its task.
    pub(crate) async fn account(&self) -> Result<&Arc<Account>, StoreError> {
        let load = || self.shared.store.call_spent(CallScope::Task(self.task));
        self.account.get_or_try_init(|| self.shared.ledger.account(Scope::Task(self.task), load)).await
    }
}
