//! Settings from the environment. docs/configuration.md describes each; a wrong value is an error that names it.

mod environment;
mod file;
mod spec;

pub(crate) use spec::{AliasSpec, KINDS, ProviderSpec, Source, default_base_url};

use anyhow::{Context, Result, bail};
use file::GatewayFile;
use image::ImagesConfig;
use std::{
    env,
    net::SocketAddr,
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
    /// The model gateway.
    pub(crate) gateway: GatewayConfig,
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

/// Where the gateway's providers, aliases and prices are configured.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// The configuration file.
    pub(crate) file: Option<PathBuf>,
    /// Whether providers of the environment are used too.
    pub(crate) environment: bool,
}

/// Settings of the model gateway, apart from what is saved in the store.
#[derive(Clone)]
pub(crate) struct GatewayConfig {
    /// Where these were read, to read them again.
    pub(crate) sources: Sources,
    /// Providers of models.
    pub(crate) providers: Vec<ProviderSpec>,
    /// Names for ordered lists of models.
    pub(crate) aliases: Vec<AliasSpec>,
    /// Prices that stand beside the table of the program.
    pub(crate) prices: Option<PathBuf>,
    /// How durable the begun record of a model call is.
    pub(crate) call_durability: Durability,
    /// Whether metrics need no token.
    pub(crate) metrics_public: bool,
    /// Whether a collector of traces is named.
    pub(crate) otlp: bool,
}

impl GatewayConfig {
    /// Reads the file and the environment. A provider of the file stands before one of the environment by its name.
    pub(crate) fn read(sources: Sources) -> Result<Self> {
        let file = sources.file.as_deref().map(|path| GatewayFile::read(path, &|name| var(name))).transpose()?;
        let mut providers = file.as_ref().map(|f| f.providers.clone()).unwrap_or_default();
        if sources.environment {
            // Other programs' variables need not be text.
            let texts = env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
            let all = environment::providers(texts)?;
            let more =
                all.into_iter().filter(|p| file.as_ref().is_none_or(|f| f.providers.iter().all(|o| o.name != p.name)));
            providers.extend(more.collect::<Vec<_>>());
        }
        let durability = var("TASKFORGE_CALL_DURABILITY").map(|text| {
            Durability::parse(&text)
                .with_context(|| format!("TASKFORGE_CALL_DURABILITY is {text:?}; it must be process or power"))
        });
        let metrics = var("TASKFORGE_METRICS_PUBLIC").map(|text| match text.as_str() {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(anyhow::anyhow!("TASKFORGE_METRICS_PUBLIC is {text:?}; it must be 1 or 0")),
        });
        let prices = var("TASKFORGE_PRICES").map(PathBuf::from);
        Ok(Self {
            providers,
            aliases: file.as_ref().map(|f| f.aliases.clone()).unwrap_or_default(),
            prices: prices.or_else(|| file.as_ref().and_then(|f| f.prices.clone())),
            call_durability: durability
                .transpose()?
                .or(file.as_ref().and_then(|f| f.durability))
                .unwrap_or(Durability::Process),
            metrics_public: metrics.transpose()?.or(file.as_ref().and_then(|f| f.metrics_public)).unwrap_or(false),
            otlp: ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
                .iter()
                .any(|n| var(n).is_some()),
            sources,
        })
    }

    /// The path of the file, for people.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.sources.file.as_deref()
    }
}

/// Reads an address to listen on.
pub(crate) fn address(listen: &str) -> Result<SocketAddr> {
    listen
        .parse()
        .with_context(|| format!("cannot listen on {listen:?}: give an address and a port, like {DEFAULT_LISTEN}"))
}

/// Further host names that the API answers to.
pub(crate) fn allowed_hosts() -> Vec<String> {
    let hosts = var("TASKFORGE_ALLOWED_HOSTS").unwrap_or_default();
    hosts.split(',').map(str::trim).filter(|h| !h.is_empty()).map(str::to_owned).collect()
}

impl Config {
    /// Reads the environment.
    pub(crate) fn from_env(data_dir: PathBuf, listen: &str) -> Result<Self> {
        let sources = Sources { file: var("TASKFORGE_CONFIG").map(PathBuf::from), environment: true };
        Ok(Self {
            data_dir,
            listen: address(listen)?,
            allowed_hosts: allowed_hosts(),
            docker_host: var("TASKFORGE_DOCKER_HOST").or_else(|| var("DOCKER_HOST")),
            gateway: GatewayConfig::read(sources)?,
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
