//! Runs: the first start of a task and each `continue`.

use crate::{Store, StoreError, Tx};
use domain::{
    event::{Event, EventKind},
    ids::{RunId, TaskId},
    task::{Desired, RunOutcome, Task},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Row, sqlite::SqliteRow};

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Its task.
    pub task: TaskId,
    /// From 1.
    pub number: u32,
    /// What the agent was asked to do.
    pub instructions: String,
    /// How it ended; none while it goes on.
    pub outcome: Option<RunOutcome>,
    /// Iterations whose first model request lacked our tools.
    pub tools_missing: u32,
    /// The agent's summary; not trusted.
    pub summary: Option<String>,
    /// The files that the agent named as its result; none: not submitted.
    pub submitted: Option<Vec<String>>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub ended_at: Option<String>,
}

fn run(r: &SqliteRow) -> Result<Run, StoreError> {
    let json = |c: &str| r.try_get::<Option<String>, _>(c);
    Ok(Run {
        id: r.try_get::<&str, _>("id")?.parse()?,
        task: r.try_get::<&str, _>("task_id")?.parse()?,
        number: r.try_get("number")?,
        instructions: r.try_get("instructions")?,
        outcome: json("outcome")?.map(|o| serde_json::from_str(&o)).transpose()?,
        tools_missing: r.try_get("tools_missing")?,
        summary: r.try_get("summary")?,
        submitted: json("submitted")?.map(|s| serde_json::from_str(&s)).transpose()?,
        started_at: r.try_get("started_at")?,
        ended_at: r.try_get("ended_at")?,
    })
}

impl Tx {
    /// Reads a run inside the transaction.
    pub async fn run_get(&mut self, id: RunId) -> Result<Run, StoreError> {
        let row =
            sqlx::query("SELECT * FROM run WHERE id = $1").bind(id.to_string()).fetch_optional(&mut self.conn).await?;
        run(&row.ok_or_else(|| StoreError::not_found("run", id))?)
    }

    /// Stores the agent's submission. The first one counts.
    pub async fn run_submit(&mut self, id: RunId, summary: &str, files: &[String]) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE run SET summary = $2, submitted = $3 WHERE id = $1 AND submitted IS NULL AND outcome IS NULL",
        )
        .bind(id.to_string())
        .bind(summary)
        .bind(serde_json::to_string(files)?)
        .execute(&mut self.conn)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Counts an iteration whose first model request lacked our tools; its submission, if any, does not count.
    pub async fn run_tools_missing(&mut self, id: RunId) -> Result<(), StoreError> {
        sqlx::query("UPDATE run SET tools_missing = tools_missing + 1, submitted = NULL WHERE id = $1")
            .bind(id.to_string())
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }

    /// Ends a run and its task with it. Ending it again changes nothing.
    pub async fn run_finish(&mut self, task: &Task, id: RunId, outcome: &RunOutcome) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE run SET outcome = $2, ended_at = $3 WHERE id = $1 AND outcome IS NULL")
            .bind(id.to_string())
            .bind(serde_json::to_string(outcome)?)
            .bind(self.now_text())
            .execute(&mut self.conn)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(());
        }
        self.requests_withdraw(task.id).await?;
        let reason = match outcome {
            RunOutcome::Failed { code, reason } => Some(format!("{code}: {reason}")),
            RunOutcome::NotSubmitted => Some("the agent ended its turn without submitting a result".to_owned()),
            RunOutcome::Submitted | RunOutcome::Cancelled => None,
        };
        let event = Event::point(
            EventKind::RunFinished,
            match outcome {
                RunOutcome::Failed { code, .. } => json!({"outcome": "failed", "code": code}),
                other => json!(other),
            },
        );
        let mut event = event.task(task.id).run(id);
        if let Some(reason) = &reason {
            event = event.body("reason", self.body(&task.id, reason.as_bytes()).await?);
        }
        self.leaf(event).await?;
        self.task_set(task.id, outcome.status(), Desired::Run, reason.as_deref()).await
    }
}

impl Store {
    /// One run.
    pub async fn run_get(&self, id: RunId) -> Result<Run, StoreError> {
        let row =
            sqlx::query("SELECT * FROM run WHERE id = $1").bind(id.to_string()).fetch_optional(self.reader()).await?;
        run(&row.ok_or_else(|| StoreError::not_found("run", id))?)
    }

    /// The runs of a task, oldest first.
    pub async fn run_list(&self, task: TaskId) -> Result<Vec<Run>, StoreError> {
        let rows = sqlx::query("SELECT * FROM run WHERE task_id = $1 ORDER BY number")
            .bind(task.to_string())
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(run).collect()
    }
}
