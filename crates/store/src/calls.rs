//! Model calls: begun before their first byte leaves, ended with all that came back.
//!
//! ```text
//! (refused)
//! open ──► done | failed | timed_out | cut
//!   └────► unknown   closed by recovery after a crash
//! ```
//! A call that was let out has a turn: its position among the calls of its iteration, from 1.

mod status;
mod view;

pub use status::CallStatus;
pub use view::{Call, CallTotals, MAX_CALL_PAGE};

use crate::{StoreError, Tx, new_id};
use domain::{
    event::{Actor, BodyRef, Event, EventKind, Outcome},
    ids::{CallId, OpId, RunId, TaskId},
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
    fn retry_of(&self) -> Option<CallId> {
        self.previous.filter(|(_, status)| !status.ended_well()).map(|(id, _)| id)
    }
}

/// A call as it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct NewCall<'a> {
    /// The model as the request names it.
    pub asked_model: &'a str,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The whole request body.
    pub body: &'a [u8],
    /// Request headers worth keeping; credentials as fingerprints only.
    pub headers: &'a serde_json::Value,
}

/// A recorded call.
#[derive(Debug, Clone)]
pub struct CallRef {
    /// Its id.
    pub id: CallId,
    /// Its act.
    pub op: OpId,
    /// Its task.
    pub task: TaskId,
    /// Its run.
    pub run: RunId,
    /// Its iteration.
    pub iteration: u32,
    /// Its position in the iteration, from 1.
    pub turn: u32,
}

