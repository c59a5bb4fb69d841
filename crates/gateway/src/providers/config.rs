//! Configuration of a provider, checked once.

use super::{
    address,
    breakers::Breakers,
    kind::{ANTHROPIC_VERSION, Operation, ProviderKind},
    list::Seen,
};
use crate::{
    GatewayError,
    client::{self, Client},
    resilience::{BreakerPolicy, Slots},
    secret::{Needles, Secret, fingerprint},
};
use hyper::{
    HeaderMap, Uri,
    header::{HeaderName, HeaderValue},
};
use llm::Format;
use std::{
    sync::{Arc, RwLock},
    time::Duration,
};
use tokio::sync::Mutex;

/// Calls that may wait for a provider with a limit, unless its configuration says otherwise.
const DEFAULT_QUEUE: u32 = 256;
/// The longest name of a provider or alias.
const MAX_NAME_CHARS: usize = 64;

/// A configured provider.
#[derive(Clone)]
pub struct ProviderConfig {
    /// Its name, the part of a model's name before the slash.
    pub name: String,
    /// What it is.
    pub kind: ProviderKind,
    /// Where it is. For OpenAI and compatible services up to and with `/v1`, for the others without.
    pub base_url: String,
    /// The key, sent in the header that the kind prescribes.
    pub api_key: Option<Secret>,
    /// Further headers; their values are treated as secrets.
    pub headers: Vec<(String, Secret)>,
    /// Whether it may be at a link-local or metadata address.
    pub allow_link_local: bool,
    /// Calls that may be under way at once; none: no limit.
    pub max_concurrency: Option<u32>,
    /// Calls that may wait for that; none: the default of the limits.
    pub queue: Option<u32>,
    /// How long connecting may take; none: the gateway's default.
    pub connect_timeout: Option<Duration>,
    /// How long it may take to answer with its first byte; none: the gateway's default.
    pub first_byte_timeout: Option<Duration>,
    /// How long it may be silent within an answer; none: the gateway's default.
    pub idle_timeout: Option<Duration>,
}

impl ProviderConfig {
    /// A provider without a key.
    pub fn new(name: impl Into<String>, kind: ProviderKind, base_url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind,
            base_url: base_url.into(),
            api_key: None,
            headers: Vec::new(),
            allow_link_local: false,
            max_concurrency: None,
            queue: None,
            connect_timeout: None,
            first_byte_timeout: None,
            idle_timeout: None,
        }
    }

    /// With a key.
    #[must_use]
    pub fn key(mut self, key: Secret) -> Self {
        self.api_key = Some(key).filter(|k| !k.is_empty());
        self
    }
}

/// A name for an ordered list of models: the first that works answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasConfig {
    /// The name that clients use.
    pub name: String,
    /// `provider/model`, in order of preference.
    pub targets: Vec<String>,
}

/// Bounds that all providers have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) breaker: BreakerPolicy,
    pub(super) queue_timeout: Duration,
}

/// A provider, ready to be called.
pub(crate) struct Provider {
    pub(crate) name: String,
    pub(crate) kind: ProviderKind,
    pub(crate) base_url: String,
    base: Uri,
    /// Paths that do not depend on the model, ready made.
    chat_uri: Option<Uri>,
    list_uri: Uri,
    /// Credentials and further headers, ready to be sent.
    pub(crate) headers: HeaderMap,
    /// What stands for the secret ones in records.
    pub(crate) fingerprints: Vec<(HeaderName, String)>,
    /// What must not come back.
    pub(crate) needles: Needles,
    pub(crate) client: Client,
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) breakers: Breakers,
    /// None: no limit.
    pub(crate) slots: Option<Slots>,
    /// Held while it is asked for its models, so that it is asked once.
    pub(super) asking: Mutex<()>,
    pub(super) seen: RwLock<Option<Arc<Seen>>>,
}

pub(super) fn wrong(name: &str, message: impl Into<String>) -> GatewayError {
    GatewayError::Provider { provider: name.to_owned(), message: message.into() }
}

/// Checks a name of a provider or alias.
pub(super) fn check_name(name: &str) -> Result<(), GatewayError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(plain) {
        let message = format!("a name consists of 1 to {MAX_NAME_CHARS} letters, digits, '-', '_' and '.'");
        return Err(wrong(name, message));
    }
    Ok(())
}

