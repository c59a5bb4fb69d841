//! Records that cannot be written: failpoints, each in a process of its own because they are global, and a full disk.

use crate::{
    calls::{attempt, end, judge, new_call, running},
    done, open, reopen,
};
use bytes::Bytes;
use domain::{ids::KeyId, task::Command};
use futures::FutureExt;
use rustix::process::geteuid;
use std::time::Duration;
use store::{Begun, CallFilter, CallRef, Caller, Durability, NewCall, Recorder, Store, StoreError};

/// Runs one of the ignored tests below.
fn in_a_process_of_its_own(name: &str) {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("faults::{name}"), "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = [child.stdout, child.stderr].map(|t| String::from_utf8_lossy(&t).into_owned()).join("\n");
    assert!(child.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn what_cannot_be_appended_is_refused_and_nothing_of_it_is_there() {
    in_a_process_of_its_own("child_append");
}

#[test]
fn a_segment_that_cannot_be_begun_refuses_until_it_can() {
    in_a_process_of_its_own("child_rotate");
}

#[test]
fn while_the_writer_cannot_fold_nothing_is_let_out_and_nothing_is_lost() {
    in_a_process_of_its_own("child_fold");
}

#[test]
fn a_record_that_is_not_on_disk_is_not_acknowledged_at_power() {
    in_a_process_of_its_own("child_flush");
}

fn key() -> Caller {
    Caller::Key { key: store::new_id(KeyId::from_uuid) }
}

async fn begin(recorder: &Recorder, caller: &Caller, request: &[u8]) -> Result<CallRef, StoreError> {
    let new = NewCall { request: Bytes::copy_from_slice(request), ..new_call(b"") };
    recorder.begin(caller.clone(), new, attempt("one", None)).await
}

async fn count(store: &Store) -> u64 {
    store.call_count(&CallFilter::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run in a process of its own"]
async fn child_append() {
    let (store, dir) = open().await;
    let (recorder, caller) = (store.recorder(Durability::Process), key());
    let call = begin(&recorder, &caller, b"one").await.unwrap();
    fail::cfg("store.journal.append.before", "return").unwrap();
    assert!(matches!(begin(&recorder, &caller, b"two").await, Err(StoreError::DiskFull)));
    assert!(matches!(recorder.end(&call, end(Bytes::from_static(b"x"))).await, Err(StoreError::DiskFull)));
    fail::remove("store.journal.append.before");
    recorder.end(&call, end(Bytes::from_static(b"x"))).await.unwrap();
    drop((store, recorder));
    assert_eq!(count(&reopen(&dir).await).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run in a process of its own"]
async fn child_rotate() {
    let (store, dir) = open().await;
    let (recorder, caller) = (store.recorder(Durability::Process), key());
    let large = vec![7; 16 << 20];
    fail::cfg("store.journal.rotate.before", "return").unwrap();
    let mut kept = Vec::new();
    let refused = loop {
        match begin(&recorder, &caller, &large).await {
            Ok(call) => kept.push(call.id()),
            Err(e) => break e,
        }
        assert!(kept.len() < 10, "a segment has a bound");
    };
    assert!(matches!(refused, StoreError::DiskFull));
    fail::remove("store.journal.rotate.before");
    let call = begin(&recorder, &caller, b"in the next segment").await.unwrap();
    kept.push(call.id());
    drop((store, recorder));
    let store = reopen(&dir).await;
    assert_eq!(count(&store).await, kept.len() as u64);
    let (first, last) = (kept[0], kept[kept.len() - 1]);
    assert!(store.body(&store.call_get(first).await.unwrap().request).await.unwrap() == large);
    assert_eq!(store.body(&store.call_get(last).await.unwrap().request).await.unwrap(), b"in the next segment");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run in a process of its own"]
async fn child_fold() {
    let (store, dir) = open().await;
    let (id, _run) = running(&store).await;
    let recorder = store.recorder(Durability::Process);
    let task = async || recorder.begin_task(id, new_call(b"ask"), judge).await;
    assert!(matches!(task().await.unwrap(), Begun::Sent(_)));
    let folded = count(&store).await;
    for point in ["store.fold.before", "store.fold.after"] {
        fail::cfg(point, "return").unwrap();
        let mut accepted = 0;
        // One or two pass before the writer has tried.
        while task().await.is_ok() {
            accepted += 1;
            assert!(accepted < 10_000, "the writer's failure holds back calls");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let stop = store.write(Durability::Power, move |tx| tx.task_command(id, Command::Pause, "ada").boxed()).await;
        assert!(stop.is_err(), "a pause must not overtake calls that were let out before it");
        fail::remove(point);
        assert!(count(&store).await > folded, "everything that was acknowledged is there");
        let again = tokio::time::timeout(Duration::from_secs(20), async {
            while task().await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        again.await.unwrap();
    }
    let all = count(&store).await;
    drop((store, recorder));
    assert_eq!(count(&reopen(&dir).await).await, all);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run in a process of its own"]
async fn child_flush() {
    let (store, _dir) = open().await;
    let (recorder, caller) = (store.recorder(Durability::Power), key());
    begin(&recorder, &caller, b"one").await.unwrap();
    fail::cfg("store.journal.flush.before", "return").unwrap();
    assert!(begin(&recorder, &caller, b"two").await.is_err());
    // A stop is recorded all the same.
    let (id, _run) = running(&store).await;
    done(&store, move |tx| tx.task_command(id, Command::Cancel, "ada").boxed()).await;
    fail::remove("store.journal.flush.before");
    begin(&recorder, &caller, b"three").await.unwrap();
}

/// A file system of a fixed size, unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(mebibytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m,mode=0700");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path());
        assert!(mount.status().unwrap().success());
        Self(dir)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).status().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_calls_are_refused_and_a_stop_is_recorded() {
    if !geteuid().is_root() {
        eprintln!("not run: only root can mount a small file system; the end-to-end suite does it with sudo");
        return;
    }
    let disk = Disk::new(64);
    let store = Store::open(disk.0.path()).await.unwrap();
    let (id, _run) = running(&store).await;
    let recorder = store.recorder(Durability::Process);
    let caller = key();
    let mut sent = 0;
    while begin(&recorder, &caller, &vec![1; 300_000]).await.is_ok() {
        sent += 1;
        assert!(sent < 1000, "the disk has a size");
    }
    // The last bytes would hold a small record now and then; the answer stays no until there is room again.
    for _ in 0..50 {
        assert!(begin(&recorder, &caller, b"small").await.is_err());
        assert!(recorder.begin_task(id, new_call(b"ask"), judge).await.is_err());
    }
    std::fs::write(disk.0.path().join("ballast"), vec![0; 64 << 20]).unwrap_err();
    let stop = move || store::work(move |tx| tx.task_command(id, Command::Cancel, "ada").boxed());
    store.write_stopping(stop).await.unwrap();
    assert_eq!(store.task_get(id).await.unwrap().desired, domain::task::Desired::Cancel);
    std::fs::remove_file(disk.0.path().join("ballast")).unwrap();
    drop((store, recorder));
    let store = Store::open(disk.0.path()).await.unwrap();
    assert_eq!(count(&store).await, sent, "all that was acknowledged, and nothing else");
    drop(store);
}
