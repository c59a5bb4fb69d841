//! The baselines that need Docker: a person's own `docker run` and `docker build`, removed with their handles.

use anyhow::{Context, Result, ensure};
use std::{
    process::{Command as Blocking, Stdio, id},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// How long a container may take to its first line.
const PATIENCE: Duration = Duration::from_secs(120);

/// A container, volumes and an image with names of their own.
pub(crate) struct Plain {
    name: String,
    image: bool,
}

impl Plain {
    /// Names that nobody else has; nothing exists yet.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self { name: format!("taskforge-bench-{}-{}", id(), NEXT.fetch_add(1, Ordering::Relaxed)), image: false }
    }

    /// The container's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name of one of its volumes.
    pub(crate) fn volume(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    /// Starts `docker run` with these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = Command::new("docker");
        command.args(["run", "--name", &self.name]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().context("docker could not be run")
    }

    /// Runs until the first line of output; from the call to the line.
    pub(crate) async fn first_line(&self, arguments: &[&str]) -> Result<Duration> {
        let begun = Instant::now();
        let mut child = self.run(arguments)?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
        let took = begun.elapsed();
        ensure!(line.is_some(), "the container printed nothing");
        child.wait().await?;
        Ok(took)
    }

    /// Builds the image of its name from `folder` as `docker build --no-cache --network none` does. The Engine's API is
    /// asked for it, because a Docker client without its buildx part cannot read a Dockerfile that mounts files.
    pub(crate) async fn build(&mut self, folder: &std::path::Path, endpoint: &str) -> Result<()> {
        self.image = true;
        let socket = endpoint.strip_prefix("unix://").context("this benchmark needs an Engine at a socket")?;
        let url = format!("http://docker/build?version=2&networkmode=none&nocache=1&t={}", self.name);
        let script = "tar -C \"$1\" -cf - . | curl --silent --show-error --fail --unix-socket \"$2\" \
            --header content-type:application/x-tar --data-binary @- \"$3\"";
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", script, "build"]).arg(folder).args([socket, &url]);
        let out = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
        let said = String::from_utf8_lossy(&out.stdout);
        let failed = !out.status.success() || said.contains("\"errorDetail\"");
        ensure!(!failed, "the build failed: {said} {}", String::from_utf8_lossy(&out.stderr).trim());
        Ok(())
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let docker = |arguments: &[&str]| drop(Blocking::new("docker").args(arguments).output());
        docker(&["rm", "--force", "--volumes", &self.name]);
        docker(&["volume", "rm", "--force", &self.volume("workspace"), &self.volume("state")]);
        if self.image {
            docker(&["image", "rm", "--force", &self.name]);
        }
    }
}
