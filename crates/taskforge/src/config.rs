//! Settings from the environment. docs/configuration.md describes each; a wrong value is an error that names it.

use anyhow::{Context, Result, bail};
use gateway::{Secret, UpstreamConfig, UpstreamKind};
use image::ImagesConfig;
use std::{
    env,
    net::{SocketAddr, ToSocketAddrs},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};
use store::Durability;

/// Where the server listens unless told otherwise.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:8000";
/// Seconds that a request may wait: up to a year.
const REQUEST_TTL_S: RangeInclusive<u64> = 1..=365 * 24 * 3600;
/// Agents at once: with none nothing would ever run.
const MAX_AGENTS: RangeInclusive<usize> = 1..=10_000;

/// Settings of the server.
pub(crate) struct Config {
    /// The folder that holds everything.
    pub(crate) data_dir: PathBuf,
    /// Where the API listens.
    pub(crate) listen: SocketAddr,
    /// Further host names that the API answers to.
    pub(crate) allowed_hosts: Vec<String>,
    /// The Docker endpoint; none: Docker's own default.
    pub(crate) docker_host: Option<String>,
    /// Providers of models.
    pub(crate) upstreams: Vec<UpstreamConfig>,
    /// How durable the begun record of a model call is.
    pub(crate) call_durability: Durability,
    /// How long an undecided request waits.
    pub(crate) request_ttl: Duration,
    /// Agents that may run at once.
    pub(crate) max_agents: usize,
    /// Whether the base image is made when the server starts, and not only when a task needs it.
    pub(crate) bootstrap_at_start: bool,
    /// The supervisor binary, if not the embedded one.
    pub(crate) supervisor: Option<PathBuf>,
}

fn var(name: &str) -> Option<String> {
    env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}

fn number<T>(name: &str, default: T, bounds: RangeInclusive<T>) -> Result<T>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let Some(text) = var(name) else { return Ok(default) };
    let (least, most) = (bounds.start(), bounds.end());
    let found = text.parse().ok().filter(|n| bounds.contains(n));
    found.with_context(|| format!("{name} is {text:?}; it must be a whole number from {least} to {most}"))
}

impl Config {
    /// Reads the environment.
    pub(crate) fn from_env(data_dir: PathBuf, listen: &str) -> Result<Self> {
        let listen: SocketAddr = listen.parse().with_context(|| {
            format!("cannot listen on {listen:?}: give an address and a port, like {DEFAULT_LISTEN}")
        })?;
        let durability = var("TASKFORGE_CALL_DURABILITY").unwrap_or_else(|| "process".to_owned());
        let hosts = var("TASKFORGE_ALLOWED_HOSTS").unwrap_or_default();
        Ok(Self {
            data_dir,
            listen,
            allowed_hosts: hosts.split(',').map(str::trim).filter(|h| !h.is_empty()).map(str::to_owned).collect(),
            docker_host: var("TASKFORGE_DOCKER_HOST").or_else(|| var("DOCKER_HOST")),
            upstreams: upstreams()?,
            call_durability: Durability::parse(&durability)
                .with_context(|| format!("TASKFORGE_CALL_DURABILITY is {durability:?}; it must be process or power"))?,
            request_ttl: Duration::from_secs(number(
                "TASKFORGE_REQUEST_TTL_S",
                domain::request::DEFAULT_REQUEST_TTL_S,
                REQUEST_TTL_S,
            )?),
            max_agents: number("TASKFORGE_MAX_AGENTS", 64, MAX_AGENTS)?,
            bootstrap_at_start: bootstrap_at_start()?,
            supervisor: var("TASKFORGE_SUPERVISOR").map(PathBuf::from),
        })
    }
}

/// Settings of images and packages, for a data directory.
pub(crate) fn images(data_dir: &Path) -> ImagesConfig {
    let mut c = ImagesConfig::new(data_dir);
    let r = &mut c.registries;
    for (name, place) in [
        ("TASKFORGE_PYPI_URL", &mut r.pypi),
        ("TASKFORGE_NPM_URL", &mut r.npm),
        ("TASKFORGE_DEBIAN_URL", &mut r.debian),
        ("TASKFORGE_DEBIAN_SECURITY_URL", &mut r.debian_security),
        ("TASKFORGE_ROOTFS_IMAGE", &mut c.rootfs_image),
    ] {
        if let Some(value) = var(name) {
            *place = value;
        }
    }
    if let Some(hosts) = var("TASKFORGE_PYPI_FILE_HOSTS") {
        c.registries.pypi_files = hosts.split(',').map(|h| h.trim().to_owned()).collect();
    }
    c.ca_bundle = var("TASKFORGE_CA_BUNDLE").map(PathBuf::from);
    c
}

/// Whether the server makes the base image when it starts.
pub(crate) fn bootstrap_at_start() -> Result<bool> {
    match var("TASKFORGE_BOOTSTRAP").as_deref() {
        None | Some("start") => Ok(true),
        Some("task") => Ok(false),
        Some(other) => bail!("TASKFORGE_BOOTSTRAP is {other:?}; it must be start or task"),
    }
}

/// The providers that the environment names.
fn upstreams() -> Result<Vec<UpstreamConfig>> {
    let mut found = Vec::new();
    let key = |name: &str| var(name).map(|k| Secret::new(&k));
    if var("OPENAI_API_KEY").is_some() || var("OPENAI_BASE_URL").is_some() {
        let url = var("OPENAI_BASE_URL").unwrap_or_else(|| "https://api.openai.com/v1".to_owned());
        found.push(upstream("openai", UpstreamKind::Openai, &url, key("OPENAI_API_KEY")));
    }
    if let Some(url) = var("OLLAMA_URL") {
        found.push(upstream("ollama", UpstreamKind::Ollama, &url, None));
    }
    for (name, url) in env::vars() {
        let Some(id) = name.strip_prefix("TASKFORGE_UPSTREAM_").and_then(|n| n.strip_suffix("_URL")) else { continue };
        let lower = id.to_ascii_lowercase().replace('_', "-");
        if lower.is_empty() || found.iter().any(|u| u.name == lower) {
            bail!("{name} names the provider {lower:?}, which is empty or already there");
        }
        let secret = key(&format!("TASKFORGE_UPSTREAM_{id}_KEY"));
        found.push(upstream(&lower, UpstreamKind::OpenaiCompatible, &url, secret));
    }
    Ok(found)
}

fn upstream(name: &str, kind: UpstreamKind, url: &str, api_key: Option<Secret>) -> UpstreamConfig {
    UpstreamConfig { name: name.to_owned(), kind, base_url: reachable(url), api_key, headers: Vec::new() }
}

/// `host.docker.internal` means this machine where it does not resolve: outside Docker Desktop it rarely does.
fn reachable(url: &str) -> String {
    const NAME: &str = "host.docker.internal";
    if url.contains(NAME) && (NAME, 80).to_socket_addrs().is_err() {
        url.replace(NAME, "127.0.0.1")
    } else {
        url.to_owned()
    }
}
