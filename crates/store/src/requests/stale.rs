//! Candidates that an approval overtook: shown ones are taken back, one that is still being made is never shown.
//! Either way the request is resolved again, on what the task has by then.

use super::{event_of, request};
use crate::{StoreError, Tx};
use domain::{
    candidate::Candidate,
    event::EventKind,
    ids::RequestId,
    request::{Ask, Request, RequestStatus},
};
use serde_json::json;

impl Tx {
    /// The request as it stays, where its candidate was made for an image that the task has left or is leaving.
    pub(super) async fn candidate_overtaken(
        &mut self,
        id: RequestId,
        candidate: &Candidate,
        digest: &str,
    ) -> Result<Option<Request>, StoreError> {
        let r = self.request_get(id).await?;
        let image = self.task_get(r.task).await?.image;
        let approved: Option<String> =
            sqlx::query_scalar("SELECT id FROM request WHERE task_id = $1 AND status = 'approved' ORDER BY id LIMIT 1")
                .bind(r.task.to_string())
                .fetch_optional(&mut self.conn)
                .await?;
        let left = image.is_some_and(|i| i != candidate.parent_image);
        if r.status != RequestStatus::Resolving || (approved.is_none() && !left) {
            return Ok(None);
        }
        let data = json!({"because": approved, "digest": digest});
        self.leaf(event_of(EventKind::RequestStale, &r, data)).await?;
        self.wake(r.task).await?;
        Ok(Some(r))
    }

    /// Why a request that is not pending cannot be decided. One whose candidate was shown and then taken back is stale.
    pub(super) async fn not_pending(&mut self, r: &Request, digest: &str) -> Result<StoreError, StoreError> {
        let shown: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM candidate WHERE digest = $1 AND request_id = $2")
            .bind(digest)
            .bind(r.id.to_string())
            .fetch_one(&mut self.conn)
            .await?;
        Ok(if r.status == RequestStatus::Resolving && shown > 0 {
            let why = "another request of its task was approved since it was shown, and it is resolved again";
            StoreError::conflict("request_stale", format!("{}: {why}", r.id))
        } else {
            StoreError::conflict("request_not_pending", format!("{} is {}; it cannot be decided", r.id, r.status))
        })
    }

    /// Takes back the shown candidates of the task's other requests.
    pub(super) async fn requests_make_stale(&mut self, approved: &Request) -> Result<(), StoreError> {
        let rows = sqlx::query("SELECT * FROM request WHERE task_id = $1 AND status = 'pending' ORDER BY id")
            .bind(approved.task.to_string())
            .fetch_all(&mut self.conn)
            .await?;
        for other in rows.iter().map(request).collect::<Result<Vec<_>, _>>()? {
            if matches!(other.ask, Ask::Packages { .. }) {
                sqlx::query("UPDATE request SET status = 'resolving', digest = NULL WHERE id = $1")
                    .bind(other.id.to_string())
                    .execute(&mut self.conn)
                    .await?;
                let data = json!({"because": approved.id, "digest": other.digest});
                self.leaf(event_of(EventKind::RequestStale, &other, data)).await?;
            }
        }
        Ok(())
    }
}