impl Provider {
    pub(super) fn new(
        config: &ProviderConfig,
        connector: &client::Connector,
        limits: &Limits,
    ) -> Result<Self, GatewayError> {
        let wrong = |message: String| wrong(&config.name, message);
        check_name(&config.name)?;
        let kind = config.kind;
        let mut base_url = config.base_url.trim().trim_end_matches('/');
        if let Some(plain) = kind.surplus().iter().find_map(|s| base_url.strip_suffix(s)) {
            base_url = plain.trim_end_matches('/');
        }
        let base: Uri = base_url.parse().map_err(|e| wrong(format!("its URL: {e}")))?;
        let fits = matches!(base.scheme_str(), Some("http" | "https")) && base.host().is_some();
        let plain = base.authority().is_some_and(|a| !a.as_str().contains('@')) && base.query().is_none();
        if !fits || !plain {
            return Err(wrong("its URL must be http(s)://host[:port][/path]".to_owned()));
        }
        if !config.allow_link_local && base.host().is_some_and(address::is_forbidden_host) {
            let message = "its URL points at a link-local or metadata address; set allow_link_local for this provider \
                           if that is meant";
            return Err(wrong(message.to_owned()));
        }
        let headers = headers(config)?;
        let secrets = headers.iter().filter(|(_, v)| v.is_sensitive());
        let mut provider = Self {
            fingerprints: secrets.map(|(n, v)| (n.clone(), fingerprint(v.as_bytes()))).collect(),
            name: config.name.clone(),
            kind,
            base_url: base_url.to_owned(),
            list_uri: base.clone(),
            base,
            chat_uri: None,
            headers,
            needles: Needles::new(config.api_key.iter().chain(config.headers.iter().map(|(_, v)| v))),
            client: connector.client(config.connect_timeout, config.allow_link_local),
            first_byte_timeout: config.first_byte_timeout,
            idle_timeout: config.idle_timeout,
            breakers: Breakers::new(limits.breaker),
            slots: config.max_concurrency.map(|n| {
                let queue = config.queue.unwrap_or(DEFAULT_QUEUE);
                Slots::new(n as usize, queue as usize, limits.queue_timeout)
            }),
            asking: Mutex::default(),
            seen: RwLock::default(),
        };
        provider.list_uri = provider.at(kind.list_path())?;
        provider.chat_uri = provider.uri(Operation::Generate, Format::Chat, "", false).ok().flatten();
        Ok(provider)
    }

    pub(super) fn list_uri(&self) -> &Uri {
        &self.list_uri
    }

    /// Where a call goes; none where the provider has no such operation.
    pub(crate) fn uri(
        &self,
        operation: Operation,
        format: Format,
        model: &str,
        stream: bool,
    ) -> Result<Option<Uri>, GatewayError> {
        if let Some(uri) = self
            .chat_uri
            .as_ref()
            .filter(|_| operation == Operation::Generate && format == Format::Chat && self.kind != ProviderKind::Gemini)
        {
            return Ok(Some(uri.clone()));
        }
        self.kind.path(operation, format, model, stream).map(|path| self.at(&path)).transpose()
    }

    fn at(&self, path: &str) -> Result<Uri, GatewayError> {
        let below = self.base.path().trim_end_matches('/');
        let mut parts = self.base.clone().into_parts();
        let whole = format!("{below}{path}");
        parts.path_and_query = Some(whole.parse().map_err(|_| wrong(&self.name, "a path of its API is not valid"))?);
        Uri::from_parts(parts).map_err(|_| wrong(&self.name, "its URL cannot be put together"))
    }

    pub(super) fn hint(&self) -> String {
        match self.kind {
            ProviderKind::Ollama => format!("check that Ollama runs and OLLAMA_URL ({}) is right", self.base_url),
            ProviderKind::OpenaiCompatible => format!("check that {} is right and its key is set", self.base_url),
            kind => format!("check {} and the way to the internet", kind.settings()),
        }
    }
}

fn headers(config: &ProviderConfig) -> Result<HeaderMap, GatewayError> {
    let mut headers = HeaderMap::new();
    let secret = |text: &str| {
        let mut value =
            HeaderValue::from_str(text).map_err(|_| wrong(&config.name, "a header or key holds bad bytes"))?;
        value.set_sensitive(true);
        Ok::<_, GatewayError>(value)
    };
    if let Some(key) = config.api_key.as_ref().filter(|k| !k.is_empty()) {
        let (name, before) = config.kind.credential();
        headers.insert(name, secret(&format!("{before}{}", key.expose()))?);
    }
    if config.kind == ProviderKind::Anthropic {
        let name = HeaderName::from_static("anthropic-version");
        headers.insert(name, HeaderValue::from_static(ANTHROPIC_VERSION));
    }
    for (name, value) in &config.headers {
        let parsed: HeaderName =
            name.parse().map_err(|_| wrong(&config.name, format!("{name:?} is not a header name")))?;
        if HOP_HEADERS.contains(&parsed.as_str()) {
            return Err(wrong(
                &config.name,
                format!("the header {name:?} belongs to the connection and cannot be set"),
            ));
        }
        headers.insert(parsed, secret(value.expose())?);
    }
    Ok(headers)
}

/// Headers that the connection sets.
const HOP_HEADERS: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "accept-encoding"];

impl ProviderConfig {
    /// Whether nothing that matters differs.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let key = |c: &Self| c.api_key.as_ref().map(|k| k.expose().to_owned());
        let headers = |c: &Self| c.headers.iter().map(|(n, v)| (n.clone(), v.expose().to_owned())).collect::<Vec<_>>();
        let plain = |c: &Self| {
            let timeouts = (c.connect_timeout, c.first_byte_timeout, c.idle_timeout);
            (c.name.clone(), c.kind, c.base_url.clone(), c.allow_link_local, c.max_concurrency, c.queue, timeouts)
        };
        plain(self) == plain(other) && key(self) == key(other) && headers(self) == headers(other)
    }
}
