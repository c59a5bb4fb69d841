//! A task's budget: what its calls have used, and the request for more when there is no room for the next one.
//!
//! The gateway counts in memory and refuses; this is what it starts from, and what follows a refusal. One transaction
//! stores the request, stops the iteration (nothing of it is let out after that) and wakes the workflow, which ends the
//! agent's process and waits for a person. An approval puts a new version of the policy in force.

use crate::{CallScope, NewRequest, Store, StoreError, Tx, time_text};
use domain::{
    budget::{Amounts, Budget, Spent},
    event::{Actor, Event, EventKind},
    ids::TaskId,
    plan::StopReason,
    policy::Policy,
    request::{Ask, BudgetAsk, Provenance, Request, RequestStatus},
    task::{Desired, Task},
};
use jiff::tz::TimeZone;
use serde_json::json;
use sqlx::{Row, sqlite::SqliteRow};
use std::time::Duration;

/// What a refused call lacked.
#[derive(Debug, Clone, Copy)]
pub struct BudgetShort {
    /// The iteration that made the call.
    pub iteration: u32,
    /// What is used of the budget in its span, calls under way included.
    pub used: Amounts,
    /// What the call needs.
    pub need: Amounts,
    /// When the budget's span ends, Unix milliseconds; none: never.
    pub resets_ms: Option<i64>,
    /// How long a person has to decide.
    pub ttl: Duration,
}

impl Tx {
    /// The policy in force.
    pub async fn policy_current(&mut self, task: TaskId) -> Result<Policy, StoreError> {
        let body: String = sqlx::query_scalar(
            "SELECT p.body FROM policy p JOIN task t ON t.id = p.task_id AND t.policy_version = p.version WHERE t.id = $1",
        )
        .bind(task.to_string())
        .fetch_one(&mut self.conn)
        .await?;
        Ok(serde_json::from_str(&body)?)
    }

    /// Stops an iteration whose next call has no room in the task's budget, and asks a person for more.
    ///
    /// None: nothing is asked, because the run has been submitted (it only has to end), the task is being stopped or
    /// asks already, or there is room by now.
    pub async fn budget_ask(&mut self, task: TaskId, short: BudgetShort) -> Result<Option<Request>, StoreError> {
        let t = self.task_get(task).await?;
        let policy = self.policy_current(task).await?;
        let (Some(run), Some(budget), Desired::Run) = (t.run, policy.budget, t.desired) else { return Ok(None) };
        let under_way =
            self.iteration_get(run, short.iteration).await?.is_some_and(|i| i.stop.is_none() && i.end.is_none());
        if !under_way || budget.lacking(&short.used, &short.need).is_none() {
            return Ok(None);
        }
        self.iteration_stop(run, short.iteration, StopReason::Budget).await?;
        if self.run_get(run).await?.submitted.is_some() || self.budget_asked(task).await? {
            self.wake(task).await?;
            return Ok(None);
        }
        let portion = self.first_budget(task).await?.unwrap_or(budget);
        let ask = BudgetAsk {
            budget,
            used: short.used,
            need: short.need,
            granted: budget.raised(&portion, &short.used, &short.need),
            policy_version: policy.version,
        };
        let renewed =
            short.resets_ms.map(|at| Duration::from_millis((at - self.now().as_millisecond()).max(0).unsigned_abs()));
        let new = NewRequest {
            task,
            run,
            iteration: short.iteration,
            ask: Ask::Budget(ask),
            reason: String::new(),
            provenance: Provenance::Taskforge,
            ttl: renewed.map_or(short.ttl, |rest| rest.min(short.ttl)),
            // The agent's own open requests do not count against what it cannot go on without.
            max_open: u32::MAX,
        };
        self.request_insert(new).await.map(Some)
    }

