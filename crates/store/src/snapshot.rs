//! The facts that the next step of a run depends on.

use crate::{Store, StoreError, now};
use domain::{
    budget::Window,
    ids::{RunId, TaskId},
    plan::{BudgetView, Cause, IterationEnd, IterationView, RequestView, Snapshot},
    request::{Ask, Decision, RequestStatus},
};
use sqlx::{Row, sqlite::SqliteRow};

impl Store {
    /// Reads the facts for [`domain::plan::plan`].
    pub async fn plan_snapshot(&self, task: TaskId, run: RunId) -> Result<Snapshot, StoreError> {
        let t = self.task_get(task).await?;
        let r = self.run_get(run).await?;
        let (id, reader) = (task.to_string(), self.reader());
        let prepared: bool =
            sqlx::query_scalar("SELECT prepared FROM task WHERE id = $1").bind(&id).fetch_one(reader).await?;
        let restart_now: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM message WHERE task_id = $1 AND delivered_at IS NULL AND now = 1")
                .bind(&id)
                .fetch_one(reader)
                .await?;
        Ok(Snapshot {
            now_ms: now().as_millisecond(),
            desired: t.desired,
            prepared,
            max_iterations: t.max_iterations,
            iteration: self.iteration_view(run).await?,
            requests: self.request_views(task, run).await?,
            submitted: r.submitted.is_some(),
            messages_waiting: self.message_waiting(task).await?,
            restart_now: restart_now > 0,
        })
    }

    async fn iteration_view(&self, run: RunId) -> Result<Option<IterationView>, StoreError> {
        let all = self.iteration_list(run).await?;
        let Some(last) = all.last() else { return Ok(None) };
        let failed = |end: &Option<IterationEnd>| {
            matches!(end, Some(IterationEnd::Failed { .. } | IterationEnd::Interrupted { .. }))
        };
        let consecutive = all.iter().rev().take_while(|i| failed(&i.end)).count();
        Ok(Some(IterationView {
            number: last.number,
            end: last.end.clone(),
            consecutive_failures: u32::try_from(consecutive).unwrap_or(u32::MAX),
            nudge: last.cause == Cause::Nudge,
            stopping: last.stop.filter(|_| last.end.is_none()),
        }))
    }

    async fn request_views(&self, task: TaskId, run: RunId) -> Result<Vec<RequestView>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, run_id, ask, decision, status, expires_ms, told FROM request WHERE task_id = $1 \
             AND (told = 0 OR status IN ('resolving', 'pending', 'approved')) ORDER BY id",
        )
        .bind(task.to_string())
        .fetch_all(self.reader())
        .await?;
        rows.iter()
            .map(|r| {
                let status: &str = r.try_get("status")?;
                Ok(RequestView {
                    id: r.try_get::<&str, _>("id")?.parse()?,
                    status: RequestStatus::parse(status).ok_or_else(|| StoreError::corrupt(status))?,
                    expires_ms: r.try_get("expires_ms")?,
                    told: r.try_get("told")?,
                    budget: budget_view(r, run)?,
                })
            })
            .collect()
    }
}

/// A further run begins with new words of a person, so only a budget that this run asked for decides about it.
fn budget_view(r: &SqliteRow, run: RunId) -> Result<Option<BudgetView>, StoreError> {
    let Ask::Budget(ask) = serde_json::from_str(r.try_get("ask")?)? else { return Ok(None) };
    if r.try_get::<&str, _>("run_id")?.parse::<RunId>()? != run {
        return Ok(None);
    }
    let decision: Option<Decision> = r.try_get::<Option<&str>, _>("decision")?.map(serde_json::from_str).transpose()?;
    let refusal = decision.and_then(|d| Some(format!("{} refused to raise it: {}", d.reviewer, d.verdict.text()?)));
    Ok(Some(BudgetView { renews: ask.budget.window != Window::Total, refusal }))
}
