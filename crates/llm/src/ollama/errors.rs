//! Errors in Ollama's shape: a sentence, and the status.

use crate::{ApiError, ErrorKind, write};
use serde::Deserialize;

#[derive(Deserialize)]
struct Wire {
    error: Text,
}

/// Ollama's own errors are a text; proxies in front of it send OpenAI's objects.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Object { message: String },
}

/// What an error answer says; inside a stream there is no status of a failure.
pub(crate) fn parse_error(status: u16, body: &[u8]) -> ApiError {
    let message = match serde_json::from_slice::<Wire>(body) {
        Ok(Wire { error: Text::Plain(message) | Text::Object { message } }) => message,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    let kind = match status {
        ..400 | 500.. if message.contains("server busy") => ErrorKind::Overloaded,
        _ if message.contains("exceeds the available context") || message.contains("context length") => {
            ErrorKind::ContextLength
        }
        ..400 => ErrorKind::Server,
        status => ErrorKind::of_status(status),
    };
    let message = if message.is_empty() { "the provider gave no reason".into() } else { message };
    ApiError::new(if status < 400 { kind.status() } else { status }, kind, "provider_error", message)
}

/// The body of an error for a client, which is also a line of a stream.
pub(crate) fn render_error(error: &ApiError) -> Vec<u8> {
    let mut out = Vec::new();
    write::Object::new(&mut out).put("error", &error.message);
    out
}
