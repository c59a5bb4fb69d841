//! Names of attributes: OpenTelemetry's conventions for generative AI, which are still in development, in one place.

pub(super) const OPERATION: &str = "gen_ai.operation.name";
pub(super) const PROVIDER: &str = "gen_ai.provider.name";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub(super) const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
pub(super) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub(super) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub(super) const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
pub(super) const CACHE_CREATION_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
pub(super) const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const HTTP_STATUS: &str = "http.response.status_code";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";

// Our own.
pub(super) const CALL: &str = "taskforge.call.id";
pub(super) const TASK: &str = "taskforge.task.id";
pub(super) const RUN: &str = "taskforge.run.id";
pub(super) const ITERATION: &str = "taskforge.iteration";
pub(super) const KEY: &str = "taskforge.key.id";
pub(super) const TOKEN: &str = "taskforge.token.name";
pub(super) const INGRESS: &str = "taskforge.ingress";
pub(super) const ATTEMPTS: &str = "taskforge.attempts";
pub(super) const STATE: &str = "taskforge.call.state";
pub(super) const COST_MICRO_USD: &str = "taskforge.cost_micro_usd";
pub(super) const FIRST_BYTE_MS: &str = "taskforge.first_byte_ms";

/// An operation as the conventions name it, by the route that was called.
pub(super) fn operation(ingress: &str) -> &'static str {
    match ingress {
        "embeddings" => "embeddings",
        "count_tokens" => "count_tokens",
        _ => "chat",
    }
}

/// A provider as the conventions name it, by the format that it was spoken to in; a name of ours otherwise.
pub(super) fn provider<'a>(format: Option<&str>, name: &'a str) -> &'a str {
    match (format, name) {
        (Some("messages"), _) => "anthropic",
        (Some("gemini"), _) => "gcp.gemini",
        _ => name,
    }
}
