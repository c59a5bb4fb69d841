//! Providers from three places: the environment, the configuration file, and the store.
//!
//! What the environment and the file say cannot be changed over the API. A saved provider is sealed, written and put to
//! use in this order; what cannot be put to use is not saved. A change reaches calls that begin after it.

use super::registry;
use crate::config::{GatewayConfig, KINDS, ProviderSpec, Source, default_base_url};
use anyhow::Context;
use api::{ApiError, Code, Save, wire};
use domain::event::{Actor, Event, EventKind};
use futures::FutureExt;
use gateway::{Gateway, Registry, prices::PriceTable};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{PoisonError, RwLock},
};
use store::{Credentials, Durability, ProviderRow, Store, Vault, fingerprint};
use tokio::sync::Mutex;

/// The largest file of prices.
const MAX_PRICES_BYTES: u64 = 8 << 20;

/// The providers of a gateway.
pub(crate) struct Providers {
    store: Store,
    vault: Vault,
    settings: gateway::Config,
    registry: Registry,
    fixed: RwLock<GatewayConfig>,
    /// Held while something changes.
    changing: Mutex<()>,
}

impl Providers {
    /// Puts together what is configured and what is saved.
    pub(crate) async fn open(
        store: Store,
        keys: &Path,
        settings: gateway::Config,
        fixed: GatewayConfig,
    ) -> anyhow::Result<Self> {
        let vault = Vault::open_or_create(&keys.join("provider.key")).context("the key of the saved providers")?;
        let saved = store.provider_list().await?;
        let (specs, problems) = combine(&vault, &fixed, &saved);
        for (name, problem) in &problems {
            tracing::warn!(provider = name, problem, "a saved provider is not used");
        }
        let registry = registry::open(&settings, &specs, &fixed.aliases)?;
        Ok(Self { store, vault, settings, registry, fixed: RwLock::new(fixed), changing: Mutex::new(()) })
    }

    /// Puts into the log what is in use, so that a call's record says where it could go.
    pub(crate) async fn announce(&self) -> Result<(), store::StoreError> {
        let fixed = self.fixed();
        let (specs, _) = combine(&self.vault, &fixed, &self.store.provider_list().await?);
        record(&self.store, &specs, &fixed, Actor::System).await
    }

    /// Where calls are routed by.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    fn fixed(&self) -> GatewayConfig {
        self.fixed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All of them, without their credentials.
    pub(crate) async fn list(&self) -> Result<Vec<wire::Provider>, ApiError> {
        let (fixed, saved) = (self.fixed(), self.store.provider_list().await?);
        let (_, problems) = combine(&self.vault, &fixed, &saved);
        let mut all: Vec<wire::Provider> = fixed.providers.iter().map(shown).collect();
        all.extend(saved.iter().map(|row| {
            let problem = problems.iter().find(|(name, _)| *name == row.name).map(|(_, p)| p.clone());
            wire::Provider { problem, ..shown_row(row) }
        }));
        Ok(all)
    }

    /// The aliases.
    pub(crate) fn aliases(&self) -> Vec<wire::Alias> {
        let alias = |a: &crate::config::AliasSpec| wire::Alias { name: a.name.clone(), targets: a.targets.clone() };
        self.fixed().aliases.iter().map(alias).collect()
    }

    /// Saves a provider and puts it to use.
    pub(crate) async fn save(&self, save: Save) -> Result<wire::Provider, ApiError> {
        let _changing = self.changing.lock().await;
        let fixed = self.fixed();
        not_fixed(&fixed, &save.name)?;
        let mut rows = self.store.provider_list().await?;
        let before = rows.iter().find(|r| r.name == save.name);
        if before.is_some() && !save.replace {
            let name = domain::text::visible_line(&save.name);
            return Err(ApiError::new(Code::NameTaken, format!("a provider named {name:?} is saved already"))
                .hint("replace it: `taskforge provider add --replace`, or PUT /api/llm/providers/{name}"));
        }
        let row = self.row(&save, before)?;
        rows.retain(|r| r.name != row.name);
        rows.push(row.clone());
        let (specs, _) = combine(&self.vault, &fixed, &rows);
        // Checked whole before anything is written: what is written works.
        registry::open(&self.settings, &specs, &fixed.aliases).map_err(invalid)?;
        let (kept, by) = (row.clone(), save.by);
        let written = self.store.write(Durability::Power, move |tx| {
            async move {
                let saved = tx.provider_save(&kept).await?;
                let event = Event::point(EventKind::ProviderSaved, told(&saved)).by(Actor::Token { name: by });
                tx.leaf(event).await?;
                Ok(saved)
            }
            .boxed()
        });
        let saved = written.await?;
        registry::replace(&self.registry, &specs, &fixed.aliases).map_err(invalid)?;
        Ok(shown_row(&saved))
    }

