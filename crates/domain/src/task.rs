//! Tasks, their runs and iterations, and what a person may ask of them.

use crate::{
    ids::{RunId, TaskId},
    request::text_enum,
};
use serde::{Deserialize, Serialize};

/// Iterations (agent processes) of a run unless the task says otherwise.
pub const DEFAULT_MAX_ITERATIONS: u32 = 50;
/// The most iterations a task may ask for.
pub const MAX_ITERATIONS: u32 = 1000;

text_enum! {
    /// Where a task stands.
    TaskStatus {
        /// Stored, not started.
        Created = "created",
        /// Between steps: preparing, starting.
        Starting = "starting",
        /// Its agent runs.
        Running = "running",
        /// It waits for a person; nothing is held.
        Waiting = "waiting",
        /// An approved image is being built.
        Building = "building",
        /// A person paused it.
        Paused = "paused",
        /// The agent's turn ended well; see the run's outcome.
        Completed = "completed",
        /// It could not go on; see the reason.
        Failed = "failed",
        /// A person cancelled it.
        Cancelled = "cancelled",
    }
}

impl TaskStatus {
    /// Whether nothing more happens without a `continue`.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Whether a workflow works on it.
    pub const fn is_active(self) -> bool {
        !self.is_final() && !matches!(self, Self::Created)
    }
}

text_enum! {
    /// What the operator wants of a task, honoured by the workflow at once.
    Desired {
        /// Go on.
        Run = "run",
        /// Stop the container, keep everything, wait.
        Pause = "pause",
        /// End it.
        Cancel = "cancel",
    }
}

/// What a person may do to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// First start.
    Start,
    /// Stop at once, keep everything.
    Pause,
    /// Go on after a pause.
    Resume,
    /// End it.
    Cancel,
    /// A further run from the last image, workspace and session.
    Continue,
    /// Words for the agent.
    Message,
}

impl Command {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Continue => "continue",
            Self::Message => "message",
        }
    }
}

/// A command that does not fit the task's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {} a task that is {from}", command.as_str())]
pub struct IllegalTransition {
    /// The command.
    pub command: Command,
    /// The state that forbids it.
    pub from: TaskStatus,
    /// What to do instead.
    pub hint: &'static str,
}

/// The status and wish that follow a command, or why it is not possible.
pub fn transition(
    status: TaskStatus,
    desired: Desired,
    command: Command,
) -> Result<(TaskStatus, Desired), IllegalTransition> {
    use {Command as C, Desired as D, TaskStatus as S};
    let refuse = |hint| Err(IllegalTransition { command, from: status, hint });
    match command {
        C::Start if status == S::Created => Ok((S::Starting, D::Run)),
        C::Start => refuse("a task is started once; use continue for a further run"),
        C::Cancel if status == S::Created => Ok((S::Cancelled, D::Cancel)),
        C::Cancel if status.is_active() => Ok((status, D::Cancel)),
        C::Cancel => refuse("it has already ended"),
        C::Pause if status.is_active() && desired == D::Run => Ok((status, D::Pause)),
        C::Pause if status.is_active() && desired == D::Cancel => refuse("it is being cancelled"),
        C::Pause if status.is_active() => refuse("it is paused, or about to be"),
        C::Pause => refuse("only a task that goes on can be paused"),
        C::Resume if status.is_active() && desired == D::Pause => Ok((status, D::Run)),
        C::Resume => refuse("only a paused task can be resumed"),
        C::Continue if status.is_final() => Ok((S::Starting, D::Run)),
        C::Continue => refuse("it has not ended yet; send it a message instead"),
        C::Message if status.is_active() && desired != D::Cancel => Ok((status, desired)),
        C::Message => refuse("nobody is there to read it; use start or continue"),
    }
}

/// The program that works in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Agent {
    /// OpenClaw.
    Openclaw,
    /// Any program in the image that speaks an OpenAI-compatible API and MCP on localhost.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
    },
}

impl Agent {
    /// `openclaw` or `command`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Openclaw => "openclaw",
            Self::Command { .. } => "command",
        }
    }
}

