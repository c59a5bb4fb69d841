//! What a model call is asked for with, and how it ends.

use crate::CallStatus;
use bytes::Bytes;
use domain::{
    budget::Amounts,
    event::Actor,
    ids::{CallId, KeyId, OpId, RunId, TaskId},
};
use serde_json::Value;
use std::sync::Arc;

use super::body::Written;

/// Who makes a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// What runs in the sandbox of a task.
    Task {
        /// The task.
        task: TaskId,
        /// Its run.
        run: RunId,
        /// The iteration under way.
        iteration: u32,
        /// The call's position among those of the iteration that were let out, from 1.
        turn: u32,
    },
    /// The holder of a key.
    Key {
        /// The key.
        key: KeyId,
    },
    /// The holder of an API token: the playground, `taskforge llm chat`.
    Token {
        /// The token's name.
        name: String,
    },
}

impl Caller {
    /// The scope under whose key the bodies are encrypted.
    pub(crate) fn scope(&self) -> String {
        match self {
            Self::Task { task, .. } => task.to_string(),
            Self::Key { key } => key.to_string(),
            Self::Token { name } => token_scope(name),
        }
    }

    pub(crate) fn actor(&self) -> Actor {
        match self {
            Self::Task { .. } => Actor::Sandbox,
            Self::Key { key } => Actor::Key { key: *key },
            Self::Token { name } => Actor::Token { name: name.clone() },
        }
    }

    /// The task, if it is one.
    pub fn task(&self) -> Option<TaskId> {
        match self {
            Self::Task { task, .. } => Some(*task),
            Self::Key { .. } | Self::Token { .. } => None,
        }
    }
}

pub(crate) fn token_scope(name: &str) -> String {
    format!("token:{name}")
}

/// Whose call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusedCaller {
    /// A sandbox's, whatever its task's state.
    Task(TaskId),
    /// A key's.
    Key(KeyId),
    /// A token's, by its name.
    Token(String),
    /// Nobody's that is known: no key, or a wrong one.
    Unknown,
}

/// A call as it is asked for.
#[derive(Debug, Clone)]
pub struct NewCall {
    /// What was called: `chat`, `responses`, `messages`, `count_tokens`, `embeddings`.
    pub ingress: &'static str,
    /// The model as the request names it.
    pub asked_model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Request headers worth keeping; credentials as fingerprints only.
    pub headers: Value,
    /// The whole request body, as it came.
    pub request: Bytes,
    /// Results of tool calls that the request carries; only those of tasks are followed.
    pub results: Vec<SeenResult>,
}

/// The result of a tool call as a later request carries it.
#[derive(Debug, Clone)]
pub struct SeenResult {
    /// The upstream's id of the tool call.
    pub tool_id: String,
    /// The result, as sent.
    pub content: Bytes,
}

/// One try at a provider.
#[derive(Debug, Clone)]
pub struct NewAttempt {
    /// The provider's configured name.
    pub provider: String,
    /// The provider's own name for the model.
    pub model: String,
    /// The wire format: `chat`, `responses`, `messages`, `gemini`, `ollama`.
    pub format: &'static str,
    /// Where it goes, without credentials.
    pub url: String,
    /// The headers as sent; credentials as fingerprints only. Null: nothing worth keeping.
    pub headers: Value,
    /// The body as sent; none: equal to the call's request.
    pub request: Option<Bytes>,
    /// What the translation could not carry; null: nothing was lost.
    pub losses: Value,
    /// What the call may use of a budget; counts until its end is recorded, so that a crash gives nothing back. Only
    /// that of a call's first attempt is read.
    pub reserved: Option<Amounts>,
}

/// Bytes that came back.
#[derive(Debug, Default)]
pub enum Received {
    /// Nothing.
    #[default]
    Nothing,
    /// All of it at once.
    Whole(Bytes),
    /// What was recorded while it came: [`super::Recorder::body`].
    Written(Box<Written>),
}

