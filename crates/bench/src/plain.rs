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

    /// Builds the image of its name from `folder`; no step is taken from a cache, so that the work is done.
    pub(crate) async fn build(&mut self, folder: &std::path::Path) -> Result<()> {
        self.image = true;
        let mut command = Command::new("docker");
        command.args(["build", "--quiet", "--no-cache", "--network", "none", "--tag", &self.name]).arg(folder);
        let out = command.env("DOCKER_BUILDKIT", "1").kill_on_drop(true).output().await?;
        ensure!(out.status.success(), "docker build: {}", String::from_utf8_lossy(&out.stderr).trim());
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
