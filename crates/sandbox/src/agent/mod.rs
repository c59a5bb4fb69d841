//! Adapters: how a task becomes a program in a sandbox, and what its end means.
//!
//! Two agents exist: [`openclaw`] and [`command`]. What an agent prints is advisory; the exit code is the Engine's.

use crate::{
    lifecycle::{Exit, Limit},
    run_dir::RunFile,
    spec::EXIT_GATEWAY_AWAY,
};
use domain::{ids::TaskId, task::Agent};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub mod command;
pub mod openclaw;

/// The gateway's model endpoint as seen inside.
pub const MODEL_URL: &str = "http://127.0.0.1:8080/v1";
/// The gateway's MCP endpoint as seen inside.
pub const MCP_URL: &str = "http://127.0.0.1:8080/mcp";
/// The gateway's endpoint for advisory events as seen inside.
pub const EVENTS_URL: &str = "http://127.0.0.1:8080/tf/events";
/// A model key, for programs that insist on one. The real one never enters a sandbox.
pub const NO_KEY: &str = "unused";

/// Everything that decides how an agent is started.
#[derive(Debug, Clone)]
pub struct Turn<'a> {
    /// The task; also the name of the agent's session.
    pub task: TaskId,
    /// The agent.
    pub agent: &'a Agent,
    /// The model as the gateway knows it.
    pub model: &'a str,
    /// What the agent is told at the beginning of this turn.
    pub prompt: &'a str,
    /// The model's context window in tokens.
    pub context_window: u32,
    /// The most tokens of one answer.
    pub max_tokens: u32,
}

/// How an agent is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment on top of the image's.
    pub env: BTreeMap<String, String>,
    /// Files for the run folder, the prompt included.
    pub files: Vec<RunFile>,
}

/// What the end of an agent process means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum AgentEnd {
    /// The turn ended as the agent meant it.
    Done {
        /// Its last words, if it told any. The sandbox's text.
        text: Option<String>,
    },
    /// The agent ran and reports a failure.
    Failed {
        /// Why, as far as it told.
        reason: String,
    },
    /// A limit of the sandbox ended it.
    Limit {
        /// Which.
        limit: Limit,
    },
    /// It was stopped from outside: by us, by the Engine's restart, by a person. Resuming it is right.
    Interrupted {
        /// The exit code.
        code: i64,
    },
    /// It was stopped because the gateway was away for long: resume it.
    GatewayAway,
    /// It could not be started: its program is not in the image, or the Engine failed.
    NotStarted {
        /// Why.
        reason: String,
    },
}

impl AgentEnd {
    /// Whether the same turn can be run again without anybody changing anything.
    pub const fn can_resume(&self) -> bool {
        matches!(self, Self::Interrupted { .. } | Self::GatewayAway)
    }
}

/// How to start the agent for a turn. Fresh and resumed turns are started alike: the session's name is the task's, and
/// the agent finds it in its state or begins it.
pub fn launch(turn: &Turn<'_>) -> Launch {
    match turn.agent {
        Agent::Openclaw => openclaw::launch(turn),
        Agent::Command { argv } => command::launch(turn, argv),
    }
}

/// What an end means. `stdout` is what the container printed there, as far as it is known.
pub fn interpret(agent: &Agent, exit: &Exit, stdout: &[u8], stderr: &[u8]) -> AgentEnd {
    if let Some(limit) = exit.limit {
        return AgentEnd::Limit { limit };
    }
    match exit.code {
        EXIT_GATEWAY_AWAY => AgentEnd::GatewayAway,
        // SIGINT, SIGKILL, SIGTERM, and the Engine's own code for a container that it lost.
        130 | 137 | 143 | 255 if *agent == Agent::Openclaw || exit.code != 255 => {
            AgentEnd::Interrupted { code: exit.code }
        }
        126 | 127 => AgentEnd::NotStarted {
            reason: exit.error.clone().unwrap_or_else(|| last_line(stderr, "the program could not be started")),
        },
        _ => match agent {
            Agent::Openclaw => openclaw::interpret(exit, stdout, stderr),
            Agent::Command { .. } => command::interpret(exit, stderr),
        },
    }
}

/// The last line with text, made visible and bounded, or `otherwise`.
pub(crate) fn last_line(bytes: &[u8], otherwise: &str) -> String {
    const MAX_CHARS: usize = 500;
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().map(str::trim).find(|l| !l.is_empty()).unwrap_or(otherwise);
    domain::text::visible_line(&line.chars().take(MAX_CHARS).collect::<String>())
}
