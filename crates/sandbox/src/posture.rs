//! What confines a container, measured from the Engine and not from what we asked for.

use crate::{
    docker::Seccomp,
    error::Error,
    lifecycle::Sandboxes,
    spec::{HOSTNAME, RUN, STATE, UID, WORKSPACE},
    volumes::DiskLimit,
};
use domain::ids::TaskId;
use serde::{Deserialize, Serialize};

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MountSeen {
    /// `bind`, `volume` or `tmpfs`.
    pub kind: String,
    /// Volume name or host path.
    pub source: String,
    /// Where inside.
    pub target: String,
    /// Whether it can be written.
    pub writable: bool,
}

/// The confinement of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posture {
    /// The Engine's id of the container.
    pub container: String,
    /// The image's id.
    pub image: String,
    /// The runtime (`runc`, `runsc`).
    pub runtime: String,
    /// The network mode.
    pub network: String,
    /// Whether the root file system is read-only.
    pub read_only_root: bool,
    /// Capabilities that were dropped.
    pub cap_drop: Vec<String>,
    /// Capabilities that were added.
    pub cap_add: Vec<String>,
    /// Whether the container is privileged.
    pub privileged: bool,
    /// Whether programs can gain privileges.
    pub no_new_privileges: bool,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// The AppArmor profile; empty where the host has none.
    pub apparmor: String,
    /// User and group.
    pub user: String,
    /// Host name inside.
    pub hostname: String,
    /// Memory limit in bytes; zero is none.
    pub memory_bytes: i64,
    /// Memory and swap limit in bytes; as large as `memory_bytes` is no swap.
    pub memory_swap_bytes: i64,
    /// CPU limit in thousandths; zero is none.
    pub cpu_millis: i64,
    /// Processes and threads; zero is none.
    pub pids: i64,
    /// How the disk limit is enforced.
    pub disk_limit: DiskLimit,
    /// The disk limit in bytes.
    pub disk_bytes: u64,
    /// Resource limits by name (hard limit).
    pub ulimits: Vec<(String, i64)>,
    /// Scratch spaces and their options.
    pub tmpfs: Vec<(String, String)>,
    /// Every other mount.
    pub mounts: Vec<MountSeen>,
    /// Host devices.
    pub devices: Vec<String>,
    /// Kernel files that the Engine hides.
    pub masked_paths: usize,
    /// Namespaces shared with the host or another container.
    pub shared_namespaces: Vec<String>,
    /// Program and arguments of PID 1.
    pub entrypoint: Vec<String>,
    /// The restart policy.
    pub restart: String,
}

