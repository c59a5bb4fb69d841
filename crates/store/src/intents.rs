//! The outbox: what the durable engine must be told, written with the change that causes it.
//!
//! Delivery is at least once; a start of a known run and a wake-up too many do no harm.

use crate::{Store, StoreError, Tx};
use domain::ids::{RunId, TaskId};
use sqlx::Row;

/// Intents read at once.
const PAGE: i64 = 100;

/// What the engine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentKind {
    /// Start the workflow of a run.
    Start,
    /// Something changed: look again.
    Wake,
}

/// An intent to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// What the engine is told.
    pub kind: IntentKind,
    /// The task.
    pub task: TaskId,
    /// The run whose workflow is meant.
    pub run: RunId,
}

/// An intent that waits for delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntentRow {
    /// Its number, in order.
    pub id: i64,
    /// The intent.
    pub intent: Intent,
}

impl Tx {
    /// Adds an intent.
    pub async fn intent(&mut self, intent: Intent) -> Result<(), StoreError> {
        let kind = match intent.kind {
            IntentKind::Start => "start",
            IntentKind::Wake => "wake",
        };
        sqlx::query("INSERT INTO intent (kind, task_id, run_id, created_at) VALUES ($1, $2, $3, $4)")
            .bind(kind)
            .bind(intent.task.to_string())
            .bind(intent.run.to_string())
            .bind(self.now_text())
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }

    /// Wakes the workflow of a task's newest run, if it has one.
    pub async fn wake(&mut self, task: TaskId) -> Result<(), StoreError> {
        let run: Option<String> = sqlx::query_scalar("SELECT run_id FROM task WHERE id = $1")
            .bind(task.to_string())
            .fetch_optional(&mut self.conn)
            .await?
            .flatten();
        match run {
            Some(run) => self.intent(Intent { kind: IntentKind::Wake, task, run: run.parse()? }).await,
            None => Ok(()),
        }
    }

    /// Removes a delivered intent.
    pub async fn intent_delivered(&mut self, id: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM intent WHERE id = $1").bind(id).execute(&mut self.conn).await?;
        Ok(())
    }
}

impl Store {
    /// The oldest intents that wait for delivery.
    pub async fn intents(&self) -> Result<Vec<IntentRow>, StoreError> {
        let rows = sqlx::query("SELECT id, kind, task_id, run_id FROM intent ORDER BY id LIMIT $1")
            .bind(PAGE)
            .fetch_all(self.reader())
            .await?;
        rows.iter()
            .map(|r| {
                let kind = match r.try_get::<&str, _>("kind")? {
                    "start" => IntentKind::Start,
                    _ => IntentKind::Wake,
                };
                let (task, run): (&str, &str) = (r.try_get("task_id")?, r.try_get("run_id")?);
                Ok(IntentRow { id: r.try_get("id")?, intent: Intent { kind, task: task.parse()?, run: run.parse()? } })
            })
            .collect()
    }
}
