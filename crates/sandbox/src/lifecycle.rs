//! From a spec to an end that the Engine vouches for.
//!
//!   (nothing) ─create→ created ─start→ running ─→ exited ─remove→ (nothing)
//!
//! Each arrow is one call of the Engine; [`Sandboxes::ensure`] looks first and goes on from wherever a crash left the
//! container, so that calling it again is always right. [`Sandboxes::wait`] holds no state of its own: limits and the
//! start time are read from the container, so that another process can take over the watch.

use crate::{
    docker::{CALL_TIMEOUT, Docker, LABEL_TASK, SLOW_CALL_TIMEOUT},
    error::Error,
    spec::{LABEL_LIMITS, SandboxSpec},
};
use bollard::{
    models::{ContainerInspectResponse, ContainerStateStatusEnum as Status},
    query_parameters::{
        CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
        StartContainerOptions, StopContainerOptionsBuilder,
    },
};
use domain::{
    ids::{RunId, TaskId},
    task::Limits,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often [`Sandboxes::ensure`] looks again after it changed something.
const ENSURE_STEPS: u32 = 8;
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

/// What the Engine has of an iteration's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// There is none, or the task's container is another iteration's.
    Absent,
    /// It was made and never started.
    Created,
    /// It runs, or is frozen.
    Running,
    /// It has ended.
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
    pub(crate) fn is_over(&self) -> bool {
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

    /// What there is of an iteration's container, by its fixed name and the labels of run and iteration.
    pub async fn presence(&self, task: &TaskId, run: &RunId, iteration: u32) -> Result<Presence, Error> {
        let Some(found) = self.find(task).await? else { return Ok(Presence::Absent) };
        if !crate::spec::is_of(&found.labels, run, iteration) {
            return Ok(Presence::Absent);
        }
        Ok(match found.status {
            Status::CREATED => Presence::Created,
            Status::EXITED | Status::DEAD | Status::REMOVING => Presence::Ended,
            Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::EMPTY | Status::STOPPING => {
                Presence::Running
            }
        })
    }

    /// Whether the task's container runs now.
    pub async fn is_running(&self, task: &TaskId) -> Result<bool, Error> {
        Ok(self.find(task).await?.is_some_and(|f| matches!(f.status, Status::RUNNING | Status::PAUSED)))
    }

    /// Asks the agent to end, and after `grace` makes it. Done when there is nothing to stop.
    pub async fn stop(&self, task: &TaskId, grace: Duration) -> Result<(), Error> {
        match self.find(task).await? {
            Some(found) if !found.is_over() => self.stop_id(&found.id, grace.min(MAX_GRACE)).await,
            _ => Ok(()),
        }
    }

    pub(crate) async fn stop_id(&self, id: &str, grace: Duration) -> Result<(), Error> {
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

    pub(crate) async fn kill_id(&self, id: &str) -> Result<(), Error> {
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
}

/// What was to be stopped or removed is not there (404), not running (304, 409), or on its way out (409).
pub(crate) fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
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