impl From<Bytes> for Received {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl From<Vec<u8>> for Received {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Whole(bytes.into())
    }
}

/// A stable code and a sentence.
pub type CallError = (&'static str, String);

/// How an attempt ended.
#[derive(Debug)]
pub struct AttemptEnd {
    /// How.
    pub status: CallStatus,
    /// The provider's HTTP status, if it answered.
    pub http_status: Option<u16>,
    /// What went wrong, if it did not end well.
    pub error: Option<CallError>,
    /// All that the provider sent.
    pub response: Received,
    /// From the attempt's beginning to the first byte of its answer, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// From the attempt's beginning to its end, in milliseconds.
    pub total_ms: u64,
}

/// Tokens as the provider counted them; none is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// In the request, cached ones included.
    pub prompt: Option<u64>,
    /// In the answer, reasoning included.
    pub completion: Option<u64>,
    /// Of the request's tokens, those read from a cache.
    pub cached: Option<u64>,
    /// Of the request's tokens, those written into a cache.
    pub cache_write: Option<u64>,
    /// Of the answer's tokens, those of reasoning.
    pub reasoning: Option<u64>,
}

/// A tool call as a model emitted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmittedToolCall {
    /// The provider's id for it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, as sent.
    pub arguments: String,
}

/// How a call ended.
#[derive(Debug)]
pub struct CallEnd {
    /// How, for the caller.
    pub status: CallStatus,
    /// What went wrong, if it did not end well.
    pub error: Option<CallError>,
    /// From the call's beginning to the first byte for the caller, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// From the call's beginning to its end, in milliseconds.
    pub total_ms: u64,
    /// How its last attempt ended.
    pub last: AttemptEnd,
    /// What the caller got; none: byte for byte what the provider sent.
    pub response: Option<Received>,
    /// The answer in one form for all formats; null: it can be read from the response.
    pub normalised: Value,
    /// Why the model stopped, as the provider says.
    pub finish_reason: Option<String>,
    /// Token counts.
    pub tokens: Tokens,
    /// What it cost, in millionths of a dollar; none is unknown.
    pub cost_micro_usd: Option<i64>,
    /// The version and row of the price table that says so.
    pub price: Option<String>,
    /// What it took of a budget, in place of what was reserved; none: what the provider counted.
    pub charged: Option<Amounts>,
    /// The tool calls that the answer holds, if it is whole.
    pub tool_calls: Vec<EmittedToolCall>,
    /// Reasoning signatures by tool-call id, kept for clients that drop them.
    pub carries: Vec<(String, Vec<u8>)>,
}

/// Why a call is not let out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSent {
    /// The HTTP status of the answer.
    pub http_status: u16,
    /// A stable code.
    pub code: &'static str,
    /// A sentence and the next step.
    pub message: String,
}

/// How the beginning of a sandbox's call went.
#[derive(Debug)]
pub enum Begun {
    /// It may leave.
    Sent(CallRef),
    /// It may not; that is recorded under this id.
    Refused(CallId, NotSent),
}

/// A call that was let out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CallRef(pub(crate) Arc<CallInner>);

#[derive(Debug)]
pub(crate) struct CallInner {
    pub(crate) id: CallId,
    pub(crate) op: OpId,
    pub(crate) caller: Caller,
    pub(crate) key: Arc<super::seal::ScopeKey>,
    /// Whether recovery has closed it: [`crate::journal::Journal::append_of`].
    pub(crate) epoch: u64,
    /// The attempt under way: its number from 1 and its act, if it has one of its own.
    pub(crate) attempt: std::sync::Mutex<super::Attempting>,
}

impl CallRef {
    /// Its id.
    pub fn id(&self) -> CallId {
        self.0.id
    }

    /// Its act in the log.
    pub fn op(&self) -> OpId {
        self.0.op
    }

    /// Who made it.
    pub fn caller(&self) -> &Caller {
        &self.0.caller
    }
}
