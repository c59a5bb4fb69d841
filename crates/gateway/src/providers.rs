//! Configured providers: where models are, and how a model's name leads there.
//!
//! A name is tried in this order:
//! 1. `provider/model`, where the provider is configured;
//! 2. an alias: an ordered list of models, of which the first that works answers;
//! 3. a bare name that exactly one provider lists;
//! 4. a beginning that says whose it is (`gemini`, `claude`, `gpt-`, `o1`, `o3`, `o4`; else Ollama), where a provider of
//!    that kind is configured.
//!
//! A list that lacks a name proves nothing, but for Ollama's: others lack aliases and snapshots. Such a name goes out in
//! a call; for choosing a model ahead of its use it is unknown.
//!
//! Lists are kept, and refreshed in the background once [`Registry::keep_fresh`] runs. The configuration can be replaced
//! at any time ([`Registry::replace`]): calls under way keep what they began with.

pub(crate) mod address;
mod breakers;
mod config;
mod kind;
mod list;
mod near;
mod route;

pub(crate) use config::Provider;
pub use config::{AliasConfig, ProviderConfig};
pub(crate) use kind::Operation;
pub use kind::ProviderKind;
pub(crate) use near::names as near;
pub(crate) use route::Target;
pub use route::{ModelName, ResolveError, Route};

use crate::{Config, GatewayError, client::Connector};
use config::{Limits, check_name, wrong};
use serde::Serialize;
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often the lists are refreshed in the background.
const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// The most providers, and the most aliases.
const MAX_CONFIGURED: usize = 256;
/// The most targets of one alias.
const MAX_TARGETS: usize = 16;

/// What is known of a provider's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderHealth {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ProviderKind,
    /// Where it is.
    pub base_url: String,
    /// How many models it lists, if it answered.
    pub models: Option<usize>,
    /// How long it took to answer, in milliseconds.
    pub latency_ms: u64,
    /// How long ago it was asked, in seconds.
    pub age_s: u64,
    /// What went wrong.
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The configured providers and aliases. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    connector: Connector,
    limits: Limits,
    current: RwLock<Arc<Configured>>,
}

/// One configuration, as it was checked.
pub(crate) struct Configured {
    pub(crate) all: Vec<Arc<Provider>>,
    sources: Vec<ProviderConfig>,
    pub(crate) aliases: Vec<(String, Vec<ModelName>)>,
}

impl Registry {
    /// Checks the configuration. Nothing is asked yet. Of the gateway's settings the time to connect, the breaker and the
    /// queue are used.
    pub fn new(
        providers: Vec<ProviderConfig>,
        aliases: Vec<AliasConfig>,
        config: &Config,
    ) -> Result<Self, GatewayError> {
        let connector = Connector::new(config.connect_timeout)?;
        let limits = Limits { breaker: config.breaker, queue_timeout: config.queue_timeout };
        let first = configure(&connector, &limits, providers, aliases, None)?;
        Ok(Self(Arc::new(Inner { connector, limits, current: RwLock::new(Arc::new(first)) })))
    }

