//! Why a call did not end well.

use crate::reply::Refusal;
use hyper::StatusCode;
use llm::{ApiError, ErrorKind};
use store::CallStatus;

/// Why a call did not end well.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: CallStatus,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// What the client hears, if it has heard nothing yet.
    pub(super) http: StatusCode,
    /// The provider's status, if it answered.
    pub(super) answered: Option<StatusCode>,
}

impl Failure {
    pub(super) fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(CallStatus::Failed, code, message, StatusCode::BAD_GATEWAY)
    }

    pub(super) fn timed_out(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(CallStatus::TimedOut, code, message, StatusCode::GATEWAY_TIMEOUT)
    }

    pub(super) fn cut(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(CallStatus::Cut, code, message, StatusCode::BAD_GATEWAY)
    }

    pub(super) fn client_gone() -> Self {
        Self::cut("client_gone", "the client closed its connection before the answer was complete")
    }

    pub(super) fn closed() -> Self {
        let message = "the sandbox was closed or the server stopped before the answer was complete";
        Self::cut("sandbox_closed", message)
    }

    fn new(status: CallStatus, code: &'static str, message: impl Into<String>, http: StatusCode) -> Self {
        Self { status, code, message: message.into(), http, answered: None }
    }

    pub(super) fn after(mut self, status: StatusCode) -> Self {
        self.answered = Some(status);
        self
    }

    /// Whether the answer arrived to its end all the same.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self.status, CallStatus::Cut | CallStatus::TimedOut)
    }

    /// Whether nothing of the request has reached the provider.
    pub(super) fn was_never_sent(&self) -> bool {
        matches!(self.code, "upstream_connect_timeout" | "upstream_unreachable" | "provider_busy")
    }

    /// As an error of the API.
    pub(super) fn api_error(&self) -> ApiError {
        let kind = match self.status {
            CallStatus::TimedOut => ErrorKind::Timeout,
            CallStatus::Cut => ErrorKind::Interrupted,
            _ => ErrorKind::Server,
        };
        ApiError::new(self.http.as_u16(), kind, self.code, &self.message)
    }

    /// What the client is told.
    pub(super) fn refusal(&self) -> Refusal {
        Refusal::new(self.http, self.code, self.message.clone())
    }
}
