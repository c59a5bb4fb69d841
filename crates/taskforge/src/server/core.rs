//! What the whole server and a gateway by itself have in common: store, log, gateway, providers.

use super::{
    make_private,
    providers::{self, Providers},
    traces::Traces,
};
use crate::config::GatewayConfig;
use anyhow::{Context, Result};
use domain::event::{Actor, Event, EventKind};
use futures::FutureExt;
use gateway::Gateway;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use store::{Durability, Store};
use tokio::signal::unix;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The common parts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) gateway: Gateway,
    pub(crate) providers: Arc<Providers>,
    pub(crate) dir: PathBuf,
    /// Whether traces are wanted.
    traces: bool,
}

/// Opens the store of a data directory with its log. The caller holds the lock.
pub(crate) async fn open_store(dir: &Path) -> Result<Store> {
    let store = Store::open(dir).await.context("the store cannot be opened")?;
    make_private(&dir.join("keys"))?;
    let key = audit::LogKey::open_or_create(&dir.join("keys/log.key"))?;
    let origin = format!("taskforge/{}", store.installation());
    let log = audit::Log::open(store.log_dir(), key, &origin).context("the audit log cannot be opened")?;
    store.log_attach(log).await?;
    Ok(store)
}

impl Core {
    /// Puts them together. Nothing is asked of a provider yet.
    pub(crate) async fn open(
        store: Store,
        dir: &Path,
        config: GatewayConfig,
        request_ttl: Option<Duration>,
    ) -> Result<Self> {
        let traces = config.otlp;
        let prices = providers::prices(&config)?;
        let mut settings = gateway::Config::new(dir.join("run"));
        settings.call_durability = config.call_durability;
        settings.request_ttl = request_ttl.unwrap_or(settings.request_ttl);
        let providers = Arc::new(Providers::open(store.clone(), &dir.join("keys"), settings.clone(), config).await?);
        let gateway = Gateway::new(settings, store.clone(), providers.registry().clone());
        gateway.replace_prices(prices);
        Ok(Self { store, gateway, providers, dir: dir.to_owned(), traces })
    }

    /// Reads the configuration again and puts it to use, or leaves all as it is.
    pub(crate) async fn reload(&self, by: Actor) -> Result<api::wire::Reloaded, api::ApiError> {
        self.providers.reload(&self.gateway, by).await
    }

    /// Records the start, and what is configured.
    pub(crate) async fn started(&self, mode: &str) -> Result<()> {
        let data = json!({"version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(), "mode": mode});
        let event = Event::point(EventKind::ServerStarted, data);
        self.store.write(Durability::Power, move |tx| tx.leaf(event).boxed()).await?;
        Ok(self.providers.announce().await?)
    }

    /// Records the end, and seals the log.
    pub(crate) async fn stopped(&self) {
        let event = Event::point(EventKind::ServerStopped, json!({}));
        let sealed = async {
            self.store.write(Durability::Power, move |tx| tx.leaf(event).boxed()).await?;
            self.store.seal().await
        };
        if let Err(e) = sealed.await {
            tracing::error!(error = %e, "the log could not be sealed; it will be at the next start");
        }
    }

    /// Starts what goes on beside the calls.
    pub(crate) fn spawn_upkeep(&self, tracker: &TaskTracker, stop: &CancellationToken) -> Result<()> {
        tracker.spawn(self.providers.registry().clone().keep_fresh(stop.clone()));
        if self.traces {
            tracker.spawn(Traces::new(self.store.clone())?.run(stop.clone()));
        }
        Ok(())
    }

    /// Metrics as Prometheus reads them.
    pub(crate) fn metrics(&self) -> String {
        let mut text = self.gateway.metrics_text();
        let version = env!("CARGO_PKG_VERSION");
        text.push_str(&format!(
            "# HELP taskforge_build_info The version that runs.\n# TYPE taskforge_build_info gauge\n\
             taskforge_build_info{{version=\"{version}\"}} 1\n\
             # HELP taskforge_log_entries Entries of the audit log.\n# TYPE taskforge_log_entries counter\n\
             taskforge_log_entries {}\n\
             # HELP taskforge_keys_in_force Callers' keys in force.\n# TYPE taskforge_keys_in_force gauge\n\
             taskforge_keys_in_force {}\n",
            *self.store.changes().borrow(),
            self.store.keys().len(),
        ));
        text
    }
}

/// Reads the configuration again at each SIGHUP; a wrong one is told and changes nothing.
pub(crate) async fn reload_on_hangup(core: Core) {
    let Ok(mut hangups) = unix::signal(unix::SignalKind::hangup()) else { return };
    while hangups.recv().await.is_some() {
        match core.reload(Actor::System).await {
            Ok(r) => {
                tracing::info!(providers = r.providers.len(), aliases = r.aliases.len(), "configuration read again")
            }
            Err(e) => tracing::error!(error = e.message, "the configuration is wrong; the one before stays in use"),
        }
    }
}
