//! The agent's process: started, signalled, reaped; and the end of everything else.

use crate::{harden::is_init, sys};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait};
use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How long what is left is killed and reaped before the supervisor gives up and lets the kernel do it.
const CLEAN_UP: Duration = Duration::from_secs(5);
/// Between two rounds of that.
const CLEAN_UP_ROUND: Duration = Duration::from_millis(5);

/// The running agent.
pub(crate) struct Agent {
    pid: Pid,
    /// Its exit code once it has ended.
    pub(crate) code: Option<u8>,
}

/// The exit code that stands for an end by a signal.
pub(crate) fn code_of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(255)
}

impl Agent {
    /// Starts the program in its own process group, so that signals reach all of it.
    pub(crate) fn start(command: &[OsString]) -> Result<Self, (u8, String)> {
        let Some((program, arguments)) = command.split_first() else { return Err((127, "no program".to_owned())) };
        make_home();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).process_group(0);
        sys::unblock_in_child(&mut command);
        let child = command.spawn().map_err(|e| {
            let code = if e.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            (code, format!("cannot start {}: {e}", program.display()))
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // Reaped by `reap`, together with every orphan; std's handle would wait for this one alone.
        drop(child);
        pid.map(|pid| Self { pid, code: None }).ok_or((126, "the agent has no process id".to_owned()))
    }

    /// Passes a signal on to the agent's process group.
    pub(crate) fn signal(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            // It fails only when the group is gone, which the next SIGCHLD tells.
            kill_process_group(self.pid, signal).ok();
        }
    }

    /// Collects every child that has ended.
    pub(crate) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.pid {
                let exit = status.exit_status().and_then(|c| u8::try_from(c).ok());
                self.code = exit.or_else(|| status.terminating_signal().map(code_of_signal)).or(self.code);
            }
        }
    }
}

/// Makes `$HOME`, which lies on scratch space that begins empty. Without it the agent still starts.
fn make_home() {
    if let Some(home) = std::env::var_os("HOME").filter(|h| Path::new(h).is_absolute())
        && !Path::new(&home).exists()
        && let Err(error) = DirBuilder::new().mode(0o700).recursive(true).create(&home)
    {
        eprintln!("taskforge-supervisor: cannot make {}: {error}", home.display());
    }
}

/// Kills and reaps all that the agent left behind.
pub(crate) fn kill_everything_left() {
    let until = Instant::now() + CLEAN_UP;
    while Instant::now() < until {
        match is_init() {
            true => sys::kill_every_other(libc::SIGKILL),
            false => children().into_iter().for_each(|pid| {
                kill_process(pid, Signal::KILL).ok();
            }),
        }
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => std::thread::sleep(CLEAN_UP_ROUND),
            // No child is left; orphans of killed ones have come to us before their parent was reaped.
            Err(_) => return,
        }
    }
}

/// Our direct children, orphans that came to us included.
fn children() -> Vec<Pid> {
    let text = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_whitespace().filter_map(|p| p.parse().ok().and_then(Pid::from_raw)).collect()
}
