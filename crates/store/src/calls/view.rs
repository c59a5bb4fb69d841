//! Reading recorded calls and their attempts.

use super::{CallScope, CallStatus};
use crate::{Store, StoreError};
use domain::ids::{CallId, KeyId, OpId, RunId, TaskId};
use serde::Serialize;
use sqlx::{FromRow, QueryBuilder, Row, Sqlite, sqlite::SqliteRow};

/// The most calls that one listing returns.
pub const MAX_CALL_PAGE: u32 = 500;

/// Which calls to list; what is not given does not matter.
#[derive(Debug, Clone, Default)]
pub struct CallFilter {
    /// Whose.
    pub scope: Option<CallScope>,
    /// Where they stand.
    pub status: Option<CallStatus>,
    /// The provider's own name for the model, or the name that was asked for.
    pub model: Option<String>,
    /// The provider.
    pub provider: Option<String>,
    /// Begun at this time or later: RFC 3339, UTC, milliseconds.
    pub since: Option<String>,
    /// Begun before this time.
    pub until: Option<String>,
    /// Contained in a model's name, an error or a finish reason. Bodies are encrypted and not searched.
    pub text: Option<String>,
    /// Only those behind this one in the order of the list.
    pub cursor: Option<CallId>,
    /// The newest first.
    pub newest_first: bool,
    /// How many at the most; bounded by [`MAX_CALL_PAGE`].
    pub limit: Option<u32>,
}

impl From<TaskId> for CallFilter {
    fn from(task: TaskId) -> Self {
        Self { scope: Some(task.into()), ..Self::default() }
    }
}

/// A recorded call, for showing.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "each field is a column of the table `call`, described there and in `CallEnd`")]
pub struct Call {
    pub id: CallId,
    pub task: Option<TaskId>,
    pub run: Option<RunId>,
    pub iteration: Option<u32>,
    pub turn: Option<u32>,
    pub key: Option<KeyId>,
    pub token: Option<String>,
    pub op: OpId,
    pub ingress: String,
    pub asked_model: String,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub format: Option<String>,
    pub url: Option<String>,
    pub sent: Option<String>,
    pub attempts: u32,
    pub stream: bool,
    pub retry_of: Option<CallId>,
    pub status: CallStatus,
    pub request: String,
    pub request_size: u64,
    pub response: Option<String>,
    pub response_size: Option<u64>,
    pub normalised: Option<String>,
    pub http_status: Option<u16>,
    pub finish_reason: Option<String>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub cache_write_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub cost_micro_usd: Option<i64>,
    pub price: Option<String>,
    pub first_byte_ms: Option<u64>,
    pub total_ms: Option<u64>,
    pub error_code: Option<String>,
    pub error: Option<String>,
    pub begun_at: String,
    pub ended_at: Option<String>,
}

/// One try at a provider, for showing.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "each field is a column of the table `attempt`, described there and in `AttemptEnd`")]
pub struct Attempt {
    pub number: u32,
    pub provider: String,
    pub model: String,
    pub format: String,
    pub url: String,
    /// The body as it left, where that is not the call's request.
    pub sent: Option<String>,
    pub status: CallStatus,
    pub http_status: Option<u16>,
    pub error_code: Option<String>,
    pub error: Option<String>,
    /// What the provider sent.
    pub response: Option<String>,
    pub first_byte_ms: Option<u64>,
    pub total_ms: Option<u64>,
    pub begun_at: String,
}

impl Store {
    /// A call.
    pub async fn call_get(&self, id: CallId) -> Result<Call, StoreError> {
        self.caught_up().await;
        sqlx::query_as("SELECT * FROM call WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.reader())
            .await?
            .ok_or_else(|| StoreError::not_found("call", id))
    }

    /// Calls in the order of their beginning; at most [`MAX_CALL_PAGE`].
    pub async fn call_list(&self, filter: &CallFilter) -> Result<Vec<Call>, StoreError> {
        self.caught_up().await;
        let mut query = QueryBuilder::new("SELECT * FROM call WHERE 1");
        conditions(&mut query, filter);
        if let Some(cursor) = filter.cursor {
            query.push(if filter.newest_first { " AND seq < " } else { " AND seq > " });
            query.push("(SELECT c.seq FROM call c WHERE c.id = ").push_bind(cursor.to_string()).push(")");
        }
        query.push(if filter.newest_first { " ORDER BY seq DESC LIMIT " } else { " ORDER BY seq LIMIT " });
        query.push_bind(filter.limit.unwrap_or(MAX_CALL_PAGE).min(MAX_CALL_PAGE));
        Ok(query.build_query_as().fetch_all(self.reader()).await?)
    }

    /// How many calls a filter finds; its cursor and limit do not count.
    pub async fn call_count(&self, filter: &CallFilter) -> Result<u64, StoreError> {
        self.caught_up().await;
        let mut query = QueryBuilder::new("SELECT COUNT(*) FROM call WHERE 1");
        conditions(&mut query, filter);
        let count: i64 = query.build_query_scalar().fetch_one(self.reader()).await?;
        Ok(count.cast_unsigned())
    }

    /// The attempts of a call, oldest first; none of a refused one.
    pub async fn call_attempts(&self, id: CallId) -> Result<Vec<Attempt>, StoreError> {
        let call = self.call_get(id).await?;
        let known: Vec<Attempt> = sqlx::query_as("SELECT * FROM attempt WHERE call_id = $1 ORDER BY number")
            .bind(id.to_string())
            .fetch_all(self.reader())
            .await?;
        Ok(if known.is_empty() { call.only_attempt().into_iter().collect() } else { known })
    }
}

fn conditions<'a>(query: &mut QueryBuilder<'a, Sqlite>, f: &'a CallFilter) {
    if let Some(scope) = &f.scope {
        query.push(" AND scope = ").push_bind(scope.name());
    }
    if let Some(status) = f.status {
        query.push(" AND status = ").push_bind(status.as_str());
    }
    if let Some(model) = &f.model {
        query.push(" AND (model = ").push_bind(model).push(" OR asked_model = ").push_bind(model).push(")");
    }
    if let Some(provider) = &f.provider {
        query.push(" AND provider = ").push_bind(provider);
    }
    if let Some(since) = &f.since {
        query.push(" AND begun_at >= ").push_bind(since);
    }
    if let Some(until) = &f.until {
        query.push(" AND begun_at < ").push_bind(until);
    }
    if let Some(text) = &f.text {
        query.push(" AND instr(lower(asked_model || ' ' || COALESCE(provider || '/' || model, '') || ' ' ||");
        query.push(" COALESCE(error_code, '') || ' ' || COALESCE(error, '') || ' ' || COALESCE(finish_reason, '')), ");
        query.push_bind(text.to_lowercase()).push(") > 0");
    }
}