    /// Puts another configuration in the place of this one, or leaves all as it is and says what is wrong. What did not
    /// change keeps its connections and lists; calls under way end as they began.
    pub fn replace(&self, providers: Vec<ProviderConfig>, aliases: Vec<AliasConfig>) -> Result<(), GatewayError> {
        let before = self.configured();
        let next = Arc::new(configure(&self.0.connector, &self.0.limits, providers, aliases, Some(&before))?);
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    pub(crate) fn configured(&self) -> Arc<Configured> {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Names of the providers, as configured.
    pub fn names(&self) -> Vec<String> {
        self.configured().all.iter().map(|p| p.name.clone()).collect()
    }

    /// The aliases with their targets.
    pub fn aliases(&self) -> Vec<AliasConfig> {
        let targets = |all: &[ModelName]| all.iter().map(ToString::to_string).collect();
        self.configured()
            .aliases
            .iter()
            .map(|(name, all)| AliasConfig { name: name.clone(), targets: targets(all) })
            .collect()
    }

    /// Where a name leads, by fresh lists; what cannot be checked is an error. For choosing a model ahead of its use.
    pub async fn resolve(&self, name: &str) -> Result<Route, ResolveError> {
        let configured = self.configured();
        configured.refresh(list::TTL).await;
        configured.route(name, true)
    }

    /// Where a name leads for a call that is about to be made: by the lists that are there, which are only asked for
    /// where the name cannot be understood without them.
    pub(crate) async fn route(&self, name: &str) -> Result<Route, ResolveError> {
        let configured = self.configured();
        if configured.needs_lists(name) {
            configured.refresh(list::TTL).await;
        }
        match configured.route(name, false) {
            Err(ResolveError::Unknown { .. }) => {}
            known => return known,
        }
        configured.refresh(list::MISS_TTL).await;
        configured.route(name, false)
    }

    /// Every model that a provider lists now, as `provider/model`.
    pub async fn models(&self) -> Vec<ModelName> {
        let configured = self.configured();
        configured.refresh(list::TTL).await;
        configured.listed().collect()
    }

    /// How the providers are, as of a few seconds ago at most.
    pub async fn health(&self) -> Vec<ProviderHealth> {
        let configured = self.configured();
        configured.refresh(list::HEALTH_TTL).await;
        configured.all.iter().map(|p| p.health()).collect()
    }

    /// Asks one provider now; none: there is no such provider.
    pub async fn test(&self, name: &str) -> Option<ProviderHealth> {
        let configured = self.configured();
        let provider = configured.get(name)?;
        provider.refresh(Duration::ZERO).await;
        Some(provider.health())
    }

    /// How the providers were when they were last asked; nothing is asked now.
    pub fn health_seen(&self) -> Vec<ProviderHealth> {
        self.configured().all.iter().map(|p| p.health()).collect()
    }

    /// Keeps the lists fresh until `cancel`; to be run as a task of the server.
    pub async fn keep_fresh(self, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(REFRESH_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let configured = self.configured();
            tokio::select! {
                () = cancel.cancelled() => return,
                () = configured.refresh(list::HEALTH_TTL) => {}
            }
        }
    }
}

fn configure(
    connector: &Connector,
    limits: &Limits,
    providers: Vec<ProviderConfig>,
    aliases: Vec<AliasConfig>,
    before: Option<&Configured>,
) -> Result<Configured, GatewayError> {
    if providers.len() > MAX_CONFIGURED || aliases.len() > MAX_CONFIGURED {
        return Err(wrong("*", format!("more than {MAX_CONFIGURED} providers or aliases are configured")));
    }
    let mut all: Vec<Arc<Provider>> = Vec::with_capacity(providers.len());
    for config in &providers {
        if all.iter().any(|p| p.name == config.name) {
            return Err(wrong(&config.name, "the name is used twice"));
        }
        let known = before.and_then(|b| {
            let at = b.sources.iter().position(|s| s.is_same(config))?;
            b.all.get(at).cloned()
        });
        all.push(match known {
            Some(same) => same,
            None => Arc::new(Provider::new(config, connector, limits)?),
        });
    }
    let mut named: Vec<(String, Vec<ModelName>)> = Vec::with_capacity(aliases.len());
    for alias in aliases {
        check_name(&alias.name)?;
        if named.iter().any(|(n, _)| *n == alias.name) {
            return Err(wrong(&alias.name, "the alias is defined twice"));
        }
        if alias.targets.is_empty() || alias.targets.len() > MAX_TARGETS {
            return Err(wrong(&alias.name, format!("an alias has 1 to {MAX_TARGETS} targets")));
        }
        let mut targets = Vec::with_capacity(alias.targets.len());
        for text in &alias.targets {
            let found = text.split_once('/').filter(|(p, m)| !m.is_empty() && all.iter().any(|u| u.name == *p));
            let (provider, model) = found.ok_or_else(|| {
                let names: Vec<_> = all.iter().map(|p| p.name.as_str()).collect();
                let message = format!(
                    "the target {text:?} is not provider/model with one of the configured providers: {}",
                    names.join(", ")
                );
                wrong(&alias.name, message)
            })?;
            targets.push(ModelName { provider: provider.to_owned(), model: model.to_owned() });
        }
        named.push((alias.name, targets));
    }
    Ok(Configured { all, sources: providers, aliases: named })
}
