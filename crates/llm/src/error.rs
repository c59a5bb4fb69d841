//! Errors of a call in each format's published shape, and reading those of providers.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What kind of error it is; each format has its own word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request is wrong.
    InvalidRequest,
    /// No key, or a wrong one.
    Authentication,
    /// The key may not do this.
    Permission,
    /// No such model or path.
    NotFound,
    /// The request is too large.
    TooLarge,
    /// The prompt does not fit the model.
    ContextLength,
    /// Too many requests; later it may work.
    RateLimited,
    /// The account or budget is used up; later will not help.
    Quota,
    /// The provider has too much to do.
    Overloaded,
    /// Too slow.
    Timeout,
    /// The provider's or our own fault.
    Server,
    /// A filter refused it.
    ContentFilter,
    /// The stream ended before its end.
    Interrupted,
}

/// An error of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// A stable word for programs.
    pub code: Cow<'static, str>,
    /// A sentence for people.
    pub message: String,
    /// Seconds after which it may work.
    pub retry_after: Option<u64>,
}

/// The most of a provider's error message that is kept apart from the recorded body.
pub const MAX_ERROR_CHARS: usize = 2000;

impl ApiError {
    /// An error without a time to wait.
    pub fn new(status: u16, kind: ErrorKind, code: impl Into<Cow<'static, str>>, message: impl AsRef<str>) -> Self {
        let message = message.as_ref().chars().take(MAX_ERROR_CHARS).collect();
        Self { status, kind, code: code.into(), message, retry_after: None }
    }

    /// The error of a stream that ended too early.
    pub fn interrupted() -> Self {
        let message = "the provider's stream ended before the answer was complete; what had arrived was passed on";
        Self::new(502, ErrorKind::Interrupted, "stream_interrupted", message)
    }
}

impl ErrorKind {
    /// The kind of an HTTP status alone.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Quota,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::RateLimited,
            503 | 529 => Self::Overloaded,
            400..=499 => Self::InvalidRequest,
            _ => Self::Server,
        }
    }

    /// The status under which it is reported where the provider gave none, as inside a stream.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest | Self::ContextLength | Self::ContentFilter => 400,
            Self::Authentication => 401,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::TooLarge => 413,
            Self::RateLimited | Self::Quota => 429,
            Self::Overloaded => 503,
            Self::Timeout => 504,
            Self::Server => 500,
            Self::Interrupted => 502,
        }
    }
}
