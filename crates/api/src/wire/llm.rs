//! Model calls.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Sums over the model calls of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Calls that were let out.
    pub calls: u64,
    /// Of those, calls that followed one which did not end well.
    pub retries: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Tokens in requests, as far as known.
    pub prompt_tokens: u64,
    /// Tokens in answers, as far as known.
    pub completion_tokens: u64,
    /// What they cost, as far as known, in millionths of a dollar.
    #[serde(default)]
    pub cost_micro_usd: u64,
    /// Calls that ended and whose cost is unknown.
    #[serde(default)]
    pub unpriced: u64,
}

impl From<store::CallTotals> for Usage {
    fn from(t: store::CallTotals) -> Self {
        Self {
            calls: t.sent,
            retries: t.retries,
            refused: t.refused,
            prompt_tokens: t.prompt_tokens,
            completion_tokens: t.completion_tokens,
            cost_micro_usd: t.cost_micro_usd,
            unpriced: t.unpriced,
        }
    }
}

/// A model call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Call {
    /// Its id.
    pub id: String,
    /// The task, where its sandbox made the call.
    pub task: Option<String>,
    /// The task's run.
    pub run: Option<String>,
    /// The iteration.
    pub iteration: Option<u32>,
    /// The turn of the iteration; none: it was not let out.
    pub turn: Option<u32>,
    /// The key, where a caller made the call.
    pub key: Option<String>,
    /// The key's name.
    pub key_name: Option<String>,
    /// The API token's name, where the call came from `llm chat` or the playground.
    pub token: Option<String>,
    /// What was called: `chat`, `responses`, `messages`, `count_tokens`, `embeddings`.
    pub ingress: String,
    /// The model as the caller named it.
    pub asked_model: String,
    /// The provider.
    pub provider: Option<String>,
    /// The model as the provider names it.
    pub model: Option<String>,
    /// The format that the provider was spoken to in.
    pub format: Option<String>,
    /// How many times a provider was tried.
    pub attempts: u32,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// The call that this one repeats.
    pub retry_of: Option<String>,
    /// `begun`, `ended`, `failed`, `timed_out`, `cut`, `refused` or `unknown`.
    pub state: String,
    /// The same as it is stored: `open`, `done`, and as in `state` otherwise.
    pub status: String,
    /// The provider's HTTP status.
    pub http_status: Option<u16>,
    /// As the provider said.
    pub finish_reason: Option<String>,
    /// Tokens in the request.
    pub prompt_tokens: Option<u64>,
    /// Tokens in the answer.
    pub completion_tokens: Option<u64>,
    /// Tokens that the provider had cached.
    pub cached_tokens: Option<u64>,
    /// Tokens that the provider put into its cache.
    pub cache_write_tokens: Option<u64>,
    /// Tokens of reasoning.
    pub reasoning_tokens: Option<u64>,
    /// What it cost, in millionths of a dollar; none: unknown.
    pub cost_micro_usd: Option<i64>,
    /// The price that was applied, with its date.
    pub price: Option<String>,
    /// Milliseconds to the first byte.
    pub first_byte_ms: Option<u64>,
    /// Milliseconds to the end.
    pub total_ms: Option<u64>,
    /// A stable code.
    pub error_code: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Bytes of the answer.
    pub response_bytes: Option<u64>,
    /// RFC 3339.
    pub begun_at: String,
    /// RFC 3339.
    pub ended_at: Option<String>,
}

/// The state as people ask for it.
fn state(status: store::CallStatus) -> &'static str {
    match status {
        store::CallStatus::Open => "begun",
        store::CallStatus::Done => "ended",
        other => other.as_str(),
    }
}

/// The stored form of a state, or of itself.
pub(crate) fn status_of(state: &str) -> Option<store::CallStatus> {
    match state {
        "begun" => Some(store::CallStatus::Open),
        "ended" => Some(store::CallStatus::Done),
        other => store::CallStatus::parse(other),
    }
}

