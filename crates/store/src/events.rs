//! Reading the log: the timeline of a task, all events, and acts that a crash left open.

use crate::{Store, StoreError};
use domain::{
    event::{EventKind, Leaf},
    ids::{OpId, TaskId},
};
use serde::Serialize;
use sqlx::Row;

/// Events read at once.
pub(crate) const PAGE: u32 = 500;

/// Which events to read.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only this task's.
    pub task: Option<TaskId>,
    /// Only those with a larger index.
    pub after: Option<u64>,
    /// How many at the most; bounded by the store.
    pub limit: Option<u32>,
}

/// An event as read back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventRecord {
    /// The leaf.
    #[serde(flatten)]
    pub leaf: Leaf,
}

/// An act with a begun leaf and no ended one.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenOp {
    /// The act.
    pub op: OpId,
    /// Its begun leaf.
    pub leaf: Leaf,
}

impl Store {
    /// Events in order of the log.
    pub async fn event_list(&self, f: &EventFilter) -> Result<Vec<EventRecord>, StoreError> {
        self.caught_up().await;
        let after = f.after.map_or(-1, u64::cast_signed);
        let limit = i64::from(f.limit.unwrap_or(PAGE).min(PAGE));
        let rows: Vec<Vec<u8>> = match f.task {
            Some(task) => {
                sqlx::query_scalar("SELECT bytes FROM leaf WHERE task_id = $1 AND idx > $2 ORDER BY idx LIMIT $3")
                    .bind(task.to_string())
                    .bind(after)
                    .bind(limit)
                    .fetch_all(self.reader())
                    .await?
            }
            None => {
                sqlx::query_scalar("SELECT bytes FROM leaf WHERE idx > $1 ORDER BY idx LIMIT $2")
                    .bind(after)
                    .bind(limit)
                    .fetch_all(self.reader())
                    .await?
            }
        };
        rows.iter().map(|b| Ok(EventRecord { leaf: serde_json::from_slice(b)? })).collect()
    }

    /// The newest events, oldest first.
    pub async fn event_tail(&self, task: Option<TaskId>, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        self.caught_up().await;
        let mut rows: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT bytes FROM leaf WHERE ($1 IS NULL OR task_id = $1) ORDER BY idx DESC LIMIT $2")
                .bind(task.map(|t| t.to_string()))
                .bind(i64::from(limit.min(PAGE)))
                .fetch_all(self.reader())
                .await?;
        rows.reverse();
        rows.iter().map(|b| Ok(EventRecord { leaf: serde_json::from_slice(b)? })).collect()
    }

    /// One event by its index.
    pub async fn event_get(&self, index: u64) -> Result<EventRecord, StoreError> {
        self.caught_up().await;
        let bytes: Option<Vec<u8>> = sqlx::query_scalar("SELECT bytes FROM leaf WHERE idx = $1")
            .bind(index.cast_signed())
            .fetch_optional(self.reader())
            .await?;
        let bytes = bytes.ok_or_else(|| StoreError::not_found("log entry", index))?;
        Ok(EventRecord { leaf: serde_json::from_slice(&bytes)? })
    }

    /// Acts that were begun and never ended, oldest first. Model calls are not among them: [`crate::Tx::calls_recover`] ends
    /// those.
    pub async fn open_ops(&self) -> Result<Vec<OpenOp>, StoreError> {
        let rows = sqlx::query(
            "SELECT b.op, b.bytes FROM leaf b WHERE b.phase = 'begun' AND b.op IS NOT NULL \
             AND b.kind <> 'llm.call' AND NOT EXISTS (SELECT 1 FROM leaf e WHERE e.op = b.op AND e.op IS NOT NULL \
             AND e.kind <> 'llm.call' AND e.phase = 'ended') ORDER BY b.idx",
        )
        .fetch_all(self.reader())
        .await?;
        rows.iter()
            .map(|r| {
                let leaf: Leaf = serde_json::from_slice(r.try_get("bytes")?)?;
                Ok(OpenOp { op: r.try_get::<&str, _>("op")?.parse()?, leaf })
            })
            .collect()
    }

    /// How many events of a kind a task has.
    pub async fn event_count(&self, task: TaskId, kind: EventKind) -> Result<u64, StoreError> {
        self.caught_up().await;
        let n: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM leaf WHERE task_id = $1 AND kind = $2")
            .bind(task.to_string())
            .bind(kind.as_str())
            .fetch_one(self.reader())
            .await?;
        Ok(n.cast_unsigned())
    }
}
