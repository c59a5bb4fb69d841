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
}

impl From<store::CallTotals> for Usage {
    fn from(t: store::CallTotals) -> Self {
        Self {
            calls: t.sent,
            retries: t.retries,
            refused: t.refused,
            prompt_tokens: t.prompt_tokens,
            completion_tokens: t.completion_tokens,
        }
    }
}

/// A model call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Call {
    /// Its id.
    pub id: String,
    /// The task.
    pub task: String,
    /// The iteration.
    pub iteration: Option<u32>,
    /// The turn of the iteration; none: it was not let out.
    pub turn: Option<u32>,
    /// The model as the agent named it.
    pub asked_model: String,
    /// The provider.
    pub provider: Option<String>,
    /// The model as the provider names it.
    pub model: Option<String>,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// The call that this one repeats.
    pub retry_of: Option<String>,
    /// `open`, `done`, `failed`, `timed_out`, `cut`, `refused` or `unknown`.
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

impl From<store::Call> for Call {
    fn from(c: store::Call) -> Self {
        Self {
            id: c.id.to_string(),
            task: c.task.to_string(),
            iteration: c.iteration,
            turn: c.turn,
            asked_model: c.asked_model,
            provider: c.upstream,
            model: c.model,
            stream: c.stream,
            retry_of: c.retry_of.map(|r| r.to_string()),
            status: c.status.as_str().to_owned(),
            http_status: c.http_status,
            finish_reason: c.finish_reason,
            prompt_tokens: c.prompt_tokens,
            completion_tokens: c.completion_tokens,
            cached_tokens: c.cached_tokens,
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
    /// The whole request as the agent sent it; none: erased.
    pub request: Option<String>,
    /// The whole answer as it arrived; none: erased, or there was none.
    pub response: Option<String>,
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
