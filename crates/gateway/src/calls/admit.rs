//! Who may use what: a route is resolved within the set that the caller may use.

use super::{
    judge,
    who::{Identity, Outside},
};
use crate::{
    providers::{Configured, Registry, ResolveError, Route},
    reply::Refusal,
};
use domain::policy::Policy;
use hyper::StatusCode;

/// The most of a name from outside that is shown.
const MAX_SHOWN_CHARS: usize = 200;

/// Where a sandbox's call goes: the policy names models and aliases.
pub(super) fn of_policy(policy: &Policy, asked: &str, configured: &Configured) -> Result<Route, Refusal> {
    if let Ok(name) = judge::allowed_model(policy, asked) {
        if let Some(target) = configured.target(name) {
            return Ok(Route { alias: None, targets: vec![target] });
        }
        if let Some(route) = configured.alias_route(name) {
            return Ok(route);
        }
        return Err(unconfigured(name));
    }
    // An alias that the policy does not name is worth those of its targets that it does name.
    if let Some(mut route) = configured.alias_route(asked) {
        route.targets.retain(|t| policy.models.contains(&t.name()));
        if !route.targets.is_empty() {
            return Ok(route);
        }
    }
    Err(judge::not_allowed(policy, asked))
}

fn unconfigured(name: &str) -> Refusal {
    let provider = name.split_once('/').map_or(name, |(p, _)| p);
    let message = format!("the provider {provider:?} of this task's model is not configured on the server");
    Refusal::new(StatusCode::BAD_GATEWAY, "upstream_not_configured", message)
}

/// Where the call of somebody over TCP goes.
pub(super) async fn of_caller(caller: &Outside, asked: &str) -> Result<Route, Refusal> {
    let scope = match &caller.identity {
        Identity::Key(key) => key.models.as_deref(),
        Identity::Token(_) => None,
        Identity::Unknown => return Err(unknown_key()),
    };
    let registry = &caller.shared.registry;
    let mut route = match registry.route(asked).await {
        Ok(route) => route,
        Err(e) => return Err(unresolved(e, scope, registry)),
    };
    let Some(scope) = scope else { return Ok(route) };
    let by_alias = route.alias.as_ref().is_some_and(|a| scope.iter().any(|s| s == a));
    if !by_alias {
        route.targets.retain(|t| in_scope(scope, &t.provider.name, &t.model));
    }
    if route.targets.is_empty() {
        let message = format!("this key may not use the model {:?}; it may use: {}", shown(asked), scope.join(", "));
        return Err(Refusal::new(StatusCode::FORBIDDEN, "model_not_allowed", message));
    }
    Ok(route)
}

/// Whether a key's scope has a model: by its full name, by its bare name, or by a glob such as `openai/*`.
pub(crate) fn in_scope(scope: &[String], provider: &str, model: &str) -> bool {
    scope.iter().any(|pattern| match (pattern.strip_suffix('*'), pattern.split_once('/')) {
        (Some(""), _) => true,
        (Some(prefix), Some(_)) => match prefix.split_once('/') {
            Some((p, m)) => p == provider && model.starts_with(m),
            None => false,
        },
        (Some(prefix), None) => model.starts_with(prefix),
        (None, Some((p, m))) => (p == provider && m == model) || pattern == model,
        (None, None) => pattern == model,
    })
}

/// What a client without a valid key hears.
pub(crate) fn unknown_key() -> Refusal {
    let message = "the key is missing, wrong, expired or revoked; send a key of this gateway as `Authorization: Bearer` or \
                   `x-api-key` (make one with `taskforge key create NAME`)";
    Refusal::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
}

fn unresolved(e: ResolveError, scope: Option<&[String]>, registry: &Registry) -> Refusal {
    let e = match e {
        // Names outside of a key's scope are nobody's business.
        ResolveError::Unknown { name, near } => {
            let aliases = registry.configured();
            let near = near.into_iter().filter(|n| {
                scope.is_none_or(|s| match n.split_once('/') {
                    Some((provider, model)) if aliases.get(provider).is_some() => in_scope(s, provider, model),
                    _ => s.contains(n),
                })
            });
            ResolveError::Unknown { name: shown(&name), near: near.collect() }
        }
        other => other,
    };
    let (status, code) = match &e {
        ResolveError::NoProviders => (StatusCode::BAD_GATEWAY, "no_providers"),
        ResolveError::Unknown { .. } => (StatusCode::NOT_FOUND, "model_not_found"),
        ResolveError::Ambiguous { .. } => (StatusCode::BAD_REQUEST, "ambiguous_model"),
        ResolveError::Unreachable { .. } => (StatusCode::BAD_GATEWAY, "provider_unreachable"),
    };
    Refusal::new(status, code, e.to_string())
}

/// The head of a name that comes from outside, made visible.
pub(super) fn shown(text: &str) -> String {
    domain::text::visible_line(text).chars().take(MAX_SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_names_bare_names_and_globs() {
        let scope = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let has = |patterns: &[&str], provider, model| in_scope(&scope(patterns), provider, model);
        assert!(has(&["openai/*"], "openai", "gpt-4o"));
        assert!(!has(&["openai/*"], "openai2", "gpt-4o"));
        assert!(has(&["openai/gpt-4*"], "openai", "gpt-4o") && !has(&["openai/gpt-4*"], "openai", "gpt-5"));
        assert!(has(&["gpt-4o"], "router", "gpt-4o") && !has(&["gpt-4o"], "router", "gpt-4o-mini"));
        assert!(has(&["openai/gpt-4o"], "openai", "gpt-4o") && !has(&["openai/gpt-4o"], "azure", "gpt-4o"));
        assert!(has(&["meta/llama"], "router", "meta/llama"), "a bare name may hold a slash");
        assert!(has(&["*"], "any", "thing") && !has(&[], "any", "thing"));
    }
}
