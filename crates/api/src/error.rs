//! Errors as users see them: one envelope, a stable code, a cause, and what to do next.
//!
//! Handlers return [`ApiError`]; [`crate::layers`] turns it into HTTP in one place, where the request id is known.
//! Each code has a page in `docs/errors/`.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use store::StoreError;
use utoipa::ToSchema;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:ident, $hint:literal;)*) => {
        /// A stable error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $variant),* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code as text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),* }
            }

            /// What to do next, where nothing more exact is known.
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint),* }
            }
        }
    };
}

codes! {
    /// The body is not JSON, or not the JSON that the route wants.
    InvalidJson = "invalid_json", BAD_REQUEST, "compare the body with the route's schema at /docs";
    /// A field, parameter or header has a value that is not allowed.
    InvalidValue = "invalid_value", BAD_REQUEST, "correct the value that the message names";
    /// The id is not of the right form.
    InvalidId = "invalid_id", BAD_REQUEST, "copy the id from a listing, with its prefix";
    /// The body has another content type than the route reads.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "send `Content-Type: application/json`";
    /// The body is larger than allowed.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "send less: the limits are in docs/api.md";
    /// Nobody is signed in.
    Unauthenticated = "unauthenticated", UNAUTHORIZED,
        "send `-H \"Authorization: Bearer $(taskforge token show)\"`, or open the sign-in link that `taskforge token link` prints";
    /// The sign-in code is unknown, used or older than ten minutes.
    InvalidSignInCode = "invalid_sign_in_code", UNAUTHORIZED, "a code works once, for ten minutes; get another with `taskforge token link`";
    /// The Host header names a host that this server does not answer for.
    HostNotAllowed = "host_not_allowed", FORBIDDEN,
        "use 127.0.0.1 or localhost, or add the name to TASKFORGE_ALLOWED_HOSTS";
    /// A browser sent a change from another origin.
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN, "make the change from a page of this server, or use a token";
    /// There is no such route.
    UnknownRoute = "unknown_route", NOT_FOUND, "the routes are listed at /docs";
    /// The route exists, but not with this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "the routes are listed at /docs";
    /// There is nothing by that id.
    NotFound = "not_found", NOT_FOUND, "list what there is, for example with `taskforge task list`";
    /// Bodies are still needed: their task has not ended, or a model call is under way.
    BodiesInUse = "bodies_in_use", CONFLICT, "cancel the task or wait for its end, and for the end of model calls; then erase again";
    /// The content was erased.
    Erased = "erased", GONE, "it cannot be had back; its commitment in the log still stands";
    /// The file was seen in the workspace but its bytes were not kept.
    FileNotKept = "file_not_kept", CONFLICT, "the message says why; ask the agent to submit it in another form";
    /// The task's state forbids the command.
    IllegalTransition = "illegal_transition", CONFLICT, "look at the task's status first";
    /// The digest is not the one that is to be decided.
    RequestStale = "request_stale", CONFLICT, "show the request again, review what changed, and decide with the new digest";
    /// The request was decided before.
    RequestDecided = "request_decided", CONFLICT, "the recorded decision is in `details`";
    /// The request is in a state in which nobody can decide it.
    RequestNotPending = "request_not_pending", CONFLICT, "only a pending request can be decided";
    /// The decision does not fit the kind of request.
    VerdictUnfit = "verdict_unfit", BAD_REQUEST, "packages: approve, deny or suggest; questions: answer or deny";
    /// The Idempotency-Key was used with another body.
    IdempotencyMismatch = "idempotency_mismatch", CONFLICT, "use a fresh key for a different request";
    /// A token in force has that name.
    NameTaken = "name_taken", CONFLICT, "choose another name, or revoke what has this one first";
    /// The last token in force cannot be revoked.
    LastToken = "last_token", CONFLICT, "create another token first";
    /// There are as many tokens in force as there may be.
    TooManyTokens = "too_many_tokens", CONFLICT, "revoke tokens that nobody uses";
    /// The model is not one that a configured upstream offers.
    UnknownModel = "unknown_model", UNPROCESSABLE_ENTITY, "name it as `provider/model`; `taskforge doctor` lists what there is";
    /// A bare model name is offered by more than one upstream.
    AmbiguousModel = "ambiguous_model", UNPROCESSABLE_ENTITY, "name it as `provider/model`";
    /// No upstream could be asked for its models.
    ProviderUnreachable = "provider_unreachable", SERVICE_UNAVAILABLE, "check the provider's URL and key in `.env`; run `taskforge doctor`";
    /// The provider is configured by the environment or by the file.
    ProviderFixed = "provider_fixed", CONFLICT, "change it where it is configured, then `taskforge gateway reload`; or save one under another name";
    /// The provider cannot be configured so.
    InvalidProvider = "invalid_provider", UNPROCESSABLE_ENTITY, "correct what the message names; docs/gateway.md describes each field";
    /// A masked value or a fingerprint was sent in the place of a secret.
    MaskedSecret = "masked_secret", UNPROCESSABLE_ENTITY, "send the key itself, or leave it out to keep the saved one";
    /// The configuration file is wrong, and what was in use still is.
    InvalidConfig = "invalid_config", UNPROCESSABLE_ENTITY, "correct the line that the message names, then reload again";
    /// Docker does not answer.
    DockerUnavailable = "docker_unavailable", SERVICE_UNAVAILABLE, "start Docker, or set DOCKER_HOST; run `taskforge doctor`";
    /// The disk is full.
    DiskFull = "disk_full", INSUFFICIENT_STORAGE, "free space where the data directory lies; stopping tasks still works";
    /// The audit log cannot be written, so the answer is no.
    LogUnavailable = "log_unavailable", SERVICE_UNAVAILABLE, "look at the server's log; nothing was done";
    /// Too many streams are open.
    TooManyStreams = "too_many_streams", SERVICE_UNAVAILABLE, "close a stream and try again";
    /// The server took too long.
    TimedOut = "timed_out", GATEWAY_TIMEOUT, "try again; if it stays, look at the server's log";
    /// The server is stopping.
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, "try again when it is up";
    /// A fault of TaskForge.
    Internal = "internal", INTERNAL_SERVER_ERROR, "look for the request id in the server's log, and report it";
}

