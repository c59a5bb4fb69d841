//! Iterations: one agent process each.

use crate::{Message, Store, StoreError, Tx, new_id};
use domain::{
    event::{Event, EventKind, Leaf, Outcome},
    ids::{OpId, RunId},
    plan::{Cause, IterationEnd, StopReason},
    request::Request,
    task::Task,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Row, sqlite::SqliteRow};

/// An iteration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iteration {
    /// Its run.
    pub run: RunId,
    /// From 1.
    pub number: u32,
    /// The act of running its container.
    pub op: OpId,
    /// Why it was started.
    pub cause: Cause,
    /// The image it runs in.
    pub image: String,
    /// What the agent was told.
    pub prompt: String,
    /// Why we stopped it, if we did.
    pub stop: Option<StopReason>,
    /// How it ended; none while it runs.
    pub end: Option<IterationEnd>,
    /// The agent's exit code, by the Engine.
    pub exit_code: Option<i64>,
    /// What the agent printed, as a body.
    pub log: Option<String>,
    /// Its posture as measured from the Engine's inspect.
    pub posture: Option<serde_json::Value>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub ended_at: Option<String>,
}

/// What an iteration's prompt is made from.
#[derive(Debug)]
pub struct IterationStart<'a> {
    /// The task.
    pub task: &'a Task,
    /// What the run is about.
    pub instructions: &'a str,
    /// The run's number.
    pub run_number: u32,
    /// The iteration's number.
    pub number: u32,
    /// Why it starts.
    pub cause: Cause,
    /// Requests whose outcome the agent has not been told.
    pub decided: &'a [Request],
    /// Messages that the agent has not been told.
    pub messages: &'a [Message],
}

fn iteration(r: &SqliteRow) -> Result<Iteration, StoreError> {
    let text = |c: &str| r.try_get::<Option<String>, _>(c);
    Ok(Iteration {
        run: r.try_get::<&str, _>("run_id")?.parse()?,
        number: r.try_get("number")?,
        op: r.try_get::<&str, _>("op")?.parse()?,
        cause: serde_json::from_str(r.try_get("cause")?)?,
        image: r.try_get("image")?,
        prompt: r.try_get("prompt")?,
        stop: text("stop")?.map(|s| serde_json::from_str(&s)).transpose()?,
        end: text("end")?.map(|s| serde_json::from_str(&s)).transpose()?,
        exit_code: r.try_get("exit_code")?,
        log: r.try_get("log")?,
        posture: text("posture")?.map(|s| serde_json::from_str(&s)).transpose()?,
        started_at: r.try_get("started_at")?,
        ended_at: r.try_get("ended_at")?,
    })
}

impl Tx {
    /// Reads an iteration inside the transaction.
    pub async fn iteration_get(&mut self, run: RunId, number: u32) -> Result<Option<Iteration>, StoreError> {
        let row = sqlx::query("SELECT * FROM iteration WHERE run_id = $1 AND number = $2")
            .bind(run.to_string())
            .bind(number)
            .fetch_optional(&mut self.conn)
            .await?;
        row.as_ref().map(iteration).transpose()
    }

