//! Folders of a benchmark, and a store in one.

use anyhow::{Context, Result};
use domain::{
    ids::{RunId, TaskId},
    plan::Cause,
    task::{Agent, Limits},
};
use futures::FutureExt;
use std::{env, fs, path::Path, path::PathBuf, time::Duration};
use store::{Durability, NewTask, Store};
use tempfile::TempDir;
use tokio_util::task::AbortOnDropHandle;

/// As often as the server does.
const SEAL_EVERY: Duration = Duration::from_secs(5);

/// The folder of build output, in which the program lies. Data lies there too: the folder for temporary files may be
/// in memory, where a flush costs nothing.
pub(crate) fn target() -> Result<PathBuf> {
    let own = env::current_exe()?;
    Ok(own.parent().and_then(Path::parent).context("the program is in no target folder")?.to_owned())
}

/// A fresh folder that is removed with its handle.
pub(crate) fn folder() -> Result<TempDir> {
    let root = target()?.join("bench");
    fs::create_dir_all(&root)?;
    Ok(tempfile::Builder::new().prefix("b").tempdir_in(root)?)
}

/// A store with a log, sealed as the server seals it.
pub(crate) struct Place {
    pub(crate) store: Store,
    _sealing: AbortOnDropHandle<()>,
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) async fn new() -> Result<Self> {
        let dir = folder()?;
        let store = Store::open(dir.path()).await?;
        let log = audit::Log::open(store.log_dir(), audit::LogKey::from_seed(&[7; 32]), "bench/log")?;
        store.log_attach(log).await?;
        let sealed = store.clone();
        let sealing = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(SEAL_EVERY);
            loop {
                ticks.tick().await;
                if let Err(e) = sealed.seal().await {
                    eprintln!("the log could not be sealed: {e}");
                }
            }
        }));
        Ok(Self { store, _sealing: sealing, dir })
    }

    /// A task with a run and an iteration under way.
    pub(crate) async fn running_task(&self, model: &str) -> Result<(TaskId, RunId)> {
        let new = new_task(model);
        let made = self.store.write(Durability::Process, move |tx| {
            async move {
                let task = tx.task_create(new, "bench").await?;
                tx.task_start(task.id, "bench").await?;
                tx.task_prepared(task.id, "sha256:base").await?;
                let task = tx.task_get(task.id).await?;
                let run = task.run.ok_or_else(|| store::StoreError::not_found("run", task.id))?;
                tx.iteration_begin(&task, run, 1, Cause::Start, |_| "go".to_owned()).await?;
                Ok((task.id, run))
            }
            .boxed()
        });
        Ok(made.await?)
    }
}

/// A task of the agent `command`.
pub(crate) fn new_task(model: &str) -> NewTask {
    NewTask {
        name: "Analyze data".to_owned(),
        description: "Process the CSV file and generate a summary report".to_owned(),
        llm_model: model.to_owned(),
        agent: Agent::Command { argv: vec!["/bin/true".to_owned()] },
        limits: Limits::default(),
        max_iterations: 50,
        budget: None,
        files: Vec::new(),
    }
}
