//! From a spec to an end that the Engine vouches for.
//!
//!   (nothing) ─create→ created ─start→ running ─→ exited ─remove→ (nothing)
//!
//! Each arrow is one call of the Engine; [`Sandboxes::ensure`] looks first and goes on from wherever a crash left the
//! container, so that calling it again is always right. [`Sandboxes::wait`] holds no state of its own: limits and the
//! start time are read from the container, so that another process can take over the watch.

use crate::{
    docker::{CALL_TIMEOUT, Docker, Kind, LABEL_TASK, SLOW_CALL_TIMEOUT},
    error::Error,
    spec::{LABEL_DISK, LABEL_LIMITS, SandboxSpec},
    usage::Usage,
};
use bollard::{
    models::{ContainerInspectResponse, ContainerStateStatusEnum as Status, VolumeCreateRequest},
    query_parameters::{
        CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
        RemoveVolumeOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
    },
};
use domain::{ids::TaskId, task::Limits};
use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How often [`Sandboxes::ensure`] looks again after it changed something.
const ENSURE_STEPS: u32 = 8;
/// How long [`Sandboxes::wait`] bears an Engine that does not answer.
pub const ENGINE_AWAY_LIMIT: Duration = Duration::from_secs(600);
/// Between two attempts to reach the Engine again.
const ENGINE_RETRY: Duration = Duration::from_millis(500);
/// Least time between two measurements of the disk use; a measurement that takes long is made more rarely.
const DISK_POLL: Duration = Duration::from_secs(2);
/// A measurement takes at most this share of the time: one part in so many.
const DISK_POLL_SHARE: u32 = 10;
/// Between the polite and the final signal when a limit ends a run.
const LIMIT_GRACE: Duration = Duration::from_secs(5);
/// Upper bound of the grace period of [`Sandboxes::stop`].
pub const MAX_GRACE: Duration = Duration::from_secs(60);

/// All sandboxes of one installation.
#[derive(Debug, Clone)]
pub struct Sandboxes {
    pub(crate) docker: Docker,
    pub(crate) run_root: PathBuf,
    pub(crate) helpers: crate::workspace::Helpers,
}

/// What [`Sandboxes::ensure`] found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was started by this call.
    Started,
    /// It runs since an earlier call, perhaps of another process.
    Adopted,
    /// This very iteration has already ended; [`Sandboxes::wait`] says how.
    Ended,
}

/// The limit that ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// More memory than allowed: the kernel killed it.
    Memory,
    /// Longer than allowed.
    Time,
    /// More disk than allowed.
    Disk,
}

/// How a container ended, as the Engine says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code of PID 1: the agent's, 128+n for a signal, or 75 for "resume me".
    pub code: i64,
    /// Whether the kernel killed some process of it for want of memory.
    pub oom_killed: bool,
    /// The limit that ended it, if one did.
    pub limit: Option<Limit>,
    /// The Engine's time of the start.
    pub started_at: Option<Timestamp>,
    /// The Engine's time of the end.
    pub finished_at: Option<Timestamp>,
    /// What the Engine says went wrong.
    pub error: Option<String>,
    /// The image that it ran.
    pub image: String,
}

/// What an inspection says, in our words.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) status: Status,
    pub(crate) exit: Exit,
    pub(crate) limits: Limits,
    pub(crate) raw: ContainerInspectResponse,
}

impl Found {
    fn is_over(&self) -> bool {
        matches!(self.status, Status::EXITED | Status::DEAD | Status::REMOVING)
    }
}

impl Sandboxes {
    /// The sandboxes of `docker`'s installation, with run folders below `<data_dir>/run`.
    pub fn new(docker: Docker, data_dir: &Path) -> Self {
        Self { docker, run_root: data_dir.join("run"), helpers: crate::workspace::Helpers::default() }
    }

    /// The Engine's handle.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Makes the task's volumes unless they are there; says how the disk limit is enforced.
    pub async fn ensure_volumes(&self, task: &TaskId, image: &str, limits: &Limits) -> Result<DiskLimit, Error> {
        let mut method = DiskLimit::Polling;
        for (name, kind, share) in [
            (self.docker.workspace_volume(task), Kind::Workspace, limits.disk_bytes - limits.disk_bytes / 8),
            (self.docker.state_volume(task), Kind::State, limits.disk_bytes / 8),
        ] {
            method = self.ensure_volume(task, &name, kind, share).await?;
            // Every time: a crash may have come between making a volume and handing it over.
            match crate::usage::local_folder(&self.docker, &name).await? {
                Some(folder) if crate::tree::hand_over(&folder).is_ok() => {}
                _ => self.own_volume(task, image, &name).await?,
            }
        }
        Ok(method)
    }

