//! The connection to the Docker Engine: address, version, time limits, labels.
//!
//! Connects at the first call and not before, so that a server can start, and say what is wrong, while Docker is down.

use crate::error::Error;
use bollard::ClientVersion;
use domain::ids::{InstallationId, TaskId};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, env, future::Future, sync::Arc, time::Duration};
use tokio::sync::OnceCell;

/// How long one call of the Engine may take unless it says otherwise.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long starting, stopping and removing may take on a loaded machine.
pub const SLOW_CALL_TIMEOUT: Duration = Duration::from_secs(180);
/// How long the first answer may take.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest call: a large volume or image that goes into the Engine. The client itself cuts nothing off earlier;
/// each call has its own limit.
pub const LONGEST_CALL: Duration = Duration::from_secs(3600);
/// The Engine's address where nothing else is configured.
pub const DEFAULT_ENDPOINT: &str = "unix:///var/run/docker.sock";
/// The newest API that we speak. The oldest is that of Engine 20.10; the Engine's own is used when it is between.
const API_NEWEST: ClientVersion = ClientVersion { major_version: 1, minor_version: 48 };

/// Label: the installation that owns the object.
pub const LABEL_INSTALLATION: &str = "dev.taskforge.installation";
/// Label: the task that the object serves.
pub const LABEL_TASK: &str = "dev.taskforge.task";
/// Label: what the object is, see [`Kind`].
pub const LABEL_KIND: &str = "dev.taskforge.kind";
/// Label: the run of the task.
pub const LABEL_RUN: &str = "dev.taskforge.run";
/// Label: the iteration of the run.
pub const LABEL_ITERATION: &str = "dev.taskforge.iteration";

/// What one of our Docker objects is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A sandbox with an agent.
    Agent,
    /// A container that looks packages up.
    Resolver,
    /// A never-started container through which files pass.
    Helper,
    /// A container or image of a build.
    Builder,
    /// The base image.
    Base,
    /// An image made for a task.
    TaskImage,
    /// A workspace volume.
    Workspace,
    /// An agent state volume.
    State,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Agent,
        Self::Resolver,
        Self::Helper,
        Self::Builder,
        Self::Base,
        Self::TaskImage,
        Self::Workspace,
        Self::State,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Resolver => "resolver",
            Self::Helper => "helper",
            Self::Builder => "builder",
            Self::Base => "base",
            Self::TaskImage => "task-image",
            Self::Workspace => "workspace",
            Self::State => "state",
        }
    }

    /// Reads a label's value.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == text)
    }
}

/// A cheap handle of one Engine, for one installation.
#[derive(Clone)]
pub struct Docker {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: String,
    installation: InstallationId,
    client: OnceCell<bollard::Docker>,
}

/// What the Engine says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// Where it answers.
    pub endpoint: String,
    /// Its version.
    pub version: String,
    /// The API version in use.
    pub api_version: String,
    /// Its storage driver.
    pub storage_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// Where it keeps its data, on its own host.
    pub root_dir: String,
    /// Runtimes by name.
    pub runtimes: Vec<String>,
    /// The runtime that is used unless a container names one.
    pub default_runtime: String,
    /// Whether its seccomp profile is in force.
    pub seccomp: Seccomp,
    /// CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Whether memory, swap, CPU and pids limits are enforced; what is not, by name.
    pub missing_limits: Vec<String>,
    /// Kernel and operating system.
    pub host: String,
    /// What the Engine warns of.
    pub warnings: Vec<String>,
}

/// The Engine's seccomp state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// The Engine's default profile.
    Default,
    /// A profile that the Engine's administrator chose.
    Custom(String),
    /// None: every system call is open.
    Off,
}

impl std::fmt::Debug for Docker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Docker")
            .field("endpoint", &self.shared.endpoint)
            .field("installation", &self.shared.installation)
            .finish_non_exhaustive()
    }
}

impl Docker {
    /// A handle for `endpoint`, else `TASKFORGE_DOCKER_HOST`, else `DOCKER_HOST`, else the default socket. Does not
    /// connect; [`Docker::ping`] does.
    pub fn connect(endpoint: Option<&str>, installation: InstallationId) -> Result<Self, Error> {
        let from_env = |name| env::var(name).ok().filter(|v: &String| !v.is_empty());
        let endpoint = endpoint
            .map(str::to_owned)
            .or_else(|| from_env("TASKFORGE_DOCKER_HOST"))
            .or_else(|| from_env("DOCKER_HOST"))
            .unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        let known = ["unix:///", "tcp://", "http://"];
        if !known.iter().any(|scheme| endpoint.starts_with(scheme) && endpoint.len() > scheme.len()) {
            return Err(Error::Endpoint { endpoint });
        }
        Ok(Self { shared: Arc::new(Shared { endpoint, installation, client: OnceCell::new() }) })
    }

    /// Where the Engine is expected.
    pub fn endpoint(&self) -> &str {
        &self.shared.endpoint
    }

    /// The installation whose objects this handle makes.
    pub fn installation(&self) -> InstallationId {
        self.shared.installation
    }

