//! Binding a Unix socket at a path of any length.
//!
//! An address holds at most 107 bytes of path, so the folder is opened and the socket bound below `/proc/self/fd/N`.
//! It is bound under another name and renamed: whoever connects finds the old socket or the new one, never none.

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};
use tokio::net::UnixListener;

/// The socket's name in its folder.
pub(crate) const NAME: &str = "gateway.sock";
const NEW_NAME: &str = "gateway.sock.new";

/// Opens the folder, making it if need be: the sandbox's user has to pass through it, nobody else gets to it because
/// the folder above is closed.
pub(crate) fn open_folder(root: &Path, folder: &Path) -> io::Result<OwnedFd> {
    make_folder(root, 0o700)?;
    make_folder(folder, 0o755)?;
    Ok(rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Listens in `folder`; whatever socket was there is replaced.
pub(crate) fn listen(folder: &OwnedFd) -> io::Result<UnixListener> {
    match rustix::fs::unlinkat(folder, NEW_NAME, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{NEW_NAME}", folder.as_raw_fd()))?;
    // The sandbox's user connects; identity is the socket, so there is nothing else to check.
    rustix::fs::chmodat(folder, NEW_NAME, Mode::from_raw_mode(0o666), AtFlags::empty())?;
    rustix::fs::renameat(folder, NEW_NAME, folder, NAME)?;
    Ok(listener)
}

/// Removes the socket.
pub(crate) fn remove(folder: &OwnedFd) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, NAME, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(mode)) {
        // The mask of the process may have taken bits away.
        Ok(()) => Ok(rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())?),
        Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
