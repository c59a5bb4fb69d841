//! One process owns a data directory; others find it through `server.json`.
//!
//! The lock file says who holds it, so that one who finds it held knows whom to wait for: a command is over soon, a
//! server stays.

use anyhow::{Context, Result};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, test_kill_process},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    net::SocketAddr,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a holder that is over soon is waited for: a command that serves the directory itself, or a server that has
/// not announced itself yet.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may seem to hold the lock that does not: a look at the lock takes it for a moment, and one that was
/// killed left its name.
const DOUBT: Duration = Duration::from_millis(300);
/// Between two tries.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);
/// The longest note of a holder that is read, in bytes.
const MAX_NOTE_BYTES: usize = 256;

/// What runs on a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// The whole server.
    #[default]
    Server,
    /// The gateway by itself.
    Gateway,
}

/// What a server tells about itself in `server.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Announcement {
    /// Where the API listens.
    pub(crate) address: SocketAddr,
    /// The process.
    pub(crate) pid: u32,
    /// What it is.
    #[serde(default)]
    pub(crate) mode: Mode,
}

/// What holds a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// The whole server.
    Server,
    /// The gateway by itself.
    Gateway,
    /// A command, for as long as it takes.
    Command,
}

/// Who holds a data directory, as its lock file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// What it is.
    pub(crate) role: Role,
    /// The process.
    pub(crate) pid: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.role {
            Role::Server => "another server",
            Role::Gateway => "another server, a gateway by itself,",
            Role::Command => "another command of taskforge",
        };
        write!(f, "{what} (process {})", self.pid)
    }
}

/// A data directory that somebody else holds.
#[derive(Debug)]
pub(crate) struct Held {
    dir: PathBuf,
    by: Option<Holder>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.dir.display();
        let next = match self.by {
            Some(Holder { role: Role::Command, .. }) => "try again when it is over",
            _ => "stop it with `taskforge down`",
        };
        match self.by {
            Some(by) => write!(f, "{by} uses {dir}")?,
            None => write!(f, "another program uses {dir}")?,
        }
        write!(f, ": {next}, or choose another with --data-dir")
    }
}

impl std::error::Error for Held {}

/// The lock of a data directory, held for as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock(fs::File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Nobody holds it any more. A note that stays is taken for that of a process that was killed.
        if let Err(e) = self.0.set_len(0) {
            tracing::debug!(error = %e, "the note in the lock file stays");
        }
    }
}

/// Takes the lock of the data directory; a command that holds it is waited for.
pub(crate) async fn take(data_dir: &Path, role: Role) -> Result<Lock> {
    let path = data_dir.join("lock");
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
    let began = Instant::now();
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let by = holder(data_dir);
        let patience = if by.is_some_and(|h| h.role != Role::Command) { DOUBT } else { PATIENCE };
        if began.elapsed() > patience {
            return Err(Held { dir: data_dir.to_owned(), by }.into());
        }
        tokio::time::sleep(PAUSE).await;
    }
    let note = serde_json::to_vec(&Holder { role, pid: std::process::id() })?;
    file.write_all_at(&note, 0)?;
    file.set_len(note.len() as u64)?;
    Ok(Lock(file))
}

/// Whether somebody holds the lock. A process number alone could be another program's by now.
pub(crate) fn is_held(data_dir: &Path) -> bool {
    let Ok(file) = fs::OpenOptions::new().write(true).open(data_dir.join("lock")) else { return false };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// Who holds the lock, or held it last and was killed.
pub(crate) fn holder(data_dir: &Path) -> Option<Holder> {
    let note = fs::read(data_dir.join("lock")).ok().filter(|n| n.len() <= MAX_NOTE_BYTES)?;
    serde_json::from_slice(&note).ok()
}

/// The server that holds the lock, once it has announced itself: what an earlier one left does not count.
pub(crate) fn serving(data_dir: &Path) -> Option<Announcement> {
    let holder = holder(data_dir);
    announced(data_dir).filter(|a| holder.is_none_or(|h| h.role != Role::Command && h.pid == a.pid) && is_alive(a.pid))
}

fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // One of another user is alive too.
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Tells where the server is, once it answers.
pub(crate) fn announce(data_dir: &Path, address: SocketAddr, mode: Mode) -> Result<()> {
    let text = serde_json::to_string_pretty(&Announcement { address, pid: std::process::id(), mode })?;
    let temp = data_dir.join("server.json.new");
    fs::write(&temp, text)?;
    fs::rename(&temp, data_dir.join("server.json")).context("server.json cannot be written")
}

/// The running (or last) server of a data directory.
pub(crate) fn announced(data_dir: &Path) -> Option<Announcement> {
    serde_json::from_slice(&fs::read(data_dir.join("server.json")).ok()?).ok()
}

pub(crate) fn withdraw(data_dir: &Path) {
    if let Err(e) = fs::remove_file(data_dir.join("server.json")) {
        tracing::debug!(error = %e, "server.json was gone already");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_is_waited_for_and_a_server_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let command = take(dir.path(), Role::Command).await.unwrap();
        assert_eq!(holder(dir.path()), Some(Holder { role: Role::Command, pid: std::process::id() }));
        let (server, ()) = tokio::join!(take(dir.path(), Role::Gateway), async {
            // Longer than a server is waited for: that is what the test is about.
            tokio::time::sleep(DOUBT * 2).await;
            drop(command);
        });
        let server = server.unwrap();
        let held = take(dir.path(), Role::Server).await.unwrap_err();
        let text = held.to_string();
        assert!(held.is::<Held>() && text.contains("a gateway by itself") && text.contains("taskforge down"), "{text}");
        drop(server);
        assert!(holder(dir.path()).is_none() && !is_held(dir.path()));
    }

    #[tokio::test]
    async fn what_an_earlier_server_left_is_not_the_one_that_starts() {
        let dir = tempfile::tempdir().unwrap();
        let address = "127.0.0.1:1".parse().unwrap();
        let stale = Announcement { address, pid: 1, mode: Mode::Server };
        fs::write(dir.path().join("server.json"), serde_json::to_vec(&stale).unwrap()).unwrap();
        let _lock = take(dir.path(), Role::Server).await.unwrap();
        assert!(serving(dir.path()).is_none());
        announce(dir.path(), address, Mode::Server).unwrap();
        assert_eq!(serving(dir.path()).unwrap().pid, std::process::id());
    }
}
