//! Requests of agents: from the ask to the decision to its effect. Every transition is conditional on the state before,
//! and carries its leaf and the wake-up of the workflow.

mod page;
mod stale;

pub use page::{RequestFilter, RequestPage};

use crate::{Store, StoreError, Tx, new_id, time_text};
use domain::{
    candidate::{Artefact, Candidate, ask_digest},
    event::{Actor, Event, EventKind},
    ids::{RequestId, RunId, TaskId},
    request::{Ask, Decision, Provenance, Request, RequestStatus, Verdict},
};
use serde_json::json;
use sqlx::{Row, sqlite::SqliteRow};
use std::{collections::BTreeSet, time::Duration};

/// Requests read at once.
const PAGE: i64 = 200;

/// A request to be stored.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// The task that asks.
    pub task: TaskId,
    /// The run that asks.
    pub run: RunId,
    /// The iteration that asks.
    pub iteration: u32,
    /// What is asked.
    pub ask: Ask,
    /// The agent's reason.
    pub reason: String,
    /// Who asked.
    pub provenance: Provenance,
    /// How long it waits for a decision.
    pub ttl: Duration,
    /// How many requests may be open, this one included.
    pub max_open: u32,
}

fn request(r: &SqliteRow) -> Result<Request, StoreError> {
    let status: &str = r.try_get("status")?;
    Ok(Request {
        id: r.try_get::<&str, _>("id")?.parse()?,
        task: r.try_get::<&str, _>("task_id")?.parse()?,
        run: r.try_get::<&str, _>("run_id")?.parse()?,
        iteration: r.try_get("iteration")?,
        ask: serde_json::from_str(r.try_get("ask")?)?,
        reason: r.try_get("reason")?,
        provenance: serde_json::from_str(r.try_get("provenance")?)?,
        status: RequestStatus::parse(status).ok_or_else(|| StoreError::corrupt(format!("request status {status}")))?,
        digest: r.try_get("digest")?,
        decision: r.try_get::<Option<String>, _>("decision")?.map(|d| serde_json::from_str(&d)).transpose()?,
        failure: r.try_get("failure")?,
        told: r.try_get("told")?,
        created_at: r.try_get("created_at")?,
        expires_at: r.try_get("expires_at")?,
    })
}

fn event_of(kind: EventKind, r: &Request, data: serde_json::Value) -> Event {
    let mut event = Event::point(kind, data).task(r.task).run(r.run).iteration(r.iteration);
    event.data["request"] = json!(r.id);
    event
}

