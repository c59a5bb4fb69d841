//! Configured upstreams: where models are, and how a model's name leads there.
//!
//! A model is named `upstream/model`, or by a bare name that exactly one upstream lists. Lists are read on demand and
//! kept for a minute.

mod list;
mod near;

use crate::{
    GatewayError,
    client::Client,
    secret::{Needles, Secret},
};
use hyper::{
    HeaderMap, Uri,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use serde::Serialize;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How long a model list is used without asking again.
const LIST_TTL: Duration = Duration::from_secs(60);
/// How long asking for it may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// What kind of service an upstream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamKind {
    /// OpenAI.
    Openai,
    /// Ollama, through its OpenAI-compatible `/v1`.
    Ollama,
    /// Any service that speaks Chat Completions.
    OpenaiCompatible,
}

/// A configured upstream.
#[derive(Clone)]
pub struct UpstreamConfig {
    /// Its name, the part of a model's name before the slash.
    pub name: String,
    /// What it is.
    pub kind: UpstreamKind,
    /// Where it is: up to and with `/v1`; for Ollama without.
    pub base_url: String,
    /// The key, sent as a bearer token.
    pub api_key: Option<Secret>,
    /// Further headers; their values are treated as secrets.
    pub headers: Vec<(String, Secret)>,
}

/// A model of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelName {
    /// The upstream.
    pub upstream: String,
    /// The upstream's own name for it.
    pub model: String,
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.upstream, self.model)
    }
}

/// Why a model's name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Nothing is configured.
    #[error("no model provider is configured: set OLLAMA_URL, OPENAI_API_KEY or OPENAI_BASE_URL and start again")]
    NoUpstreams,
    /// No upstream lists it.
    #[error("no configured provider has a model {name:?}{}", suggestion(near))]
    Unknown {
        /// As given.
        name: String,
        /// Names like it.
        near: Vec<String>,
    },
    /// Several upstreams list it.
    #[error("{name:?} is offered by several providers; write one of: {}", candidates.join(", "))]
    Ambiguous {
        /// As given.
        name: String,
        /// The full names.
        candidates: Vec<String>,
    },
    /// The list that would decide could not be read.
    #[error("provider {upstream:?} cannot be asked for its models: {message}")]
    Unreachable {
        /// The upstream.
        upstream: String,
        /// Why.
        message: String,
    },
}

fn suggestion(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; near ones: {}", near.join(", ")) }
}

/// What `doctor` shows of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpstreamHealth {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: UpstreamKind,
    /// Where it is.
    pub base_url: String,
    /// How many models it lists, if it answered.
    pub models: Option<usize>,
    /// How long it took to answer, in milliseconds.
    pub latency_ms: u64,
    /// What went wrong.
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The configured upstreams. Cheap to clone.
#[derive(Clone)]
pub struct Upstreams {
    all: Arc<[Arc<Upstream>]>,
    client: Client,
}

pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) kind: UpstreamKind,
    /// Where chat completions are.
    pub(crate) chat_uri: Uri,
    list_uri: Uri,
    base_url: String,
    /// Credentials and further headers, ready to be sent.
    pub(crate) headers: HeaderMap,
    /// What must not come back.
    pub(crate) needles: Needles,
    list: Mutex<Option<(Instant, Arc<[String]>)>>,
}

impl Upstreams {
    /// Checks the configuration. Nothing is asked yet.
    pub fn new(configs: Vec<UpstreamConfig>, connect_timeout: Duration) -> Result<Self, GatewayError> {
        let mut all: Vec<Arc<Upstream>> = Vec::with_capacity(configs.len());
        for config in configs {
            if all.iter().any(|u| u.name == config.name) {
                return Err(wrong(&config, "the name is used twice"));
            }
            all.push(Arc::new(Upstream::new(&config)?));
        }
        Ok(Self { all: all.into(), client: Client::new(connect_timeout)? })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.all.iter().find(|u| u.name == name)
    }

