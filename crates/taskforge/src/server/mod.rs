//! The server: puts the parts together, keeps them going, and takes them down in order.
//!
//! ```text
//! lock → store → log key → Docker, images → recovery → gateway → engine → dispatcher, sealer → API
//! ```
//! One process owns a data directory. Stopping: no new connections → engine (containers stay, the next server adopts
//! them) → last seal.

pub(crate) mod backup;
pub(crate) mod control;
mod core;
mod health;
pub(crate) mod local;
pub(crate) mod lock;
mod providers;
mod recovery;
mod registry;
mod services;
pub(crate) mod standalone;
mod supervisor;
mod traces;
mod upkeep;

use crate::config::Config;
use anyhow::{Context, Result, bail};
use core::Core;
use image::Images;
use sandbox::{Docker, Sandboxes};
use std::{
    fs,
    io::IsTerminal,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};
use store::Store;
use tokio::{net::TcpListener, signal::unix};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use workflow::{activities, dispatch, engine};

/// How long the parts have to end when the server is stopped.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Everything that runs.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) core: Core,
    pub(crate) store: Store,
    pub(crate) docker: Docker,
    pub(crate) services: activities::Shared,
    pub(crate) engine: engine::Engine,
    pub(crate) tracker: TaskTracker,
}

/// Runs the server until it is told to stop.
pub(crate) async fn up(config: Config) -> Result<()> {
    make_private(&config.data_dir)?;
    let lock = lock::take(&config.data_dir, lock::Role::Server).await?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}: another program may use it; choose another with --listen", config.listen)
    })?;
    let parts = Arc::new(assemble(config).await?);
    let open = dispatch::take_up(&parts.store, &parts.engine).await?;
    tracing::info!(tasks = open, "open tasks go on");
    let stop = CancellationToken::new();
    let tracker = parts.tracker.clone();
    tracker.spawn(dispatch::dispatch(parts.store.clone(), parts.engine.clone(), stop.clone()));
    tracker.spawn(upkeep::seal_often(parts.store.clone(), stop.clone()));
    tracker.spawn(upkeep::tidy(Arc::clone(&parts), stop.clone()));
    parts.core.spawn_upkeep(&tracker, &stop)?;
    api::first_token(&parts.store, &parts.config.data_dir.join("token"))
        .await
        .context("the first token could not be made")?;
    let services = services::services(&parts, &stop);
    if parts.config.bootstrap_at_start
        && let Some(images) = &services.images
    {
        // Not waited for: a task that is started meanwhile waits for it, with its progress.
        let base_image = (images.bootstrap)(());
        tracker.spawn(async move {
            if let Err(e) = base_image.await {
                tracing::warn!(error = %e, hint = e.hint, "the base image could not be looked for");
            }
        });
    }
    let app = api::Api::new(parts.store.clone(), services, api_config(&parts.config), stop.clone());
    let address = listener.local_addr()?;
    lock::announce(&parts.config.data_dir, address, lock::Mode::Server)?;
    // A code is a secret: it is for a person's eyes, not for a log file.
    if std::io::stdout().is_terminal() {
        let (code, _) =
            api::sign_in_code(&parts.store, api::FIRST_TOKEN).await.context("no sign-in code could be made")?;
        greet(address, &code);
    }
    let served = serve(listener, app, stop.clone(), &parts.core).await;
    take_down(&parts, tracker).await;
    drop(lock);
    served
}

/// Serves until a signal; SIGHUP reads the configuration again.
async fn serve(listener: TcpListener, app: api::Api, stop: CancellationToken, core: &Core) -> Result<()> {
    let signals = stop.clone();
    let waiter = tokio::spawn(async move {
        told_to_stop().await;
        signals.cancel();
    });
    let reloader = tokio::spawn(core::reload_on_hangup(core.clone()));
    let served = tokio::select! {
        r = api::serve(listener, app, stop.clone()) => r.context("the API failed"),
        () = async { stop.cancelled().await; tokio::time::sleep(SHUTDOWN_GRACE).await } => Ok(()),
    };
    waiter.abort();
    reloader.abort();
    stop.cancel();
    served
}

