//! The server as a child process: started, killed, started again.

use crate::wait::{PATIENCE, until};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};
use tokio::process::{Child, Command};

/// Environment of the caller that would reach providers other than the scripted model.
const NOT_INHERITED: [&str; 5] =
    ["OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_URL", "TASKFORGE_DATA_DIR", "TASKFORGE_ALLOWED_HOSTS"];
/// The signal of `abort`, by which an armed crash point ends the server.
const SIGABRT: i32 = 6;

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Further environment.
    pub env: BTreeMap<String, String>,
    /// Where the data directory is made; none: among the temporary files.
    pub place: Option<PathBuf>,
}

impl Settings {
    /// Sets a variable of the server's environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Puts the data directory below `place`.
    #[must_use]
    pub fn at(self, place: &Path) -> Self {
        Self { place: Some(place.to_owned()), ..self }
    }
}

/// A running server.
pub struct Server {
    child: Child,
    /// Where its API listens.
    pub address: SocketAddr,
}

/// A program of this repository beside the tests' own, or where `variable` says.
pub fn binary(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        return Ok(path.into());
    }
    let own = env::current_exe()?;
    let target = own.parent().and_then(Path::parent).context("the tests are in no target folder")?;
    let path = target.join(name);
    if !path.is_file() {
        bail!("there is no {}: run scripts/e2e, which builds it, or set {variable}", path.display());
    }
    Ok(path)
}

/// The `taskforge` program, ready to be given arguments.
pub fn taskforge(dir: &Path) -> Result<Command> {
    let mut command = Command::new(binary("TASKFORGE_BIN", "taskforge")?);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    command
        .env("TASKFORGE_DATA_DIR", dir.join("data"))
        // Worlds make the base image one at a time.
        .env("TASKFORGE_BOOTSTRAP", "task")
        .env("HOME", dir)
        .env("TMPDIR", dir.join("tmp"))
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

impl Server {
    /// Starts a server on `dir/data` and waits until it answers, or fails with how it ended.
    pub async fn start(dir: &Path, settings: &Settings) -> Result<Self> {
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("server.log"))?;
        let data = dir.join("data");
        let mut command = taskforge(dir)?;
        command.args(["up", "--listen", "127.0.0.1:0"]).envs(&settings.env).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn().context("the server could not be started")?;
        let pid = child.id().context("the server has no process id")?;
        let address = until("the server to announce itself", PATIENCE, async || {
            if let Some(status) = child.try_wait()? {
                bail!("the server ended at its start: {status}");
            }
            Ok(announced(&data, pid))
        })
        .await?;
        Ok(Self { child, address })
    }

    /// Ends it at once, as `kill -9` does.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("the server could not be killed")
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        kill_process(pid.context("the server has ended already")?, Signal::TERM)?;
        tokio::time::timeout(PATIENCE, self.child.wait()).await.context("the server does not stop")?.map_err(Into::into)
    }

    /// Whether it has ended by an armed crash point; an end of any other kind is an error.
    pub fn crashed(&mut self) -> Result<bool> {
        match self.child.try_wait()? {
            None => Ok(false),
            Some(status) if status.signal() == Some(SIGABRT) => Ok(true),
            Some(status) => bail!("the server ended by itself: {status}"),
        }
    }
}

fn announced(data: &Path, pid: u32) -> Option<SocketAddr> {
    let file: Value = serde_json::from_slice(&fs::read(data.join("server.json")).ok()?).ok()?;
    let is_this = file.get("pid")?.as_u64()? == u64::from(pid);
    is_this.then(|| file.get("address")?.as_str()?.parse().ok()).flatten()
}