    /// Begins an iteration, or returns it as it was begun before a crash.
    ///
    /// What the agent is told is fixed here, in the same transaction that marks it as told.
    pub async fn iteration_begin(
        &mut self,
        task: &Task,
        run: RunId,
        number: u32,
        cause: Cause,
        compose: fn(&IterationStart<'_>) -> String,
    ) -> Result<Iteration, StoreError> {
        if let Some(known) = self.iteration_get(run, number).await? {
            return Ok(known);
        }
        self.gate_close(task.id).await?;
        let image = task.image.clone().ok_or_else(|| StoreError::corrupt(format!("task {} has no image", task.id)))?;
        let record = self.run_get(run).await?;
        let decided = self.requests_tell(task.id).await?;
        let messages = self.messages_take(task.id).await?;
        let prompt = compose(&IterationStart {
            task,
            instructions: &record.instructions,
            run_number: record.number,
            number,
            cause,
            decided: &decided,
            messages: &messages,
        });
        let op = new_id(OpId::from_uuid);
        sqlx::query(
            "INSERT INTO iteration (run_id, number, op, cause, image, prompt, started_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(run.to_string())
        .bind(number)
        .bind(op.to_string())
        .bind(serde_json::to_string(&cause)?)
        .bind(&image)
        .bind(&prompt)
        .bind(self.now_text())
        .execute(&mut self.conn)
        .await?;
        let body = self.body(&task.id, prompt.as_bytes()).await?;
        let told: Vec<_> = decided.iter().map(|r| json!({"request": r.id, "status": r.status})).collect();
        let heard: Vec<_> = messages.iter().map(|m| m.id).collect();
        let event = Event::begun(
            EventKind::SandboxRun,
            op,
            json!({"cause": cause, "image": image, "told": told, "messages": heard}),
        );
        self.leaf(event.task(task.id).run(run).iteration(number).body("prompt", body)).await?;
        self.iteration_get(run, number).await?.ok_or_else(|| StoreError::corrupt("an iteration vanished"))
    }

    /// Records the measured posture of an iteration's container.
    pub async fn iteration_posture(
        &mut self,
        task: &Task,
        i: &Iteration,
        container: &str,
        posture: &serde_json::Value,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE iteration SET posture = $3 WHERE run_id = $1 AND number = $2")
            .bind(i.run.to_string())
            .bind(i.number)
            .bind(serde_json::to_string(posture)?)
            .execute(&mut self.conn)
            .await?;
        let event = Event::point(EventKind::SandboxPosture, json!({"container": container, "posture": posture}));
        self.leaf(event.task(task.id).run(i.run).iteration(i.number)).await?;
        Ok(())
    }

    /// Records that we are about to stop an iteration. The first reason stays.
    pub async fn iteration_stop(&mut self, run: RunId, number: u32, reason: StopReason) -> Result<(), StoreError> {
        let task = self.run_get(run).await?.task;
        self.gate_close(task).await?;
        sqlx::query(
            "UPDATE iteration SET stop = $3 WHERE run_id = $1 AND number = $2 AND stop IS NULL AND end IS NULL",
        )
        .bind(run.to_string())
        .bind(number)
        .bind(serde_json::to_string(&reason)?)
        .execute(&mut self.conn)
        .await?;
        Ok(())
    }

    /// Ends an iteration, with what the agent printed. Ending it again changes nothing.
    pub async fn iteration_end(
        &mut self,
        task: &Task,
        i: &Iteration,
        end: &IterationEnd,
        exit_code: Option<i64>,
        log: &[u8],
    ) -> Result<(), StoreError> {
        self.gate_close(task.id).await?;
        let now = self.now_text();
        let done = sqlx::query(
            "UPDATE iteration SET end = $3, exit_code = $4, ended_at = $5 WHERE run_id = $1 AND number = $2 AND end IS NULL",
        )
        .bind(i.run.to_string())
        .bind(i.number)
        .bind(serde_json::to_string(end)?)
        .bind(exit_code)
        .bind(now)
        .execute(&mut self.conn)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(());
        }
        let log = self.body(&task.id, log).await?;
        sqlx::query("UPDATE iteration SET log = $3 WHERE run_id = $1 AND number = $2")
            .bind(i.run.to_string())
            .bind(i.number)
            .bind(&log.commitment)
            .execute(&mut self.conn)
            .await?;
        let outcome = match end {
            IterationEnd::TurnEnded | IterationEnd::Stopped => Outcome::Done,
            IterationEnd::Interrupted { .. }
            | IterationEnd::Failed { .. }
            | IterationEnd::Fatal { .. }
            | IterationEnd::Limit { .. } => Outcome::Failed,
        };
        let body = self.body(&task.id, serde_json::to_string(end)?.as_bytes()).await?;
        let name = serde_json::to_value(end)?["end"].clone();
        let event = Event::ended(EventKind::SandboxRun, i.op, outcome, json!({"end": name, "exit_code": exit_code}));
        self.leaf(event.task(task.id).run(i.run).iteration(i.number).body("end", body).body("log", log)).await?;
        Ok(())
    }
}

impl Store {
    /// The iterations of a run, oldest first.
    pub async fn iteration_list(&self, run: RunId) -> Result<Vec<Iteration>, StoreError> {
        let rows = sqlx::query("SELECT * FROM iteration WHERE run_id = $1 ORDER BY number")
            .bind(run.to_string())
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(iteration).collect()
    }

    /// Whether the first model request of an iteration lacked our tools.
    pub async fn iteration_lacks_tools(&self, run: RunId, number: u32) -> Result<bool, StoreError> {
        let record = self.run_get(run).await?;
        let leaves: Vec<Vec<u8>> = sqlx::query_scalar("SELECT bytes FROM leaf WHERE task_id = $1 AND kind = $2")
            .bind(record.task.to_string())
            .bind(EventKind::AgentToolsMissing.as_str())
            .fetch_all(self.reader())
            .await?;
        for bytes in &leaves {
            let leaf: Leaf = serde_json::from_slice(bytes)?;
            if leaf.event.run == Some(run) && leaf.event.iteration == Some(number) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
