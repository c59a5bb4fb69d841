//! Events: what happened, once each. An event is a leaf of the audit log; a task's timeline is a view of its leaves.
//!
//! A leaf holds metadata and commitments to bodies, never a body: bodies can be erased later while the log verifies.

use crate::ids::{KeyId, OpId, RunId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the leaf format.
pub const LEAF_VERSION: u32 = 1;

macro_rules! kinds {
    ($($variant:ident = $text:literal),* $(,)?) => {
        /// What an event is about, as a dotted name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the dotted names are the documentation (docs/events.md)")]
        pub enum EventKind { $(#[serde(rename = $text)] $variant),* }

        impl EventKind {
            /// Every kind, in order of definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The dotted name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

kinds! {
    ServerStarted = "server.started",
    ServerStopped = "server.stopped",
    ServerRecovered = "server.recovered",
    TaskCreated = "task.created",
    TaskStarted = "task.started",
    TaskStatus = "task.status",
    TaskPauseRequested = "task.pause_requested",
    TaskResumeRequested = "task.resume_requested",
    TaskCancelRequested = "task.cancel_requested",
    TaskContinued = "task.continued",
    TaskMessage = "task.message",
    TaskMessageDelivered = "task.message_delivered",
    RunStarted = "run.started",
    RunFinished = "run.finished",
    WorkspacePrepare = "workspace.prepare",
    FilesCollect = "files.collect",
    SandboxRun = "sandbox.run",
    SandboxStop = "sandbox.stop",
    SandboxReap = "sandbox.reap",
    SandboxPosture = "sandbox.posture",
    AgentNudged = "agent.nudged",
    AgentProgress = "agent.progress",
    AgentEvent = "agent.event",
    AgentToolsMissing = "agent.tools_missing",
    AgentSubmitted = "agent.submitted",
    LlmCall = "llm.call",
    LlmAttempt = "llm.attempt",
    LlmRefused = "llm.refused",
    ToolCall = "tool.call",
    McpCall = "mcp.call",
    RequestCreated = "request.created",
    RequestResolve = "request.resolve",
    RequestLookup = "request.lookup",
    RequestFetch = "request.fetch",
    RequestPending = "request.pending",
    RequestRejected = "request.rejected",
    RequestStale = "request.stale",
    RequestDecided = "request.decided",
    RequestExpired = "request.expired",
    RequestApplied = "request.applied",
    RequestWithdrawn = "request.withdrawn",
    ImageBootstrap = "image.bootstrap",
    ImageBuild = "image.build",
    ImageReused = "image.reused",
    ImagePrune = "image.prune",
    PolicyVersion = "policy.version",
    TokenCreated = "token.created",
    TokenRevoked = "token.revoked",
    KeyCreated = "key.created",
    KeyRevoked = "key.revoked",
    ProviderSaved = "provider.saved",
    ProviderRemoved = "provider.removed",
    GatewayConfigured = "gateway.configured",
    SignInCode = "signin.code",
    SignIn = "signin.session",
    BodyErased = "body.erased",
    BackupTaken = "backup.taken",
}

/// Where an event stands in an act: acts with an outside effect have a begun and an ended leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A fact without an outside effect.
    Point,
    /// Durable before the act.
    Begun,
    /// The act is over; `outcome` says how.
    Ended,
}

/// How an act ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It took effect.
    Done,
    /// It did not take effect, or not as a whole.
    NotDone,
    /// It took effect in part or failed half-way.
    Failed,
    /// It was refused before anything happened.
    Refused,
    /// A crash left it open and its effect could not be established.
    Unknown,
}

/// Who caused an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Actor {
    /// TaskForge itself.
    System,
    /// A person or program with an API token; the name is the token's.
    Token {
        /// The token's name.
        name: String,
    },
    /// What runs inside a sandbox. Nothing it says is trusted.
    Sandbox,
    /// Whoever holds a caller's key of the gateway.
    Key {
        /// The key.
        key: KeyId,
    },
}

/// A reference to a stored body: its salted commitment goes into the leaf, its bytes do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyRef {
    /// HMAC-SHA-256 of the body under a per-record salt, in hexadecimal. Also the key of the body in the store.
    pub commitment: String,
    /// Size of the body in bytes.
    pub size: u64,
}

/// An event before the store gives it an index and a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What it is about.
    pub kind: EventKind,
    /// Where it stands in its act.
    pub phase: Phase,
    /// Who caused it.
    pub actor: Actor,
    /// The act, for begun and ended events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<OpId>,
    /// How the act ended, for ended events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The task it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The run it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The iteration (one agent process) it belongs to, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iteration: Option<u32>,
    /// Metadata: ids, digests, sizes, counts, codes. Free text of agents and people goes into bodies.
    pub data: serde_json::Value,
    /// Named bodies by commitment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bodies: BTreeMap<String, BodyRef>,
}

impl Event {
    /// A fact by TaskForge itself.
    pub fn point(kind: EventKind, data: serde_json::Value) -> Self {
        Self {
            kind,
            phase: Phase::Point,
            actor: Actor::System,
            op: None,
            outcome: None,
            task: None,
            run: None,
            iteration: None,
            data,
            bodies: BTreeMap::new(),
        }
    }

    /// The start of an act.
    pub fn begun(kind: EventKind, op: OpId, data: serde_json::Value) -> Self {
        Self { phase: Phase::Begun, op: Some(op), ..Self::point(kind, data) }
    }

    /// The end of an act.
    pub fn ended(kind: EventKind, op: OpId, outcome: Outcome, data: serde_json::Value) -> Self {
        Self { phase: Phase::Ended, op: Some(op), outcome: Some(outcome), ..Self::point(kind, data) }
    }

    /// Names who caused it.
    #[must_use]
    pub fn by(mut self, actor: Actor) -> Self {
        self.actor = actor;
        self
    }

    /// Places it in a task.
    #[must_use]
    pub fn task(mut self, task: TaskId) -> Self {
        self.task = Some(task);
        self
    }

    /// Places it in a run.
    #[must_use]
    pub fn run(mut self, run: RunId) -> Self {
        self.run = Some(run);
        self
    }

    /// Places it in an iteration.
    #[must_use]
    pub fn iteration(mut self, n: u32) -> Self {
        self.iteration = Some(n);
        self
    }

    /// Adds a named body.
    #[must_use]
    pub fn body(mut self, name: &str, body: BodyRef) -> Self {
        self.bodies.insert(name.to_owned(), body);
        self
    }
}

/// A leaf as it is hashed: an event with its index and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leaf {
    /// [`LEAF_VERSION`].
    pub v: u32,
    /// Position in the log, from 0.
    pub index: u64,
    /// When it was recorded: RFC 3339, UTC, by the server's clock.
    pub time: String,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}