    fn row(&self, save: &Save, before: Option<&ProviderRow>) -> Result<ProviderRow, ApiError> {
        let p = &save.provider;
        let wrong = |message: String| ApiError::new(Code::InvalidProvider, message);
        if !KINDS.contains(&p.kind.as_str()) {
            let kind = domain::text::visible_line(&p.kind);
            return Err(wrong(format!("kind {kind:?} is not one of {}", KINDS.join(", "))));
        }
        let base_url = p.base_url.as_deref().or_else(|| default_base_url(&p.kind));
        let base_url =
            base_url.ok_or_else(|| wrong(format!("base_url is missing: {} has no address of its own", p.kind)))?;
        let base_url = base_url.trim().trim_end_matches('/').to_owned();
        if p.max_concurrency == Some(0) {
            return Err(wrong("max_concurrency must be at least 1".to_owned()));
        }
        let old = self.kept(save, &base_url, before)?;
        let credentials = Credentials {
            api_key: match &p.api_key {
                Some(key) => Some(secret("api_key", key)?).filter(|k| !k.is_empty()),
                None => old.api_key,
            },
            headers: match &p.headers {
                Some(all) => {
                    all.iter().map(|(n, v)| Ok((n.clone(), secret(n, v)?))).collect::<Result<_, ApiError>>()?
                }
                None => old.headers,
            },
        };
        Ok(ProviderRow {
            sealed: self.vault.seal(&save.name, &p.kind, &base_url, &credentials)?,
            name: save.name.clone(),
            kind: p.kind.clone(),
            base_url,
            settings: serde_json::to_value(p.settings()).map_err(ApiError::internal)?,
            headers: credentials.headers.keys().cloned().collect(),
            fingerprint: credentials.api_key.as_deref().map(fingerprint),
            saved_by: save.by.clone(),
            created_at: String::new(),
            updated_at: String::new(),
        })
    }

    /// The credentials that stay: only where they go to the same place as before.
    fn kept(&self, save: &Save, base_url: &str, before: Option<&ProviderRow>) -> Result<Credentials, ApiError> {
        let Some(before) = before.filter(|b| b.sealed.is_some()) else { return Ok(Credentials::default()) };
        let p = &save.provider;
        if p.api_key.is_some() && p.headers.is_some() {
            return Ok(Credentials::default());
        }
        if before.kind == p.kind && before.base_url == base_url {
            return Ok(self.vault.open(before)?);
        }
        let lost = (p.api_key.is_none() && before.fingerprint.is_some())
            || (p.headers.is_none() && !before.headers.is_empty());
        if lost {
            let message = "kind or address changed, so the saved credentials do not stay";
            return Err(ApiError::new(Code::InvalidProvider, message)
                .hint("send api_key and headers again, or empty ones if there are none"));
        }
        Ok(Credentials::default())
    }

    /// Removes a saved provider.
    pub(crate) async fn remove(&self, name: &str, by: &str) -> Result<wire::Provider, ApiError> {
        let _changing = self.changing.lock().await;
        let fixed = self.fixed();
        not_fixed(&fixed, name)?;
        let mut rows = self.store.provider_list().await?;
        rows.retain(|r| r.name != name);
        let (specs, _) = combine(&self.vault, &fixed, &rows);
        registry::open(&self.settings, &specs, &fixed.aliases).map_err(invalid)?;
        let (name, by) = (name.to_owned(), by.to_owned());
        let make = move || {
            let (name, by) = (name.clone(), by.clone());
            store::work(move |tx| {
                async move {
                    let gone = tx.provider_remove(&name).await?;
                    let event = Event::point(EventKind::ProviderRemoved, told(&gone)).by(Actor::Token { name: by });
                    tx.leaf(event).await?;
                    Ok(gone)
                }
                .boxed()
            })
        };
        let gone = self.store.write_stopping(make).await?;
        registry::replace(&self.registry, &specs, &fixed.aliases).map_err(invalid)?;
        Ok(shown_row(&gone))
    }

