//! Model calls: begun before their first byte leaves, ended with all that came back. They are recorded by
//! [`crate::Recorder`]; here is what is known of them afterwards.
//!
//! ```text
//! (refused)
//! open ──► done | failed | timed_out | cut
//!   └────► unknown   closed by recovery after a crash
//! ```
//! A sandbox's call that was let out has a turn: its position among the calls of its iteration, from 1.

mod status;
mod totals;
mod view;

pub use status::CallStatus;
pub use totals::{CallScope, CallTotals};
pub use view::{Attempt, Call, CallFilter, MAX_CALL_PAGE};

use crate::{Caller, StoreError, Tx};
use domain::{
    event::{Event, EventKind, Outcome},
    ids::{CallId, RunId, TaskId},
    policy::Policy,
    task::{Agent, Desired, TaskStatus},
};
use serde_json::json;
use sqlx::Row;

/// What must be known of a task before one of its calls is let out. Read in the transaction that records the call.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The task.
    pub task: TaskId,
    /// Where it stands.
    pub status: TaskStatus,
    /// What the operator wants of it.
    pub desired: Desired,
    /// The program that works on it.
    pub agent: Agent,
    /// The policy in force.
    pub policy: Policy,
    /// Its newest run.
    pub run: Option<RunId>,
    /// The iteration under way; none between two of them or while it is being stopped.
    pub iteration: Option<u32>,
    /// Calls of this iteration that were let out so far.
    pub turns: u32,
    previous: Option<(CallId, CallStatus)>,
}

impl CallContext {
    /// The call before, if it did not end well: the next one stands in for it.
    pub(crate) fn retry_of(&self) -> Option<CallId> {
        self.previous.filter(|(_, status)| !status.ended_well()).map(|(id, _)| id)
    }

    /// The next call of the iteration under way.
    pub(crate) fn next(&self) -> Result<Caller, StoreError> {
        match (self.run, self.iteration) {
            (Some(run), Some(iteration)) => Ok(Caller::Task { task: self.task, run, iteration, turn: self.turns + 1 }),
            _ => Err(StoreError::conflict("not_running", format!("{} is not running", self.task))),
        }
    }

    pub(crate) fn began(&mut self, call: CallId) {
        self.turns += 1;
        self.previous = Some((call, CallStatus::Open));
    }

    pub(crate) fn ended(&mut self, call: CallId, status: CallStatus) {
        if let Some((_, previous)) = self.previous.as_mut().filter(|(id, _)| *id == call) {
            *previous = status;
        }
    }
}

impl Tx {
    /// What must be known before a call of `task` is let out.
    pub async fn call_context(&mut self, task: TaskId) -> Result<CallContext, StoreError> {
        let row = sqlx::query(
            "SELECT t.status, t.desired, t.agent, t.run_id, p.body AS policy, i.number AS iteration,
                    (SELECT COALESCE(MAX(c.turn), 0) FROM call c WHERE c.run_id = t.run_id AND c.iteration = i.number)
                        AS turns,
                    (SELECT c.id || ' ' || c.status FROM call c WHERE c.run_id = t.run_id AND c.turn IS NOT NULL
                        ORDER BY c.iteration DESC, c.turn DESC LIMIT 1) AS previous
             FROM task t
             JOIN policy p ON p.task_id = t.id AND p.version = t.policy_version
             LEFT JOIN iteration i ON i.run_id = t.run_id AND i.end IS NULL AND i.stop IS NULL
                 AND i.number = (SELECT MAX(n.number) FROM iteration n WHERE n.run_id = t.run_id)
             WHERE t.id = $1",
        )
        .bind(task.to_string())
        .fetch_optional(&mut self.conn)
        .await?
        .ok_or_else(|| StoreError::not_found("task", task))?;
        let previous = match row.try_get::<Option<String>, _>("previous")? {
            None => None,
            Some(text) => {
                let (id, status) = text.split_once(' ').ok_or_else(|| StoreError::corrupt("a call's status"))?;
                Some((id.parse()?, parse_status(status)?))
            }
        };
        let status: String = row.try_get("status")?;
        let desired: String = row.try_get("desired")?;
        Ok(CallContext {
            task,
            status: TaskStatus::parse(&status).ok_or_else(|| StoreError::corrupt("a task's status"))?,
            desired: Desired::parse(&desired).ok_or_else(|| StoreError::corrupt("a task's wish"))?,
            agent: serde_json::from_str(row.try_get("agent")?)?,
            policy: serde_json::from_str(row.try_get("policy")?)?,
            run: row.try_get::<Option<String>, _>("run_id")?.map(|r| r.parse()).transpose()?,
            iteration: row.try_get("iteration")?,
            turns: row.try_get("turns")?,
            previous,
        })
    }

