//! From a model's name to where it is.

use super::{Configured, Provider, ProviderKind, near};
use serde::Serialize;
use std::{fmt, sync::Arc};

/// A model of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelName {
    /// The provider.
    pub provider: String,
    /// The provider's own name for it.
    pub model: String,
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// Where a name leads.
#[derive(Clone)]
pub struct Route {
    /// The alias, if the name is one.
    pub alias: Option<String>,
    pub(crate) targets: Vec<Target>,
}

/// One place to which a call can go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) provider: Arc<Provider>,
    pub(crate) model: String,
}

impl Target {
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.provider.name, self.model)
    }
}

impl Route {
    /// The models, in order of preference.
    pub fn models(&self) -> Vec<ModelName> {
        let name = |t: &Target| ModelName { provider: t.provider.name.clone(), model: t.model.clone() };
        self.targets.iter().map(name).collect()
    }

    fn to(provider: &Arc<Provider>, model: &str) -> Self {
        let target = Target { provider: Arc::clone(provider), model: model.to_owned() };
        Self { alias: None, targets: vec![target] }
    }
}

/// The name under which a route is asked for and allowed: its alias, or `provider/model`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.alias, self.targets.first()) {
            (Some(alias), _) => f.write_str(alias),
            (None, Some(t)) => write!(f, "{}/{}", t.provider.name, t.model),
            (None, None) => f.write_str("-"),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("alias", &self.alias).field("models", &self.models()).finish()
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.alias == other.alias && self.models() == other.models()
    }
}

/// Why a model's name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Nothing is configured.
    #[error(
        "no model provider is configured: set OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY or OLLAMA_URL, or add one"
    )]
    NoProviders,
    /// No provider has it.
    #[error("no configured provider has a model {name:?}{}", suggestion(near))]
    Unknown {
        /// As given.
        name: String,
        /// Names like it.
        near: Vec<String>,
    },
    /// Several providers list it.
    #[error("{name:?} is offered by several providers; write one of: {}", candidates.join(", "))]
    Ambiguous {
        /// As given.
        name: String,
        /// The full names.
        candidates: Vec<String>,
    },
    /// The list that would decide could not be read.
    #[error("provider {provider:?} cannot be asked for its models: {message}")]
    Unreachable {
        /// The provider.
        provider: String,
        /// Why.
        message: String,
    },
}

fn suggestion(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; near ones: {}", near.join(", ")) }
}

impl Configured {
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        self.all.iter().find(|p| p.name == name)
    }

    pub(crate) fn alias(&self, name: &str) -> Option<&[ModelName]> {
        self.aliases.iter().find(|(n, _)| n == name).map(|(_, targets)| targets.as_slice())
    }

    /// The provider and model of a full name, whatever the lists say.
    pub(crate) fn target(&self, name: &str) -> Option<Target> {
        let (provider, model) = name.split_once('/')?;
        let provider = Arc::clone(self.get(provider)?);
        (!model.is_empty()).then(|| Target { provider, model: model.to_owned() })
    }

    /// The targets of an alias.
    pub(crate) fn alias_route(&self, name: &str) -> Option<Route> {
        let models = self.alias(name)?;
        let targets = models.iter().filter_map(|m| {
            let provider = Arc::clone(self.get(&m.provider)?);
            Some(Target { provider, model: m.model.clone() })
        });
        Some(Route { alias: Some(name.to_owned()), targets: targets.collect() })
    }

    /// Whether a name says nothing without lists that were never asked for.
    pub(super) fn needs_lists(&self, name: &str) -> bool {
        self.target(name).is_none() && self.alias(name).is_none() && self.all.iter().any(|p| !p.was_asked())
    }

    /// Where a name leads by the lists that are there. `strict`: a list that could not be read is an error where it
    /// would have decided.
    pub(super) fn route(&self, name: &str, strict: bool) -> Result<Route, ResolveError> {
        if self.all.is_empty() {
            return Err(ResolveError::NoProviders);
        }
        if let Some(Target { provider, model }) = self.target(name) {
            return match provider.seen_list() {
                Some(Ok(Some(models))) => match provider.pick(&models, &model) {
                    Some(model) => Ok(Route::to(&provider, &model)),
                    None if strict || provider.kind.lists_all() => Err(self.unknown(name)),
                    None => Ok(Route::to(&provider, &model)),
                },
                Some(Err(message)) if strict => {
                    Err(ResolveError::Unreachable { provider: provider.name.clone(), message })
                }
                // A provider without a list may still have the model, and one that cannot be asked says so itself.
                Some(Ok(None) | Err(_)) | None => Ok(Route::to(&provider, &model)),
            };
        }
        if let Some(route) = self.alias_route(name) {
            return Ok(route);
        }
        let listed = self.all.iter().filter_map(|p| {
            let models = p.known_list()?;
            Some((p, p.pick(&models, name)?))
        });
        let mut found: Vec<(&Arc<Provider>, String)> = listed.collect();
        match (found.pop(), found.is_empty()) {
            (Some((provider, model)), true) => Ok(Route::to(provider, &model)),
            (Some(last), false) => {
                let candidates = found.iter().chain([&last]).map(|(p, m)| format!("{}/{m}", p.name)).collect();
                Err(ResolveError::Ambiguous { name: name.to_owned(), candidates })
            }
            (None, _) => self.by_prefix(name, strict),
        }
    }

    fn by_prefix(&self, name: &str, strict: bool) -> Result<Route, ResolveError> {
        if strict {
            let failed = self.all.iter().find_map(|p| Some((p, p.seen_list()?.err()?)));
            if let Some((provider, message)) = failed {
                return Err(ResolveError::Unreachable { provider: provider.name.clone(), message });
            }
        }
        let kind = ProviderKind::by_prefix(name);
        let mut fitting = self.all.iter().filter(|p| {
            let silent = !matches!(p.seen_list(), Some(Ok(Some(_))));
            p.kind == kind && (silent || !(strict || kind.lists_all())) && !name.is_empty()
        });
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Ok(Route::to(only, name)),
            (Some(first), Some(second)) => {
                let candidates = [first, second].into_iter().chain(fitting).map(|p| format!("{}/{name}", p.name));
                Err(ResolveError::Ambiguous { name: name.to_owned(), candidates: candidates.collect() })
            }
            (None, _) => Err(self.unknown(name)),
        }
    }

    /// Names like one that a provider does not know, in words; nothing where its list has the name, or none is like it.
    pub(crate) fn suggestion(&self, target: &Target, may: impl Fn(&ModelName) -> bool) -> String {
        let listed = target.provider.known_list().is_some_and(|l| target.provider.pick(&l, &target.model).is_some());
        if listed {
            return String::new();
        }
        let all = self.listed().filter(|m| may(m)).map(|m| m.to_string());
        suggestion(&near::names(&target.name(), all))
    }

    fn unknown(&self, name: &str) -> ResolveError {
        let all = self.listed().map(|m| m.to_string()).chain(self.aliases.iter().map(|(n, _)| n.clone()));
        ResolveError::Unknown { name: name.to_owned(), near: near::names(name, all) }
    }

    /// Every model of the lists that are there.
    pub(super) fn listed(&self) -> impl Iterator<Item = ModelName> {
        self.all.iter().flat_map(|p| {
            let models = p.known_list();
            let name = |m: &String| ModelName { provider: p.name.clone(), model: m.clone() };
            models.iter().flat_map(|list| list.iter().map(name)).collect::<Vec<_>>()
        })
    }
}
