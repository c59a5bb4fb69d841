//! Tasks, their runs, messages and files.

use super::Budget;
use domain::task::{Agent, Limits, RunOutcome};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A task to be created. It does not run until it is started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTask {
    /// A short name.
    #[schema(example = "Analyze data", max_length = 200)]
    pub name: String,
    /// The instructions for the agent.
    #[schema(example = "Process the CSV file and generate a summary report", max_length = 100_000)]
    pub description: String,
    /// `provider/model`, or a bare name that exactly one configured upstream lists.
    #[schema(example = "openai/gpt-4o")]
    pub llm_model: String,
    /// `openclaw` (default) or `command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
    /// Program and arguments, for agent `command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Limits of the sandbox; what is left out has its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<TaskLimits>,
    /// Agent processes per run, at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000, example = 50)]
    pub max_iterations: Option<u32>,
    /// How much it may use of models; when it is used up the task waits, and a person can raise it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Files to put into the workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<NewFile>,
}

/// A file for the workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewFile {
    /// Path below the workspace.
    #[schema(example = "sales.csv")]
    pub path: String,
    /// Its bytes.
    pub content_base64: String,
}

/// The program that works in the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentName {
    /// OpenClaw.
    Openclaw,
    /// Any program in the image that speaks an OpenAI-compatible API and MCP on localhost.
    Command,
}

/// Limits of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskLimits {
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

impl Default for TaskLimits {
    fn default() -> Self {
        Limits::default().into()
    }
}

impl From<Limits> for TaskLimits {
    fn from(l: Limits) -> Self {
        let Limits { memory_bytes, cpu_millis, pids, disk_bytes, file_bytes, tmp_bytes, run_time_s } = l;
        Self { memory_bytes, cpu_millis, pids, disk_bytes, file_bytes, tmp_bytes, run_time_s }
    }
}

impl From<TaskLimits> for Limits {
    fn from(l: TaskLimits) -> Self {
        let TaskLimits { memory_bytes, cpu_millis, pids, disk_bytes, file_bytes, tmp_bytes, run_time_s } = l;
        Self { memory_bytes, cpu_millis, pids, disk_bytes, file_bytes, tmp_bytes, run_time_s }
    }
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// Its id.
    #[schema(example = "task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9")]
    pub id: String,
    /// A short name.
    pub name: String,
    /// The instructions.
    pub description: String,
    /// `provider/model`.
    pub llm_model: String,
    /// What works on it.
    pub agent: AgentName,
    /// Program and arguments, for agent `command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Limits of its sandbox.
    pub limits: TaskLimits,
    /// Iterations per run.
    pub max_iterations: u32,
    /// `created`, `starting`, `running`, `waiting`, `building`, `paused`, `completed`, `failed` or `cancelled`.
    #[schema(example = "running")]
    pub status: String,
    /// Whether nothing more happens without a `continue`.
    pub ended: bool,
    /// What the operator wants: `run`, `pause` or `cancel`.
    pub desired: String,
    /// Why it failed, or what it waits for.
    pub status_reason: Option<String>,
    /// The image of its next iteration.
    pub image: Option<String>,
    /// The policy in force.
    pub policy_version: u32,
    /// The newest run.
    pub run: Option<String>,
    /// The token that made it.
    pub created_by: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

impl From<domain::task::Task> for Task {
    fn from(t: domain::task::Task) -> Self {
        let (agent, command) = match t.agent {
            Agent::Openclaw => (AgentName::Openclaw, None),
            Agent::Command { argv } => (AgentName::Command, Some(argv)),
        };
        Self {
            id: t.id.to_string(),
            name: t.name,
            description: t.description,
            llm_model: t.llm_model,
            agent,
            command,
            limits: t.limits.into(),
            max_iterations: t.max_iterations,
            status: t.status.to_string(),
            ended: t.status.is_final(),
            desired: t.desired.to_string(),
            status_reason: t.status_reason,
            image: t.image,
            policy_version: t.policy_version,
            run: t.run.map(|r| r.to_string()),
            created_by: t.created_by,
            created_at: t.created_at,
            updated_at: t.updated_at,
        }
    }
}

/// A task with its runs and what it waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskDetail {
    /// The task.
    #[serde(flatten)]
    pub task: Task,
    /// Its runs, oldest first.
    pub runs: Vec<Run>,
    /// Requests that a person can decide.
    pub pending_requests: Vec<String>,
    /// Model calls so far.
    pub usage: crate::wire::Usage,
}

/// A run: the first start of a task, or a `continue`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// From 1.
    pub number: u32,
    /// What the agent was asked to do.
    pub instructions: String,
    /// `submitted`, `not_submitted`, `failed` or `cancelled`; none while it goes on.
    pub outcome: Option<String>,
    /// Why it failed: a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_code: Option<String>,
    /// Why it failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The agent's own summary; not trusted.
    pub summary: Option<String>,
    /// Its agent processes.
    pub iterations: Vec<Iteration>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub ended_at: Option<String>,
}