    /// Records that the first model request of an iteration lacked our tools, once per iteration, and wakes the
    /// workflow, which fails and retries it.
    pub async fn call_tools_missing(&mut self, context: &CallContext, code: &str) -> Result<(), StoreError> {
        let (Some(run), Some(iteration)) = (context.run, context.iteration) else { return Ok(()) };
        let known: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM leaf WHERE task_id = $1 AND kind = $2
                AND json_extract(CAST(bytes AS TEXT), '$.run') = $3
                AND json_extract(CAST(bytes AS TEXT), '$.iteration') = $4)",
        )
        .bind(context.task.to_string())
        .bind(EventKind::AgentToolsMissing.as_str())
        .bind(run.to_string())
        .bind(iteration)
        .fetch_one(&mut self.conn)
        .await?;
        if known {
            return Ok(());
        }
        self.run_tools_missing(run).await?;
        let event = Event::point(EventKind::AgentToolsMissing, json!({ "code": code }));
        self.leaf(event.task(context.task).run(run).iteration(iteration)).await?;
        self.wake(context.task).await
    }

    /// Closes the calls that a crash left open; returns how many there were. Run once, before the gateway starts.
    pub async fn calls_recover(&mut self) -> Result<u64, StoreError> {
        self.journal.close_calls();
        self.fold().await?;
        let now = self.now_text();
        let rows = sqlx::query(
            "UPDATE call SET status = 'unknown', error_code = 'interrupted', ended_at = $1,
                    error = 'TaskForge was stopped before the call ended'
             WHERE status = 'open' RETURNING id, op, task_id, run_id, iteration, turn",
        )
        .bind(&now)
        .fetch_all(&mut self.conn)
        .await?;
        sqlx::query("UPDATE attempt SET status = 'unknown' WHERE status = 'open'").execute(&mut self.conn).await?;
        for row in &rows {
            let (id, op): (String, String) = (row.try_get("id")?, row.try_get("op")?);
            let (task, run): (Option<String>, Option<String>) = (row.try_get("task_id")?, row.try_get("run_id")?);
            let (iteration, turn): (Option<u32>, Option<u32>) = (row.try_get("iteration")?, row.try_get("turn")?);
            let data = json!({ "call": id, "turn": turn, "status": CallStatus::Unknown, "error": "interrupted" });
            let mut event = Event::ended(EventKind::LlmCall, op.parse()?, Outcome::Unknown, data);
            event.task = task.map(|t| t.parse()).transpose()?;
            event.run = run.map(|r| r.parse()).transpose()?;
            event.iteration = iteration;
            self.leaf(event).await?;
        }
        Ok(rows.len() as u64)
    }
}

fn parse_status(text: &str) -> Result<CallStatus, StoreError> {
    CallStatus::parse(text).ok_or_else(|| StoreError::corrupt("a call's status"))
}

/// The head of a word that comes from outside, made visible; the whole is in the recorded body.
pub(crate) fn short(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    domain::text::visible_line(&text.chars().take(MAX_CHARS).collect::<String>())
}
