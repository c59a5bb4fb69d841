//! What runs on a data directory, as its lock and `server.json` tell.

pub(super) use crate::server::lock::{Announcement, announced, is_held};

use super::{Exit, Failure, Outcome};
use crate::server::lock::{Mode, PATIENCE, PAUSE, Role, holder, serving};
use std::{path::Path, time::Instant};

/// Whether a gateway by itself runs, or ran last, on the data directory.
pub(super) fn is_gateway(dir: &Path) -> bool {
    announced(dir).is_some_and(|s| s.mode == Mode::Gateway)
}

/// The server that runs on the data directory, if one does. One that is starting is waited for until it has announced
/// itself, and a command that serves the directory until it is over, both for a while.
pub(super) async fn server(dir: &Path) -> Outcome<Option<Announcement>> {
    let began = Instant::now();
    while is_held(dir) {
        if let Some(server) = serving(dir) {
            return Ok(Some(server));
        }
        if began.elapsed() > PATIENCE {
            return Err(busy(dir));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(None)
}

/// The directory is held, and there is nobody to talk to.
fn busy(dir: &Path) -> Failure {
    let (what, hint) = match holder(dir) {
        Some(h) if h.role == Role::Command => {
            (format!("another command of taskforge (process {}) uses", h.pid), "try again when it is over")
        }
        Some(h) => {
            (format!("the server (process {}) is still starting on", h.pid), "try again; its log says what it does")
        }
        None => ("another program holds the lock of".to_owned(), "end it, or choose another folder with --data-dir"),
    };
    Failure::new(Exit::Unreachable, "unreachable", format!("{what} {} after {} s", dir.display(), PATIENCE.as_secs()))
        .hint(hint)
}