    /// The client, connected and with the API version agreed. For this crate and `image` only.
    pub async fn client(&self) -> Result<&bollard::Docker, Error> {
        let connect = || async {
            let endpoint = self.endpoint();
            let limit = LONGEST_CALL.as_secs();
            let client = if endpoint.starts_with("unix://") {
                bollard::Docker::connect_with_unix(endpoint, limit, &API_NEWEST)
            } else {
                bollard::Docker::connect_with_http(endpoint, limit, &API_NEWEST)
            };
            let client = client.map_err(|e| Error::engine("connect", endpoint, e))?;
            self.call("connect", PING_TIMEOUT, client.negotiate_version()).await
        };
        self.shared.client.get_or_try_init(connect).await
    }

    /// Runs one call with its time limit and sorts its error.
    pub async fn call<T>(
        &self,
        op: &'static str,
        limit: Duration,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|e| Error::engine(op, self.endpoint(), e)),
            Err(_) => Err(Error::timeout(op, limit)),
        }
    }

    /// Sorts an error that a stream of the client gave.
    pub fn sort_error(&self, op: &'static str, error: bollard::errors::Error) -> Error {
        Error::engine(op, self.endpoint(), error)
    }

    /// Whether the Engine answers now.
    pub async fn ping(&self) -> Result<(), Error> {
        let client = self.client().await?;
        self.call("ping", PING_TIMEOUT, client.ping()).await.map(drop)
    }

    /// What the Engine is and can do.
    pub async fn info(&self) -> Result<EngineInfo, Error> {
        let client = self.client().await?;
        let info = self.call("info", CALL_TIMEOUT, client.info()).await?;
        let security = info.security_options.clone().unwrap_or_default();
        let limits = [("memory", info.memory_limit), ("cpu", info.cpu_cfs_quota), ("pids", info.pids_limit)];
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        Ok(EngineInfo {
            endpoint: self.endpoint().to_owned(),
            version: info.server_version.unwrap_or_default(),
            api_version: client.client_version().to_string(),
            storage_driver: info.driver.unwrap_or_default(),
            cgroup_version: info.cgroup_version.map(|v| v.to_string()).unwrap_or_default(),
            root_dir: info.docker_root_dir.unwrap_or_default(),
            runtimes,
            default_runtime: info.default_runtime.unwrap_or_default(),
            seccomp: seccomp_of(&security),
            cpus: info.ncpu.and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
            memory_bytes: info.mem_total.and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
            missing_limits: limits.iter().filter(|(_, on)| *on != Some(true)).map(|(n, _)| (*n).to_owned()).collect(),
            host: format!("{} {}", info.operating_system.unwrap_or_default(), info.kernel_version.unwrap_or_default()),
            warnings: info.warnings.unwrap_or_default(),
        })
    }

    /// The labels that every object of ours carries.
    pub fn labels(&self, kind: Kind, task: Option<&TaskId>) -> HashMap<String, String> {
        let mut labels = HashMap::from([
            (LABEL_INSTALLATION.to_owned(), self.installation().to_string()),
            (LABEL_KIND.to_owned(), kind.as_str().to_owned()),
        ]);
        if let Some(task) = task {
            labels.insert(LABEL_TASK.to_owned(), task.to_string());
        }
        labels
    }

    /// Whether an object with these labels is ours.
    pub fn owns(&self, labels: &HashMap<String, String>) -> bool {
        labels.get(LABEL_INSTALLATION) == Some(&self.installation().to_string())
    }

    /// The filter that selects our objects, and of them those of `task` when it is given.
    pub fn filter(&self, task: Option<&TaskId>) -> HashMap<String, Vec<String>> {
        let mut labels = vec![format!("{LABEL_INSTALLATION}={}", self.installation())];
        labels.extend(task.map(|t| format!("{LABEL_TASK}={t}")));
        HashMap::from([("label".to_owned(), labels)])
    }

    /// The one name of a task's container; its volumes begin with it.
    pub fn container_name(&self, task: &TaskId) -> String {
        format!("taskforge-{}-{}", self.installation().short(), task.hex())
    }

    /// The name of a task's workspace volume.
    pub fn workspace_volume(&self, task: &TaskId) -> String {
        format!("{}-workspace", self.container_name(task))
    }

    /// The name of a task's agent state volume.
    pub fn state_volume(&self, task: &TaskId) -> String {
        format!("{}-state", self.container_name(task))
    }
}

/// Reads the Engine's list of security options (`name=seccomp,profile=default`, or the bare `seccomp` of old ones).
fn seccomp_of(options: &[String]) -> Seccomp {
    let Some(option) = options.iter().find(|o| o.contains("seccomp")) else { return Seccomp::Off };
    match option.split_once("profile=").map(|(_, p)| p) {
        None | Some("default" | "builtin") => Seccomp::Default,
        Some("unconfined") => Seccomp::Off,
        Some(custom) => Seccomp::Custom(custom.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seccomp_state_is_read_from_each_spelling() {
        let check = |options: &[&str], expect| {
            let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
            assert_eq!(seccomp_of(&options), expect);
        };
        check(&["name=apparmor", "name=seccomp,profile=default"], Seccomp::Default);
        check(&["name=seccomp,profile=builtin", "name=cgroupns"], Seccomp::Default);
        check(&["name=seccomp,profile=unconfined"], Seccomp::Off);
        check(&["name=seccomp,profile=/etc/docker/p.json"], Seccomp::Custom("/etc/docker/p.json".into()));
        check(&["name=rootless"], Seccomp::Off);
    }
}