    /// Names of the upstreams, as configured.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|u| u.name.as_str())
    }

    /// The model that a name means.
    pub async fn resolve(&self, name: &str) -> Result<ModelName, ResolveError> {
        if self.all.is_empty() {
            return Err(ResolveError::NoUpstreams);
        }
        let lists = self.lists().await;
        let prefixed = name.split_once('/').and_then(|(u, m)| Some((self.get(u)?, m)));
        if let Some((upstream, model)) = prefixed {
            let list = lists.iter().find(|(u, _)| u.name == upstream.name).map(|(_, list)| list);
            return match list {
                Some(Ok(Some(models))) => upstream.pick(models, model).ok_or_else(|| unknown(name, &lists)),
                // An upstream without a list may still have the model.
                Some(Ok(None)) | None => Ok(ModelName { upstream: upstream.name.clone(), model: model.to_owned() }),
                Some(Err(e)) => Err(ResolveError::Unreachable { upstream: upstream.name.clone(), message: e.clone() }),
            };
        }
        let listed = lists.iter().filter_map(|(u, list)| u.pick(list.as_ref().ok()?.as_ref()?, name));
        let mut found: Vec<ModelName> = listed.collect();
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                let candidates = found.iter().chain([&last]).map(ToString::to_string).collect();
                Err(ResolveError::Ambiguous { name: name.to_owned(), candidates })
            }
            (None, _) => match lists.iter().find_map(|(u, list)| Some((u, list.as_ref().err()?))) {
                Some((u, e)) => Err(ResolveError::Unreachable { upstream: u.name.clone(), message: e.clone() }),
                None => Err(unknown(name, &lists)),
            },
        }
    }

    /// Every model that an upstream lists now, as `upstream/model`.
    pub async fn models(&self) -> Vec<ModelName> {
        let name = |u: &Upstream, m: &String| ModelName { upstream: u.name.clone(), model: m.clone() };
        let lists = self.lists().await;
        lists
            .iter()
            .filter_map(|(u, list)| Some((u, list.as_ref().ok()?.as_ref()?)))
            .flat_map(|(u, models)| models.iter().map(move |m| name(u, m)))
            .collect()
    }

    /// Asks every upstream for its models, without the kept lists.
    pub async fn health(&self) -> Vec<UpstreamHealth> {
        futures::future::join_all(self.all.iter().map(|u| async move {
            let began = Instant::now();
            let list = u.fetch_list(&self.client).await;
            let hint = list.as_ref().err().map(|_| u.hint());
            UpstreamHealth {
                name: u.name.clone(),
                kind: u.kind,
                base_url: u.base_url.clone(),
                models: list.as_ref().ok().and_then(|l| l.as_ref()).map(|l| l.len()),
                latency_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                error: list.err(),
                hint,
            }
        }))
        .await
    }

    async fn lists(&self) -> Vec<(&Arc<Upstream>, list::Listed)> {
        futures::future::join_all(self.all.iter().map(|u| async move { (u, u.kept_list(&self.client).await) })).await
    }
}

fn unknown(name: &str, lists: &[(&Arc<Upstream>, list::Listed)]) -> ResolveError {
    let all = lists
        .iter()
        .filter_map(|(u, list)| Some((u, list.as_ref().ok()?.as_ref()?)))
        .flat_map(|(u, models)| models.iter().map(move |m| format!("{}/{m}", u.name)));
    ResolveError::Unknown { name: name.to_owned(), near: near::names(name, all) }
}

fn wrong(config: &UpstreamConfig, message: impl Into<String>) -> GatewayError {
    GatewayError::Upstream { upstream: config.name.clone(), message: message.into() }
}

impl Upstream {
    fn new(config: &UpstreamConfig) -> Result<Self, GatewayError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if config.name.is_empty() || !config.name.chars().all(plain) {
            return Err(wrong(config, "a name consists of letters, digits, '-', '_' and '.'"));
        }
        let mut base = config.base_url.trim().trim_end_matches('/');
        if config.kind == UpstreamKind::Ollama {
            base = base.strip_suffix("/v1").unwrap_or(base);
        }
        let (chat, list) = match config.kind {
            UpstreamKind::Ollama => ("/v1/chat/completions", "/api/tags"),
            UpstreamKind::Openai | UpstreamKind::OpenaiCompatible => ("/chat/completions", "/models"),
        };
        let uri = |path: &str| -> Result<Uri, GatewayError> {
            let uri: Uri = format!("{base}{path}").parse().map_err(|e| wrong(config, format!("its URL: {e}")))?;
            let fits = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
            let plain = uri.authority().is_some_and(|a| !a.as_str().contains('@'));
            if fits && plain { Ok(uri) } else { Err(wrong(config, "its URL must be http(s)://host[:port][/path]")) }
        };
        let mut headers = HeaderMap::new();
        let secret = |text: String| {
            let mut value =
                HeaderValue::from_str(&text).map_err(|_| wrong(config, "a header or key holds bad bytes"))?;
            value.set_sensitive(true);
            Ok::<_, GatewayError>(value)
        };
        if let Some(key) = config.api_key.as_ref().filter(|k| !k.is_empty()) {
            headers.insert(AUTHORIZATION, secret(format!("Bearer {}", key.expose()))?);
        }
        for (name, value) in &config.headers {
            let name: HeaderName = name.parse().map_err(|_| wrong(config, format!("{name:?} is not a header name")))?;
            headers.insert(name, secret(value.expose().to_owned())?);
        }
        Ok(Self {
            name: config.name.clone(),
            kind: config.kind,
            chat_uri: uri(chat)?,
            list_uri: uri(list)?,
            base_url: base.to_owned(),
            headers,
            needles: Needles::new(config.api_key.iter().chain(config.headers.iter().map(|(_, v)| v))),
            list: Mutex::new(None),
        })
    }

    fn hint(&self) -> String {
        match self.kind {
            UpstreamKind::Openai => "check OPENAI_API_KEY and the way to the internet".to_owned(),
            UpstreamKind::Ollama => format!("check that Ollama runs and OLLAMA_URL ({}) is right", self.base_url),
            UpstreamKind::OpenaiCompatible => format!("check that {} is right and its key is set", self.base_url),
        }
    }
}