    /// Asks a provider for its models.
    pub(crate) async fn test(&self, name: &str) -> Result<wire::ProviderTest, ApiError> {
        let missing = || ApiError::not_found("provider", format!("{:?}", domain::text::visible_line(name)));
        let health = self.registry.test(name).await.ok_or_else(missing)?;
        Ok(wire::ProviderTest {
            name: health.name,
            ok: health.error.is_none(),
            models: health.models,
            latency_ms: health.latency_ms,
            error: health.error,
            hint: health.hint,
        })
    }

    /// Reads file and environment again and puts them to use, or leaves all as it is.
    pub(crate) async fn reload(&self, gateway: &Gateway, by: Actor) -> Result<wire::Reloaded, ApiError> {
        let _changing = self.changing.lock().await;
        let wrong = |e: String| ApiError::new(Code::InvalidConfig, domain::text::visible_line(&e));
        let next = GatewayConfig::read(self.fixed().sources).map_err(|e| wrong(format!("{e:#}")))?;
        let (specs, _) = combine(&self.vault, &next, &self.store.provider_list().await?);
        registry::open(&self.settings, &specs, &next.aliases).map_err(|e| wrong(e.to_string()))?;
        let prices = prices(&next).map_err(|e| wrong(format!("{e:#}")))?;
        record(&self.store, &specs, &next, by).await?;
        registry::replace(&self.registry, &specs, &next.aliases).map_err(|e| wrong(e.to_string()))?;
        gateway.replace_prices(prices);
        let told = wire::Reloaded {
            file: next.file().map(|f| f.display().to_string()),
            providers: specs.into_iter().map(|s| s.name).collect(),
            aliases: next
                .aliases
                .iter()
                .map(|a| wire::Alias { name: a.name.clone(), targets: a.targets.clone() })
                .collect(),
        };
        *self.fixed.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(told)
    }
}

/// The table of the program, with the operator's own rows before it.
pub(super) fn prices(config: &GatewayConfig) -> anyhow::Result<PriceTable> {
    let table = PriceTable::bundled().context("the table of prices")?;
    let Some(path) = &config.prices else { return Ok(table) };
    let place = || format!("the prices in {}", path.display());
    let size = std::fs::metadata(path).with_context(place)?.len();
    anyhow::ensure!(size <= MAX_PRICES_BYTES, "{} has more than {MAX_PRICES_BYTES} bytes", path.display());
    let text = std::fs::read_to_string(path).with_context(place)?;
    table.with_own(&text).with_context(place)
}

fn invalid(e: gateway::GatewayError) -> ApiError {
    ApiError::new(Code::InvalidProvider, domain::text::visible_line(&e.to_string()))
}

fn not_fixed(fixed: &GatewayConfig, name: &str) -> Result<(), ApiError> {
    match fixed.providers.iter().find(|p| p.name == name) {
        None => Ok(()),
        Some(p) => {
            let place = match p.source {
                Source::File => "the configuration file",
                Source::Environment | Source::Saved => "the environment",
            };
            Err(ApiError::new(Code::ProviderFixed, format!("provider {name:?} is configured by {place}")))
        }
    }
}

/// Refuses what listings show in the place of a secret.
fn secret(field: &str, text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    // No key has two dots in a row, and none ends in nothing but the letter x.
    let crossed =
        text.rsplit('-').next().is_some_and(|t| t.len() > 3 && t.bytes().all(|b| b.eq_ignore_ascii_case(&b'x')));
    let masked = crossed
        || text.contains("***")
        || text.contains("..")
        || text.contains(['…', '•', '●'])
        || text.contains("[masked]")
        || text.starts_with("sha256:");
    if masked {
        let field = domain::text::visible_line(field);
        return Err(ApiError::new(Code::MaskedSecret, format!("{field} is a masked value, and not the secret itself")));
    }
    Ok(text.to_owned())
}

