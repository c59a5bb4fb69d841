//! The call to the upstream, up to the head of its answer.

use super::drive::{Call, Failure};
use crate::{client::SendError, sandbox::Sandbox};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use store::CallStatus;

/// Headers of the sandbox that the upstream gets.
const PASSED_ON: [HeaderName; 2] = [header::ACCEPT, HeaderName::from_static("traceparent")];
/// Headers of the upstream that the sandbox gets, besides those that begin with [`RATE_LIMIT_PREFIX`].
const PASSED_BACK: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::RETRY_AFTER,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("openai-processing-ms"),
];
const RATE_LIMIT_PREFIX: &str = "x-ratelimit-";
const USER_AGENT: &str = concat!("taskforge/", env!("CARGO_PKG_VERSION"));

/// Sends the call and waits for the head of the answer.
pub(super) async fn send(sandbox: &Sandbox, call: &Call) -> Result<Response<Incoming>, Failure> {
    let request = request(call)?;
    let limit = sandbox.shared.config.first_byte_timeout;
    let name = &call.upstream.name;
    let sent = tokio::time::timeout(limit, sandbox.shared.upstreams.client().send(request)).await;
    let response = match sent {
        Ok(Ok(response)) => response,
        Ok(Err(e @ SendError::ConnectTimeout(_))) => {
            return Err(Failure::timed_out("upstream_connect_timeout", format!("provider {name:?}: {e}")));
        }
        Ok(Err(e @ SendError::Connect(_))) => {
            return Err(Failure::failed("upstream_unreachable", format!("provider {name:?}: {e}")));
        }
        Ok(Err(e @ SendError::Broken(_))) => {
            return Err(Failure::failed("upstream_broken", format!("provider {name:?}: {e}")));
        }
        Err(_) => {
            let message = format!("provider {name:?} sent no byte within {limit:?} (first byte timeout)");
            return Err(Failure::timed_out("upstream_first_byte_timeout", message));
        }
    };
    check(name, response)
}

fn request(call: &Call) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = Request::post(call.upstream.chat_uri.clone())
        .body(Full::new(call.body.clone()))
        .map_err(|e| Failure::failed("upstream_bad_request", e.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    for name in PASSED_ON {
        if let Some(value) = call.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers.extend(call.upstream.headers.clone());
    Ok(request)
}

/// Refuses answers that cannot be passed on faithfully.
fn check(name: &str, response: Response<Incoming>) -> Result<Response<Incoming>, Failure> {
    let encoding = response.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|e| e != "identity") {
        let message = format!("provider {name:?} compressed its answer although that was not asked for");
        return Err(Failure::failed("upstream_encoding", message).after(response.status()));
    }
    if response.status().is_redirection() {
        let message = format!(
            "provider {name:?} answered with a redirect ({}); redirects are not followed, correct its URL",
            response.status()
        );
        return Err(Failure::failed("upstream_redirect", message).after(response.status()));
    }
    Ok(response)
}

/// The headers of an answer that the sandbox gets, without secrets.
pub(super) fn passed_back(call: &Call, answer: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in answer {
        if (PASSED_BACK.contains(name) || name.as_str().starts_with(RATE_LIMIT_PREFIX))
            && let Ok(value) = HeaderValue::from_bytes(&call.upstream.needles.mask(value.as_bytes()))
        {
            out.append(name, value);
        }
    }
    out
}

impl Failure {
    pub(super) fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: CallStatus::Failed,
            code,
            message: message.into(),
            http: StatusCode::BAD_GATEWAY,
            answered: None,
        }
    }

    pub(super) fn timed_out(code: &'static str, message: impl Into<String>) -> Self {
        let http = StatusCode::GATEWAY_TIMEOUT;
        Self { status: CallStatus::TimedOut, code, message: message.into(), http, answered: None }
    }

    pub(super) fn cut(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: CallStatus::Cut, code, message: message.into(), http: StatusCode::BAD_GATEWAY, answered: None }
    }

    fn after(mut self, status: StatusCode) -> Self {
        self.answered = Some(status);
        self
    }
}
