//! Requests page by page, newest first.

use super::request;
use crate::{Store, StoreError};
use domain::{
    ids::{RequestId, TaskId},
    request::{Request, RequestStatus},
};

/// The most requests of a page.
const MAX_PAGE: u32 = 200;

/// Which requests to list.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// Only this task's.
    pub task: Option<TaskId>,
    /// Only those in this state.
    pub status: Option<RequestStatus>,
    /// Only those older than this one (the cursor of the page before).
    pub before: Option<RequestId>,
    /// How many at the most.
    pub limit: u32,
}

/// A page of requests, newest first.
#[derive(Debug, Clone)]
pub struct RequestPage {
    /// The requests.
    pub requests: Vec<Request>,
    /// Where the next page starts; none: this is the last.
    pub next: Option<RequestId>,
}

impl Store {
    /// Requests, newest first.
    pub async fn request_page(&self, f: &RequestFilter) -> Result<RequestPage, StoreError> {
        let limit = f.limit.clamp(1, MAX_PAGE);
        let rows = sqlx::query(
            "SELECT * FROM request WHERE ($1 IS NULL OR task_id = $1) AND ($2 IS NULL OR status = $2) \
             AND ($3 IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        )
        .bind(f.task.map(|t| t.to_string()))
        .bind(f.status.map(RequestStatus::as_str))
        .bind(f.before.map(|r| r.to_string()))
        .bind(i64::from(limit) + 1)
        .fetch_all(self.reader())
        .await?;
        let mut requests: Vec<Request> = rows.iter().map(request).collect::<Result<_, _>>()?;
        let more = requests.len() > limit as usize;
        requests.truncate(limit as usize);
        let next = requests.last().filter(|_| more).map(|r| r.id);
        Ok(RequestPage { requests, next })
    }
}
