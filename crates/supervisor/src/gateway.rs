//! The gateway's Unix socket: connecting to it, and waiting until it answers.

use crate::{args::Args, sys::Signals};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

/// The first pause after a failed attempt; it doubles.
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_millis(10);
/// The longest pause between two attempts.
pub(crate) const BACKOFF_LAST: Duration = Duration::from_millis(500);
/// How long the gateway may think about its own health.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of the answer that matter.
const STATUS_LINE: usize = 12;

/// How waiting for the gateway ended.
pub(crate) enum Wait {
    /// It answers.
    Answers,
    /// It did not for the whole time.
    Away,
    /// Somebody wants us to end.
    Signal(i32),
}

/// Asks `GET /healthz` until the answer is 200.
pub(crate) fn wait_until_it_answers(args: &Args, signals: &Signals) -> Result<Wait, String> {
    let until = Instant::now() + args.gateway_timeout;
    let mut pause = BACKOFF_FIRST;
    loop {
        if answers(&args.socket) {
            return Ok(Wait::Answers);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Wait::Away);
        }
        let timeout = Timespec::try_from(pause.min(left)).map_err(|e| format!("a pause is too long: {e}"))?;
        // An interruption is as good as the pause's end.
        poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(&timeout)).ok();
        while let Some(signal) = signals.next() {
            if signal != libc::SIGCHLD {
                return Ok(Wait::Signal(signal));
            }
        }
        pause = (pause * 2).min(BACKOFF_LAST);
    }
}

fn answers(socket: &Path) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = dial(socket)?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: taskforge\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; STATUS_LINE];
        stream.read_exact(&mut status)?;
        Ok(status.starts_with(b"HTTP/1.") && status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// Connects without blocking: a gateway that listens but does not accept gives an error, as one that is away does.
pub(crate) fn dial(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}