/// Makes a folder that only its owner can enter. One that others could enter, because a script made it before, is closed;
/// one that others use is refused.
fn make_private(dir: &Path) -> Result<()> {
    const STICKY: u32 = 0o1000;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot make {}", dir.display()))?;
    let found = fs::metadata(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    if found.mode() & 0o077 == 0 {
        return Ok(());
    }
    if found.mode() & STICKY != 0 || found.uid() != rustix::process::geteuid().as_raw() {
        bail!("{} is not this user's alone: give the server a folder of its own with --data-dir", dir.display());
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        .with_context(|| format!("others can enter {}, and it cannot be closed to them", dir.display()))
}

async fn assemble(config: Config) -> Result<Parts> {
    let dir = config.data_dir.clone();
    let store = core::open_store(&dir).await?;
    let docker = Docker::connect(config.docker_host.as_deref(), store.installation())?;
    let sandboxes = Sandboxes::new(docker.clone(), &dir);
    // A backup that was killed leaves agents frozen; an Engine that is away is for the tasks to wait for.
    match sandboxes.freeze(false).await {
        Ok(0) => {}
        Ok(thawed) => tracing::warn!(thawed, "agents that a backup had frozen go on"),
        Err(e) => tracing::warn!(error = %e, "Docker could not be asked for frozen agents"),
    }
    let supervisor = supervisor::place(&config)?;
    let images = Images::new(docker.clone(), crate::config::images(&dir))?;
    // Before anything is tidied or taken up again: it looks for what the crash left.
    recovery::recover(&store, &sandboxes, &images).await?;
    // Before the engine opens: it resolves again what a crash interrupted.
    if let Err(e) = images.reap().await {
        tracing::warn!(error = %e, "resolvers that a crash left behind could not be removed");
    }
    let core = Core::open(store.clone(), &dir, config.gateway.clone(), Some(config.request_ttl)).await?;
    let gateway = core.gateway.clone();
    let services = Arc::new(activities::Services { store: store.clone(), sandboxes, images, gateway, supervisor });
    let options = engine::Options { long_slots: config.max_agents, ..engine::Options::default() };
    let engine = engine::Engine::open(&dir.join("engine.db"), dispatch::registry(&services), options).await?;
    core.started("server").await?;
    Ok(Parts { config, core, store, docker, services, engine, tracker: TaskTracker::new() })
}

fn api_config(config: &Config) -> api::ApiConfig {
    api::ApiConfig {
        allowed_hosts: config.allowed_hosts.clone(),
        metrics_public: config.gateway.metrics_public,
        ..api::ApiConfig::default()
    }
}

fn greet(address: std::net::SocketAddr, code: &str) {
    println!("TaskForge listens on http://{address}");
    println!("  API docs     http://{address}/docs");
    println!("  sign in      http://{address}/sign-in#{code}   (once, within 10 minutes)");
    println!("  next         taskforge run \"Say hello in hello.txt\" --model PROVIDER/MODEL");
}

async fn told_to_stop() {
    let (Ok(mut term), Ok(mut int)) =
        (unix::signal(unix::SignalKind::terminate()), unix::signal(unix::SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    tracing::info!("stopping");
}

async fn take_down(parts: &Parts, tracker: TaskTracker) {
    parts.engine.shutdown(SHUTDOWN_GRACE).await;
    tracker.close();
    if tokio::time::timeout(SHUTDOWN_GRACE, tracker.wait()).await.is_err() {
        tracing::warn!("some work did not end in time");
    }
    parts.services.gateway.shutdown().await;
    if tokio::time::timeout(SHUTDOWN_GRACE, parts.services.images.shutdown()).await.is_err() {
        tracing::warn!("a build or a resolver was not cleaned up in time; the next start does it");
    }
    parts.core.stopped().await;
    lock::withdraw(&parts.config.data_dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let made = dir.path().join("a/b");
        make_private(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
        fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).unwrap();
        make_private(&made).unwrap();
        assert_eq!(mode(&made), 0o700, "a script had made it");
        fs::set_permissions(&made, fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(make_private(&made).is_err(), "a folder such as /tmp is not taken over");
        assert_eq!(mode(&made), 0o1777);
    }
}
