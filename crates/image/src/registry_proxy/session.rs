//! One resolution's view of the registries: what it may ask, how often, and what it learnt.

use super::{Lookup, LookupFn, PYPI_JSON, Trouble};
use crate::{
    Registries, ResolveLimits,
    packages::{Expected, PackageStore, PutError, Stored},
    pip, spec,
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Response, StatusCode, header},
};
use domain::{ids::TaskId, request::Ecosystem};
use futures::StreamExt;
use reqwest::Url;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

/// Redirects followed in a row.
const MAX_REDIRECTS: u32 = 5;
/// Attempts for one page that a connection error cut short.
const ATTEMPTS: u32 = 3;

/// What an index says about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFact {
    /// Its name.
    pub file_name: String,
    /// Where it is.
    pub url: Url,
    /// SHA-256 in hexadecimal, where the index says it.
    pub sha256: Option<String>,
    /// When it was uploaded.
    pub uploaded_at: Option<String>,
    /// Whether its metadata lies beside it (PEP 658).
    pub has_metadata: bool,
}

/// One resolution.
pub struct Session {
    pub(crate) task: TaskId,
    pub(crate) registries: Registries,
    pub(crate) limits: ResolveLimits,
    pub(crate) http: reqwest::Client,
    pub(crate) packages: PackageStore,
    pub(crate) lookup: LookupFn,
    /// Takes one lookup from the task's hour; false when none is left.
    pub(crate) take_hourly: Box<dyn Fn() -> bool + Send + Sync>,
    pub(crate) state: SessionState,
}

/// What a session learnt.
#[derive(Debug, Default)]
pub(crate) struct SessionState {
    count: AtomicU32,
    files: Mutex<Vec<FileFact>>,
    metadata: Mutex<BTreeMap<String, Bytes>>,
    npm_times: Mutex<BTreeMap<(String, String), String>>,
    troubles: Mutex<Vec<Trouble>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Lookups so far.
    pub fn lookups(&self) -> u32 {
        self.state.count.load(Ordering::Relaxed)
    }

    /// What went wrong so far.
    pub fn troubles(&self) -> Vec<Trouble> {
        lock(&self.state.troubles).clone()
    }

    /// The Python files that the index pages of this session named.
    pub fn python_files(&self) -> Vec<FileFact> {
        lock(&self.state.files).clone()
    }

    /// When a version was published, if its page was read.
    pub fn npm_time(&self, name: &str, version: &str) -> Option<String> {
        lock(&self.state.npm_times).get(&(name.to_owned(), version.to_owned())).cloned()
    }

    pub(super) fn remember(&self, trouble: Trouble) {
        lock(&self.state.troubles).push(trouble);
    }