impl Call {
    /// The attempt of a call that had one, of which nothing more is recorded than of the call.
    fn only_attempt(self) -> Option<Attempt> {
        Some(Attempt {
            number: 1,
            provider: self.provider?,
            model: self.model?,
            format: self.format?,
            url: self.url.unwrap_or_default(),
            sent: self.sent,
            status: self.status,
            http_status: self.http_status,
            error_code: self.error_code,
            error: self.error,
            response: self.response,
            first_byte_ms: self.first_byte_ms,
            total_ms: self.total_ms,
            begun_at: self.begun_at,
        })
    }
}

fn id<T: std::str::FromStr<Err = domain::ids::IdError>>(text: Option<String>) -> Result<Option<T>, sqlx::Error> {
    text.map(|t| t.parse()).transpose().map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

fn missing(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("a call without {what}").into())
}

fn count(row: &SqliteRow, name: &str) -> Result<Option<u64>, sqlx::Error> {
    row.try_get::<Option<i64>, _>(name).map(|n| n.map(i64::cast_unsigned))
}

fn status(row: &SqliteRow) -> Result<CallStatus, sqlx::Error> {
    CallStatus::parse(row.try_get("status")?).ok_or_else(|| missing("a status"))
}

impl FromRow<'_, SqliteRow> for Attempt {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            number: row.try_get("number")?,
            provider: row.try_get("provider")?,
            model: row.try_get("model")?,
            format: row.try_get("format")?,
            url: row.try_get("url")?,
            sent: row.try_get("sent")?,
            status: status(row)?,
            http_status: row.try_get("http_status")?,
            error_code: row.try_get("error_code")?,
            error: row.try_get("error")?,
            response: row.try_get("response")?,
            first_byte_ms: count(row, "first_byte_ms")?,
            total_ms: count(row, "total_ms")?,
            begun_at: row.try_get("begun_at")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for Call {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: id(row.try_get("id")?)?.ok_or_else(|| missing("an id"))?,
            task: id(row.try_get("task_id")?)?,
            run: id(row.try_get("run_id")?)?,
            iteration: row.try_get("iteration")?,
            turn: row.try_get("turn")?,
            key: id(row.try_get("key_id")?)?,
            token: row.try_get("token")?,
            op: id(row.try_get("op")?)?.ok_or_else(|| missing("an act"))?,
            ingress: row.try_get("ingress")?,
            asked_model: row.try_get("asked_model")?,
            provider: row.try_get("provider")?,
            model: row.try_get("model")?,
            format: row.try_get("format")?,
            url: row.try_get("url")?,
            sent: row.try_get("sent")?,
            attempts: row.try_get("attempts")?,
            stream: row.try_get("stream")?,
            retry_of: id(row.try_get("retry_of")?)?,
            status: status(row)?,
            request: row.try_get("request")?,
            request_size: row.try_get::<i64, _>("request_size")?.cast_unsigned(),
            response: row.try_get("response")?,
            response_size: count(row, "response_size")?,
            normalised: row.try_get("normalised")?,
            http_status: row.try_get("http_status")?,
            finish_reason: row.try_get("finish_reason")?,
            prompt_tokens: count(row, "prompt_tokens")?,
            completion_tokens: count(row, "completion_tokens")?,
            cached_tokens: count(row, "cached_tokens")?,
            cache_write_tokens: count(row, "cache_write_tokens")?,
            reasoning_tokens: count(row, "reasoning_tokens")?,
            cost_micro_usd: row.try_get("cost_micro_usd")?,
            price: row.try_get("price")?,
            first_byte_ms: count(row, "first_byte_ms")?,
            total_ms: count(row, "total_ms")?,
            error_code: row.try_get("error_code")?,
            error: row.try_get("error")?,
            begun_at: row.try_get("begun_at")?,
            ended_at: row.try_get("ended_at")?,
        })
    }
}
