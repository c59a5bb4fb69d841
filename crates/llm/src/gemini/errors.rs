//! Errors in Google's shape.

use crate::{ApiError, ErrorKind, write};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(untagged)]
enum Wire {
    One(Error),
    /// Streams that are an array report errors in one.
    Many(Vec<Error>),
}

#[derive(Deserialize)]
struct Error {
    error: Inner,
}

#[derive(Deserialize)]
struct Inner {
    code: Option<u16>,
    message: Option<String>,
    status: Option<String>,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    reason: Option<String>,
    retry_delay: Option<String>,
}

/// What an error answer says; inside a stream there is no status of a failure, and the error has its own.
pub(crate) fn parse_error(status: u16, body: &[u8]) -> ApiError {
    let inner = match serde_json::from_slice::<Wire>(body) {
        Ok(Wire::One(one)) => Some(one.error),
        Ok(Wire::Many(many)) => many.into_iter().next().map(|e| e.error),
        Err(_) => None,
    };
    let Some(Inner { code, message, status: word, details }) = inner else {
        let text = String::from_utf8_lossy(body);
        let text = if text.trim().is_empty() { "the provider gave no reason" } else { text.trim() };
        let kind = ErrorKind::of_status(status);
        return ApiError::new(if status < 400 { kind.status() } else { status }, kind, "provider_error", text);
    };
    let status = if status < 400 { code.filter(|c| *c >= 400).unwrap_or(500) } else { status };
    let message = message.unwrap_or_else(|| "the provider gave no reason".into());
    let is_key = details.iter().any(|d| d.reason.as_deref() == Some("API_KEY_INVALID"));
    let kind = match word.as_deref() {
        _ if is_key || message.contains("API key not valid") => ErrorKind::Authentication,
        Some("INVALID_ARGUMENT") if message.contains("exceeds the maximum number of tokens") => {
            ErrorKind::ContextLength
        }
        Some("INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE") => ErrorKind::InvalidRequest,
        Some("UNAUTHENTICATED") => ErrorKind::Authentication,
        Some("PERMISSION_DENIED") => ErrorKind::Permission,
        Some("NOT_FOUND") => ErrorKind::NotFound,
        Some("RESOURCE_EXHAUSTED") => ErrorKind::RateLimited,
        Some("UNAVAILABLE") => ErrorKind::Overloaded,
        Some("DEADLINE_EXCEEDED") => ErrorKind::Timeout,
        Some("INTERNAL" | "UNKNOWN") => ErrorKind::Server,
        _ => ErrorKind::of_status(status),
    };
    // Google answers a wrong key with 400; clients know it by 401.
    let status = if kind == ErrorKind::Authentication { 401 } else { status };
    let code = word.map_or_else(|| "provider_error".into(), |w| w.to_ascii_lowercase());
    let mut error = ApiError::new(status, kind, code, message);
    error.retry_after = details.iter().find_map(|d| d.retry_delay.as_deref()).and_then(seconds);
    error
}

/// Seconds of a duration such as `37s` or `0.5s`, rounded up.
fn seconds(duration: &str) -> Option<u64> {
    let number: f64 = duration.strip_suffix('s')?.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the range that was checked")]
    (0.0..1e9).contains(&number).then(|| number.ceil() as u64)
}

/// The body of an error for a client.
pub(crate) fn render_error(error: &ApiError) -> Vec<u8> {
    let mut out = Vec::new();
    write_error(error, &mut out);
    out
}

/// The event that ends a stream with an error.
pub(crate) fn write_stream_error(error: &ApiError, out: &mut Vec<u8>) {
    write::sse(out, None, |out| write_error(error, out));
}

fn write_error(error: &ApiError, out: &mut Vec<u8>) {
    let mut top = write::Object::new(out);
    let mut inner = top.object("error");
    inner.put("code", &error.status);
    inner.put("message", &error.message);
    inner.put("status", word(error.kind));
    if let Some(retry) = error.retry_after {
        let mut details = inner.array("details");
        let mut detail = details.object();
        detail.put("@type", "type.googleapis.com/google.rpc.RetryInfo");
        detail.put("retryDelay", &format!("{retry}s"));
    }
}

fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::ContextLength | ErrorKind::TooLarge | ErrorKind::ContentFilter => {
            "INVALID_ARGUMENT"
        }
        ErrorKind::Authentication => "UNAUTHENTICATED",
        ErrorKind::Permission => "PERMISSION_DENIED",
        ErrorKind::NotFound => "NOT_FOUND",
        ErrorKind::RateLimited | ErrorKind::Quota => "RESOURCE_EXHAUSTED",
        ErrorKind::Overloaded | ErrorKind::Interrupted => "UNAVAILABLE",
        ErrorKind::Timeout => "DEADLINE_EXCEEDED",
        ErrorKind::Server => "INTERNAL",
    }
}