    /// Counts, reports and then sends one request; follows redirects to configured hosts, each a lookup of its own.
    async fn send(
        &self,
        ecosystem: Ecosystem,
        method: &'static str,
        url: &Url,
        headers: HeaderMap,
    ) -> Result<reqwest::Response, Trouble> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            self.admit(ecosystem, method, &url).await?;
            let verb = if method == "HEAD" { reqwest::Method::HEAD } else { reqwest::Method::GET };
            let response = self
                .http
                .request(verb, url.clone())
                .headers(headers.clone())
                .send()
                .await
                .map_err(|e| network(ecosystem, &url, &e))?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return Ok(response);
            }
            let target = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
            url = target
                .and_then(|t| url.join(t).ok())
                .ok_or_else(|| Trouble::Network { ecosystem, detail: format!("{url} redirects to nowhere") })?;
        }
        Err(Trouble::Network { ecosystem, detail: format!("{url} redirects more than {MAX_REDIRECTS} times") })
    }

    async fn admit(&self, ecosystem: Ecosystem, method: &'static str, url: &Url) -> Result<(), Trouble> {
        if !self.is_allowed(ecosystem, url) {
            return Err(Trouble::Network { ecosystem, detail: format!("{url} is not on a configured registry") });
        }
        if self.state.count.fetch_add(1, Ordering::Relaxed) >= self.limits.lookups_per_request {
            let what = format!("more than {} lookups for one request", self.limits.lookups_per_request);
            return Err(Trouble::TooLarge { what });
        }
        if !(self.take_hourly)() {
            let what = format!("more than {} lookups of this task in an hour", self.limits.lookups_per_task_hour);
            return Err(Trouble::TooLarge { what });
        }
        let lookup = Lookup { task: self.task, ecosystem, method, url: url.to_string() };
        (self.lookup)(lookup).await.map_err(|reason| Trouble::Refused { reason })
    }

    /// Whether a URL is on the host (and scheme and port) of the ecosystem's registry, or on a configured file host.
    fn is_allowed(&self, ecosystem: Ecosystem, url: &Url) -> bool {
        let bases: &[&str] = match ecosystem {
            Ecosystem::Pip => &[&self.registries.pypi],
            Ecosystem::Npm => &[&self.registries.npm],
            Ecosystem::Apt => &[&self.registries.debian, &self.registries.debian_security],
        };
        let same = |base: &&str| Url::parse(base).is_ok_and(|b| b.origin() == url.origin());
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let file_host = ecosystem == Ecosystem::Pip
            && url.scheme() == "https"
            && url.port().is_none()
            && url.host_str().is_some_and(|h| self.registries.pypi_files.iter().any(|f| f == h));
        plain && (bases.iter().any(same) || file_host)
    }

    /// Reads a whole small answer.
    async fn page(
        &self,
        ecosystem: Ecosystem,
        url: &Url,
        accept: &'static str,
        name: &str,
    ) -> Result<(Bytes, String), Trouble> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match self.page_once(ecosystem, url, accept, name).await {
                Err(trouble @ Trouble::Network { .. }) => last = Some(trouble),
                other => return other,
            }
        }
        Err(last.unwrap_or(Trouble::NoRoute))
    }

    async fn page_once(
        &self,
        ecosystem: Ecosystem,
        url: &Url,
        accept: &'static str,
        name: &str,
    ) -> Result<(Bytes, String), Trouble> {
        let headers = HeaderMap::from_iter([(header::ACCEPT, header::HeaderValue::from_static(accept))]);
        let response = self.send(ecosystem, "GET", url, headers).await?;
        check_status(ecosystem, url, name, response.status())?;
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|k| k.to_str().ok()).unwrap_or_default();
        let kind = kind.to_owned();
        let (mut body, mut stream) = (Vec::new(), response.bytes_stream());
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| network(ecosystem, url, &e))?;
            if (body.len() + chunk.len()) as u64 > self.limits.index_bytes {
                return Err(Trouble::TooLarge { what: format!("{name}: its index page is larger than allowed") });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((body.into(), kind))
    }

    /// A simple index page in our own words: its files come from this proxy.
    pub(super) async fn pypi_page(&self, name: &str) -> Result<Bytes, Trouble> {
        let ecosystem = Ecosystem::Pip;
        let name = spec::pip_name(name).ok_or(Trouble::NoRoute)?;
        let url = base(ecosystem, &self.registries.pypi, &format!("{name}/"))?;
        const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.1";
        let (body, kind) = self.page(ecosystem, &url, ACCEPT, &name).await?;
        let page = pip::read_index(&body, kind.starts_with(PYPI_JSON), &url)
            .map_err(|detail| Trouble::Network { ecosystem, detail })?;
        let mut files = lock(&self.state.files);
        let start = files.len();
        files.extend(page.iter().map(|f| f.fact.clone()));
        Ok(pip::write_index(&name, &page, start).into())
    }

    /// `<number>/<file name>`, or its metadata beside it.
    pub(super) async fn pypi_file(&self, path: &str) -> Result<Bytes, Trouble> {
        let ecosystem = Ecosystem::Pip;
        let (number, name) = path.split_once('/').ok_or(Trouble::NoRoute)?;
        let fact = number.parse().ok().and_then(|n: usize| lock(&self.state.files).get(n).cloned());
        let fact = fact.ok_or(Trouble::NoRoute)?;
        if name.ends_with(".metadata") {
            return self.pypi_metadata(&fact).await;
        }
        let sha256 = fact.sha256.clone().ok_or(Trouble::NoRoute)?;
        let stored = self.fetch(ecosystem, &fact.url, &Expected::Sha256(sha256)).await?;
        let read = tokio::fs::read(self.packages.path(&stored.sha256)).await;
        read.map(Bytes::from).map_err(|e| Trouble::Network { ecosystem, detail: e.to_string() })
    }

    /// The metadata of a wheel, fetched once.
    async fn pypi_metadata(&self, fact: &FileFact) -> Result<Bytes, Trouble> {
        let mut url = fact.url.clone();
        url.set_path(&format!("{}.metadata", fact.url.path()));
        if let Some(known) = lock(&self.state.metadata).get(url.as_str()) {
            return Ok(known.clone());
        }
        let (body, _) = self.page(Ecosystem::Pip, &url, "*/*", &fact.file_name).await?;
        lock(&self.state.metadata).insert(url.to_string(), body.clone());
        Ok(body)
    }

    /// A package's page, with the parts that npm needs to decide and nothing else.
    pub(super) async fn npm_page(&self, path: &str) -> Result<Bytes, Trouble> {
        let ecosystem = Ecosystem::Npm;
        let name = path.replace("%2f", "/").replace("%2F", "/").replace("%40", "@");
        if !is_npm_path(&name) {
            return Err(Trouble::NoRoute);
        }
        let url = base(ecosystem, &self.registries.npm, &name.replace('/', "%2f"))?;
        let (body, _) = self.page(ecosystem, &url, "application/json", &name).await?;
        let (page, times) =
            crate::npm::trim_page(&name, &body).map_err(|detail| Trouble::Network { ecosystem, detail })?;
        lock(&self.state.npm_times).extend(times.into_iter().map(|(v, t)| ((name.clone(), v), t)));
        Ok(page.into())
    }

    /// A file of a Debian archive, passed on as it comes.
    pub(super) async fn debian(
        &self,
        method: &'static str,
        archive: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Trouble> {
        let ecosystem = Ecosystem::Apt;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | '~' | '%' | ':');
        if path.contains("..") || !path.chars().all(plain) {
            return Err(Trouble::NoRoute);
        }
        let root = if archive == "debian" { &self.registries.debian } else { &self.registries.debian_security };
        let url = base(ecosystem, root, path)?;
        let kept = [header::RANGE, header::IF_RANGE, header::IF_MODIFIED_SINCE];
        let pass = kept.into_iter().filter_map(|name| headers.get(&name).map(|v| (name, v.clone())));
        let response = self.send(ecosystem, method, &url, pass.collect()).await?;
        let limit = self.limits.index_bytes;
        if response.content_length().is_some_and(|n| n > limit) {
            return Err(Trouble::TooLarge { what: format!("{path} is larger than {limit} bytes") });
        }
        let mut answer = Response::builder().status(response.status());
        for name in [header::CONTENT_LENGTH, header::LAST_MODIFIED, header::CONTENT_RANGE, header::ACCEPT_RANGES] {
            if let Some(value) = response.headers().get(&name) {
                answer = answer.header(name, value);
            }
        }
        let mut sent = 0_u64;
        let body = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(std::io::Error::other)?;
            sent += chunk.len() as u64;
            if sent > limit { Err(std::io::Error::other("larger than allowed")) } else { Ok(chunk) }
        });
        answer.body(Body::from_stream(body)).map_err(|e| Trouble::Network { ecosystem, detail: e.to_string() })
    }

    /// Downloads a package file into the store, unless it is there.
    pub async fn fetch(&self, ecosystem: Ecosystem, url: &Url, expected: &Expected) -> Result<Stored, Trouble> {
        if let Some(stored) = self.packages.find(expected).await {
            return Ok(stored);
        }
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let response = match self.send(ecosystem, "GET", url, HeaderMap::new()).await {
                Ok(response) => response,
                Err(trouble @ Trouble::Network { .. }) => {
                    last = Some(trouble);
                    continue;
                }
                Err(other) => return Err(other),
            };
            check_status(ecosystem, url, url.path(), response.status())?;
            match self.packages.put(expected, self.limits.file_bytes, response.bytes_stream()).await {
                Ok(stored) => return Ok(stored),
                Err(PutError::TooLarge { limit }) => {
                    return Err(Trouble::TooLarge { what: format!("{url} is larger than {limit} bytes") });
                }
                Err(error @ (PutError::Hash | PutError::Transfer(_) | PutError::Store(_))) => {
                    last = Some(Trouble::Network { ecosystem, detail: format!("{url}: {error}") });
                }
            }
        }
        Err(last.unwrap_or(Trouble::NoRoute))
    }
}

