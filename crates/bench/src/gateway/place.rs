//! Which core does what, and how urgent it is.
//!
//! The subject has a core of its own, the mock and the load share another. Where the system permits it they are real-time
//! tasks, so that other programs on the machine are not measured with them.

use std::{
    process::{Command, Stdio},
    thread::available_parallelism,
};

/// A core, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Core {
    /// Mock and load.
    Rest,
    /// What is measured.
    Subject,
}

impl Core {
    /// Its number; none: the machine has one core, and nothing is pinned.
    fn number(self) -> Option<usize> {
        let cores = available_parallelism().map_or(1, usize::from);
        (cores > 1).then_some(match self {
            Self::Rest => 0,
            Self::Subject => 1,
        })
    }

    fn priority(self) -> &'static str {
        match self {
            Self::Rest => "30",
            Self::Subject => "20",
        }
    }
}

/// Puts the current thread on its core. What cannot be done is left out: the ratio to the baselines stays right.
pub(crate) fn settle(core: Core) {
    let Ok(own) = std::fs::read_link("/proc/thread-self") else { return };
    let Some(thread) = own.file_name().and_then(|n| n.to_str()) else { return };
    if let Some(number) = core.number() {
        quiet(Command::new("taskset").args(["-p", "-c", &number.to_string(), thread]));
    }
    quiet(Command::new("chrt").args(["-f", "-p", core.priority(), thread]));
}

/// A command that runs a program on the subject's core.
pub(crate) fn command(program: &std::path::Path) -> Command {
    let mut words: Vec<String> = Vec::new();
    if is_real_time() {
        words.extend(["chrt", "-f", Core::Subject.priority()].map(str::to_owned));
    }
    if let Some(number) = Core::Subject.number() {
        words.extend(["taskset".to_owned(), "-c".to_owned(), number.to_string()]);
    }
    words.push(program.display().to_string());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

fn is_real_time() -> bool {
    quiet(Command::new("chrt").args(["-f", "20", "true"]))
}

fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}
