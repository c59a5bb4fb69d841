//! Errors in Anthropic's shape.

use crate::{ApiError, ErrorKind, write};
use serde::Deserialize;

#[derive(Deserialize, Default)]
struct Wire {
    error: Option<Inner>,
}

#[derive(Deserialize, Default)]
struct Inner {
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
}

/// What an error answer or event says; inside a stream there is no status of a failure.
pub(crate) fn parse_error(status: u16, body: &[u8]) -> ApiError {
    let inner = serde_json::from_slice::<Wire>(body).ok().and_then(|w| w.error);
    let Some(Inner { kind: word, message }) = inner else {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let message = if text.is_empty() { "the provider gave no reason" } else { text };
        let kind = ErrorKind::of_status(status);
        return ApiError::new(if status < 400 { kind.status() } else { status }, kind, "provider_error", message);
    };
    let message = message.unwrap_or_else(|| "the provider gave no reason".into());
    let kind = match word.as_deref() {
        Some("invalid_request_error") if is_context_length(&message) => ErrorKind::ContextLength,
        Some("invalid_request_error") if message.contains("credit balance") => ErrorKind::Quota,
        Some("invalid_request_error") => ErrorKind::InvalidRequest,
        Some("authentication_error") => ErrorKind::Authentication,
        Some("billing_error") => ErrorKind::Quota,
        Some("permission_error") => ErrorKind::Permission,
        Some("not_found_error") => ErrorKind::NotFound,
        Some("request_too_large") => ErrorKind::TooLarge,
        Some("rate_limit_error") => ErrorKind::RateLimited,
        Some("timeout_error") => ErrorKind::Timeout,
        Some("overloaded_error") => ErrorKind::Overloaded,
        Some("api_error") => ErrorKind::Server,
        _ => ErrorKind::of_status(status),
    };
    let status = if status < 400 { kind.status() } else { status };
    ApiError::new(status, kind, word.unwrap_or_else(|| "provider_error".into()), message)
}

fn is_context_length(message: &str) -> bool {
    message.contains("prompt is too long") || message.contains("context limit")
}

/// The body of an error for a client.
pub(crate) fn render_error(error: &ApiError) -> Vec<u8> {
    let mut out = Vec::new();
    write_error(error, &mut out);
    out
}

/// The event that ends a stream with an error.
pub(crate) fn write_stream_error(error: &ApiError, out: &mut Vec<u8>) {
    write::sse(out, Some("error"), |out| write_error(error, out));
}

fn write_error(error: &ApiError, out: &mut Vec<u8>) {
    let mut top = write::Object::new(out);
    top.put("type", "error");
    let mut inner = top.object("error");
    inner.put("type", word(error));
    inner.put("message", &error.message);
}

fn word(error: &ApiError) -> &'static str {
    match error.kind {
        ErrorKind::InvalidRequest | ErrorKind::ContextLength | ErrorKind::ContentFilter => "invalid_request_error",
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::TooLarge => "request_too_large",
        ErrorKind::Quota if error.status == 402 => "billing_error",
        ErrorKind::RateLimited | ErrorKind::Quota => "rate_limit_error",
        ErrorKind::Overloaded => "overloaded_error",
        ErrorKind::Timeout => "timeout_error",
        ErrorKind::Server | ErrorKind::Interrupted => "api_error",
    }
}