    async fn ensure_volume(&self, task: &TaskId, name: &str, kind: Kind, bytes: u64) -> Result<DiskLimit, Error> {
        let client = self.docker.client().await?;
        match self.docker.call("inspect volume", CALL_TIMEOUT, client.inspect_volume(name)).await {
            Ok(found) if self.docker.owns(&found.labels) => {
                return Ok(match found.options.contains_key("size") {
                    true => DiskLimit::FixedSize,
                    false => DiskLimit::Polling,
                });
            }
            Ok(_) => return Err(Error::NameTaken { name: name.to_owned() }),
            Err(Error::NotFound { .. }) => {}
            Err(other) => return Err(other),
        }
        let request = |options| VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(self.docker.labels(kind, Some(task))),
            driver_opts: options,
            ..Default::default()
        };
        crash_point!("sandbox.volume_create.before");
        let sized = request(Some(HashMap::from([("size".to_owned(), bytes.to_string())])));
        let made = self.docker.call("create volume", CALL_TIMEOUT, client.create_volume(sized)).await;
        let method = match made {
            Ok(_) => DiskLimit::FixedSize,
            // Needs a file system with project quotas; what the Engine says where there is none.
            Err(Error::Refused { message, .. }) if message.contains("quota") => {
                self.docker.call("create volume", CALL_TIMEOUT, client.create_volume(request(None))).await?;
                DiskLimit::Polling
            }
            Err(other) => return Err(other),
        };
        crash_point!("sandbox.volume_create.after");
        Ok(method)
    }

    /// Makes sure that the container of this iteration exists and has been started, whatever an earlier call or a
    /// crash left; an older iteration's container is stopped and removed first. The volumes are made if needed.
    pub async fn ensure(&self, spec: &SandboxSpec) -> Result<Ensured, Error> {
        for _ in 0..ENSURE_STEPS {
            let Some(found) = self.find(&spec.task).await? else {
                self.create(spec).await?;
                continue;
            };
            if !spec.is_same(&found.labels) {
                self.discard(&found.id).await?;
                continue;
            }
            match found.status {
                Status::CREATED => {
                    self.start(&found.id).await?;
                    return Ok(Ensured::Started);
                }
                Status::EXITED => return Ok(Ensured::Ended),
                Status::DEAD | Status::REMOVING => self.discard(&found.id).await?,
                Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::EMPTY | Status::STOPPING => {
                    return Ok(Ensured::Adopted);
                }
            }
        }
        Err(Error::Protocol {
            op: "ensure",
            cause: format!("container of {} did not settle after {ENSURE_STEPS} steps", spec.task),
        })
    }

    async fn create(&self, spec: &SandboxSpec) -> Result<(), Error> {
        let disk = self.ensure_volumes(&spec.task, &spec.image, &spec.limits).await?;
        let client = self.docker.client().await?;
        let options = CreateContainerOptionsBuilder::default().name(&self.docker.container_name(&spec.task)).build();
        crash_point!("sandbox.create.before");
        let body = spec.container(&self.docker, disk.as_str());
        match self.docker.call("create container", CALL_TIMEOUT, client.create_container(Some(options), body)).await {
            // Somebody was faster: the next look decides whether it is the same iteration.
            Ok(_) | Err(Error::Refused { status: 409, .. }) => {}
            Err(other) => return Err(other),
        }
        crash_point!("sandbox.create.after");
        Ok(())
    }

    async fn start(&self, id: &str) -> Result<(), Error> {
        let client = self.docker.client().await?;
        crash_point!("sandbox.start.before");
        let start = client.start_container(id, None::<StartContainerOptions>);
        self.docker.call("start container", SLOW_CALL_TIMEOUT, start).await?;
        crash_point!("sandbox.start.after");
        Ok(())
    }

    /// The task's container, if there is one of ours.
    pub(crate) async fn find(&self, task: &TaskId) -> Result<Option<Found>, Error> {
        let name = self.docker.container_name(task);
        let client = self.docker.client().await?;
        let raw = match self.docker.call("inspect container", CALL_TIMEOUT, client.inspect_container(&name, None)).await
        {
            Ok(raw) => raw,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(other) => return Err(other),
        };
        let labels = raw.config.as_ref().and_then(|c| c.labels.clone()).unwrap_or_default();
        if !self.docker.owns(&labels) || labels.get(LABEL_TASK) != Some(&task.to_string()) {
            return Err(Error::NameTaken { name });
        }
        let protocol = |cause: String| Error::Protocol { op: "inspect container", cause };
        let limits = match labels.get(LABEL_LIMITS) {
            Some(text) => serde_json::from_str(text).map_err(|e| protocol(format!("{LABEL_LIMITS}: {e}")))?,
            None => Limits::default(),
        };
        let state = raw.state.clone().ok_or_else(|| protocol("no state".into()))?;
        let exit = Exit {
            code: state.exit_code.unwrap_or(-1),
            oom_killed: state.oom_killed.unwrap_or(false),
            limit: None,
            started_at: time(state.started_at.as_deref()),
            finished_at: time(state.finished_at.as_deref()),
            error: state.error.filter(|e| !e.is_empty()),
            image: raw.image.clone().unwrap_or_default(),
        };
        let status = state.status.unwrap_or(Status::EMPTY);
        let id = raw.id.clone().ok_or_else(|| protocol("no id".into()))?;
        Ok(Some(Found { id, labels, status, exit, limits, raw }))
    }

    /// Whether the task's container runs now.
    pub async fn is_running(&self, task: &TaskId) -> Result<bool, Error> {
        Ok(self.find(task).await?.is_some_and(|f| matches!(f.status, Status::RUNNING | Status::PAUSED)))
    }

    /// Waits until the task's container has ended, and ends it when it exceeds its time or disk limit. Can be dropped
    /// and called again, also by another process; bears an Engine that restarts for [`ENGINE_AWAY_LIMIT`].
    pub async fn wait(&self, task: &TaskId) -> Result<Exit, Error> {
        let mut away_since: Option<Instant> = None;
        let mut next_disk = Instant::now();
        loop {
            let found = match self.find(task).await {
                Ok(Some(found)) => found,
                Ok(None) => return Err(Error::NotFound { what: self.docker.container_name(task) }),
                Err(error) if error.is_transient() => {
                    if away_since.get_or_insert_with(Instant::now).elapsed() > ENGINE_AWAY_LIMIT {
                        return Err(error);
                    }
                    sleep(ENGINE_RETRY).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            away_since = None;
            if found.is_over() {
                return Ok(self.exit_of(task, found).await);
            }
            if found.status == Status::CREATED {
                return Err(Error::invalid(format!("the container of {task} has not been started")));
            }
            let left = time_left(&found);
            if left.is_zero() {
                self.end_by_limit(&found.id, LIMIT_GRACE).await?;
                continue;
            }
            if Instant::now() >= next_disk {
                let begun = Instant::now();
                let over = self.is_over_disk_limit(task, &found.limits).await;
                next_disk = Instant::now() + DISK_POLL.max(begun.elapsed() * DISK_POLL_SHARE);
                if over {
                    self.end_by_limit(&found.id, Duration::ZERO).await?;
                    continue;
                }
            }
            let pause = left.min(next_disk.saturating_duration_since(Instant::now()));
            self.until_change(&found.id, pause).await;
        }
    }

    /// Returns when the container has ended or `pause` has passed; an Engine that goes away counts as a change.
    async fn until_change(&self, id: &str, pause: Duration) {
        let Ok(client) = self.docker.client().await else { return sleep(ENGINE_RETRY).await };
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut ended = std::pin::pin!(client.wait_container(id, Some(options)));
        tokio::select! {
            answer = ended.next() => {
                // A code above zero is reported as an error too; an inspection tells which it was.
                if !matches!(answer, Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. }))) {
                    sleep(ENGINE_RETRY).await;
                }
            }
            () = sleep(pause) => {}
        }
    }

    async fn end_by_limit(&self, id: &str, grace: Duration) -> Result<(), Error> {
        match grace.is_zero() {
            true => self.kill_id(id).await,
            false => self.stop_id(id, grace).await,
        }
    }

    async fn is_over_disk_limit(&self, task: &TaskId, limits: &Limits) -> bool {
        match self.usage(task).await {
            Ok(usage) => usage.is_over(limits.disk_bytes),
            Err(error) => {
                tracing::warn!(task.id = %task, error = %error, "the disk use of a sandbox could not be measured");
                false
            }
        }
    }

    /// Adds the reason to an end. It is computed from what can be seen afterwards, so that it is not lost in a crash
    /// between the kill and the record.
    async fn exit_of(&self, task: &TaskId, found: Found) -> Exit {
        let mut exit = found.exit.clone();
        if exit.code != 0 {
            let ran_out = match (exit.started_at, exit.finished_at) {
                (Some(from), Some(to)) => to.duration_since(from).as_secs() >= signed(found.limits.run_time_s),
                _ => false,
            };
            exit.limit = if exit.oom_killed {
                Some(Limit::Memory)
            } else if ran_out {
                Some(Limit::Time)
            } else if self.is_over_disk_limit(task, &found.limits).await {
                Some(Limit::Disk)
            } else {
                None
            };
        }
        exit
    }

    /// Asks the agent to end, and after `grace` makes it. Done when there is nothing to stop.
    pub async fn stop(&self, task: &TaskId, grace: Duration) -> Result<(), Error> {
        match self.find(task).await? {
            Some(found) if !found.is_over() => self.stop_id(&found.id, grace.min(MAX_GRACE)).await,
            _ => Ok(()),
        }
    }

    async fn stop_id(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let client = self.docker.client().await?;
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        crash_point!("sandbox.stop.before");
        let stop = client.stop_container(id, Some(options));
        gone_is_fine(self.docker.call("stop container", SLOW_CALL_TIMEOUT, stop).await)?;
        crash_point!("sandbox.stop.after");
        Ok(())
    }

    /// Ends the task's container at once.
    pub async fn kill(&self, task: &TaskId) -> Result<(), Error> {
        match self.find(task).await? {
            Some(found) if !found.is_over() => self.kill_id(&found.id).await,
            _ => Ok(()),
        }
    }

    async fn kill_id(&self, id: &str) -> Result<(), Error> {
        let client = self.docker.client().await?;
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        crash_point!("sandbox.kill.before");
        let kill = client.kill_container(id, Some(options));
        gone_is_fine(self.docker.call("kill container", SLOW_CALL_TIMEOUT, kill).await)?;
        crash_point!("sandbox.kill.after");
        Ok(())
    }

    /// Removes a container of ours with whatever runs in it.
    pub(crate) async fn discard(&self, id: &str) -> Result<(), Error> {
        let client = self.docker.client().await?;
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        crash_point!("sandbox.remove.before");
        let remove = client.remove_container(id, Some(options));
        gone_is_fine(self.docker.call("remove container", SLOW_CALL_TIMEOUT, remove).await)?;
        crash_point!("sandbox.remove.after");
        Ok(())
    }

    /// Removes the task's container, running or not; volumes and run folder stay.
    pub async fn remove(&self, task: &TaskId) -> Result<(), Error> {
        match self.find(task).await? {
            Some(found) => self.discard(&found.id).await,
            None => Ok(()),
        }
    }

    /// Removes everything of the task: container, volumes, run folder.
    pub async fn purge(&self, task: &TaskId) -> Result<(), Error> {
        crash_point!("sandbox.purge.before");
        self.remove(task).await?;
        for volume in [self.docker.workspace_volume(task), self.docker.state_volume(task)] {
            self.remove_volume(&volume).await?;
        }
        crate::run_dir::remove(&self.run_root, task).await?;
        crash_point!("sandbox.purge.after");
        Ok(())
    }

    pub(crate) async fn remove_volume(&self, name: &str) -> Result<(), Error> {
        let client = self.docker.client().await?;
        match self.docker.call("inspect volume", CALL_TIMEOUT, client.inspect_volume(name)).await {
            Ok(found) if !self.docker.owns(&found.labels) => return Err(Error::NameTaken { name: name.to_owned() }),
            Ok(_) => {}
            Err(Error::NotFound { .. }) => return Ok(()),
            Err(other) => return Err(other),
        }
        let options = RemoveVolumeOptionsBuilder::default().force(false).build();
        gone_is_fine(
            self.docker.call("remove volume", SLOW_CALL_TIMEOUT, client.remove_volume(name, Some(options))).await,
        )
    }

    /// Bytes that the task's volumes hold.
    pub async fn usage(&self, task: &TaskId) -> Result<Usage, Error> {
        crate::usage::measure(&self.docker, task).await
    }
}

