//! Transactions, the order of leaves, bodies, sealing.

use crate::{done, open, reopen, started, task};
use domain::{
    event::{Actor, Event, EventKind},
    task::TaskStatus,
};
use futures::FutureExt;
use serde_json::json;
use store::{Durability, EventFilter, StoreError};

fn note(n: u64) -> Event {
    Event::point(EventKind::AgentEvent, json!({"n": n}))
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_writes_give_one_gapless_order_and_a_failed_one_leaves_nothing() {
    let (store, _dir) = open().await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..200_u64 {
        let store = store.clone();
        writers.spawn(async move {
            let durability = if n % 7 == 0 { Durability::Power } else { Durability::Process };
            store
                .write(durability, move |tx| {
                    async move {
                        tx.leaf(note(n)).await?;
                        if n % 5 == 0 { Err(StoreError::conflict("test", "refused")) } else { Ok(()) }
                    }
                    .boxed()
                })
                .await
                .is_ok()
        });
    }
    let kept = writers.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!(kept, 160);
    let events = store.event_list(&EventFilter::default()).await.unwrap();
    let indices: Vec<u64> = events.iter().map(|e| e.leaf.index).collect();
    assert_eq!(indices, (0..160).collect::<Vec<_>>());
    assert!(events.iter().all(|e| e.leaf.event.data["n"].as_u64().unwrap() % 5 != 0));
    assert_eq!(*store.changes().borrow(), 160);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_write_is_an_error_and_the_store_goes_on() {
    let (store, _dir) = open().await;
    let result: Result<(), _> = store.write(Durability::Process, |_| async { panic!("in a write") }.boxed()).await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))));
    store.write(Durability::Process, |tx| tx.leaf(note(1)).boxed()).await.unwrap();
    assert_eq!(store.event_list(&EventFilter::default()).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_come_back_whole_until_they_are_erased_and_the_log_stays_valid() {
    let (store, dir) = open().await;
    let id = task(&store).await.id;
    let large = vec![7_u8; store::LARGE_BODY_BYTES * 2];
    let (small, big) = store
        .write(Durability::Power, {
            let large = large.clone();
            move |tx| async move { Ok((tx.body(&id, b"hello").await?, tx.body(&id, &large).await?)) }.boxed()
        })
        .await
        .unwrap();
    assert_eq!(store.body(&small.commitment).await.unwrap(), b"hello");
    assert_eq!(store.body(&big.commitment).await.unwrap(), large);
    let files: Vec<_> = walk(dir.path());
    assert!(
        files.iter().all(|f| !contains(f, b"Summarise sales.csv")
            || f.ends_with("state.db")
            || f.to_string_lossy().contains("state.db-")),
        "bodies lie encrypted outside the database"
    );
    let by = || Actor::Token { name: "ada".into() };
    let early = store.bodies_erase(id.into(), "asked for".into(), by()).await;
    assert!(matches!(early, Err(StoreError::Conflict { code: "bodies_in_use", .. })), "it may start yet");
    assert_eq!(store.body(&small.commitment).await.unwrap(), b"hello");
    done(&store, move |tx| tx.task_show_status(id, TaskStatus::Cancelled).boxed()).await;
    let blobs = || walk(&dir.path().join("blobs")).len();
    assert_eq!(blobs(), 1);
    let erased = store.bodies_erase(id.into(), "asked for".into(), by()).await.unwrap();
    assert_eq!((erased.bodies, blobs()), (5, 0), "name, description, input file and the two");
    let leaf = store.event_get(erased.leaf).await.unwrap().leaf.event;
    assert_eq!((leaf.kind, leaf.task, leaf.actor), (EventKind::BodyErased, Some(id), by()));
    let whose = id.to_string();
    assert_eq!(leaf.data, json!({"bodies": 5, "reason": "asked for", "scope": "task", "whose": whose}));
    for body in [&small, &big] {
        assert!(matches!(store.body(&body.commitment).await, Err(StoreError::Erased)));
    }
    store.seal().await.unwrap();
    let key = store.log_key().await.unwrap();
    let report = audit::verify(store.log_dir(), &key, &audit::VerifyOptions::default()).unwrap();
    assert!(report.valid, "{:?}", report.findings);
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() { found.extend(walk(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

fn contains(path: &std::path::Path, needle: &[u8]) -> bool {
    std::fs::read(path).unwrap().windows(needle.len()).any(|w| w == needle)
}

#[tokio::test(flavor = "multi_thread")]
async fn sealing_catches_up_after_a_restart_that_lost_the_log_files() {
    let (store, dir) = open().await;
    started(&store).await;
    store.seal().await.unwrap();
    let size = *store.changes().borrow();
    let leaves = store.event_list(&EventFilter::default()).await.unwrap();
    drop(store);
    // The database is ahead of the files: a crash between commit and seal.
    let store = reopen(&dir).await;
    store.write(Durability::Power, |tx| tx.leaf(note(1)).boxed()).await.unwrap();
    let checkpoint = store.seal().await.unwrap().expect("something new was signed");
    assert_eq!(checkpoint.size(), size + 1);
    assert!(store.seal().await.unwrap().is_none(), "nothing new, nothing signed");
    assert_eq!(store.event_list(&EventFilter::default()).await.unwrap()[..leaves.len()], leaves[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_without_its_end_is_found_open() {
    let (store, _dir) = open().await;
    let op = store::new_id(domain::ids::OpId::from_uuid);
    let other = store::new_id(domain::ids::OpId::from_uuid);
    let begun = |op| Event::begun(EventKind::ImageBuild, op, json!({}));
    for event in
        [begun(op), begun(other), Event::ended(EventKind::ImageBuild, other, domain::event::Outcome::Done, json!({}))]
    {
        store.write(Durability::Process, move |tx| tx.leaf(event).boxed()).await.unwrap();
    }
    let open = store.open_ops().await.unwrap();
    assert_eq!(open.iter().map(|o| o.op).collect::<Vec<_>>(), [op]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_is_at_rest() {
    let (store, dir) = open().await;
    task(&store).await;
    store.close().await;
    assert!(!dir.path().join("state.db-wal").exists(), "the write-ahead log is part of the database by now");
    let again = reopen(&dir).await;
    assert_eq!(again.task_ids().await.unwrap().len(), 1);
}