impl From<store::Call> for Call {
    fn from(c: store::Call) -> Self {
        Self {
            id: c.id.to_string(),
            task: c.task.map(|t| t.to_string()),
            run: c.run.map(|r| r.to_string()),
            iteration: c.iteration,
            turn: c.turn,
            key: c.key.map(|k| k.to_string()),
            key_name: None,
            token: c.token,
            ingress: c.ingress,
            asked_model: c.asked_model,
            provider: c.provider,
            model: c.model,
            format: c.format,
            attempts: c.attempts,
            stream: c.stream,
            retry_of: c.retry_of.map(|r| r.to_string()),
            state: state(c.status).to_owned(),
            status: c.status.as_str().to_owned(),
            http_status: c.http_status,
            finish_reason: c.finish_reason,
            prompt_tokens: c.prompt_tokens,
            completion_tokens: c.completion_tokens,
            cached_tokens: c.cached_tokens,
            cache_write_tokens: c.cache_write_tokens,
            reasoning_tokens: c.reasoning_tokens,
            cost_micro_usd: c.cost_micro_usd,
            price: c.price,
            first_byte_ms: c.first_byte_ms,
            total_ms: c.total_ms,
            error_code: c.error_code,
            error: c.error,
            request_bytes: c.request_size,
            response_bytes: c.response_size,
            begun_at: c.begun_at,
            ended_at: c.ended_at,
        }
    }
}

/// A model call with all that was sent and received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallDetail {
    /// The call.
    #[serde(flatten)]
    pub call: Call,
    /// Whether the bodies were erased: request, response, what was read out of it, and those of the tries.
    #[serde(default)]
    pub erased: bool,
    /// The whole request as the caller sent it; none: erased.
    pub request: Option<String>,
    /// The whole answer as the caller got it; none: erased, or there was none.
    pub response: Option<String>,
    /// What was read out of the answer: text, tool calls, usage. `losses`: what could not be carried between the formats
    /// of caller and provider, there and back.
    #[schema(value_type = Option<Object>)]
    pub normalised: Option<serde_json::Value>,
    /// Each try at a provider.
    pub tries: Vec<Attempt>,
}

/// One try at a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// The provider.
    pub provider: String,
    /// The model as the provider names it.
    pub model: String,
    /// The format that the provider was spoken to in.
    pub format: String,
    /// Where it was sent, without credentials.
    pub url: String,
    /// As of a call.
    pub state: String,
    /// The provider's HTTP status.
    pub http_status: Option<u16>,
    /// A stable code.
    pub error_code: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// The request as it left, where that is not the caller's byte for byte; none: it is, or it was erased.
    pub sent: Option<String>,
    /// The answer as the provider sent it, where that is not what the caller got; none: it is, or it was erased.
    pub response: Option<String>,
    /// Milliseconds to the first byte.
    pub first_byte_ms: Option<u64>,
    /// Milliseconds to the end.
    pub total_ms: Option<u64>,
    /// RFC 3339.
    pub begun_at: String,
}

impl Attempt {
    /// An attempt with its bodies.
    pub(crate) fn new(a: store::Attempt, sent: Option<String>, response: Option<String>) -> Self {
        Self {
            number: a.number,
            provider: a.provider,
            model: a.model,
            format: a.format,
            url: a.url,
            state: state(a.status).to_owned(),
            http_status: a.http_status,
            error_code: a.error_code,
            error: a.error,
            sent,
            response,
            first_byte_ms: a.first_byte_ms,
            total_ms: a.total_ms,
            begun_at: a.begun_at,
        }
    }
}

/// Whose bodies are to be erased for good, and why. One of `task`, `key` and `token` is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EraseBodies {
    /// A task that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// A caller's key, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// An API token, by name: `llm chat` and the playground.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Why: it stands in the audit log, which keeps it.
    #[schema(example = "asked for by the data subject, ticket 4711")]
    pub reason: String,
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErasedBodies {
    /// How many bodies.
    pub bodies: u64,
    /// The entry of the audit log that says so.
    pub entry: u64,
}

/// How many calls there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallCount {
    /// Their number.
    pub count: u64,
}

/// A call from the playground: OpenAI's Chat Completions, with all of its fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlaygroundRequest {
    /// `provider/model`, an alias, or a name that one provider lists.
    #[schema(example = "openai/gpt-4o")]
    pub model: String,
    /// The messages.
    #[schema(value_type = Vec<Object>)]
    pub messages: Vec<serde_json::Value>,
    /// Whether the answer comes as server-sent events.
    #[serde(default)]
    pub stream: bool,
    /// Every other field of Chat Completions.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub more: serde_json::Map<String, serde_json::Value>,
}
