//! The Engine stops, is killed and starts again under running agents: every task goes on to the same result.
//!
//! The test has an Engine of its own, with a copy of the base images, so that the containers of the other tests live.

use crate::{crash::nothing_twice, disk::root};
use anyhow::{Context, Result, ensure};
use e2e::{
    Settings, World,
    agents::program,
    docker::{INSTALLATION, KIND, docker},
    wait::{PATIENCE, until},
    world,
};
use rustix::process::geteuid;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::{Child, Command};

/// A second Docker Engine.
struct Engine {
    dir: PathBuf,
    child: Child,
}

impl Engine {
    /// Starts one in `dir`; what an earlier one left there is taken up.
    async fn start(dir: &Path) -> Result<Self> {
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("engine.log"))?;
        let mut command = if geteuid().is_root() { Command::new("dockerd") } else { Command::new("sudo") };
        if !geteuid().is_root() {
            command.args(["--non-interactive", "dockerd"]);
        }
        let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let mut child = command
            .args(["--data-root", &at("root"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--host", &format!("unix://{}", at("docker.sock")), "--group", "root"])
            .args(["--containerd-namespace", "tf-e2e", "--containerd-plugins-namespace", "tf-e2e-plugins"])
            .args(["--bridge", "none", "--iptables=false", "--ip-forward=false"])
            .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("dockerd cannot be started")?;
        let host = host(dir);
        until("the second Engine", PATIENCE, async || {
            let ended = child.try_wait()?;
            ensure!(ended.is_none(), "it ended: {}", fs::read_to_string(dir.join("engine.log")).unwrap_or_default());
            Ok(docker(&["--host", &host, "version"]).await.ok())
        })
        .await?;
        Ok(Self { dir: dir.to_owned(), child })
    }

    async fn docker(&self, args: &[&str]) -> Result<String> {
        docker(&[&["--host", &host(&self.dir)], args].concat()).await
    }

    /// Ends it, and whatever it still runs, and removes what it made.
    async fn end(mut self) -> Result<()> {
        let containers = self.docker(&["ps", "--quiet"]).await?;
        if !containers.is_empty() {
            let ids: Vec<&str> = containers.lines().collect();
            self.docker(&[&["kill"], ids.as_slice()].concat()).await?;
        }
        self.stop("-KILL").await?;
        // It mounts its folder on itself, and one that was killed leaves the names of its networks.
        for place in ["root", "exec"] {
            let mounted = fs::read_to_string("/proc/self/mounts")?;
            let of = format!("{}/", self.dir.join(place).display());
            let all =
                mounted.lines().filter_map(|l| l.split(' ').nth(1)).filter(|at| format!("{at}/").starts_with(&of));
            for at in all {
                root("umount", &["--lazy", at]).await?;
            }
        }
        root("rm", &["-rf", &self.dir.to_string_lossy()]).await
    }

    async fn stop(&mut self, signal: &str) -> Result<()> {
        let pid = fs::read_to_string(self.dir.join("pid")).context("the Engine has no process id")?;
        root("kill", &[signal, pid.trim()]).await?;
        tokio::time::timeout(PATIENCE, self.child.wait()).await.context("the Engine does not end")??;
        Ok(())
    }

    /// Gives it the images that the first Engine has.
    async fn take_images(&self) -> Result<()> {
        let file = self.dir.join("images.tar").to_string_lossy().into_owned();
        let mut tags = Vec::new();
        for kind in ["base", "resolver"] {
            let filter = format!("label={KIND}={kind}");
            let list = docker(&["image", "ls", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"]).await?;
            tags.extend(list.lines().filter(|t| t.starts_with("taskforge-")).map(str::to_owned));
        }
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        docker(&[&["save", "--output", &file], tags.as_slice()].concat()).await?;
        self.docker(&["load", "--quiet", "--input", &file]).await?;
        Ok(fs::remove_file(file)?)
    }
}

fn host(dir: &Path) -> String {
    format!("unix://{}", dir.join("docker.sock").display())
}

/// A task whose agent is at work.
async fn at_work(w: &World) -> Result<String> {
    let task = w.run(&program(&["steps", "12", "0.5"])).await?;
    w.event(&task, "a model call", |e| e.kind == "llm.call").await?;
    Ok(task)
}

/// It did every step once, in more than one agent process, and the record is whole.
async fn went_on(w: &World, task: &str) -> Result<()> {
    let done = w.completed(task).await?;
    ensure!(done.runs[0].iterations.len() > 1, "its container survived: {}", e2e::short(&done));
    let lines: Vec<String> = w.delivered(task, "steps.txt").await?.lines().map(str::to_owned).collect();
    ensure!(lines == (1..=12).map(|n| n.to_string()).collect::<Vec<_>>(), "{lines:?}");
    nothing_twice(w, task).await
}

async fn restarts(slot: &mut Engine) -> Result<()> {
    slot.take_images().await?;
    let settings = Settings::default().with("TASKFORGE_DOCKER_HOST", host(&slot.dir));
    world(settings, async |w| {
        for signal in ["-KILL", "-TERM"] {
            let task = at_work(w).await?;
            restart(slot, signal).await.context(signal)?;
            went_on(w, &task).await.with_context(|| format!("the Engine ended by {signal}"))?;
        }
        // As when the machine loses power: nothing of it is left but the disk.
        let task = at_work(w).await?;
        w.kill().await?;
        restart(slot, "-KILL").await?;
        w.up().await?;
        went_on(w, &task).await.context("the server was killed too")?;
        ensure!(w.client.verify().await?.ok, "the log is not valid");
        let label = format!("label={INSTALLATION}={}", w.installation);
        let left = slot.docker(&["ps", "--all", "--quiet", "--filter", &label]).await?;
        ensure!(left.is_empty(), "containers are left: {left}");
        Ok(())
    })
    .await
}

async fn restart(slot: &mut Engine, signal: &str) -> Result<()> {
    slot.stop(signal).await?;
    // Its containerd ends with it. Where process 1 does not reap it, the next Engine would take it for a living one.
    root("rm", &["-f", &slot.dir.join("exec/containerd/containerd.pid").to_string_lossy()]).await?;
    *slot = Engine::start(&slot.dir.clone()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_restart_under_running_agents_loses_nothing() -> Result<()> {
    // The base images are made by the first Engine, if nothing else has had it make them yet.
    world(Settings::default(), async |_| Ok(())).await?;
    let dir = tempfile::Builder::new().prefix("tf-e2e-engine-").tempdir()?;
    let mut engine = Engine::start(dir.path()).await?;
    let done = restarts(&mut engine).await;
    engine.end().await?;
    done
}