impl Sandboxes {
    /// Measures the task's container.
    pub async fn posture(&self, task: &TaskId) -> Result<Posture, Error> {
        let found = self.find(task).await?.ok_or_else(|| Error::NotFound { what: self.docker.container_name(task) })?;
        let engine = self.docker.info().await?;
        let raw = found.raw;
        let host = raw.host_config.unwrap_or_default();
        let config = raw.config.unwrap_or_default();
        let options = host.security_opt.clone().unwrap_or_default();
        let option =
            |name: &str| options.iter().find_map(|o| o.strip_prefix(name)?.strip_prefix(['=', ':']).map(str::to_owned));
        let seccomp = match option("seccomp") {
            None => engine.seccomp,
            Some(unconfined) if unconfined == "unconfined" => Seccomp::Off,
            Some(custom) => Seccomp::Custom(custom),
        };
        let mut mounts: Vec<MountSeen> = raw
            .mounts
            .unwrap_or_default()
            .into_iter()
            .map(|m| MountSeen {
                kind: m.typ.map(|t| t.to_string()).unwrap_or_default(),
                source: m.name.filter(|n| !n.is_empty()).or(m.source).unwrap_or_default(),
                target: m.destination.unwrap_or_default(),
                writable: m.rw.unwrap_or(true),
            })
            .collect();
        mounts.sort();
        let mut tmpfs: Vec<_> = host.tmpfs.unwrap_or_default().into_iter().collect();
        tmpfs.sort();
        let shared = [
            ("pid", host.pid_mode.unwrap_or_default()),
            ("ipc", host.ipc_mode.unwrap_or_default()),
            ("uts", host.uts_mode.unwrap_or_default()),
            ("user", host.userns_mode.unwrap_or_default()),
        ];
        let is_shared = |mode: &str| mode == "host" || mode == "shareable" || mode.starts_with("container:");
        Ok(Posture {
            container: found.id,
            image: found.exit.image,
            runtime: host.runtime.filter(|r| !r.is_empty()).unwrap_or(engine.default_runtime),
            network: host.network_mode.unwrap_or_default(),
            read_only_root: host.readonly_rootfs.unwrap_or(false),
            cap_drop: host.cap_drop.unwrap_or_default(),
            cap_add: host.cap_add.unwrap_or_default(),
            privileged: host.privileged.unwrap_or(false),
            no_new_privileges: options.iter().any(|o| o == "no-new-privileges" || o == "no-new-privileges:true"),
            seccomp,
            apparmor: raw.app_armor_profile.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            hostname: config.hostname.unwrap_or_default(),
            memory_bytes: host.memory.unwrap_or(0),
            memory_swap_bytes: host.memory_swap.unwrap_or(0),
            cpu_millis: host.nano_cpus.unwrap_or(0) / 1_000_000,
            pids: host.pids_limit.unwrap_or(0),
            disk_limit: DiskLimit::of(&found.labels),
            disk_bytes: found.limits.disk_bytes,
            ulimits: host
                .ulimits
                .unwrap_or_default()
                .into_iter()
                .map(|u| (u.name.unwrap_or_default(), u.hard.unwrap_or(-1)))
                .collect(),
            tmpfs,
            mounts,
            devices: host.devices.unwrap_or_default().into_iter().filter_map(|d| d.path_on_host).collect(),
            masked_paths: host.masked_paths.unwrap_or_default().len(),
            shared_namespaces: shared.iter().filter(|(_, m)| is_shared(m)).map(|(n, _)| (*n).to_owned()).collect(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            restart: host.restart_policy.and_then(|p| p.name).map(|n| n.to_string()).unwrap_or_default(),
        })
    }
}

impl Posture {
    /// Each way in which the container is weaker than promised, in words; nothing when all is as it must be.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                found.push(what);
            }
        };
        must(self.network == "none", format!("network mode is {:?}, not none", self.network));
        must(self.read_only_root, "the root file system is writable".into());
        must(self.cap_drop.iter().any(|c| c == "ALL"), "capabilities are not all dropped".into());
        must(self.cap_add.is_empty(), format!("capabilities are added: {}", self.cap_add.join(", ")));
        must(!self.privileged, "the container is privileged".into());
        must(self.no_new_privileges, "programs can gain privileges".into());
        must(self.seccomp != Seccomp::Off, "no seccomp profile is in force".into());
        must(self.apparmor != "unconfined", "AppArmor is switched off for it".into());
        must(self.user == format!("{UID}:{UID}"), format!("user is {:?}", self.user));
        must(self.hostname == HOSTNAME, format!("host name is {:?}", self.hostname));
        must(self.memory_bytes > 0, "memory is not limited".into());
        must(self.memory_swap_bytes == self.memory_bytes, "swap is not limited".into());
        must(self.cpu_millis > 0, "CPU is not limited".into());
        must(self.pids > 0, "processes are not limited".into());
        must(self.disk_bytes > 0, "disk is not limited".into());
        let ulimit = |name: &str| self.ulimits.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        must(ulimit("fsize").is_some_and(|v| v > 0), "file size is not limited".into());
        must(ulimit("core") == Some(0), "core dumps are possible".into());
        must(self.devices.is_empty(), format!("host devices: {}", self.devices.join(", ")));
        must(self.masked_paths > 0, "kernel files are not masked".into());
        must(self.shared_namespaces.is_empty(), format!("shared namespaces: {}", self.shared_namespaces.join(", ")));
        must(self.restart.is_empty() || self.restart == "no", format!("restart policy is {:?}", self.restart));
        let supervisor = format!("{RUN}/{}", crate::run_dir::SUPERVISOR);
        must(self.entrypoint.first() == Some(&supervisor), "PID 1 is not the supervisor".into());
        for mount in &self.mounts {
            let expected = match (mount.kind.as_str(), mount.target.as_str()) {
                ("volume", WORKSPACE | STATE) => true,
                ("bind", RUN) => !mount.writable,
                _ => false,
            };
            must(expected, format!("unexpected mount: {} {} at {}", mount.kind, mount.source, mount.target));
        }
        for (target, options) in &self.tmpfs {
            let tight = ["nosuid", "nodev", "size="].iter().all(|want| options.contains(want));
            must(target == "/tmp" && tight, format!("unexpected tmpfs at {target}: {options}"));
        }
        found
    }
}