/// Tokens as the upstream counted them; none is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// In the request, cached ones included.
    pub prompt: Option<u64>,
    /// In the answer.
    pub completion: Option<u64>,
    /// Of the request's tokens, those read from a cache.
    pub cached: Option<u64>,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct CallEnd<'a> {
    /// How.
    pub status: CallStatus,
    /// The upstream's HTTP status, if it answered.
    pub http_status: Option<u16>,
    /// Why the model stopped, as the upstream says.
    pub finish_reason: Option<&'a str>,
    /// Token counts.
    pub tokens: Tokens,
    /// From the beginning to the first byte of the answer, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// From the beginning to the end, in milliseconds.
    pub total_ms: u64,
    /// A stable code and a sentence, if it did not end well.
    pub error: Option<(&'static str, &'a str)>,
    /// All that arrived.
    pub response: &'a [u8],
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

    /// Records that a call is about to leave for `model` of `upstream`.
    pub async fn call_begin(
        &mut self,
        context: &CallContext,
        new: NewCall<'_>,
        upstream: &str,
        model: &str,
    ) -> Result<CallRef, StoreError> {
        let (Some(run), Some(iteration)) = (context.run, context.iteration) else {
            return Err(StoreError::conflict("not_running", format!("{} is not running", context.task)));
        };
        let call = CallRef {
            id: new_id(CallId::from_uuid),
            op: new_id(OpId::from_uuid),
            task: context.task,
            run,
            iteration,
            turn: context.turns + 1,
        };
        let request = self.body(&context.task, new.body).await?;
        self.call_insert(context, &call, new, &request, (upstream, model)).await?;
        let event = Event::begun(
            EventKind::LlmCall,
            call.op,
            json!({
                "call": call.id, "turn": call.turn, "upstream": upstream, "model": model,
                "asked_model": short(new.asked_model), "stream": new.stream, "retry_of": context.retry_of(), "headers": new.headers,
            }),
        );
        self.leaf(event.by(Actor::Sandbox).task(call.task).run(run).iteration(iteration).body("request", request))
            .await?;
        Ok(call)
    }

    /// Records a call that is not let out, and why.
    pub async fn call_refuse(
        &mut self,
        context: &CallContext,
        new: NewCall<'_>,
        http_status: u16,
        error: (&'static str, &str),
    ) -> Result<CallId, StoreError> {
        let (id, op) = (new_id(CallId::from_uuid), new_id(OpId::from_uuid));
        let request = self.body(&context.task, new.body).await?;
        let now = self.now_text();
        sqlx::query(
            "INSERT INTO call (id, task_id, run_id, iteration, op, asked_model, stream, status, request, request_size,
                               http_status, error_code, error, begun_at, ended_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'refused', $8, $9, $10, $11, $12, $13, $13)",
        )
        .bind(id.to_string())
        .bind(context.task.to_string())
        .bind(context.run.map(|r| r.to_string()))
        .bind(context.iteration)
        .bind(op.to_string())
        .bind(short(new.asked_model))
        .bind(new.stream)
        .bind(&request.commitment)
        .bind(request.size.cast_signed())
        .bind(http_status)
        .bind(error.0)
        .bind(error.1)
        .bind(now)
        .execute(&mut self.conn)
        .await?;
        let mut event = Event::point(
            EventKind::LlmRefused,
            json!({
                "call": id, "asked_model": short(new.asked_model), "code": error.0, "http_status": http_status,
                "headers": new.headers,
            }),
        )
        .by(Actor::Sandbox)
        .task(context.task)
        .body("request", request);
        event.outcome = Some(Outcome::Refused);
        event.run = context.run;
        event.iteration = context.iteration;
        self.leaf(event).await?;
        Ok(id)
    }

    async fn call_insert(
        &mut self,
        context: &CallContext,
        call: &CallRef,
        new: NewCall<'_>,
        request: &BodyRef,
        target: (&str, &str),
    ) -> Result<(), StoreError> {
        let now = self.now_text();
        sqlx::query(
            "INSERT INTO call (id, task_id, run_id, iteration, turn, op, asked_model, upstream, model, stream, retry_of,
                               status, request, request_size, begun_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'open', $12, $13, $14)",
        )
        .bind(call.id.to_string())
        .bind(context.task.to_string())
        .bind(call.run.to_string())
        .bind(call.iteration)
        .bind(call.turn)
        .bind(call.op.to_string())
        .bind(short(new.asked_model))
        .bind(target.0)
        .bind(target.1)
        .bind(new.stream)
        .bind(context.retry_of().map(|c| c.to_string()))
        .bind(&request.commitment)
        .bind(request.size.cast_signed())
        .bind(now)
        .execute(&mut self.conn)
        .await?;
        Ok(())
    }

    /// Records how a call ended. The caller adds the tool calls that its answer holds ([`Tx::tool_calls_insert`]).
    pub async fn call_end(&mut self, call: &CallRef, end: CallEnd<'_>) -> Result<(), StoreError> {
        let response = self.body(&call.task, end.response).await?;
        let now = self.now_text();
        let changed = sqlx::query(
            "UPDATE call SET status = $2, response = $3, response_size = $4, http_status = $5, finish_reason = $6,
                    prompt_tokens = $7, completion_tokens = $8, cached_tokens = $9, first_byte_ms = $10, total_ms = $11,
                    error_code = $12, error = $13, ended_at = $14
             WHERE id = $1 AND status = 'open'",
        )
        .bind(call.id.to_string())
        .bind(end.status.as_str())
        .bind(&response.commitment)
        .bind(response.size.cast_signed())
        .bind(end.http_status)
        .bind(end.finish_reason.map(short))
        .bind(signed(end.tokens.prompt))
        .bind(signed(end.tokens.completion))
        .bind(signed(end.tokens.cached))
        .bind(signed(end.first_byte_ms))
        .bind(end.total_ms.cast_signed())
        .bind(end.error.map(|e| e.0))
        .bind(end.error.map(|e| e.1))
        .bind(now)
        .execute(&mut self.conn)
        .await?
        .rows_affected();
        if changed == 0 {
            return Err(StoreError::conflict("call_ended", format!("{} has already ended", call.id)));
        }
        let data = json!({
            "call": call.id, "turn": call.turn, "status": end.status, "http_status": end.http_status,
            "finish_reason": end.finish_reason.map(short), "prompt_tokens": end.tokens.prompt,
            "completion_tokens": end.tokens.completion, "cached_tokens": end.tokens.cached,
            "first_byte_ms": end.first_byte_ms, "total_ms": end.total_ms, "error": end.error.map(|e| e.0),
        });
        let event = Event::ended(EventKind::LlmCall, call.op, end.status.outcome(), data);
        self.leaf(event.task(call.task).run(call.run).iteration(call.iteration).body("response", response)).await?;
        Ok(())
    }

    /// Records that the first model request of an iteration lacked our tools, once per iteration, and wakes the
    /// workflow, which fails and retries it.
    pub async fn call_tools_missing(&mut self, context: &CallContext, code: &str) -> Result<(), StoreError> {
        let (Some(run), Some(iteration)) = (context.run, context.iteration) else { return Ok(()) };
        let known: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM call WHERE run_id = $1 AND iteration = $2 AND turn IS NULL AND error_code = $3)",
        )
        .bind(run.to_string())
        .bind(iteration)
        .bind(code)
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
        let now = self.now_text();
        let rows = sqlx::query(
            "UPDATE call SET status = 'unknown', error_code = 'interrupted', ended_at = $1,
                    error = 'TaskForge was stopped before the call ended'
             WHERE status = 'open' RETURNING id, op, task_id, run_id, iteration, turn",
        )
        .bind(now)
        .fetch_all(&mut self.conn)
        .await?;
        for row in &rows {
            let (id, op): (String, String) = (row.try_get("id")?, row.try_get("op")?);
            let (task, run): (String, String) = (row.try_get("task_id")?, row.try_get("run_id")?);
            let (iteration, turn): (u32, u32) = (row.try_get("iteration")?, row.try_get("turn")?);
            let data = json!({ "call": id, "turn": turn, "status": CallStatus::Unknown, "error": "interrupted" });
            let event = Event::ended(EventKind::LlmCall, op.parse()?, Outcome::Unknown, data);
            self.leaf(event.task(task.parse()?).run(run.parse()?).iteration(iteration)).await?;
        }
        Ok(rows.len() as u64)
    }
}

fn parse_status(text: &str) -> Result<CallStatus, StoreError> {
    CallStatus::parse(text).ok_or_else(|| StoreError::corrupt("a call's status"))
}

fn signed(n: Option<u64>) -> Option<i64> {
    n.and_then(|n| i64::try_from(n).ok())
}

/// The head of a word that comes from outside, made visible; the whole is in the recorded body.
pub(crate) fn short(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    domain::text::visible_line(&text.chars().take(MAX_CHARS).collect::<String>())
}