/// npm's own names include old ones with capitals; a path has at most one slash, after a scope.
fn is_npm_path(name: &str) -> bool {
    let part = |p: &str| {
        !p.is_empty()
            && !p.starts_with('.')
            && p.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~'))
    };
    match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, rest)| part(scope) && part(rest)),
        None => part(name),
    }
}

fn base(ecosystem: Ecosystem, root: &str, path: &str) -> Result<Url, Trouble> {
    Url::parse(&format!("{}/{path}", root.trim_end_matches('/')))
        .map_err(|e| Trouble::Network { ecosystem, detail: format!("the registry's address {root:?} is wrong: {e}") })
}

fn check_status(ecosystem: Ecosystem, url: &Url, name: &str, status: StatusCode) -> Result<(), Trouble> {
    match status {
        s if s.is_success() => Ok(()),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(Trouble::Missing { ecosystem, name: name.to_owned() }),
        other => Err(Trouble::Network { ecosystem, detail: format!("{url} answered {other}") }),
    }
}

fn network(ecosystem: Ecosystem, url: &Url, error: &reqwest::Error) -> Trouble {
    let mut detail = format!("{url}: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(next) = source {
        detail = format!("{detail}: {next}");
        source = next.source();
    }
    Trouble::Network { ecosystem, detail }
}
