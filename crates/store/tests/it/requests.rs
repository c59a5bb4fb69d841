//! Requests: decisions are bound to a digest, made once, and only on what is pending.

use crate::{done, new_request, open, packages, started};
use domain::{
    candidate::Candidate,
    event::EventKind,
    ids::{RequestId, RunId, TaskId},
    request::{Ask, Request, RequestStatus, Verdict},
};
use futures::FutureExt;
use store::{Durability, Store, StoreError};

async fn ask(store: &Store, task: TaskId, run: RunId, ask: Ask) -> Request {
    done(store, move |tx| async move { tx.request_insert(new_request(task, run, ask)).await }.boxed()).await
}

fn candidate(request: RequestId, image: &str) -> Candidate {
    Candidate {
        request,
        base_image: "sha256:base".into(),
        parent_image: image.into(),
        artefacts: vec![],
        dockerfile: "FROM sha256:base\n".into(),
        policy_version: 1,
    }
}

async fn show(store: &Store, id: RequestId, image: &'static str) -> String {
    let r = done(store, move |tx| async move { tx.request_pending(id, &candidate(id, image)).await }.boxed()).await;
    r.digest.unwrap()
}

async fn review(store: &Store, id: RequestId, digest: &str, verdict: Verdict) -> Result<Request, StoreError> {
    let digest = digest.to_owned();
    store
        .write(Durability::Power, move |tx| async move { tx.request_review(id, &digest, verdict, "ada").await }.boxed())
        .await
}

fn code(r: Result<Request, StoreError>) -> &'static str {
    match r {
        Err(StoreError::Conflict { code, .. }) => code,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_needs_the_digest_that_was_shown_and_is_made_once() {
    let (store, _dir) = open().await;
    let (task, run) = started(&store).await;
    let id = ask(&store, task, run, packages(&["matplotlib"])).await.id;
    assert_eq!(code(review(&store, id, "", Verdict::Approve).await), "request_not_pending");
    let digest = show(&store, id, "sha256:base").await;
    assert_eq!(code(review(&store, id, &"0".repeat(64), Verdict::Approve).await), "request_stale");
    assert_eq!(code(review(&store, id, &digest, Verdict::Answer { answer: "42".into() }).await), "verdict_unfit");
    let decided = review(&store, id, &digest, Verdict::Approve).await.unwrap();
    assert_eq!(decided.status, RequestStatus::Approved);
    assert_eq!(decided.decision.unwrap().reviewer, "ada");
    assert_eq!(code(review(&store, id, &digest, Verdict::Deny { reason: "no".into() }).await), "request_decided");
    assert_eq!(store.event_count(task, EventKind::RequestDecided).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_decisions_leave_one() {
    let (store, _dir) = open().await;
    let (task, run) = started(&store).await;
    let id = ask(&store, task, run, packages(&["numpy"])).await.id;
    let digest = show(&store, id, "sha256:base").await;
    let both = futures::future::join_all((0..8).map(|n| {
        let verdict = if n % 2 == 0 { Verdict::Approve } else { Verdict::Deny { reason: "no".into() } };
        review(&store, id, &digest, verdict)
    }))
    .await;
    assert_eq!(both.iter().filter(|r| r.is_ok()).count(), 1);
    assert_eq!(store.event_count(task, EventKind::RequestDecided).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn approving_makes_other_candidates_stale_but_not_questions() {
    let (store, _dir) = open().await;
    let (task, run) = started(&store).await;
    let first = ask(&store, task, run, packages(&["a"])).await.id;
    let second = ask(&store, task, run, packages(&["b"])).await.id;
    let question = ask(&store, task, run, Ask::Question { question: "which?".into(), options: vec![] }).await;
    let too_many = store
        .write(Durability::Process, move |tx| {
            async move { tx.request_insert(new_request(task, run, packages(&["c"]))).await }.boxed()
        })
        .await;
    assert_eq!(code(too_many), "too_many_open_requests");
    let (d1, d2) = (show(&store, first, "sha256:base").await, show(&store, second, "sha256:base").await);
    review(&store, first, &d1, Verdict::Approve).await.unwrap();
    assert_eq!(store.request_get(second).await.unwrap().status, RequestStatus::Resolving);
    assert_eq!(store.request_get(question.id).await.unwrap().status, RequestStatus::Pending);
    assert_eq!(
        code(review(&store, second, &d2, Verdict::Approve).await),
        "request_stale",
        "it was shown and taken back"
    );
    assert_eq!(code(review(&store, second, &d1, Verdict::Approve).await), "request_not_pending");
    done(&store, move |tx| async move { tx.request_applied(first, "sha256:new").await }.boxed()).await;
    assert_eq!(store.task_get(task).await.unwrap().image.as_deref(), Some("sha256:new"));
    let d3 = show(&store, second, "sha256:new").await;
    assert_ne!(d2, d3, "the parent image changed, so did the digest");
    assert_eq!(code(review(&store, second, &d2, Verdict::Approve).await), "request_stale");
    review(&store, second, &d3, Verdict::Approve).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_an_approval_overtook_is_never_shown() {
    let (store, _dir) = open().await;
    let (task, run) = started(&store).await;
    done(&store, move |tx| async move { tx.task_prepared(task, "sha256:base").await }.boxed()).await;
    let first = ask(&store, task, run, packages(&["a"])).await.id;
    let second = ask(&store, task, run, packages(&["b"])).await.id;
    let d1 = show(&store, first, "sha256:base").await;
    // The second is still being resolved, for the image without the first one's packages.
    review(&store, first, &d1, Verdict::Approve).await.unwrap();
    let overtaken = || {
        done(&store, move |tx| {
            async move { tx.request_pending(second, &candidate(second, "sha256:base")).await }.boxed()
        })
    };
    let r = overtaken().await;
    assert_eq!((r.status, r.digest), (RequestStatus::Resolving, None), "approved, not yet built");
    done(&store, move |tx| async move { tx.request_applied(first, "sha256:new").await }.boxed()).await;
    assert_eq!(overtaken().await.status, RequestStatus::Resolving, "the task has another image by now");
    assert_eq!(store.event_count(task, EventKind::RequestStale).await.unwrap(), 2);
    show(&store, second, "sha256:new").await;
    assert_eq!(store.request_get(second).await.unwrap().status, RequestStatus::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_found_again_by_what_it_asked() {
    let (store, _dir) = open().await;
    let (task, run) = started(&store).await;
    let id = ask(&store, task, run, packages(&["b", "a"])).await.id;
    let digest = show(&store, id, "sha256:base").await;
    review(&store, id, &digest, Verdict::Deny { reason: "not today".into() }).await.unwrap();
    let same = store.request_refused_like(task, &packages(&["a", "b"])).await.unwrap().unwrap();
    assert_eq!(same.id, id);
    assert!(store.request_refused_like(task, &packages(&["a"])).await.unwrap().is_none());
}
