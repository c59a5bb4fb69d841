//! Budgets: what a task or a caller's key has used, and what its calls under way may use yet.
//!
//! A call **reserves** before it leaves and is **settled** when it ends, so that calls at the same time cannot all see
//! the same room: what is spent and what is reserved together stay within the budget. A call can spend more than was
//! reserved only if the reservation was an estimate and too low (the provider counted a request longer than its bytes
//! suggest, or an answer without a limit went on); the next reservation sees it.
//!
//! - One [`Account`] per [`Scope`], loaded once from the store's totals. Every call of the scope goes through it, also
//!   without a budget, so that the count is right when one is set.
//! - Three spans are counted side by side: for good, the UTC day, the UTC month. A call belongs to the spans in which
//!   it was reserved.
//! - What the provider did not count (a cut answer, a lost connection) counts as reserved.
//! - **Crash:** the reservation is written with the begun record. It stands in the call's row until the
//!   ended record replaces it with what was charged; a call that a crash left open is closed as unknown and keeps it. So
//!   a crash never gives budget back.
//! - Money with an unknown price: a budget in money refuses such a call ([`Refused::PriceUnknown`]).
//!
//! ```no_run
//! use domain::{budget::Budget, ids::TaskId};
//! use gateway::{
//!     budget::{Actual, Estimate, Ledger, OutputBound, Refused, Scope, Spent},
//!     prices::{PriceTable, TokenUse},
//! };
//!
//! # async fn example(ledger: &Ledger, prices: &PriceTable, task: TaskId, body: &[u8], now_ms: i64) -> Option<()> {
//! # async fn spent_by_the_store() -> Result<Spent, std::io::Error> { Ok(Spent::default()) }
//! let budget: Budget = "5 USD, 1000 calls".parse().ok()?; // the policy's
//! let account = ledger.account(Scope::Task(task), spent_by_the_store).await.ok()?; // keep it
//! let price = prices.price("openai", "openai", "gpt-4o");
//! let estimate = Estimate {
//!     input_tokens: gateway::budget::estimate_tokens(body),
//!     output: OutputBound::Asked(4096), // the request's own limit, or Open
//!     price,
//!     service_tier: None,
//! };
//! let mut reservation = match account.reserve(&budget, &estimate, now_ms) {
//!     Ok(reservation) => reservation, // `reservation.held()` goes into the begun record
//!     Err(Refused::Held(_)) => return None, // 429, Retry-After: calls under way hold the rest
//!     Err(Refused::OverBudget(_) | Refused::PriceUnknown) => return None, // 429 without a retry; a task asks for more
//! };
//! // … the begun record, with `reservation.held()`. Dropped before `sent` (a refusal, a log that cannot be written) it is
//! // given back; dropped after it (a panic, an aborted task) it counts in full.
//! reservation.sent();
//! // … the call
//! let used = TokenUse { input: 1200, output: 80, ..TokenUse::default() };
//! let charged = reservation.settle(Actual { tokens: Some(1280), micro_usd: price.and_then(|p| p.cost(&used, None)) });
//! # Some(()) }
//! ```

mod account;
pub(crate) mod ask;
mod estimate;
#[cfg(test)]
mod tests;

pub use account::{Account, Reservation};
pub use estimate::{Actual, Estimate, MIN_OPEN_OUTPUT, OPEN_OUTPUT, OutputBound, estimate_tokens};

pub use domain::budget::Spent;

use domain::{
    budget::{Amounts, Unit, Window},
    ids::{KeyId, TaskId},
};
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

/// Whose budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A task's.
    Task(TaskId),
    /// A caller's key's.
    Key(KeyId),
}

/// What a budget has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget {
    /// What is lacking.
    pub unit: Unit,
    /// The budget's span.
    pub window: Window,
    /// The limit of the unit.
    pub limit: u64,
    /// What is spent in the span, in all units.
    pub spent: Amounts,
    /// What calls under way hold.
    pub held: Amounts,
    /// What this call needs.
    pub need: Amounts,
    /// When the span ends, Unix milliseconds; none: never.
    pub resets_ms: Option<i64>,
}

impl std::fmt::Display for OverBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let span = match self.window {
            Window::Total => "",
            Window::Day => " per day",
            Window::Month => " per month",
        };
        let (spent, held, need) = (self.spent.get(self.unit), self.held.get(self.unit), self.need.get(self.unit));
        write!(f, "the budget is {}{span}; {} used", self.unit.show(self.limit), self.unit.show(spent))?;
        if held > 0 {
            write!(f, ", {} held by calls under way", self.unit.show(held))?;
        }
        write!(f, ", and this call needs {}", self.unit.show(need))
    }
}

/// Why a call may not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What is spent leaves no room; only a larger budget or the next span helps.
    #[error("{0}")]
    OverBudget(OverBudget),
    /// Calls under way hold what is left; when they end there may be room.
    #[error("{0}")]
    Held(OverBudget),
    /// The budget limits money and the model's price is unknown.
    #[error("the budget limits money and the price of this model is unknown; add it to the price file")]
    PriceUnknown,
}

/// All accounts of this process.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: Mutex<HashMap<Scope, Arc<Account>>>,
}

impl Ledger {
    /// Without accounts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The account of a scope; `load` reads the store's totals if it is not here yet. Keep it: it is the only one.
    pub async fn account<F, E>(&self, scope: Scope, load: impl FnOnce() -> F) -> Result<Arc<Account>, E>
    where
        F: Future<Output = Result<Spent, E>>,
    {
        if let Some(known) = self.known(scope) {
            return Ok(known);
        }
        let spent = load().await?;
        // Another one may have loaded it meanwhile: the first stands, since calls may hold reservations in it.
        Ok(Arc::clone(self.lock().entry(scope).or_insert_with(|| Arc::new(Account::new(spent)))))
    }

    /// The account of a scope, if it is loaded.
    pub fn known(&self, scope: Scope) -> Option<Arc<Account>> {
        self.lock().get(&scope).map(Arc::clone)
    }

    /// Lets go of accounts that nobody holds (closed sandboxes, revoked keys); the store has their totals.
    pub fn tidy(&self) {
        self.lock().retain(|_, account| Arc::strong_count(account) > 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Scope, Arc<Account>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
