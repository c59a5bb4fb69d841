//! What ten thousand tasks cost that wait for a person: memory, database, containers.
//!
//! A process of its own holds store, engine and dispatcher as the server does. Each task has run once, asked for
//! packages, and waits with a candidate that can be reviewed.

use crate::{facts::rss_mb, place, report::Record};
use anyhow::{Context, Result, bail, ensure};
use domain::{
    candidate::{Artefact, Candidate},
    plan::{Cause, IterationEnd},
    request::{Ask, Ecosystem, PackageAsk, Provenance},
    task::TaskStatus,
};
use futures::FutureExt;
use sandbox::{Docker, Sandboxes};
use serde::{Deserialize, Serialize};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::id,
    sync::Arc,
    time::{Duration, Instant},
};
use store::{Durability, NewRequest, Store, StoreError, Tx};
use tokio::process::Command;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use workflow::{activities::Services, dispatch, engine};

/// Tasks.
const TASKS: usize = 10_000;
/// Tasks made in one transaction.
const BATCH: usize = 50;
/// How long all of them may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(400);
/// How long nothing may change before the process counts as at rest.
const REST: Duration = Duration::from_secs(2);
/// What they may cost, in MB.
const GOAL_MB: f64 = 100.0;
/// The argument by which the program measures itself.
pub(crate) const CHILD: &str = "--waiting";

/// What the process measured of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    rss_mb: [f64; 2],
    disk_mb: [f64; 2],
    containers: usize,
}

/// Measures in a fresh process.
pub(crate) async fn bench() -> Result<Vec<Record>> {
    let dir = place::folder()?;
    let out = Command::new(env::current_exe()?).arg(CHILD).arg(dir.path()).kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&out.stdout);
    ensure!(out.status.success(), "the process failed: {}", String::from_utf8_lossy(&out.stderr));
    let f: Figures = serde_json::from_str(said.trim()).with_context(|| format!("it said {said:?}"))?;
    let grown = |[before, after]: [f64; 2]| (after - before).max(0.0);
    Ok(vec![
        Record::new("waiting.memory", "MB", grown(f.rss_mb)).at_most(GOAL_MB),
        Record::new("waiting.memory_per_task", "kB", grown(f.rss_mb) * 1e3 / TASKS as f64),
        Record::new("waiting.database", "MB", grown(f.disk_mb)),
        Record::new("waiting.database_per_task", "kB", grown(f.disk_mb) * 1e3 / TASKS as f64),
        Record::new("waiting.containers", "containers", f.containers as f64).at_most(0.0),
    ])
}

/// The process: fills a fresh folder and prints the figures.
pub(crate) async fn child(dir: PathBuf) -> Result<()> {
    let store = Store::open(&dir).await?;
    let log = audit::Log::open(store.log_dir(), audit::LogKey::from_seed(&[7; 32]), "bench/log")?;
    store.log_attach(log).await?;
    let docker = Docker::connect(None, store.installation())?;
    let sandboxes = Sandboxes::new(docker.clone(), &dir);
    let images = image::Images::new(docker, image::ImagesConfig::new(&dir))?;
    let config = gateway::Config::new(dir.join("run"));
    let providers = gateway::Registry::new(Vec::new(), Vec::new(), &config)?;
    let gateway = gateway::Gateway::new(config, store.clone(), providers);
    let services =
        Arc::new(Services { store: store.clone(), sandboxes, images, gateway, supervisor: PathBuf::from("none") });
    let options = engine::Options::default();
    let engine = engine::Engine::open(&dir.join("engine.db"), dispatch::registry(&services), options).await?;
    let stop = CancellationToken::new();
    let dispatcher =
        AbortOnDropHandle::new(tokio::spawn(dispatch::dispatch(store.clone(), engine.clone(), stop.clone())));
    // The log's files, the statement caches and the pools come to their size before the first look.
    fill(&store, BATCH).await?;
    settle(&store, &engine, BATCH).await?;
    let before = (rss_mb(id()).context("no memory figure")?, disk_mb(&dir)?);
    fill(&store, TASKS).await?;
    settle(&store, &engine, BATCH + TASKS).await?;
    let after = (rss_mb(id()).context("no memory figure")?, disk_mb(&dir)?);
    let containers = services.sandboxes.leftovers().await?.len();
    let figures = Figures { rss_mb: [before.0, after.0], disk_mb: [before.1, after.1], containers };
    println!("{}", serde_json::to_string(&figures)?);
    stop.cancel();
    dispatcher.await?;
    engine.shutdown(REST).await;
    Ok(())
}