impl Run {
    pub(crate) fn new(r: store::Run, iterations: Vec<store::Iteration>) -> Self {
        let (outcome, code, failure) = match r.outcome {
            None => (None, None, None),
            Some(RunOutcome::Submitted) => (Some("submitted"), None, None),
            Some(RunOutcome::NotSubmitted) => (Some("not_submitted"), None, None),
            Some(RunOutcome::Cancelled) => (Some("cancelled"), None, None),
            Some(RunOutcome::Failed { code, reason }) => (Some("failed"), Some(code), Some(reason)),
        };
        Self {
            id: r.id.to_string(),
            number: r.number,
            instructions: r.instructions,
            outcome: outcome.map(str::to_owned),
            failure_code: code,
            failure,
            summary: r.summary,
            iterations: iterations.into_iter().map(Into::into).collect(),
            started_at: r.started_at,
            ended_at: r.ended_at,
        }
    }
}

/// One agent process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Iteration {
    /// From 1.
    pub number: u32,
    /// Why it was started.
    #[schema(value_type = String)]
    pub cause: serde_json::Value,
    /// The image it ran in.
    pub image: String,
    /// How it ended; none while it runs.
    #[schema(value_type = Option<Object>)]
    pub end: Option<serde_json::Value>,
    /// Why we stopped it, if we did.
    #[schema(value_type = Option<String>)]
    pub stop: Option<serde_json::Value>,
    /// The agent's exit code, by the Engine.
    pub exit_code: Option<i64>,
    /// The sandbox as measured from the Engine's inspect.
    #[schema(value_type = Option<Object>)]
    pub posture: Option<serde_json::Value>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub ended_at: Option<String>,
}

impl From<store::Iteration> for Iteration {
    fn from(i: store::Iteration) -> Self {
        Self {
            number: i.number,
            cause: serde_json::json!(i.cause),
            image: i.image,
            end: i.end.map(|e| serde_json::json!(e)),
            stop: i.stop.map(|s| serde_json::json!(s)),
            exit_code: i.exit_code,
            posture: i.posture,
            started_at: i.started_at,
            ended_at: i.ended_at,
        }
    }
}

/// What a further run is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Continue {
    /// The instructions.
    #[schema(example = "Now add a chart of the last quarter", max_length = 100_000)]
    pub instructions: String,
}

/// Words for a running agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// The words.
    #[schema(max_length = 20_000)]
    pub text: String,
    /// Restart the agent to hear them at once; otherwise its next TaskForge tool result carries them.
    #[serde(default)]
    pub now: bool,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// The token's name.
    pub author: String,
    /// The words.
    pub text: String,
    /// Whether the agent is restarted to hear them.
    pub now: bool,
    /// When the agent was told, RFC 3339; none: not yet.
    pub delivered_at: Option<String>,
    /// RFC 3339.
    pub created_at: String,
}

impl From<store::Message> for Message {
    fn from(m: store::Message) -> Self {
        let store::Message { id, author, text, now, delivered_at, created_at } = m;
        Self { id: id.to_string(), author, text, now, delivered_at, created_at }
    }
}

/// An entry of a task's workspace, as collected after an iteration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct File {
    /// Path below the workspace, chosen by the agent: never use it on a host unchecked.
    pub path: String,
    /// `file`, `dir`, `symlink`, `fifo`, `device` or `socket`.
    pub kind: String,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// SHA-256 of a regular file, hexadecimal.
    pub sha256: Option<String>,
    /// Whether it can be downloaded.
    pub kept: bool,
    /// Why it was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// Whether it is part of the submitted result.
    pub deliverable: bool,
}

impl From<store::OutputFile> for File {
    fn from(f: store::OutputFile) -> Self {
        Self {
            path: f.path,
            kind: f.kind,
            size: f.size,
            mode: f.mode,
            sha256: f.sha256,
            kept: f.kept,
            skipped: f.skipped,
            deliverable: f.deliverable,
        }
    }
}

/// The files of a task's newest run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileList {
    /// The run they were collected from; none: the task has not run.
    pub run: Option<String>,
    /// The entries, by path.
    pub files: Vec<File>,
}

/// A piece of what an agent process wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogPart {
    /// The run's number.
    pub run: u32,
    /// The iteration's number.
    pub iteration: u32,
    /// Which output: the name of the recorded body.
    pub stream: String,
    /// The words of the agent or its program; not trusted.
    pub text: String,
    /// Whether `text` is only the end of it.
    pub truncated: bool,
    /// The whole size in bytes.
    pub size: u64,
}
