//! Volumes as archives, for a backup and its restore. The archive is the Engine's own: links stay links, owners stay.

use crate::{
    Error, Sandboxes,
    docker::{CALL_TIMEOUT, Kind, LABEL_KIND, LONGEST_CALL},
    spec::WORKSPACE,
};
use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use domain::{ids::TaskId, task::Limits};
use futures::StreamExt;
use std::path::Path;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

impl Sandboxes {
    /// The task's volumes by what they hold.
    fn volumes(&self, task: &TaskId) -> [(Kind, String); 2] {
        [(Kind::Workspace, self.docker.workspace_volume(task)), (Kind::State, self.docker.state_volume(task))]
    }

    /// Writes each volume of a task to `<folder>/<kind>.tar`. Volumes that are not there are left out.
    pub async fn export_volumes(&self, task: &TaskId, image: &str, folder: &Path) -> Result<(), Error> {
        for (kind, name) in self.volumes(task) {
            if !self.volume_exists(&name).await? {
                continue;
            }
            let file = folder.join(format!("{}.tar", kind.as_str()));
            self.with_helper(task, image, &name, |id| self.download(id, file)).await?;
        }
        Ok(())
    }

    async fn download(&self, id: String, file: std::path::PathBuf) -> Result<(), Error> {
        let fail = |e| Error::io(format!("cannot write {}", file.display()), e);
        let client = self.docker.client().await?;
        let options = DownloadFromContainerOptionsBuilder::default().path(WORKSPACE).build();
        let mut chunks = Box::pin(client.download_from_container(&id, Some(options)));
        let mut out = tokio::fs::File::create(&file).await.map_err(fail)?;
        while let Some(chunk) = chunks.next().await {
            out.write_all(&chunk.map_err(|e| self.docker.sort_error("read a volume", e))?).await.map_err(fail)?;
        }
        out.sync_all().await.map_err(fail)
    }

    /// Makes the task's volumes anew from what [`Sandboxes::export_volumes`] wrote.
    pub async fn import_volumes(
        &self,
        task: &TaskId,
        image: &str,
        limits: &Limits,
        folder: &Path,
    ) -> Result<(), Error> {
        self.ensure_volumes(task, image, limits).await?;
        for (kind, name) in self.volumes(task) {
            let file = folder.join(format!("{}.tar", kind.as_str()));
            let archive = match tokio::fs::File::open(&file).await {
                Ok(archive) => archive,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io(format!("cannot read {}", file.display()), e)),
            };
            self.with_helper(task, image, &name, |id| self.upload_stream(id, archive)).await?;
        }
        Ok(())
    }

    async fn upload_stream(&self, id: String, archive: tokio::fs::File) -> Result<(), Error> {
        let client = self.docker.client().await?;
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let body = bollard::body_try_stream(ReaderStream::new(archive));
        let upload = client.upload_to_container(&id, Some(options), body);
        self.docker.call("restore a volume", LONGEST_CALL, upload).await
    }

    async fn volume_exists(&self, name: &str) -> Result<bool, Error> {
        let client = self.docker.client().await?;
        match self.docker.call("inspect volume", CALL_TIMEOUT, client.inspect_volume(name)).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Freezes (`true`) every agent's container of this installation that runs, or thaws every one that is frozen; returns
    /// how many. Those that cannot be frozen keep none frozen.
    pub async fn freeze(&self, frozen: bool) -> Result<usize, Error> {
        let mut changed = Vec::new();
        for id in self.agents(if frozen { "running" } else { "paused" }).await? {
            let client = self.docker.client().await?;
            let done = if frozen {
                self.docker.call("freeze a container", CALL_TIMEOUT, client.pause_container(&id)).await
            } else {
                self.docker.call("thaw a container", CALL_TIMEOUT, client.unpause_container(&id)).await
            };
            match done {
                Ok(()) => changed.push(id),
                // It ended meanwhile.
                Err(Error::NotFound { .. } | Error::Refused { status: 409, .. }) => {}
                Err(e) => {
                    for id in changed.iter().filter(|_| frozen) {
                        drop(self.docker.call("thaw a container", CALL_TIMEOUT, client.unpause_container(id)).await);
                    }
                    return Err(e);
                }
            }
        }
        Ok(changed.len())
    }

    /// The agents' containers of this installation in one state.
    async fn agents(&self, state: &str) -> Result<Vec<String>, Error> {
        let mut filter = self.docker.filter(None);
        filter.insert("status".to_owned(), vec![state.to_owned()]);
        filter.entry("label".to_owned()).or_default().push(format!("{LABEL_KIND}={}", Kind::Agent.as_str()));
        let options =
            bollard::query_parameters::ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
        let client = self.docker.client().await?;
        let found = self.docker.call("list containers", CALL_TIMEOUT, client.list_containers(Some(options))).await?;
        Ok(found.into_iter().filter_map(|c| c.id).collect())
    }
}