/// Waits until every task shows that it waits and nothing is left to do, then a little longer.
async fn settle(store: &Store, engine: &engine::Engine, tasks: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        let s = engine.stats().await?;
        // A run that was woken while it waited has a further timer, which it no longer listens to.
        let quiet = s.queued_turns + s.queued_calls + s.live_calls == 0 && s.timers >= tasks as u64;
        if quiet && store.intents().await?.is_empty() {
            break;
        }
        if begun.elapsed() > PATIENCE {
            bail!("{tasks} tasks did not come to rest within {} s: {s:?}", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let active = store.task_active().await?;
    let waiting = active.iter().filter(|t| t.status == TaskStatus::Waiting).count();
    ensure!(waiting == tasks, "{waiting} of {tasks} tasks wait");
    drop(active);
    store.seal().await?;
    tokio::time::sleep(REST).await;
    Ok(())
}

async fn fill(store: &Store, tasks: usize) -> Result<()> {
    for _ in 0..tasks / BATCH {
        let work = store::work(|tx: &mut Tx| {
            async move {
                for _ in 0..BATCH {
                    waiting_task(tx).await?;
                }
                Ok(())
            }
            .boxed()
        });
        store.write(Durability::Process, work).await?;
    }
    Ok(())
}

async fn waiting_task(tx: &mut Tx) -> Result<(), StoreError> {
    let task = tx.task_create(place::new_task("openai/gpt-4o"), "bench").await?;
    tx.task_start(task.id, "bench").await?;
    tx.task_prepared(task.id, IMAGE).await?;
    let task = tx.task_get(task.id).await?;
    let run = task.run.ok_or_else(|| StoreError::not_found("run", task.id))?;
    let iteration = tx.iteration_begin(&task, run, 1, Cause::Start, |_| PROMPT.to_owned()).await?;
    let ask = Ask::Packages {
        packages: vec![PackageAsk { ecosystem: Ecosystem::Pip, name: "matplotlib".to_owned(), version: None }],
    };
    let request = tx
        .request_insert(NewRequest {
            task: task.id,
            run,
            iteration: 1,
            ask,
            reason: "The chart needs it.".to_owned(),
            provenance: Provenance::Model { turn: 4 },
            ttl: Duration::from_secs(7 * 24 * 3600),
            max_open: 3,
        })
        .await?;
    let candidate = Candidate {
        request: request.id,
        base_image: IMAGE.to_owned(),
        parent_image: IMAGE.to_owned(),
        artefacts: (0..10).map(artefact).collect(),
        dockerfile: "RUN install the approved packages, without a network\n".repeat(12),
        policy_version: 1,
    };
    tx.request_pending(request.id, &candidate).await?;
    tx.iteration_end(&task, &iteration, &IterationEnd::TurnEnded, Some(0), PROMPT.as_bytes()).await
}

const IMAGE: &str = "sha256:4a9e81b58bc265d779fac9fc8994c0b10dd245bf44c07115f553a445a3023148";
const PROMPT: &str = "Process the CSV file and generate a summary report. Submit the report and the chart when done.";

fn artefact(n: u32) -> Artefact {
    Artefact {
        ecosystem: Ecosystem::Pip,
        name: format!("package-{n}"),
        version: format!("1.{n}.0"),
        sha256: format!("{n:064x}"),
        size_bytes: 1 << 20,
        file_name: format!("package_{n}-1.{n}.0-py3-none-any.whl"),
        url: format!("https://files.pythonhosted.org/packages/aa/bb/package_{n}-1.{n}.0-py3-none-any.whl"),
        licence: Some("MIT".to_owned()),
        uploaded_at: Some("2026-01-01T00:00:00Z".to_owned()),
        install_scripts: false,
        requested: n == 0,
        places: Vec::new(),
    }
}

/// Bytes below a folder without the reserve, in MB.
fn disk_mb(dir: &Path) -> Result<f64> {
    let (mut open, mut bytes) = (vec![dir.to_owned()], 0);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && entry.file_name() != "reserve" {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes as f64 / 1e6)
}
