//! Images: what agents start in, what a request would add, and what an approval builds.
//!
//! Owns the base and resolver images ([`base`]), the package store ([`packages`]), resolving ([`resolve`]) through the
//! registry proxy ([`registry_proxy`]), and offline builds ([`build`]).
//!
//! Invariants:
//! - A candidate is bytes: every artefact has a SHA-256, the bytes are in the package store before the candidate is
//!   returned, and a build takes them from there and checks them again.
//! - No package code runs while resolving: wheels only, install scripts off, `apt` only simulates.
//! - Resolving reaches only the configured registries, through one proxy that reports each lookup before it leaves.
//! - A build has no network. Its Dockerfile names the hash of the whole set, so a build cache cannot serve another one.
//! - No text of an agent reaches a shell, a Dockerfile or a command line before it passed [`spec`].
//! - Images of this installation carry its label; only those are ever removed. The build cache knows no labels: `cache`
//!   removes only records that are known to be a build's own.
//!
//! It knows no database, no workflow and no person.

/// Marks a place next to an outside effect where the crash suite can stop the process.
macro_rules! crash_point {
    ($name:literal) => {
        fail::fail_point!($name)
    };
}

pub mod archive;
pub mod base;
pub mod build;
mod cache;
pub mod dockerfile;
pub mod engine;
pub mod error;
pub mod inventory;
pub mod npm;
pub mod packages;
pub mod pip;
pub mod prune;
pub mod registry_proxy;
pub mod resolve;
pub(crate) mod resolver;
pub mod spec;

pub use base::{BaseImage, Bases};
pub use build::{BuildInput, BuiltImage};
pub use error::{BuildError, ImageError, ResolveError};
pub use prune::{ImageRecord, Keep, Pruned, Unneeded};
pub use registry_proxy::{Lookup, LookupFn};
pub use resolve::{ResolveInput, Resolved};

use domain::ids::TaskId;
use sandbox::Docker;
use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio_util::task::TaskTracker;

/// Every failpoint of this crate, for the crash suite: a point that is never hit fails it.
pub const FAILPOINTS: &[&str] = &[
    "image.base.before",
    "image.base.after",
    "image.resolver.before",
    "image.resolver.after",
    "image.package_store.before",
    "image.package_store.after",
    "image.build.before",
    "image.build.after",
    "image.remove.before",
    "image.remove.after",
];

/// How many builds and resolutions run at once; others wait.
pub const MAX_PARALLEL: usize = 2;

/// Where packages come from. Each is a base URL; nothing else is ever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registries {
    /// A simple index (PEP 503, PEP 691).
    pub pypi: String,
    /// Hosts beside the index's own that its files may lie on.
    pub pypi_files: Vec<String>,
    /// An npm registry.
    pub npm: String,
    /// A Debian mirror.
    pub debian: String,
    /// Debian's security archive.
    pub debian_security: String,
}

impl Default for Registries {
    fn default() -> Self {
        Self {
            pypi: "https://pypi.org/simple".into(),
            pypi_files: vec!["files.pythonhosted.org".into()],
            npm: "https://registry.npmjs.org".into(),
            debian: "http://deb.debian.org/debian".into(),
            debian_security: "http://deb.debian.org/debian-security".into(),
        }
    }
}

/// Bounds of resolving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveLimits {
    /// Lookups of one request.
    pub lookups_per_request: u32,
    /// Lookups of one task within an hour.
    pub lookups_per_task_hour: u32,
    /// Bytes of one index page or package description.
    pub index_bytes: u64,
    /// Bytes of one package file.
    pub file_bytes: u64,
    /// Bytes of all new files of one request.
    pub request_bytes: u64,
    /// How many files a request may add.
    pub artefacts: usize,
    /// How long resolving one request may take.
    pub time: Duration,
}

impl Default for ResolveLimits {
    fn default() -> Self {
        Self {
            lookups_per_request: 3_000,
            lookups_per_task_hour: 10_000,
            index_bytes: 128 << 20,
            file_bytes: 1 << 30,
            request_bytes: 4 << 30,
            artefacts: 1_000,
            time: Duration::from_secs(600),
        }
    }
}

/// Settings of this crate.
#[derive(Debug, Clone)]
pub struct ImagesConfig {
    /// The data directory: `packages/` and `run/` below it are used.
    pub data_dir: PathBuf,
    /// Where packages come from.
    pub registries: Registries,
    /// A PEM file of certificate authorities for builds of the base image; the host's own bundle without it.
    pub ca_bundle: Option<PathBuf>,
    /// The Debian image that is pulled where a registry answers.
    pub rootfs_image: String,
    /// Bounds of resolving.
    pub limits: ResolveLimits,
    /// How long one build may take.
    pub build_time: Duration,
}

impl ImagesConfig {
    /// The defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            registries: Registries::default(),
            ca_bundle: None,
            rootfs_image: "debian:bookworm-slim".into(),
            limits: ResolveLimits::default(),
            build_time: Duration::from_secs(1800),
        }
    }
}

/// All images of one installation. A cheap handle.
#[derive(Debug, Clone)]
pub struct Images {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) docker: Docker,
    pub(crate) config: ImagesConfig,
    pub(crate) packages: packages::PackageStore,
    pub(crate) http: reqwest::Client,
    pub(crate) slots: Semaphore,
    pub(crate) bootstrap: Mutex<()>,
    /// The newest line of the bootstrapping that is under way, for those who wait for it.
    pub(crate) progress: watch::Sender<String>,
    pub(crate) budgets: std::sync::Mutex<HashMap<TaskId, registry_proxy::HourBudget>>,
    /// Owns clean-ups that outlive a cancelled call.
    pub(crate) cleanups: TaskTracker,
}

impl Images {
    /// The images of `docker`'s installation. Makes no connection.
    pub fn new(docker: Docker, config: ImagesConfig) -> Result<Self, ImageError> {
        let http = registry_proxy::http_client(config.ca_bundle.as_deref())?;
        let packages = packages::PackageStore::new(config.data_dir.join("packages"));
        let shared = Shared {
            docker,
            config,
            packages,
            http,
            slots: Semaphore::new(MAX_PARALLEL),
            bootstrap: Mutex::new(()),
            progress: watch::Sender::default(),
            budgets: std::sync::Mutex::default(),
            cleanups: TaskTracker::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The package store.
    pub fn packages(&self) -> &packages::PackageStore {
        &self.shared.packages
    }

    /// Waits for the clean-ups of cancelled calls. Call it last.
    pub async fn shutdown(&self) {
        self.shared.cleanups.close();
        self.shared.cleanups.wait().await;
    }
}
