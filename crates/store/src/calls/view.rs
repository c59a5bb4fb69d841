//! Reading recorded calls.

use super::CallStatus;
use crate::{Store, StoreError};
use domain::ids::{CallId, OpId, RunId, TaskId};
use serde::Serialize;
use sqlx::{FromRow, Row, sqlite::SqliteRow};

/// The most calls that one listing returns.
pub const MAX_CALL_PAGE: u32 = 500;

/// A recorded call, for showing.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "each field is a column of the table `call`, described there and in `CallEnd`")]
pub struct Call {
    pub id: CallId,
    pub task: TaskId,
    pub run: Option<RunId>,
    pub iteration: Option<u32>,
    pub turn: Option<u32>,
    pub op: OpId,
    pub asked_model: String,
    pub upstream: Option<String>,
    pub model: Option<String>,
    pub stream: bool,
    pub retry_of: Option<CallId>,
    pub status: CallStatus,
    pub request: String,
    pub request_size: u64,
    pub response: Option<String>,
    pub response_size: Option<u64>,
    pub http_status: Option<u16>,
    pub finish_reason: Option<String>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub first_byte_ms: Option<u64>,
    pub total_ms: Option<u64>,
    pub error_code: Option<String>,
    pub error: Option<String>,
    pub begun_at: String,
    pub ended_at: Option<String>,
}

/// Sums over the calls of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CallTotals {
    /// Calls that were let out.
    pub sent: u64,
    /// Of those, calls that followed one which did not end well.
    pub retries: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Tokens in requests, as far as known.
    pub prompt_tokens: u64,
    /// Tokens in answers, as far as known.
    pub completion_tokens: u64,
}

impl Store {
    /// A call.
    pub async fn call_get(&self, id: CallId) -> Result<Call, StoreError> {
        sqlx::query_as("SELECT * FROM call WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.reader())
            .await?
            .ok_or_else(|| StoreError::not_found("call", id))
    }

    /// Calls of a task after `after`, oldest first; at most [`MAX_CALL_PAGE`].
    pub async fn call_list(&self, task: TaskId, after: Option<CallId>) -> Result<Vec<Call>, StoreError> {
        Ok(sqlx::query_as(
            "SELECT * FROM call WHERE task_id = $1
                AND rowid > COALESCE((SELECT c.rowid FROM call c WHERE c.id = $2), 0) ORDER BY rowid LIMIT $3",
        )
        .bind(task.to_string())
        .bind(after.map(|c| c.to_string()))
        .bind(MAX_CALL_PAGE)
        .fetch_all(self.reader())
        .await?)
    }

    /// Sums over the calls of a task.
    pub async fn call_totals(&self, task: TaskId) -> Result<CallTotals, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(turn) AS sent, COUNT(retry_of) AS retries,
                    COALESCE(SUM(status = 'refused'), 0) AS refused,
                    COALESCE(SUM(prompt_tokens), 0) AS prompt, COALESCE(SUM(completion_tokens), 0) AS completion
             FROM call WHERE task_id = $1",
        )
        .bind(task.to_string())
        .fetch_one(self.reader())
        .await?;
        let get = |name| row.try_get::<i64, _>(name).map(i64::cast_unsigned);
        Ok(CallTotals {
            sent: get("sent")?,
            retries: get("retries")?,
            refused: get("refused")?,
            prompt_tokens: get("prompt")?,
            completion_tokens: get("completion")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for Call {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        fn id<T: std::str::FromStr<Err = domain::ids::IdError>>(
            text: Option<String>,
        ) -> Result<Option<T>, sqlx::Error> {
            text.map(|t| t.parse()).transpose().map_err(|e| sqlx::Error::Decode(Box::new(e)))
        }
        let missing = |what: &str| sqlx::Error::Decode(format!("a call without {what}").into());
        let count = |name| row.try_get::<Option<i64>, _>(name).map(|n| n.map(i64::cast_unsigned));
        Ok(Self {
            id: id(row.try_get("id")?)?.ok_or_else(|| missing("an id"))?,
            task: id(row.try_get("task_id")?)?.ok_or_else(|| missing("a task"))?,
            run: id(row.try_get("run_id")?)?,
            iteration: row.try_get("iteration")?,
            turn: row.try_get("turn")?,
            op: id(row.try_get("op")?)?.ok_or_else(|| missing("an act"))?,
            asked_model: row.try_get("asked_model")?,
            upstream: row.try_get("upstream")?,
            model: row.try_get("model")?,
            stream: row.try_get("stream")?,
            retry_of: id(row.try_get("retry_of")?)?,
            status: CallStatus::parse(row.try_get("status")?).ok_or_else(|| missing("a status"))?,
            request: row.try_get("request")?,
            request_size: row.try_get::<i64, _>("request_size")?.cast_unsigned(),
            response: row.try_get("response")?,
            response_size: count("response_size")?,
            http_status: row.try_get("http_status")?,
            finish_reason: row.try_get("finish_reason")?,
            prompt_tokens: count("prompt_tokens")?,
            completion_tokens: count("completion_tokens")?,
            cached_tokens: count("cached_tokens")?,
            first_byte_ms: count("first_byte_ms")?,
            total_ms: count("total_ms")?,
            error_code: row.try_get("error_code")?,
            error: row.try_get("error")?,
            begun_at: row.try_get("begun_at")?,
            ended_at: row.try_get("ended_at")?,
        })
    }
}