/// How a task's disk limit is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskLimit {
    /// The volumes cannot grow beyond it.
    FixedSize,
    /// The use is measured every few seconds and no file may grow beyond RLIMIT_FSIZE; between two measurements a
    /// sandbox can exceed it.
    Polling,
}

impl DiskLimit {
    /// The label's value.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::FixedSize => "fixed_size",
            Self::Polling => "polling",
        }
    }

    pub(crate) fn of(labels: &HashMap<String, String>) -> Self {
        match labels.get(LABEL_DISK).map(String::as_str) {
            Some("fixed_size") => Self::FixedSize,
            _ => Self::Polling,
        }
    }
}

/// What was to be stopped or removed is not there (404), not running (304, 409), or on its way out (409).
fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::NotFound { .. }) => Ok(()),
        Err(Error::Refused { status: 409, message, .. })
            if message.contains("is not running") || message.contains("already in progress") =>
        {
            Ok(())
        }
        other => other,
    }
}

/// The Engine's timestamp; its zero time means "not yet".
fn time(text: Option<&str>) -> Option<Timestamp> {
    text.filter(|t| !t.starts_with("0001-")).and_then(|t| t.parse().ok())
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn time_left(found: &Found) -> Duration {
    let Some(started) = found.exit.started_at else { return Duration::from_secs(found.limits.run_time_s) };
    let ran = Timestamp::now().duration_since(started);
    let ran = Duration::try_from(ran).unwrap_or_default();
    Duration::from_secs(found.limits.run_time_s).saturating_sub(ran)
}

/// Runs file work on a thread where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Protocol { op: what, cause: error.to_string() }),
    }
}
