//! Answers to clients.

use crate::calls::StreamBody;
use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, SizeHint},
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use llm::{ApiError, ErrorKind, Format};
use serde_json::Value;
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use store::NotSent;

/// An answer was broken off on purpose: its end must not look like a good one.
#[derive(Debug, thiserror::Error)]
#[error("the answer was broken off")]
pub struct BrokenOff;

/// The body of an answer.
pub struct ReplyBody(Kind);

enum Kind {
    /// All of it, once.
    Full(Option<Bytes>),
    /// Piece by piece, as fast as the client takes them.
    Stream(StreamBody),
}

impl ReplyBody {
    pub(crate) fn stream(body: StreamBody) -> Self {
        Self(Kind::Stream(body))
    }

    pub(crate) fn full(bytes: Bytes) -> Self {
        Self(Kind::Full(Some(bytes).filter(|b| !b.is_empty())))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.get_mut().0 {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Kind::Stream(body) => body.poll_piece(cx).map(|p| p.map(|r| r.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer to a client.
pub type Reply = Response<ReplyBody>;

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody(Kind::Full(None)));
    *reply.status_mut() = status;
    reply
}

/// A plain text.
pub(crate) fn text(status: StatusCode, text: &'static str) -> Reply {
    of_type(status, Bytes::from_static(text.as_bytes()), "text/plain; charset=utf-8")
}

/// JSON.
pub(crate) fn json(status: StatusCode, value: &Value) -> Reply {
    json_bytes(status, Bytes::from(value.to_string()))
}

/// JSON that is already written.
pub(crate) fn json_bytes(status: StatusCode, bytes: Bytes) -> Reply {
    of_type(status, bytes, "application/json")
}

fn of_type(status: StatusCode, bytes: Bytes, media_type: &'static str) -> Reply {
    let mut reply = Response::new(ReplyBody::full(bytes));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    reply
}

/// `405` with the methods that work.
pub(crate) fn not_allowed(methods: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

/// A refusal or failure that a client is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// A stable code.
    pub(crate) code: &'static str,
    /// What happened and what to do.
    pub(crate) message: String,
    /// When to try again, in seconds.
    pub(crate) retry_after_s: Option<u32>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_s: None }
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The record could not be written: nothing happened, and nothing will until it can be.
    pub(crate) fn log_unwritable() -> Self {
        let message = "TaskForge cannot write its log at the moment, so nothing was done. Try again shortly.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "log_unwritable", message).retry_after(5)
    }

    /// Nothing is at this path.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such route here")
    }

    /// As it is recorded.
    pub(crate) fn not_sent(&self) -> NotSent {
        NotSent { http_status: self.status.as_u16(), code: self.code, message: self.message.clone() }
    }

    pub(crate) fn api_error(&self) -> ApiError {
        let kind = ErrorKind::of_status(self.status.as_u16());
        let kind = if self.code == crate::budget::ask::EXCEEDED { ErrorKind::Quota } else { kind };
        let mut error = ApiError::new(self.status.as_u16(), kind, self.code, &self.message);
        error.retry_after = self.retry_after_s.map(u64::from);
        error
    }

    /// In the shape that clients of OpenAI's API know.
    pub(crate) fn reply(&self) -> Reply {
        self.reply_in(Format::Chat)
    }

    /// In the shape of a format.
    pub(crate) fn reply_in(&self, format: Format) -> Reply {
        error_reply(format, &self.api_error())
    }
}

/// An error in the shape of a format.
pub(crate) fn error_reply(format: Format, error: &ApiError) -> Reply {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut reply = json_bytes(status, Bytes::from(llm::render_error(format, error)));
    if let Some(seconds) = error.retry_after {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    // OpenAI's and Anthropic's clients try again by themselves, unless they are told that it is of no use.
    if matches!(error.kind, ErrorKind::Quota) {
        reply.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    }
    reply
}
