//! Answers to the sandbox.

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, SizeHint},
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde_json::{Value, json};
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// An answer was broken off on purpose: its end must not look like a good one.
#[derive(Debug, thiserror::Error)]
#[error("the answer was broken off")]
pub(crate) struct BrokenOff;

/// The body of an answer.
pub(crate) enum ReplyBody {
    /// All of it, once.
    Full(Option<Bytes>),
    /// Piece by piece, as fast as the sandbox takes them.
    Stream(mpsc::Receiver<Result<Bytes, BrokenOff>>),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Stream(pieces) => pieces.poll_recv(cx).map(|p| p.map(|r| r.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer to the sandbox.
pub(crate) type Reply = Response<ReplyBody>;

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody::Full(None));
    *reply.status_mut() = status;
    reply
}

/// A plain text.
pub(crate) fn text(status: StatusCode, text: &'static str) -> Reply {
    let mut reply = Response::new(ReplyBody::Full(Some(Bytes::from_static(text.as_bytes()))));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply
}

/// JSON.
pub(crate) fn json(status: StatusCode, value: &Value) -> Reply {
    let mut reply = Response::new(ReplyBody::Full(Some(Bytes::from(value.to_string()))));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// `405` with the methods that work.
pub(crate) fn not_allowed(methods: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

/// A refusal or failure, in the shape that clients of OpenAI's API know.
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

    pub(crate) fn reply(&self) -> Reply {
        let kind = match self.status.as_u16() {
            400 | 404 | 413 => "invalid_request_error",
            403 => "permission_denied",
            429 => "rate_limit_error",
            _ => "api_error",
        };
        let error = json!({ "error": { "message": self.message, "type": kind, "code": self.code, "param": null } });
        let mut reply = json(self.status, &error);
        if let Some(seconds) = self.retry_after_s {
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        // Clients of OpenAI's and Anthropic's APIs try a 429 again by themselves, unless they are told not to.
        if self.code == crate::budget::ask::EXCEEDED {
            reply.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
        }
        reply
    }
}
