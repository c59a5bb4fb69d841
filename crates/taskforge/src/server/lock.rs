//! One process owns a data directory; others find it through `server.json`.

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{fs, net::SocketAddr, path::Path};

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

/// Takes the lock of the data directory for as long as the handle lives.
pub(crate) fn take(data_dir: &Path) -> Result<fs::File> {
    let path = data_dir.join("lock");
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let who =
            announced(data_dir).map(|a| format!(" (process {} on http://{})", a.pid, a.address)).unwrap_or_default();
        bail!(
            "another server{who} uses {}: stop it with `taskforge down`, or choose another with --data-dir",
            data_dir.display()
        );
    }
    Ok(file)
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
