//! What runs on a data directory, as its lock and `server.json` tell.

use crate::server::lock::Mode;
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use std::{fs::OpenOptions, net::SocketAddr, path::Path};

/// What a server tells about itself.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Announcement {
    pub(super) address: SocketAddr,
    pub(super) pid: i32,
    #[serde(default)]
    pub(super) mode: Mode,
}

/// What the running, or the last, server tells of itself.
pub(super) fn announced(dir: &Path) -> Option<Announcement> {
    serde_json::from_slice(&std::fs::read(dir.join("server.json")).ok()?).ok()
}

/// Whether a gateway by itself runs, or ran last, on the data directory.
pub(super) fn is_gateway(dir: &Path) -> bool {
    announced(dir).is_some_and(|s| s.mode == Mode::Gateway)
}

/// Whether a server lives: it holds the lock. A process number alone could be another program's by now.
pub(super) fn is_running(dir: &Path) -> bool {
    let Ok(file) = OpenOptions::new().write(true).open(dir.join("lock")) else { return false };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}