impl Tx {
    /// Reads a request inside the transaction.
    pub async fn request_get(&mut self, id: RequestId) -> Result<Request, StoreError> {
        let row = sqlx::query("SELECT * FROM request WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut self.conn)
            .await?;
        request(&row.ok_or_else(|| StoreError::not_found("request", id))?)
    }

    /// Stores a request: packages as `resolving`, others as `pending`.
    pub async fn request_insert(&mut self, new: NewRequest) -> Result<Request, StoreError> {
        let open: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM request WHERE task_id = $1 AND status IN ('resolving', 'pending')",
        )
        .bind(new.task.to_string())
        .fetch_one(&mut self.conn)
        .await?;
        if open >= i64::from(new.max_open) {
            return Err(StoreError::conflict("too_many_open_requests", format!("{open} requests are open already")));
        }
        let id = new_id(RequestId::from_uuid);
        let (status, digest) = match &new.ask {
            Ask::Packages { .. } => (RequestStatus::Resolving, None),
            Ask::Question { .. } | Ask::Budget(_) => (RequestStatus::Pending, Some(ask_digest(id, &new.ask)?)),
        };
        let expires = self.now() + jiff::SignedDuration::try_from(new.ttl).map_err(StoreError::corrupt)?;
        sqlx::query(
            "INSERT INTO request (id, task_id, run_id, iteration, ask, reason, provenance, status, digest, created_at, \
             expires_at, expires_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(id.to_string())
        .bind(new.task.to_string())
        .bind(new.run.to_string())
        .bind(new.iteration)
        .bind(serde_json::to_string(&new.ask)?)
        .bind(&new.reason)
        .bind(serde_json::to_string(&new.provenance)?)
        .bind(status.as_str())
        .bind(&digest)
        .bind(self.now_text())
        .bind(time_text(expires))
        .bind(expires.as_millisecond())
        .execute(&mut self.conn)
        .await?;
        let r = self.request_get(id).await?;
        let ask = self.body(&r.task, serde_json::to_string(&r.ask)?.as_bytes()).await?;
        let reason = self.body(&r.task, r.reason.as_bytes()).await?;
        let data = json!({"kind": r.ask.kind(), "provenance": r.provenance, "digest": digest, "status": status});
        let actor = if r.provenance == Provenance::Taskforge { Actor::System } else { Actor::Sandbox };
        let event = event_of(EventKind::RequestCreated, &r, data).by(actor);
        self.leaf(event.body("ask", ask).body("reason", reason)).await?;
        self.wake(r.task).await?;
        Ok(r)
    }

    /// Shows a candidate to people: `resolving → pending`.
    ///
    /// A candidate that was made while another request was approved lacks what was approved: it is stale before it was
    /// shown, and the request stays `resolving`, to be resolved again.
    pub async fn request_pending(&mut self, id: RequestId, candidate: &Candidate) -> Result<Request, StoreError> {
        let digest = candidate.digest()?;
        if let Some(stale) = self.candidate_overtaken(id, candidate, &digest).await? {
            return Ok(stale);
        }
        self.request_move(id, &[RequestStatus::Resolving], RequestStatus::Pending).await?;
        let body = serde_json::to_string(candidate)?;
        sqlx::query("INSERT INTO candidate (digest, request_id, body, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
            .bind(&digest)
            .bind(id.to_string())
            .bind(&body)
            .bind(self.now_text())
            .execute(&mut self.conn)
            .await?;
        sqlx::query("UPDATE request SET digest = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(&digest)
            .execute(&mut self.conn)
            .await?;
        let r = self.request_get(id).await?;
        let body = self.body(&r.task, body.as_bytes()).await?;
        let data = json!({"digest": digest, "artefacts": candidate.artefacts.len(), "base_image": candidate.base_image,
            "parent_image": candidate.parent_image, "policy_version": candidate.policy_version});
        self.leaf(event_of(EventKind::RequestPending, &r, data).body("candidate", body)).await?;
        self.wake(r.task).await?;
        Ok(r)
    }

    /// No candidate could be made: `resolving → rejected`. The agent is told why.
    pub async fn request_rejected(&mut self, id: RequestId, failure: &str) -> Result<Request, StoreError> {
        self.request_move(id, &[RequestStatus::Resolving], RequestStatus::Rejected).await?;
        self.request_failed(id, EventKind::RequestRejected, failure).await
    }

    /// The image could not be built: `approved → build_failed`. The agent is told why.
    pub async fn request_build_failed(&mut self, id: RequestId, failure: &str) -> Result<Request, StoreError> {
        self.request_move(id, &[RequestStatus::Approved], RequestStatus::BuildFailed).await?;
        self.request_failed(id, EventKind::RequestRejected, failure).await
    }

    async fn request_failed(&mut self, id: RequestId, kind: EventKind, failure: &str) -> Result<Request, StoreError> {
        sqlx::query("UPDATE request SET failure = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(failure)
            .execute(&mut self.conn)
            .await?;
        let r = self.request_get(id).await?;
        let body = self.body(&r.task, failure.as_bytes()).await?;
        self.leaf(event_of(kind, &r, json!({"status": r.status})).body("failure", body)).await?;
        self.wake(r.task).await?;
        Ok(r)
    }

    /// Records a decision, once, bound to the digest that was shown.
    ///
    /// Approving makes the task's other open candidates stale: they are resolved and reviewed again.
    pub async fn request_review(
        &mut self,
        id: RequestId,
        digest: &str,
        verdict: Verdict,
        reviewer: &str,
    ) -> Result<Request, StoreError> {
        let r = self.request_get(id).await?;
        if let Some(d) = &r.decision {
            let message =
                format!("{} was already decided: {} by {} at {}", id, d.verdict.name(), d.reviewer, d.decided_at);
            return Err(StoreError::conflict("request_decided", message));
        }
        if r.status != RequestStatus::Pending {
            return Err(self.not_pending(&r, digest).await?);
        }
        if r.digest.as_deref() != Some(digest) {
            let message = format!("{id} has changed since it was shown: review it again (its digest is not {digest})");
            return Err(StoreError::conflict("request_stale", message));
        }
        let status = verdict.status_for(&r.ask).ok_or_else(|| {
            StoreError::conflict("verdict_unfit", format!("{} does not fit a {}", verdict.name(), r.ask.kind()))
        })?;
        let decision =
            Decision { verdict, digest: digest.to_owned(), reviewer: reviewer.to_owned(), decided_at: self.now_text() };
        sqlx::query("UPDATE request SET status = $2, decision = $3 WHERE id = $1 AND status = 'pending'")
            .bind(id.to_string())
            .bind(status.as_str())
            .bind(serde_json::to_string(&decision)?)
            .execute(&mut self.conn)
            .await?;
        let data = json!({"decision": decision.verdict.name(), "digest": digest, "status": status});
        let mut event = event_of(EventKind::RequestDecided, &r, data).by(Actor::Token { name: reviewer.to_owned() });
        if let Some(text) = decision.verdict.text() {
            event = event.body("words", self.body(&r.task, text.as_bytes()).await?);
        }
        self.leaf(event).await?;
        if let (Ask::Budget(ask), RequestStatus::Applied) = (&r.ask, status) {
            let task = self.task_get(r.task).await?;
            self.policy_raise(&task, ask, reviewer).await?;
        }
        // Candidates name their parent image and the policy's version: an approval changes one of them.
        if matches!(status, RequestStatus::Approved | RequestStatus::Applied) {
            self.requests_make_stale(&r).await?;
        }
        self.wake(r.task).await?;
        self.request_get(id).await
    }

    /// Nobody decided in time: `pending → expired`.
    pub async fn request_expire(&mut self, id: RequestId) -> Result<Request, StoreError> {
        self.request_move(id, &[RequestStatus::Pending], RequestStatus::Expired).await?;
        let r = self.request_get(id).await?;
        self.leaf(event_of(EventKind::RequestExpired, &r, json!({}))).await?;
        Ok(r)
    }

    /// The approved image is the task's: `approved → applied`.
    pub async fn request_applied(&mut self, id: RequestId, image: &str) -> Result<Request, StoreError> {
        self.request_move(id, &[RequestStatus::Approved], RequestStatus::Applied).await?;
        let r = self.request_get(id).await?;
        let leaf =
            self.leaf(event_of(EventKind::RequestApplied, &r, json!({"image": image, "digest": r.digest}))).await?;
        sqlx::query("UPDATE request SET applied_at = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(leaf.cast_signed())
            .execute(&mut self.conn)
            .await?;
        self.task_set_image(r.task, image).await?;
        Ok(r)
    }

    async fn request_move(
        &mut self,
        id: RequestId,
        from: &[RequestStatus],
        to: RequestStatus,
    ) -> Result<(), StoreError> {
        let before = self.request_get(id).await?;
        if !from.contains(&before.status) {
            return Err(StoreError::conflict(
                "request_moved",
                format!("{id} is {}, not to become {to}", before.status),
            ));
        }
        sqlx::query("UPDATE request SET status = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(to.as_str())
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }

    /// Takes the requests whose outcome the agent has not been told, and marks them told.
    pub(crate) async fn requests_tell(&mut self, task: TaskId) -> Result<Vec<Request>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM request WHERE task_id = $1 AND told = 0 AND status NOT IN ('resolving', 'pending', 'approved') ORDER BY id",
        )
        .bind(task.to_string())
        .fetch_all(&mut self.conn)
        .await?;
        let told: Vec<Request> = rows.iter().map(request).collect::<Result<_, _>>()?;
        for r in &told {
            self.request_told(r.id).await?;
        }
        Ok(told)
    }

    /// Marks the outcome of a request as told to the agent.
    pub async fn request_told(&mut self, id: RequestId) -> Result<(), StoreError> {
        sqlx::query("UPDATE request SET told = 1 WHERE id = $1").bind(id.to_string()).execute(&mut self.conn).await?;
        Ok(())
    }

    pub(crate) async fn requests_withdraw(&mut self, task: TaskId) -> Result<(), StoreError> {
        let rows = sqlx::query("SELECT * FROM request WHERE task_id = $1 AND status IN ('resolving', 'pending')")
            .bind(task.to_string())
            .fetch_all(&mut self.conn)
            .await?;
        for r in rows.iter().map(request).collect::<Result<Vec<_>, _>>()? {
            sqlx::query("UPDATE request SET status = 'withdrawn', told = 1 WHERE id = $1")
                .bind(r.id.to_string())
                .execute(&mut self.conn)
                .await?;
            self.leaf(event_of(EventKind::RequestWithdrawn, &r, json!({}))).await?;
        }
        Ok(())
    }
}

impl Store {
    /// One request.
    pub async fn request_get(&self, id: RequestId) -> Result<Request, StoreError> {
        let row = sqlx::query("SELECT * FROM request WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(self.reader())
            .await?;
        request(&row.ok_or_else(|| StoreError::not_found("request", id))?)
    }

    /// Requests, newest first, of one task or in one state.
    pub async fn request_list(
        &self,
        task: Option<TaskId>,
        status: Option<RequestStatus>,
    ) -> Result<Vec<Request>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM request WHERE ($1 IS NULL OR task_id = $1) AND ($2 IS NULL OR status = $2) ORDER BY id DESC LIMIT $3",
        )
        .bind(task.map(|t| t.to_string()))
        .bind(status.map(RequestStatus::as_str))
        .bind(PAGE)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(request).collect()
    }

    /// The newest refused request of a task that asked for the same.
    pub async fn request_refused_like(&self, task: TaskId, ask: &Ask) -> Result<Option<Request>, StoreError> {
        let refused = self.request_list(Some(task), Some(RequestStatus::Denied)).await?;
        Ok(refused.into_iter().find(|r| r.ask.same_as(ask)))
    }

    /// A candidate that was shown, by its digest.
    pub async fn candidate_get(&self, digest: &str) -> Result<Candidate, StoreError> {
        let body: Option<String> = sqlx::query_scalar("SELECT body FROM candidate WHERE digest = $1")
            .bind(digest)
            .fetch_optional(self.reader())
            .await?;
        Ok(serde_json::from_str(&body.ok_or_else(|| StoreError::not_found("candidate", digest))?)?)
    }

    /// A task's whole approved set: that of its newest applied candidate.
    pub async fn approved_set(&self, task: TaskId) -> Result<Vec<Artefact>, StoreError> {
        let body: Option<String> = sqlx::query_scalar(
            "SELECT c.body FROM request r JOIN candidate c ON c.digest = r.digest \
             WHERE r.task_id = $1 AND r.status = 'applied' ORDER BY r.applied_at DESC LIMIT 1",
        )
        .bind(task.to_string())
        .fetch_optional(self.reader())
        .await?;
        Ok(match body {
            Some(body) => serde_json::from_str::<Candidate>(&body)?.artefacts,
            None => Vec::new(),
        })
    }

    /// SHA-256 of every package file that an open or granted request names.
    pub async fn packages_in_use(&self) -> Result<BTreeSet<String>, StoreError> {
        let bodies: Vec<String> = sqlx::query_scalar(
            "SELECT c.body FROM candidate c JOIN request r ON r.id = c.request_id \
             WHERE r.status IN ('resolving', 'pending', 'approved', 'applied')",
        )
        .fetch_all(self.reader())
        .await?;
        let mut used = BTreeSet::new();
        for body in &bodies {
            used.extend(serde_json::from_str::<Candidate>(body)?.artefacts.into_iter().map(|a| a.sha256));
        }
        Ok(used)
    }
}
