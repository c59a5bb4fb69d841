//! Sums over calls: what a task or a key has used.

use crate::{Store, StoreError, recorder::token_scope};
use domain::ids::{KeyId, TaskId};
use serde::Serialize;
use sqlx::Row;

/// Whose calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallScope {
    /// A task's.
    Task(TaskId),
    /// A key's.
    Key(KeyId),
    /// A token's, by its name.
    Token(String),
}

impl CallScope {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Task(task) => task.to_string(),
            Self::Key(key) => key.to_string(),
            Self::Token(name) => token_scope(name),
        }
    }
}

impl From<TaskId> for CallScope {
    fn from(task: TaskId) -> Self {
        Self::Task(task)
    }
}

impl From<KeyId> for CallScope {
    fn from(key: KeyId) -> Self {
        Self::Key(key)
    }
}

/// Sums over the calls of a scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CallTotals {
    /// Calls that were let out.
    pub sent: u64,
    /// Of those, calls that have not ended.
    pub open: u64,
    /// Of those, calls that followed one which did not end well.
    pub retries: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Tokens in requests, as far as known.
    pub prompt_tokens: u64,
    /// Tokens in answers, as far as known.
    pub completion_tokens: u64,
    /// What they cost, as far as known, in millionths of a dollar.
    pub cost_micro_usd: u64,
    /// Calls that ended and whose cost is unknown.
    pub unpriced: u64,
}

impl Store {
    /// Sums over the calls of a task, a key or a token.
    pub async fn call_totals(&self, scope: impl Into<CallScope> + Send) -> Result<CallTotals, StoreError> {
        self.caught_up().await;
        let scope: CallScope = scope.into();
        let row = sqlx::query(
            "SELECT COALESCE(SUM(status <> 'refused'), 0) AS sent, COALESCE(SUM(status = 'open'), 0) AS open,
                    COUNT(retry_of) AS retries, COALESCE(SUM(status = 'refused'), 0) AS refused,
                    COALESCE(SUM(prompt_tokens), 0) AS prompt, COALESCE(SUM(completion_tokens), 0) AS completion,
                    COALESCE(SUM(cost_micro_usd), 0) AS cost,
                    COALESCE(SUM(cost_micro_usd IS NULL AND status NOT IN ('refused', 'open')), 0) AS unpriced
             FROM call WHERE scope = $1",
        )
        .bind(scope.name())
        .fetch_one(self.reader())
        .await?;
        let get = |name| row.try_get::<i64, _>(name).map(i64::cast_unsigned);
        Ok(CallTotals {
            sent: get("sent")?,
            open: get("open")?,
            retries: get("retries")?,
            refused: get("refused")?,
            prompt_tokens: get("prompt")?,
            completion_tokens: get("completion")?,
            cost_micro_usd: get("cost")?,
            unpriced: get("unpriced")?,
        })
    }
}
