//! How much disk a task's volumes take.
//!
//! Where the server can read the Engine's volume folders it walks them itself; otherwise the Engine is asked for its
//! data usage. A file that was deleted while a process holds it open is seen by neither: RLIMIT_FSIZE bounds each of
//! them, and they end with the container.

use crate::{
    docker::{CALL_TIMEOUT, Docker, SLOW_CALL_TIMEOUT},
    error::Error,
    lifecycle::blocking,
    tree,
};
use bollard::query_parameters::DataUsageOptions;
use domain::ids::TaskId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a task's volumes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes on disk, each inode once.
    pub bytes: u64,
    /// Files and folders seen; zero when the Engine was asked, who does not say.
    pub entries: u64,
    /// The tree is deeper or larger than can be measured, which counts as over the limit.
    pub unmeasurable: bool,
}

impl Usage {
    /// Whether it is more than `limit` bytes.
    pub const fn is_over(&self, limit: u64) -> bool {
        self.unmeasurable || self.bytes > limit
    }
}

pub(crate) async fn measure(docker: &Docker, task: &TaskId) -> Result<Usage, Error> {
    let names = [docker.workspace_volume(task), docker.state_volume(task)];
    let mut folders = Vec::new();
    for name in &names {
        folders.push(local_folder(docker, name).await?);
    }
    let readable: Vec<PathBuf> = folders.iter().flatten().cloned().collect();
    if readable.len() == names.len() {
        return blocking("measure", move || {
            let mut total = Usage::default();
            for folder in &readable {
                let part = tree::measure(folder)?;
                total.bytes += part.bytes;
                total.entries += part.entries;
                total.unmeasurable |= part.unmeasurable;
            }
            Ok(total)
        })
        .await;
    }
    by_engine(docker, &names).await
}

/// The folder of a volume when this process can read it. A path of a remote Engine does not exist here, or holds
/// something else: it must bear the volume's name and be of the driver's shape.
pub(crate) async fn local_folder(docker: &Docker, volume: &str) -> Result<Option<PathBuf>, Error> {
    if !docker.endpoint().starts_with("unix://") {
        return Ok(None);
    }
    let client = docker.client().await?;
    let found = docker.call("inspect volume", CALL_TIMEOUT, client.inspect_volume(volume)).await?;
    let folder = PathBuf::from(found.mountpoint);
    let named = folder.parent().and_then(|p| p.file_name()).is_some_and(|n| n == volume) && folder.ends_with("_data");
    let readable = named && tokio::fs::read_dir(&folder).await.is_ok();
    Ok(readable.then_some(folder))
}

async fn by_engine(docker: &Docker, names: &[String]) -> Result<Usage, Error> {
    let client = docker.client().await?;
    let options = DataUsageOptions { _type: Some(vec!["volume".to_owned()]), verbose: true };
    let answer = docker.call("disk usage", SLOW_CALL_TIMEOUT, client.df(Some(options))).await?;
    let text = serde_json::to_value(&answer).map_err(|e| Error::Protocol { op: "disk usage", cause: e.to_string() })?;
    let volumes = text
        .get("Volumes")
        .or_else(|| text.pointer("/VolumeUsage/Items"))
        .and_then(|v| v.as_array().cloned())
        .unwrap_or_default();
    let size = |name: &String| {
        let volume = volumes.iter().find(|v| v.get("Name").and_then(|n| n.as_str()) == Some(name))?;
        volume.pointer("/UsageData/Size")?.as_u64()
    };
    let mut usage = Usage::default();
    for name in names {
        usage.bytes += size(name)
            .ok_or_else(|| Error::Protocol { op: "disk usage", cause: format!("no size of volume {name}") })?;
    }
    Ok(usage)
}
