//! The few system calls that need `unsafe`. Everything else goes through std and rustix.

#![expect(unsafe_code, reason = "signalfd, the signal mask, close_range, pre_exec and kill(-1) have no safe wrapper")]

use std::{
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

/// Signals that are passed on to the agent.
const PASSED_ON: [libc::c_int; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// Our signals as a descriptor: they are blocked and read, never handled asynchronously.
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Blocks the signals and opens the descriptor. Children need [`unblock_in_child`].
    pub(crate) fn take() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set that the later calls read; all pointers are to live locals, and the
        // descriptor that signalfd returns is owned by nobody else.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in PASSED_ON.into_iter().chain([libc::SIGCHLD]) {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Self(OwnedFd::from_raw_fd(fd))),
            }
        }
    }

    /// The next pending signal.
    pub(crate) fn next(&self) -> Option<libc::c_int> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut info) {
            // The record begins with the signal's number.
            Ok(count) if count == info.len() => {
                i32::try_from(u32::from_ne_bytes([info[0], info[1], info[2], info[3]])).ok()
            }
            _ => None,
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Gives the child an empty signal mask: std passes our own on, and an agent that starts with SIGTERM blocked would
/// never end politely.
pub(crate) fn unblock_in_child(command: &mut Command) {
    // SAFETY: between fork and exec the closure calls only sigemptyset and sigprocmask, which are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            let mut set = MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            match libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut()) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

/// Closes what was inherited beyond the standard streams. Not possible everywhere, and then nothing was inherited in
/// a sandbox anyway.
pub(crate) fn close_inherited() {
    // SAFETY: called before this program opens anything; nobody owns a descriptor above 2.
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
}

/// Sends a signal to every process that we may signal but ourselves. For process 1 of a namespace only.
pub(crate) fn kill_every_other(signal: libc::c_int) {
    // SAFETY: kill has no memory effects.
    unsafe {
        libc::kill(-1, signal);
    }
}