type Problems = Vec<(String, String)>;

/// What is in use: the fixed ones, then the saved ones that can be.
fn combine(vault: &Vault, fixed: &GatewayConfig, saved: &[ProviderRow]) -> (Vec<ProviderSpec>, Problems) {
    let (mut specs, mut problems) = (fixed.providers.clone(), Vec::new());
    for row in saved {
        if fixed.providers.iter().any(|p| p.name == row.name) {
            problems.push((row.name.clone(), "one that is configured elsewhere has its name".to_owned()));
            continue;
        }
        let opened = vault.open(row).map_err(|e| e.to_string());
        let settings = serde_json::from_value(row.settings.clone()).map_err(|e| e.to_string());
        match (opened, settings) {
            (Ok(credentials), Ok(settings)) => specs.push(ProviderSpec {
                name: row.name.clone(),
                kind: row.kind.clone(),
                base_url: row.base_url.clone(),
                credentials,
                settings,
                source: Source::Saved,
            }),
            (Err(e), _) | (_, Err(e)) => problems.push((row.name.clone(), e)),
        }
    }
    (specs, problems)
}

fn shown(spec: &ProviderSpec) -> wire::Provider {
    wire::Provider {
        name: spec.name.clone(),
        kind: spec.kind.clone(),
        base_url: spec.base_url.clone(),
        source: spec.source.as_str().to_owned(),
        fingerprint: spec.credentials.api_key.as_deref().map(fingerprint),
        headers: spec.credentials.headers.keys().cloned().collect(),
        settings: spec.settings.clone(),
        saved_by: None,
        updated_at: None,
        problem: None,
    }
}

fn shown_row(row: &ProviderRow) -> wire::Provider {
    wire::Provider {
        name: row.name.clone(),
        kind: row.kind.clone(),
        base_url: row.base_url.clone(),
        source: Source::Saved.as_str().to_owned(),
        fingerprint: row.fingerprint.clone(),
        headers: row.headers.clone(),
        settings: serde_json::from_value(row.settings.clone()).unwrap_or_default(),
        saved_by: Some(row.saved_by.clone()),
        updated_at: Some(row.updated_at.clone()),
        problem: None,
    }
}

/// What the log tells of a saved provider.
fn told(row: &ProviderRow) -> Value {
    json!({"name": row.name, "kind": row.kind, "base_url": row.base_url, "fingerprint": row.fingerprint,
        "headers": row.headers, "settings": row.settings})
}

async fn record(
    store: &Store,
    specs: &[ProviderSpec],
    config: &GatewayConfig,
    by: Actor,
) -> Result<(), store::StoreError> {
    let providers: Vec<Value> = specs
        .iter()
        .map(|s| {
            json!({"name": s.name, "kind": s.kind, "base_url": s.base_url, "source": s.source.as_str(),
                "fingerprint": s.credentials.api_key.as_deref().map(fingerprint)})
        })
        .collect();
    let aliases: BTreeMap<&str, &[String]> =
        config.aliases.iter().map(|a| (a.name.as_str(), a.targets.as_slice())).collect();
    let data = json!({"providers": providers, "aliases": aliases});
    let event = Event::point(EventKind::GatewayConfigured, data).by(by);
    store.write(Durability::Power, move |tx| async move { tx.leaf(event).await.map(drop) }.boxed()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listings_show_is_no_secret() {
        for masked in
            ["sk-…abcd", "sk-...abcd", "sk-***", "••••", "[masked]", "sha256:20f1ea0f2f6d", "sk-xxxx", "XXXXXXXX"]
        {
            assert!(secret("api_key", masked).is_err(), "{masked}");
        }
        for real in ["sk-proj-abcdxx", "AIzaSyA-xxa", "eyJhbGciOi.eyJzdWIi.c2ln", "k", "lab-xxx"] {
            assert_eq!(secret("api_key", &format!(" {real}\n")).ok().as_deref(), Some(real));
        }
    }
}
