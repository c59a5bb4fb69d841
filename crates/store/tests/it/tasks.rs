//! Tasks, runs, iterations, messages.

use crate::{done, new_request, open, packages, started, task};
use domain::{
    event::EventKind,
    plan::{Cause, IterationEnd, StopReason},
    request::{RequestStatus, Verdict},
    task::{Command, Desired, RunOutcome, TaskStatus},
};
use futures::FutureExt;
use store::{IntentKind, IterationStart, StoreError, TaskFilter};

fn compose(s: &IterationStart<'_>) -> String {
    format!("{:?} {} decided={} messages={}", s.cause, s.instructions, s.decided.len(), s.messages.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_created_started_and_told_to_the_engine_once() {
    let (store, _dir) = open().await;
    let created = task(&store).await;
    assert_eq!((created.status, created.created_by.as_str()), (TaskStatus::Created, "ada"));
    assert!(store.intents().await.unwrap().is_empty());
    let id = created.id;
    let files = store.input_file_list(id).await.unwrap();
    assert_eq!(store.body(&files[0].commitment).await.unwrap(), b"a,b\n1,2\n");
    done(&store, move |tx| async move { tx.task_start(id, "ada").await }.boxed()).await;
    let again =
        store.write(store::Durability::Process, move |tx| async move { tx.task_start(id, "ada").await }.boxed()).await;
    assert!(matches!(again, Err(StoreError::Illegal(_))));
    let intents = store.intents().await.unwrap();
    assert_eq!(intents.len(), 1);
    assert_eq!(intents[0].intent.kind, IntentKind::Start);
    assert_eq!(store.event_count(id, EventKind::TaskStarted).await.unwrap(), 1, "the refused start left nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_iteration_is_begun_once_and_tells_each_thing_once() {
    let (store, _dir) = open().await;
    let (id, run) = started(&store).await;
    done(&store, move |tx| async move { tx.task_prepared(id, "sha256:base").await }.boxed()).await;
    let r =
        done(&store, move |tx| async move { tx.request_insert(new_request(id, run, packages(&["x"]))).await }.boxed())
            .await;
    done(&store, move |tx| async move { tx.request_rejected(r.id, "no such package").await }.boxed()).await;
    done(&store, move |tx| async move { tx.task_message(id, "hurry", false, "bob").await }.boxed()).await;
    let task = store.task_get(id).await.unwrap();
    let begin = |n, cause| {
        let task = task.clone();
        done(&store, move |tx| async move { tx.iteration_begin(&task, run, n, cause, compose).await }.boxed())
    };
    let first = begin(1, Cause::Start).await;
    assert_eq!(first.prompt, "Start Summarise sales.csv decided=1 messages=1");
    assert_eq!(begin(1, Cause::Resume).await, first, "a repeated begin finds what was begun");
    let second = begin(2, Cause::Resume).await;
    assert_eq!(second.prompt, "Resume Summarise sales.csv decided=0 messages=0");
    done(&store, move |tx| async move { tx.iteration_stop(run, 2, StopReason::Pause).await }.boxed()).await;
    for end in [IterationEnd::Stopped, IterationEnd::TurnEnded] {
        let (task, second) = (task.clone(), second.clone());
        done(&store, move |tx| async move { tx.iteration_end(&task, &second, &end, Some(143), b"log").await }.boxed())
            .await;
    }
    let all = store.iteration_list(run).await.unwrap();
    assert_eq!(all[1].end, Some(IterationEnd::Stopped), "the first end stays");
    assert_eq!(store.body(all[1].log.as_ref().unwrap()).await.unwrap(), b"log");
}

#[tokio::test(flavor = "multi_thread")]
async fn finishing_a_run_withdraws_what_is_open_and_a_continue_begins_another() {
    let (store, _dir) = open().await;
    let (id, run) = started(&store).await;
    let r =
        done(&store, move |tx| async move { tx.request_insert(new_request(id, run, packages(&["x"]))).await }.boxed())
            .await;
    done(&store, move |tx| async move { tx.task_command(id, Command::Cancel, "ada").await }.boxed()).await;
    assert_eq!(store.task_get(id).await.unwrap().desired, Desired::Cancel);
    let task = store.task_get(id).await.unwrap();
    for _ in 0..2 {
        let task = task.clone();
        done(&store, move |tx| async move { tx.run_finish(&task, run, &RunOutcome::Cancelled).await }.boxed()).await;
    }
    assert_eq!(store.event_count(id, EventKind::RunFinished).await.unwrap(), 1);
    assert_eq!(store.task_get(id).await.unwrap().status, TaskStatus::Cancelled);
    assert_eq!(store.request_get(r.id).await.unwrap().status, RequestStatus::Withdrawn);
    let late = store
        .write(store::Durability::Process, move |tx| {
            async move { tx.request_review(r.id, "d", Verdict::Approve, "ada").await }.boxed()
        })
        .await;
    assert!(matches!(late, Err(StoreError::Conflict { code: "request_not_pending", .. })));
    let continued = done(&store, move |tx| async move { tx.task_continue(id, "more", "ada").await }.boxed()).await;
    assert_eq!(continued.desired, Desired::Run);
    assert_eq!(store.run_get(continued.run.unwrap()).await.unwrap().number, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered() {
    let (store, _dir) = open().await;
    for _ in 0..5 {
        task(&store).await;
    }
    let first = store.task_list(&TaskFilter { limit: Some(2), ..TaskFilter::default() }).await.unwrap();
    assert_eq!(first.tasks.len(), 2);
    let rest = store.task_list(&TaskFilter { before: first.next, ..TaskFilter::default() }).await.unwrap();
    assert_eq!((rest.tasks.len(), rest.next), (3, None));
    let none = store.task_list(&TaskFilter { text: Some("zzz".into()), ..TaskFilter::default() }).await.unwrap();
    assert!(none.tasks.is_empty());
    let some = store.task_list(&TaskFilter { text: Some("SALES".into()), ..TaskFilter::default() }).await.unwrap();
    assert_eq!(some.tasks.len(), 5);
}
