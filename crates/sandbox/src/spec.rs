//! What a sandbox is made of. A container is a function of this and nothing else.
//!
//! `/tmp` is mounted without `noexec`: `/workspace` has to allow execution anyway (an agent writes programs and runs
//! them), so `noexec` would close nothing and break build tools that compile into a scratch folder. It stays `nosuid`
//! and `nodev`, and no-new-privileges makes set-uid files powerless everywhere.

use crate::docker::{Docker, Kind, LABEL_ITERATION, LABEL_RUN};
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use domain::{
    ids::{RunId, TaskId},
    task::Limits,
};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

/// The user and group of every process in a sandbox; no host account has it.
pub const UID: u32 = 61_000;
/// The workspace inside.
pub const WORKSPACE: &str = "/workspace";
/// The agent's own state inside.
pub const STATE: &str = "/state";
/// Where the folder of the gateway's socket, the supervisor and the agent's configuration is mounted.
pub const RUN: &str = "/run/taskforge";
/// The home directory inside, on the scratch space.
pub const HOME: &str = "/tmp/home";
/// The address inside that is the gateway outside.
pub const LISTEN: &str = "127.0.0.1:8080";
/// Exit code of the supervisor: the gateway was away for ten minutes, the agent was stopped, resume it.
pub const EXIT_GATEWAY_AWAY: i64 = 75;
/// The host name inside; the real one would tell about the host and end up in prompts.
pub const HOSTNAME: &str = "taskforge";
/// Bytes of the Engine's log per file and the number of files, per container.
pub const LOG_MAX: (&str, &str) = ("16m", "3");
/// Agents are the first to go when the host runs out of memory.
const OOM_SCORE_ADJ: i64 = 500;
/// Label: the limits of the container as JSON, so that whoever adopts it enforces the same ones.
pub(crate) const LABEL_LIMITS: &str = "dev.taskforge.limits";
/// Label: how the disk limit is enforced.
pub(crate) const LABEL_DISK: &str = "dev.taskforge.disk-limit";

/// One iteration of one run of one task, as a container.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// The task; it names the container and the volumes.
    pub task: TaskId,
    /// The run.
    pub run: RunId,
    /// The iteration in the run.
    pub iteration: u32,
    /// The image: an id or a reference that the Engine has.
    pub image: String,
    /// The agent's program and arguments.
    pub argv: Vec<String>,
    /// Environment on top of the image's own.
    pub env: BTreeMap<String, String>,
    /// The host's folder for [`RUN`], see [`crate::run_dir`].
    pub run_dir: PathBuf,
    /// What it may use.
    pub limits: Limits,
    /// The runtime (`runc`, `runsc`), the Engine's default unless named.
    pub runtime: Option<String>,
}

/// Whether a container with these labels is of this iteration.
pub(crate) fn is_of(labels: &HashMap<String, String>, run: &RunId, iteration: u32) -> bool {
    labels.get(LABEL_RUN) == Some(&run.to_string()) && labels.get(LABEL_ITERATION) == Some(&iteration.to_string())
}

impl SandboxSpec {
    /// Labels that identify this iteration.
    pub(crate) fn labels(&self, docker: &Docker, disk: &str) -> HashMap<String, String> {
        let mut labels = docker.labels(Kind::Agent, Some(&self.task));
        labels.insert(LABEL_RUN.to_owned(), self.run.to_string());
        labels.insert(LABEL_ITERATION.to_owned(), self.iteration.to_string());
        labels.insert(LABEL_LIMITS.to_owned(), serde_json::json!(self.limits).to_string());
        labels.insert(LABEL_DISK.to_owned(), disk.to_owned());
        labels
    }

    /// Whether a container with these labels is this iteration's.
    pub(crate) fn is_same(&self, labels: &HashMap<String, String>) -> bool {
        is_of(labels, &self.run, self.iteration)
    }

    /// The container as the Engine is asked for it.
    pub(crate) fn container(&self, docker: &Docker, disk: &str) -> ContainerCreateBody {
        let mut env = BTreeMap::from([("HOME".to_owned(), HOME.to_owned())]);
        env.extend(self.env.clone());
        ContainerCreateBody {
            hostname: Some(HOSTNAME.to_owned()),
            user: Some(format!("{UID}:{UID}")),
            attach_stdin: Some(false),
            open_stdin: Some(false),
            tty: Some(false),
            env: Some(env.into_iter().map(|(k, v)| format!("{k}={v}")).collect()),
            entrypoint: Some(self.entrypoint()),
            cmd: Some(self.argv.clone()),
            // The image may come from anywhere: what it says about health checks and signals does not apply.
            healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
            stop_signal: Some("SIGTERM".to_owned()),
            image: Some(self.image.clone()),
            working_dir: Some(WORKSPACE.to_owned()),
            labels: Some(self.labels(docker, disk)),
            host_config: Some(self.host_config(docker)),
            ..Default::default()
        }
    }

    fn entrypoint(&self) -> Vec<String> {
        let supervisor = format!("{RUN}/{}", crate::run_dir::SUPERVISOR);
        let socket = format!("{RUN}/{}", crate::run_dir::SOCKET);
        [&supervisor, "--listen", LISTEN, "--socket", &socket, "--"].map(str::to_owned).to_vec()
    }

    fn host_config(&self, docker: &Docker) -> HostConfig {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let limits = &self.limits;
        let ulimit = |name: &str, value: u64| ResourcesUlimits {
            name: Some(name.to_owned()),
            soft: Some(signed(value)),
            hard: Some(signed(value)),
        };
        let bind = Mount {
            target: Some(RUN.to_owned()),
            source: Some(self.run_dir.to_string_lossy().into_owned()),
            typ: Some(MountType::BIND),
            read_only: Some(true),
            ..Default::default()
        };
        HostConfig {
            network_mode: Some("none".to_owned()),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            // No seccomp entry: the Engine's default profile applies. Never "unconfined".
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            privileged: Some(false),
            ipc_mode: Some("private".to_owned()),
            // Our supervisor is PID 1, also where the Engine's administrator made docker-init the default.
            init: Some(false),
            memory: Some(signed(limits.memory_bytes)),
            memory_swap: Some(signed(limits.memory_bytes)),
            nano_cpus: Some(i64::from(limits.cpu_millis) * 1_000_000),
            pids_limit: Some(i64::from(limits.pids)),
            ulimits: Some(vec![ulimit("core", 0), ulimit("fsize", limits.file_bytes)]),
            oom_score_adj: Some(OOM_SCORE_ADJ),
            restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
            auto_remove: Some(false),
            tmpfs: Some(HashMap::from([(
                "/tmp".to_owned(),
                // Owned by the user, because runc gives the mount the mode of the image's own folder.
                format!("rw,exec,nosuid,nodev,mode=1777,uid={UID},gid={UID},size={}", limits.tmp_bytes),
            )])),
            mounts: Some(vec![
                volume(docker.workspace_volume(&self.task), WORKSPACE),
                volume(docker.state_volume(&self.task), STATE),
                bind,
            ]),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([
                    ("max-size".to_owned(), LOG_MAX.0.to_owned()),
                    ("max-file".to_owned(), LOG_MAX.1.to_owned()),
                ])),
            }),
            runtime: self.runtime.clone(),
            ..Default::default()
        }
    }
}

/// A named volume at `target`. `no_copy`: the image's content at that place does not enter it.
pub(crate) fn volume(name: String, target: &str) -> Mount {
    Mount {
        target: Some(target.to_owned()),
        source: Some(name),
        typ: Some(MountType::VOLUME),
        read_only: Some(false),
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
        ..Default::default()
    }
}
