//! The gateway by itself: no Docker, no workflows. The same store, log and gateway as in the whole server.
//!
//! ```text
//! lock → store → log key → recovery → providers, gateway → sealer → API
//! ```

use super::{Core, core, health, lock, make_private, recovery, serve, services, upkeep};
use crate::config::{self, GatewayConfig, Sources};
use anyhow::{Context, Result};
use std::{io::IsTerminal, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long calls under way have to end when the gateway is stopped.
const GRACE: Duration = Duration::from_secs(10);

/// What `taskforge gateway` is told.
pub(crate) struct Options {
    /// The folder that holds everything.
    pub(crate) data_dir: PathBuf,
    /// Where to listen.
    pub(crate) listen: String,
    /// The configuration file; none: the environment.
    pub(crate) config: Option<PathBuf>,
}

/// Runs the gateway until it is told to stop.
pub(crate) async fn run(options: Options) -> Result<()> {
    let listen = config::address(&options.listen)?;
    // With a file, what it says is all there is: a variable that happens to be set opens nothing.
    let environment = options.config.is_none();
    let settings = GatewayConfig::read(Sources { file: options.config, environment })?;
    let dir = options.data_dir;
    make_private(&dir)?;
    let lock = lock::take(&dir, lock::Role::Gateway).await?;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}: another program may use it; choose another with --listen")
    })?;
    let store = core::open_store(&dir).await?;
    recovery::recover_calls(&store).await?;
    let core = Core::open(store, &dir, settings.clone(), None).await?;
    core.started("gateway").await?;
    api::first_token(&core.store, &dir.join("token")).await.context("the first token could not be made")?;
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    tracker.spawn(upkeep::seal_often(core.store.clone(), stop.clone()));
    core.spawn_upkeep(&tracker, &stop)?;
    let app = app(&core, &settings, stop.clone());
    let address = listener.local_addr()?;
    lock::announce(&dir, address, lock::Mode::Gateway)?;
    if std::io::stdout().is_terminal() {
        greet(address, core.store.keys().is_empty());
    }
    tracing::info!(%address, "the gateway listens");
    let served = serve(listener, app, stop, &core).await;
    core.gateway.shutdown().await;
    tracker.close();
    if tokio::time::timeout(GRACE, tracker.wait()).await.is_err() {
        tracing::warn!("some work did not end in time");
    }
    core.stopped().await;
    lock::withdraw(&dir);
    drop(lock);
    served
}

/// The API of a gateway.
pub(super) fn app(core: &Core, settings: &GatewayConfig, stop: CancellationToken) -> api::Api {
    let (a, b, told) = (core.clone(), core.clone(), Arc::new(settings.clone()));
    let own = services::Own {
        health: api::ask(move |()| {
            let core = a.clone();
            async move { Ok(health::gateway_checks(&core).await) }
        }),
        facts: api::ask(move |()| {
            let (core, settings) = (b.clone(), Arc::clone(&told));
            async move { Ok(health::gateway_facts(&core, &settings).await) }
        }),
        images: None,
    };
    let config = api::ApiConfig {
        allowed_hosts: config::allowed_hosts(),
        metrics_public: settings.metrics_public,
        surface: api::Surface::Gateway,
        ..api::ApiConfig::default()
    };
    api::Api::new(core.store.clone(), services::shared(core, own), config, stop)
}

fn greet(address: SocketAddr, no_keys: bool) {
    println!("TaskForge gateway listens on http://{address}");
    println!("  OpenAI       base URL http://{address}/v1");
    println!("  Anthropic    base URL http://{address}");
    println!("  record       taskforge llm calls, taskforge audit verify");
    if no_keys {
        println!("  next         taskforge key create NAME   (callers need a key)");
    }
}
