//! The gateway's registry of providers, in the terms of configuration and API.

use crate::config::{AliasSpec, ProviderSpec};
use api::{ApiError, Code};
use gateway::{AliasConfig, GatewayError, ProviderConfig, ProviderKind, Registry, ResolveError, Secret};
use serde_json::json;
use std::time::Duration;

fn provider(spec: &ProviderSpec) -> Result<ProviderConfig, GatewayError> {
    let kind = ProviderKind::parse(&spec.kind).ok_or_else(|| GatewayError::Provider {
        provider: spec.name.clone(),
        message: format!("its kind {:?} is unknown", spec.kind),
    })?;
    let mut config = ProviderConfig::new(&spec.name, kind, &spec.base_url);
    if let Some(key) = &spec.credentials.api_key {
        config = config.key(Secret::new(key));
    }
    config.headers = spec.credentials.headers.iter().map(|(n, v)| (n.clone(), Secret::new(v))).collect();
    let s = &spec.settings;
    config.allow_link_local = s.allow_link_local;
    config.max_concurrency = s.max_concurrency;
    config.queue = s.queue;
    config.connect_timeout = s.connect_timeout_ms.map(Duration::from_millis);
    config.first_byte_timeout = s.first_byte_timeout_ms.map(Duration::from_millis);
    config.idle_timeout = s.idle_timeout_ms.map(Duration::from_millis);
    Ok(config)
}

type Configs = (Vec<ProviderConfig>, Vec<AliasConfig>);

fn configs<'a>(
    providers: impl IntoIterator<Item = &'a ProviderSpec>,
    aliases: &[AliasSpec],
) -> Result<Configs, GatewayError> {
    let providers = providers.into_iter().map(provider).collect::<Result<_, _>>()?;
    let alias = |a: &AliasSpec| AliasConfig { name: a.name.clone(), targets: a.targets.clone() };
    Ok((providers, aliases.iter().map(alias).collect()))
}

/// A registry. Nothing is asked yet.
pub(crate) fn open<'a>(
    settings: &gateway::Config,
    providers: impl IntoIterator<Item = &'a ProviderSpec>,
    aliases: &[AliasSpec],
) -> Result<Registry, GatewayError> {
    let (providers, aliases) = configs(providers, aliases)?;
    Registry::new(providers, aliases, settings)
}

/// Puts a configuration to use, or leaves all as it is and says what is wrong.
pub(crate) fn replace<'a>(
    registry: &Registry,
    providers: impl IntoIterator<Item = &'a ProviderSpec>,
    aliases: &[AliasSpec],
) -> Result<(), GatewayError> {
    let (providers, aliases) = configs(providers, aliases)?;
    registry.replace(providers, aliases)
}

/// The model that a name means, as `provider/model` or an alias.
pub(crate) async fn resolve(registry: &Registry, name: &str) -> Result<String, ApiError> {
    registry.resolve(name).await.map(|route| route.to_string()).map_err(|e| {
        let text = e.to_string();
        match e {
            ResolveError::Unknown { near, .. } => {
                ApiError::new(Code::UnknownModel, text).details(json!({"near": near}))
            }
            ResolveError::Ambiguous { candidates, .. } => {
                ApiError::new(Code::AmbiguousModel, text).details(json!({"candidates": candidates}))
            }
            ResolveError::NoProviders | ResolveError::Unreachable { .. } => {
                ApiError::new(Code::ProviderUnreachable, text)
            }
        }
    })
}
