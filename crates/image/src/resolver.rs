//! The resolver's container: made, run and removed within one call.
//!
//! It has no network, a read-only root, no capability and one read-only mount with the registry proxy's socket. It is
//! never adopted: a container of this kind that is found at a start was left by a crash and is removed.

use crate::{
    Images,
    error::{ImageError, ResolveError},
    registry_proxy::{Session, router},
};
use bollard::{
    container::LogOutput,
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{
        CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
        StartContainerOptions, WaitContainerOptions,
    },
};
use futures::StreamExt;
use sandbox::docker::{CALL_TIMEOUT, Kind, LABEL_KIND, SLOW_CALL_TIMEOUT};
use serde_json::Value;
use std::{
    collections::HashMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{fs, net::UnixListener};

/// What runs in the container.
const SCRIPT: &str = include_str!("../assets/resolve.py");
/// Most output that is read.
const MAX_OUTPUT: usize = 64 << 20;
/// Memory, with the scratch space in it.
const MEMORY_BYTES: i64 = 3 << 30;
/// Processes and threads.
const PIDS: i64 = 512;

/// A folder that goes away with its owner.
struct RunFolder(PathBuf);

impl Drop for RunFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "the resolver's folder stays behind");
        }
    }
}

/// A container that goes away with its owner, also when the call is cancelled.
pub(crate) struct RunContainer {
    images: Images,
    id: String,
}

impl RunContainer {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Removes the container now.
    pub(crate) async fn remove(mut self) -> Result<(), ImageError> {
        let removed = self.images.remove_container(&self.id).await;
        if removed.is_ok() {
            self.id.clear();
        }
        removed
    }
}

impl Drop for RunContainer {
    fn drop(&mut self) {
        let (images, id) = (self.images.clone(), std::mem::take(&mut self.id));
        if id.is_empty() {
            return;
        }
        self.images.shared.cleanups.spawn(async move {
            if let Err(error) = images.remove_container(&id).await {
                tracing::warn!(container = id, %error, "the resolver's container stays until the next start");
            }
        });
    }
}

