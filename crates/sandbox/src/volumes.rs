//! A task's two volumes, and how their size is limited.

use crate::{
    docker::{CALL_TIMEOUT, Kind, SLOW_CALL_TIMEOUT},
    error::Error,
    lifecycle::{Sandboxes, gone_is_fine},
    spec::LABEL_DISK,
    usage::Usage,
};
use bollard::{models::VolumeCreateRequest, query_parameters::RemoveVolumeOptionsBuilder};
use domain::{ids::TaskId, task::Limits};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

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

/// Volumes of a task: its workspace and its agent's state.
pub const VOLUMES: usize = 2;

impl Sandboxes {
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

    /// How many of the task's volumes there are; it has [`VOLUMES`].
    pub async fn volumes_there(&self, task: &TaskId) -> Result<usize, Error> {
        let client = self.docker.client().await?;
        let mut there = 0;
        for name in [self.docker.workspace_volume(task), self.docker.state_volume(task)] {
            match self.docker.call("inspect volume", CALL_TIMEOUT, client.inspect_volume(&name)).await {
                Ok(found) if self.docker.owns(&found.labels) => there += 1,
                Ok(_) => return Err(Error::NameTaken { name }),
                Err(Error::NotFound { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(there)
    }

    /// Bytes that the task's volumes hold.
    pub async fn usage(&self, task: &TaskId) -> Result<Usage, Error> {
        crate::usage::measure(&self.docker, task).await
    }
}
