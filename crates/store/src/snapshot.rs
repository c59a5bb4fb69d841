//! The facts that the next step of a run depends on.

use crate::{Store, StoreError, now};
use domain::{
    ids::{RunId, TaskId},
    plan::{Cause, IterationEnd, IterationView, RequestView, Snapshot},
    request::RequestStatus,
};
use sqlx::Row;

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
            requests: self.request_views(task).await?,
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
        }))
    }

    async fn request_views(&self, task: TaskId) -> Result<Vec<RequestView>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, status, expires_ms, told FROM request WHERE task_id = $1 \
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
                })
            })
            .collect()
    }
}