/// Limits of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory, swap included, in bytes.
    pub memory_bytes: u64,
    /// CPUs, in thousandths.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub pids: u32,
    /// Workspace and agent state together, in bytes.
    pub disk_bytes: u64,
    /// Largest single file, in bytes.
    pub file_bytes: u64,
    /// Scratch space at /tmp (memory-backed), in bytes.
    pub tmp_bytes: u64,
    /// Wall time of one iteration, in seconds.
    pub run_time_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            cpu_millis: 2000,
            pids: 512,
            disk_bytes: 10 << 30,
            file_bytes: 4 << 30,
            tmp_bytes: 512 << 20,
            run_time_s: 6 * 3600,
        }
    }
}

/// The least memory that OpenClaw starts with.
pub const MIN_MEMORY_BYTES: u64 = 64 << 20;

impl Limits {
    /// Says what is out of bounds, or nothing.
    pub fn check(&self) -> Result<(), String> {
        let bounds = [
            ("memory_bytes", self.memory_bytes, MIN_MEMORY_BYTES, 1 << 40),
            ("cpu_millis", u64::from(self.cpu_millis), 50, 1_024_000),
            ("pids", u64::from(self.pids), 16, 65_536),
            ("disk_bytes", self.disk_bytes, 1 << 20, 1 << 44),
            ("file_bytes", self.file_bytes, 1 << 16, 1 << 44),
            ("tmp_bytes", self.tmp_bytes, 1 << 20, 1 << 40),
            ("run_time_s", self.run_time_s, 5, 30 * 24 * 3600),
        ];
        for (name, value, low, high) in bounds {
            if value < low || value > high {
                return Err(format!("{name} is {value}; it must lie between {low} and {high}"));
            }
        }
        Ok(())
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RunOutcome {
    /// The agent submitted its result.
    Submitted,
    /// The agent ended its turn twice with neither a request nor a submission.
    NotSubmitted,
    /// It could not go on.
    Failed {
        /// A stable code: see docs/errors.
        code: String,
        /// What happened.
        reason: String,
    },
    /// A person cancelled it.
    Cancelled,
}

impl RunOutcome {
    /// The task status that follows.
    pub const fn status(&self) -> TaskStatus {
        match self {
            Self::Submitted | Self::NotSubmitted => TaskStatus::Completed,
            Self::Failed { .. } => TaskStatus::Failed,
            Self::Cancelled => TaskStatus::Cancelled,
        }
    }
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// A short name.
    pub name: String,
    /// The instructions.
    pub description: String,
    /// `provider/model`.
    pub llm_model: String,
    /// What works on it.
    pub agent: Agent,
    /// Limits of its sandbox.
    pub limits: Limits,
    /// Iterations per run.
    pub max_iterations: u32,
    /// Where it stands.
    pub status: TaskStatus,
    /// What the operator wants.
    pub desired: Desired,
    /// Why it failed, or what it waits for.
    pub status_reason: Option<String>,
    /// The image of its next iteration; none before the first start.
    pub image: Option<String>,
    /// The policy in force.
    pub policy_version: u32,
    /// The newest run.
    pub run: Option<RunId>,
    /// The token that made it.
    pub created_by: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_in_every_state_is_decided() {
        use {Command as C, Desired as D, TaskStatus as S};
        for status in S::ALL.iter().copied() {
            for desired in D::ALL.iter().copied() {
                for command in [C::Start, C::Pause, C::Resume, C::Cancel, C::Continue, C::Message] {
                    let got = transition(status, desired, command);
                    if status.is_final() {
                        assert_eq!(got.is_ok(), command == C::Continue, "{command:?} in {status}");
                    }
                    if let Ok((_, next)) = got {
                        assert!(
                            !(desired == D::Cancel && next != D::Cancel && !status.is_final() && command != C::Start),
                            "a cancel cannot be undone by {command:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn limits_out_of_bounds_are_named() {
        let limits = Limits { pids: 1, ..Limits::default() };
        assert!(limits.check().unwrap_err().starts_with("pids is 1"));
        assert_eq!(Limits::default().check(), Ok(()));
    }
}
