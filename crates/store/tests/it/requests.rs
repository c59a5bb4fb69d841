//! Requests: decisions are bound to a digest, made once, and only on what is pending.

use crate::{done, new_request, new_task, open, packages, started};
use domain::{
    budget::{Amounts, Budget},
    candidate::Candidate,
    event::EventKind,
    ids::{RequestId, RunId, TaskId},
    plan::{Cause, Side, Step, StopReason, Underway, plan},
    request::{Ask, Provenance, Request, RequestStatus, Verdict},
    task::{RunOutcome, TaskStatus},
};
use futures::FutureExt;
use std::time::Duration;
use store::{BudgetShort, Durability, Store, StoreError};

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

const CALL: Amounts = Amounts { calls: 1, tokens: 10, micro_usd: 0 };

/// A started task with a budget of two calls and an iteration under way.
async fn with_budget(store: &Store) -> (TaskId, RunId) {
    let budget: Budget = "2 calls".parse().unwrap();
    done(store, move |tx| {
        async move {
            let new = store::NewTask { budget: Some(budget), ..new_task() };
            let task = tx.task_create(new, "ada").await?.id;
            let run = tx.task_start(task, "ada").await?.run.unwrap();
            tx.task_prepared(task, "sha256:base").await?;
            let task = tx.task_get(task).await?;
            tx.iteration_begin(&task, run, 1, Cause::Start, |_| "go".to_owned()).await?;
            Ok((task.id, run))
        }
        .boxed()
    })
    .await
}

fn short(iteration: u32) -> BudgetShort {
    let used = Amounts { calls: 2, tokens: 20, micro_usd: 0 };
    BudgetShort { iteration, used, need: CALL, resets_ms: None, ttl: Duration::from_secs(60) }
}

async fn short_of_budget(store: &Store, task: TaskId, iteration: u32) -> Option<Request> {
    done(store, move |tx| tx.budget_ask(task, short(iteration)).boxed()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_asked_for_once_and_raised_by_a_new_policy() {
    let (store, _dir) = open().await;
    let (task, run) = with_budget(&store).await;
    let waiting = ask(&store, task, run, packages(&["numpy"])).await.id;
    show(&store, waiting, "sha256:base").await;
    let r = short_of_budget(&store, task, 1).await.unwrap();
    assert_eq!((r.status, r.provenance), (RequestStatus::Pending, Provenance::Taskforge));
    let Ask::Budget(figures) = &r.ask else { panic!("{r:?}") };
    assert_eq!((figures.granted, figures.policy_version), ("4 calls".parse().unwrap(), 1));
    assert!(short_of_budget(&store, task, 1).await.is_none(), "asked once");
    let context = done(&store, move |tx| tx.call_context(task).boxed()).await;
    assert_eq!(context.iteration, None, "nothing of a stopped iteration is let out");
    let s = store.plan_snapshot(task, run).await.unwrap();
    let mut prepared = s.clone();
    prepared.prepared = true;
    let agent = Underway { agent: true, side: None };
    assert_eq!(plan(&prepared, agent), Step::StopAgent { reason: StopReason::Budget });
    let digest = r.digest.clone().unwrap();
    assert_eq!(code(review(&store, r.id, &"0".repeat(64), Verdict::Approve).await), "request_stale");
    let no = Verdict::Suggest { alternative: "less".into() };
    assert_eq!(code(review(&store, r.id, &digest, no).await), "verdict_unfit");
    assert_eq!(review(&store, r.id, &digest, Verdict::Approve).await.unwrap().status, RequestStatus::Applied);
    let policy = store.policy_current(task).await.unwrap();
    assert_eq!((policy.version, policy.budget), (2, Some("4 calls".parse().unwrap())));
    assert_eq!(store.event_count(task, EventKind::PolicyVersion).await.unwrap(), 1);
    let stale = store.request_get(waiting).await.unwrap().status;
    assert_eq!(stale, RequestStatus::Resolving, "its candidate named the policy before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_budget_ends_the_run_and_not_the_next_one() {
    let (store, _dir) = open().await;
    let (task, run) = with_budget(&store).await;
    let r = short_of_budget(&store, task, 1).await.unwrap();
    review(&store, r.id, r.digest.as_deref().unwrap(), Verdict::Deny { reason: "too dear".into() }).await.unwrap();
    let end = move |store: Store| async move {
        done(&store, move |tx| {
            async move {
                let t = tx.task_get(task).await?;
                let i = tx.iteration_get(run, 1).await?.unwrap();
                tx.iteration_end(&t, &i, &domain::plan::IterationEnd::Stopped, None, b"").await
            }
            .boxed()
        })
        .await;
    };
    end(store.clone()).await;
    let idle = Underway { agent: false, side: None };
    let Step::Finish { outcome } = plan(&store.plan_snapshot(task, run).await.unwrap(), idle) else {
        panic!("the run ends")
    };
    let RunOutcome::Failed { code, reason } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(code, "budget_denied");
    assert!(reason.contains("ada refused to raise it: too dear"), "{reason}");
    let next = done(&store, move |tx| {
        async move {
            let t = tx.task_get(task).await?;
            tx.run_finish(&t, run, &outcome).await?;
            tx.task_continue(task, "once more", "ada").await
        }
        .boxed()
    })
    .await;
    assert_eq!(next.status, TaskStatus::Starting);
    let step = plan(&store.plan_snapshot(task, next.run.unwrap()).await.unwrap(), idle);
    assert_eq!(step, Step::RunAgent { iteration: 1, cause: Cause::Start }, "new words of a person");
    assert_ne!(step, Step::Begin(Side::Prepare));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_for_a_run_that_only_has_to_end() {
    let (store, _dir) = open().await;
    let (task, run) = with_budget(&store).await;
    done(&store, move |tx| tx.run_submit(run, "done", &[]).boxed()).await;
    assert!(short_of_budget(&store, task, 1).await.is_none());
    let s = store.plan_snapshot(task, run).await.unwrap();
    assert_eq!(s.iteration.unwrap().stopping, Some(StopReason::Budget), "it is stopped all the same");
    assert!(store.request_list(Some(task), None).await.unwrap().is_empty());
    let (other, _) = with_budget(&store).await;
    let room = BudgetShort { used: Amounts::default(), ..short(1) };
    assert!(done(&store, move |tx| tx.budget_ask(other, room).boxed()).await.is_none(), "there is room");
    assert!(short_of_budget(&store, other, 7).await.is_none(), "another iteration");
    assert_eq!(store.call_spent(other.into()).await.unwrap().total, Amounts::default());
}