impl Images {
    /// Runs the resolver with `request` and returns its answer.
    pub(crate) async fn run_resolver(
        &self,
        image: &str,
        name: &str,
        session: Arc<Session>,
        request: &Value,
        dpkg_status: &[u8],
    ) -> Result<Value, ResolveError> {
        let folder = self.make_folder(name, request, dpkg_status).await?;
        let socket = folder.0.join("registry.sock");
        let listener = UnixListener::bind(&socket).map_err(|e| io(&socket, e))?;
        fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).await.map_err(|e| io(&socket, e))?;
        let serve = async { axum::serve(listener, router(session)).await };
        tokio::select! {
            ended = serve => Err(ImageError::protocol(format!("the registry proxy ended: {ended:?}")).into()),
            output = self.run_container(image, name, &folder.0) => {
                let output = output?;
                serde_json::from_slice(&output)
                    .map_err(|e| ImageError::protocol(format!("the resolver's answer cannot be read: {e}")).into())
            }
        }
    }

    async fn make_folder(&self, name: &str, request: &Value, status: &[u8]) -> Result<RunFolder, ImageError> {
        let parent = self.shared.config.data_dir.join("run");
        fs::create_dir_all(&parent).await.map_err(|e| io(&parent, e))?;
        fs::set_permissions(&parent, std::fs::Permissions::from_mode(0o700)).await.map_err(|e| io(&parent, e))?;
        let folder = RunFolder(parent.join(name));
        fs::create_dir(&folder.0).await.map_err(|e| io(&folder.0, e))?;
        fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o755)).await.map_err(|e| io(&folder.0, e))?;
        let request = request.to_string();
        for (file, content) in
            [("resolve.py", SCRIPT.as_bytes()), ("request.json", request.as_bytes()), ("dpkg-status", status)]
        {
            let path = folder.0.join(file);
            fs::write(&path, content).await.map_err(|e| io(&path, e))?;
        }
        Ok(folder)
    }

    async fn run_container(&self, image: &str, name: &str, folder: &Path) -> Result<Vec<u8>, ImageError> {
        let docker = &self.shared.docker;
        let client = docker.client().await?;
        let options = CreateContainerOptionsBuilder::new().name(&format!("taskforge-{name}")).build();
        let body = self.container_body(image, folder);
        crash_point!("image.resolver.before");
        let made =
            docker.call("create the resolver", CALL_TIMEOUT, client.create_container(Some(options), body)).await?;
        let container = self.owned_container(made.id);
        let start = client.start_container(&container.id, None::<StartContainerOptions>);
        docker.call("start the resolver", SLOW_CALL_TIMEOUT, start).await?;
        let mut wait = client.wait_container(&container.id, None::<WaitContainerOptions>);
        let code = match wait.next().await {
            Some(Ok(end)) => end.status_code,
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => return Err(docker.sort_error("wait for the resolver", error).into()),
            None => return Err(ImageError::protocol("docker ended the wait for the resolver")),
        };
        let (stdout, stderr) = self.read_logs(&container.id).await?;
        container.remove().await?;
        crash_point!("image.resolver.after");
        if code != 0 {
            let text = String::from_utf8_lossy(&stderr);
            let tail: String =
                text.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
            return Err(ImageError::protocol(format!("the resolver ended with code {code}: {tail}")));
        }
        Ok(stdout)
    }

    fn container_body(&self, image: &str, folder: &Path) -> ContainerCreateBody {
        ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(["python3", "-I", "-B", "/run/taskforge/resolve.py"].map(str::to_owned).to_vec()),
            user: Some("61000:61000".into()),
            hostname: Some("taskforge".into()),
            labels: Some(self.shared.docker.labels(Kind::Resolver, None)),
            host_config: Some(HostConfig {
                network_mode: Some("none".into()),
                readonly_rootfs: Some(true),
                cap_drop: Some(vec!["ALL".into()]),
                security_opt: Some(vec!["no-new-privileges".into()]),
                binds: Some(vec![format!("{}:/run/taskforge:ro", folder.display())]),
                tmpfs: Some(HashMap::from([("/tmp".into(), "rw,nosuid,nodev,size=2g,mode=1777".into())])),
                memory: Some(MEMORY_BYTES),
                memory_swap: Some(MEMORY_BYTES),
                pids_limit: Some(PIDS),
                init: Some(true),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    async fn read_logs(&self, id: &str) -> Result<(Vec<u8>, Vec<u8>), ImageError> {
        let client = self.shared.docker.client().await?;
        let mut logs = client.logs(id, Some(LogsOptionsBuilder::new().stdout(true).stderr(true).build()));
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(part) = logs.next().await {
            match part.map_err(|e| self.shared.docker.sort_error("read the resolver's output", e))? {
                LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => stdout.extend_from_slice(&message),
                LogOutput::StdIn { .. } => {}
            }
            if stdout.len() + stderr.len() > MAX_OUTPUT {
                return Err(ImageError::protocol(format!("the resolver wrote more than {MAX_OUTPUT} bytes")));
            }
        }
        Ok((stdout, stderr))
    }

    /// Takes a container over: it is removed when the owner goes.
    pub(crate) fn owned_container(&self, id: String) -> RunContainer {
        RunContainer { images: self.clone(), id }
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Result<(), ImageError> {
        let docker = &self.shared.docker;
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removed = docker
            .call("remove a container", SLOW_CALL_TIMEOUT, docker.client().await?.remove_container(id, Some(options)))
            .await;
        match removed {
            Ok(()) | Err(sandbox::Error::NotFound { .. }) => Ok(()),
            Err(sandbox::Error::Refused { status: 409, .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what a crash left of resolving: containers and half-received package files. Returns how many containers.
    /// Call it at a start, before any resolving.
    pub async fn reap(&self) -> Result<usize, ImageError> {
        self.shared.packages.discard_incoming().await?;
        let docker = &self.shared.docker;
        let mut filter = docker.filter(None);
        filter.entry("label".into()).or_default().push(format!("{LABEL_KIND}={}", Kind::Resolver.as_str()));
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
        let found =
            docker.call("list containers", CALL_TIMEOUT, docker.client().await?.list_containers(Some(options))).await?;
        let ids: Vec<String> = found.into_iter().filter_map(|c| c.id).collect();
        for id in &ids {
            self.remove_container(id).await?;
        }
        let run = self.shared.config.data_dir.join("run");
        if let Ok(mut entries) = fs::read_dir(&run).await {
            while let Some(entry) = entries.next_entry().await.map_err(|e| io(&run, e))? {
                if entry.file_name().to_string_lossy().starts_with("resolve-") {
                    fs::remove_dir_all(entry.path()).await.map_err(|e| io(&entry.path(), e))?;
                }
            }
        }
        Ok(ids.len())
    }
}

fn io(path: &Path, source: std::io::Error) -> ImageError {
    ImageError::io(format!("the resolver cannot use {}", path.display()), source)
}