    /// Puts an approved budget in force, as a new version of the policy.
    pub(crate) async fn policy_raise(&mut self, task: &Task, ask: &BudgetAsk, by: &str) -> Result<(), StoreError> {
        let before = self.policy_current(task.id).await?;
        if before.version != ask.policy_version {
            let message = format!(
                "the policy of {} has version {} by now, and this was shown for version {}",
                task.id, before.version, ask.policy_version
            );
            return Err(StoreError::conflict("request_stale", message));
        }
        let policy = Policy { version: before.version + 1, budget: Some(ask.granted), ..before };
        self.policy_insert(task.id, &policy).await?;
        sqlx::query("UPDATE task SET policy_version = $2 WHERE id = $1")
            .bind(task.id.to_string())
            .bind(policy.version)
            .execute(&mut self.conn)
            .await?;
        let mut event = Event::point(EventKind::PolicyVersion, json!({ "policy": policy }));
        event.run = task.run;
        self.leaf(event.task(task.id).by(Actor::Token { name: by.to_owned() })).await?;
        Ok(())
    }

    async fn budget_asked(&mut self, task: TaskId) -> Result<bool, StoreError> {
        let open: Vec<String> = sqlx::query_scalar("SELECT ask FROM request WHERE task_id = $1 AND status = $2")
            .bind(task.to_string())
            .bind(RequestStatus::Pending.as_str())
            .fetch_all(&mut self.conn)
            .await?;
        for ask in &open {
            if matches!(serde_json::from_str(ask)?, Ask::Budget(_)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The budget that the task was created with: each approval adds it once more.
    async fn first_budget(&mut self, task: TaskId) -> Result<Option<Budget>, StoreError> {
        let body: String = sqlx::query_scalar("SELECT body FROM policy WHERE task_id = $1 ORDER BY version LIMIT 1")
            .bind(task.to_string())
            .fetch_one(&mut self.conn)
            .await?;
        Ok(serde_json::from_str::<Policy>(&body)?.budget)
    }
}

impl Store {
    /// What the calls of a task, a key or a token have used, by the records. Calls that were refused are none; one that is
    /// open, or that a crash left open, counts as it was reserved.
    pub async fn call_spent(&self, scope: CallScope) -> Result<Spent, StoreError> {
        self.caught_up().await;
        let now = crate::now();
        let today = now.to_zoned(TimeZone::UTC).date();
        let since = |date: jiff::civil::Date| {
            date.to_zoned(TimeZone::UTC).map(|z| time_text(z.timestamp())).map_err(StoreError::corrupt)
        };
        let row = sqlx::query(
            "SELECT COUNT(*) AS calls, COALESCE(SUM(used), 0) AS tokens, COALESCE(SUM(cost), 0) AS cost,
                    COUNT(*) FILTER (WHERE begun_at >= $2) AS day_calls,
                    COALESCE(SUM(used) FILTER (WHERE begun_at >= $2), 0) AS day_tokens,
                    COALESCE(SUM(cost) FILTER (WHERE begun_at >= $2), 0) AS day_cost,
                    COUNT(*) FILTER (WHERE begun_at >= $3) AS month_calls,
                    COALESCE(SUM(used) FILTER (WHERE begun_at >= $3), 0) AS month_tokens,
                    COALESCE(SUM(cost) FILTER (WHERE begun_at >= $3), 0) AS month_cost
             FROM (SELECT begun_at, COALESCE(charged_tokens, COALESCE(prompt_tokens, 0) + COALESCE(completion_tokens, 0)) AS used,
                          COALESCE(charged_micro_usd, cost_micro_usd) AS cost
                   FROM call WHERE scope = $1 AND status <> 'refused')",
        )
        .bind(scope.name())
        .bind(since(today)?)
        .bind(since(today.first_of_month())?)
        .fetch_one(self.reader())
        .await?;
        Ok(Spent {
            at_ms: now.as_millisecond(),
            total: amounts(&row, ["calls", "tokens", "cost"])?,
            day: amounts(&row, ["day_calls", "day_tokens", "day_cost"])?,
            month: amounts(&row, ["month_calls", "month_tokens", "month_cost"])?,
        })
    }
}

fn amounts(row: &SqliteRow, columns: [&str; 3]) -> Result<Amounts, StoreError> {
    let unsigned = |column: &str| Ok::<u64, StoreError>(row.try_get::<i64, _>(column)?.max(0).unsigned_abs());
    let [calls, tokens, cost] = columns;
    Ok(Amounts { calls: unsigned(calls)?, tokens: unsigned(tokens)?, micro_usd: unsigned(cost)? })
}
