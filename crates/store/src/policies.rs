//! Policies of tasks, immutable per version.

use crate::{Store, StoreError, Tx};
use domain::{ids::TaskId, policy::Policy};

impl Tx {
    /// Stores a version of a task's policy.
    pub async fn policy_insert(&mut self, task: TaskId, policy: &Policy) -> Result<(), StoreError> {
        self.gate_close(task).await?;
        sqlx::query("INSERT INTO policy (task_id, version, body, created_at) VALUES ($1, $2, $3, $4)")
            .bind(task.to_string())
            .bind(policy.version)
            .bind(serde_json::to_string(policy)?)
            .bind(self.now_text())
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }
}

impl Store {
    /// The versions of a task's policy, oldest first.
    pub async fn policy_list(&self, task: TaskId) -> Result<Vec<Policy>, StoreError> {
        let rows: Vec<String> = sqlx::query_scalar("SELECT body FROM policy WHERE task_id = $1 ORDER BY version")
            .bind(task.to_string())
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(|b| Ok(serde_json::from_str(b)?)).collect()
    }

    /// The policy in force.
    pub async fn policy_current(&self, task: TaskId) -> Result<Policy, StoreError> {
        let body: Option<String> = sqlx::query_scalar(
            "SELECT p.body FROM policy p JOIN task t ON t.id = p.task_id AND t.policy_version = p.version WHERE t.id = $1",
        )
        .bind(task.to_string())
        .fetch_optional(self.reader())
        .await?;
        Ok(serde_json::from_str(&body.ok_or_else(|| StoreError::not_found("policy of task", task))?)?)
    }
}
