//! The store on a real SQLite file.
#![cfg(test)]

mod calls;
mod faults;
mod keys;
mod requests;
mod speed;
mod tasks;
mod writes;

use domain::{
    ids::{RunId, TaskId},
    request::{Ask, Ecosystem, PackageAsk, Provenance},
    task::{Agent, Limits, Task},
};
use futures::FutureExt;
use std::time::Duration;
use store::{Durability, NewRequest, NewTask, Store, Tx};
use tempfile::TempDir;

pub(crate) async fn open() -> (Store, TempDir) {
    let dir = TempDir::new().unwrap();
    (reopen(&dir).await, dir)
}

pub(crate) async fn reopen(dir: &TempDir) -> Store {
    let store = Store::open(dir.path()).await.unwrap();
    let key = audit::LogKey::open_or_create(&dir.path().join("log.key")).unwrap();
    let log = audit::Log::open(store.log_dir(), key, &format!("taskforge/{}", store.installation())).unwrap();
    store.log_attach(log).await.unwrap();
    store
}

pub(crate) fn new_task() -> NewTask {
    NewTask {
        name: "sales".into(),
        description: "Summarise sales.csv".into(),
        llm_model: "fake/demo".into(),
        agent: Agent::Openclaw,
        limits: Limits::default(),
        max_iterations: 5,
        budget: None,
        files: vec![("sales.csv".into(), "ab".into(), b"a,b\n1,2\n".to_vec())],
    }
}

pub(crate) async fn task(store: &Store) -> Task {
    store.write(Durability::Process, |tx| async move { tx.task_create(new_task(), "ada").await }.boxed()).await.unwrap()
}

pub(crate) async fn started(store: &Store) -> (TaskId, RunId) {
    let id = task(store).await.id;
    let task = store
        .write(Durability::Process, move |tx| async move { tx.task_start(id, "ada").await }.boxed())
        .await
        .unwrap();
    (id, task.run.unwrap())
}

pub(crate) fn packages(names: &[&str]) -> Ask {
    let packages =
        names.iter().map(|n| PackageAsk { ecosystem: Ecosystem::Pip, name: (*n).into(), version: None }).collect();
    Ask::Packages { packages }
}

pub(crate) fn new_request(task: TaskId, run: RunId, ask: Ask) -> NewRequest {
    NewRequest {
        task,
        run,
        iteration: 1,
        ask,
        reason: "needed".into(),
        provenance: Provenance::Model { turn: 2 },
        ttl: Duration::from_secs(60),
        max_open: 3,
    }
}

/// One transaction that is expected to succeed.
pub(crate) async fn done<T, F>(store: &Store, work: F) -> T
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx) -> futures::future::BoxFuture<'t, Result<T, store::StoreError>> + Send + 'static,
{
    store.write(Durability::Process, work).await.unwrap()
}