/// An error on its way to the user. `source` is logged and never sent.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The code.
    pub code: Code,
    /// What failed, in a sentence for the user.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// Facts for programs.
    pub details: Option<serde_json::Value>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What handlers return.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error with its code's own hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: code.hint().to_owned(), details: None, source: None }
    }

    /// A value that is not allowed.
    pub fn value(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidValue, message)
    }

    /// Nothing by that id.
    pub fn not_found(kind: &str, id: impl std::fmt::Display) -> Self {
        let list = match kind {
            "task" => "taskforge task list",
            "request" => "taskforge approvals list --status all",
            "image" => "taskforge image list",
            "token" => "taskforge token list",
            "key" => "taskforge key list",
            "provider" => "taskforge provider list",
            "call" => "taskforge llm calls",
            "file" => "taskforge task files TASK",
            "log entry" | "content" => "taskforge audit tail",
            _ => return Self::new(Code::NotFound, format!("there is no {kind} {id}")),
        };
        Self::new(Code::NotFound, format!("there is no {kind} {id}")).hint(format!("list what there is with `{list}`"))
    }

    /// A fault of ours: the cause is logged, the user gets the request id.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let mut e = Self::new(Code::Internal, "something went wrong inside TaskForge");
        e.source = Some(source.into());
        e
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Adds facts for programs.
    #[must_use]
    pub fn details(mut self, details: serde_json::Value) -> Self {
        self.details = Some(details);
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The whole chain of causes, for the log.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = self.source.as_deref().map(|s| s as &dyn std::error::Error);
        while let Some(e) = next {
            text.push_str(": ");
            text.push_str(&e.to_string());
            next = e.source();
        }
        text
    }

    pub(crate) fn envelope(&self, request_id: &str) -> ErrorEnvelope {
        ErrorEnvelope {
            error: ErrorBody {
                code: self.code.as_str().to_owned(),
                message: self.message.clone(),
                hint: self.hint.clone(),
                request_id: request_id.to_owned(),
                details: self.details.clone(),
            },
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::NotFound { kind, id } => Self::not_found(kind, id),
            StoreError::Illegal(t) => Self::new(Code::IllegalTransition, t.to_string())
                .hint(t.hint)
                .details(serde_json::json!({"from": t.from, "to": t.command.as_str()})),
            StoreError::Conflict { code, message } => match Code::ALL.iter().find(|c| c.as_str() == code) {
                Some(code) => Self::new(*code, message),
                None => Self::internal(format!("{code}: {message}")),
            },
            StoreError::DiskFull => Self::new(Code::DiskFull, "the disk that holds the data directory is full"),
            StoreError::TooLarge { size, max } => Self::new(
                Code::BodyTooLarge,
                format!("a body of {size} bytes is larger than the {max} bytes that are allowed"),
            ),
            StoreError::Erased => Self::new(Code::Erased, "this content was erased"),
            StoreError::Audit(source) => {
                Self::new(Code::LogUnavailable, "the audit log cannot be written or read").because(source)
            }
            StoreError::Closed => Self::new(Code::ShuttingDown, "the server is stopping"),
            e @ (StoreError::Database(_) | StoreError::Migration(_) | StoreError::Io(_) | StoreError::Corrupt(_)) => {
                Self::internal(e)
            }
        }
    }
}

/// The one shape of every error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorEnvelope {
    /// The error.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// A stable code; each has a page in docs/errors.
    pub code: String,
    /// What failed.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// Finds this request in the server's log.
    pub request_id: String,
    /// Facts for programs, by code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub details: Option<serde_json::Value>,
}

/// Carries the error to the layer that knows the request id.
#[derive(Clone)]
pub(crate) struct Raised(pub(crate) std::sync::Arc<ApiError>);

/// Marks an error response that is complete without the envelope.
#[derive(Clone, Copy)]
pub(crate) struct Bare;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        if self.code == Code::Unauthenticated {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer realm=\"taskforge\""));
        }
        response.extensions_mut().insert(Raised(std::sync::Arc::new(self)));
        response
    }
}
