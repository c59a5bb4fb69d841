//! Which headers pass, and which are recorded how.

use super::failure::Failure;
use crate::{
    providers::{Provider, ProviderKind},
    secret::{Needles, fingerprint},
};
use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};
use serde_json::{Map, Value};

/// Headers whose values are recorded.
const KEPT: [HeaderName; 6] = [
    header::USER_AGENT,
    header::CONTENT_TYPE,
    header::ACCEPT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
];
/// Headers that carry credentials: recorded as fingerprints.
const CREDENTIALS: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];
/// The most of a header's value that is recorded.
const MAX_CHARS: usize = 200;

/// Headers of the client that every provider gets.
const PASSED_ON: [HeaderName; 2] = [header::ACCEPT, HeaderName::from_static("traceparent")];
/// Headers of the client that a provider of its own format gets besides.
const PASSED_ON_SAME: [HeaderName; 3] = [
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("openai-beta"),
];
/// Headers of the provider that the client gets, besides those that begin with [`RATE_LIMITS`].
const PASSED_BACK: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::RETRY_AFTER,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("openai-processing-ms"),
    HeaderName::from_static("x-should-retry"),
];
const RATE_LIMITS: [&str; 2] = ["x-ratelimit-", "anthropic-ratelimit-"];
const USER_AGENT: &str = concat!("taskforge/", env!("CARGO_PKG_VERSION"));

/// Headers as they are recorded: some by value, credentials as fingerprints, the rest not at all.
pub(super) fn recorded(headers: &HeaderMap) -> Value {
    let mut out = Map::new();
    for name in &KEPT {
        if let Some(value) = headers.get(name).and_then(|v| v.to_str().ok()) {
            out.insert(name.to_string(), value.chars().take(MAX_CHARS).collect::<String>().into());
        }
    }
    for name in &CREDENTIALS {
        if let Some(value) = headers.get(name) {
            out.insert(name.to_string(), fingerprint(value.as_bytes()).into());
        }
    }
    Value::Object(out)
}

/// Headers as they went to a provider: its configured ones are secrets as a whole.
pub(super) fn recorded_sent(headers: &HeaderMap, provider: &Provider) -> Value {
    let mut out = Map::new();
    for (name, value) in headers {
        // Of what is configured the fingerprints are known.
        let known = provider.fingerprints.iter().find(|(n, _)| n == name).filter(|_| value.is_sensitive());
        let text = match known {
            Some((_, fingerprint)) => fingerprint.clone(),
            None => value.to_str().map(|v| v.chars().take(MAX_CHARS).collect()).unwrap_or_default(),
        };
        out.insert(name.to_string(), text.into());
    }
    Value::Object(out)
}

/// The headers of a request to a provider.
pub(super) fn to_provider(client: &HeaderMap, provider: &Provider, same_format: bool) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    for (name, value) in &provider.headers {
        headers.insert(name, value.clone());
    }
    let same: &[HeaderName] = if same_format { &PASSED_ON_SAME } else { &[] };
    for name in PASSED_ON.iter().chain(same) {
        // What the operator configured goes before what the client says, but for the version of the API.
        let fixed = provider.headers.get(name).is_some_and(HeaderValue::is_sensitive);
        let odd = name.as_str().starts_with("anthropic-") && provider.kind != ProviderKind::Anthropic;
        if let Some(value) = client.get(name).filter(|_| !fixed && !odd) {
            headers.insert(name, value.clone());
        }
    }
    headers
}

/// The headers of an answer that the client gets, without secrets. `rewritten`: the body is no longer the provider's.
pub(super) fn to_client(answer: &HeaderMap, needles: &Needles, rewritten: bool) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in answer {
        let passes = PASSED_BACK.contains(name) || RATE_LIMITS.iter().any(|p| name.as_str().starts_with(p));
        if passes
            && !(rewritten && name == header::CONTENT_TYPE)
            && let Ok(value) = HeaderValue::from_bytes(&needles.mask(value.as_bytes()))
        {
            out.append(name, value);
        }
    }
    out
}

/// Whether an answer is streamed, by its media type.
pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    const STREAMS: [&[u8]; 3] = [b"text/event-stream", b"application/x-ndjson", b"application/stream+json"];
    let media_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
    STREAMS.iter().any(|s| media_type.get(..s.len()).is_some_and(|t| t.eq_ignore_ascii_case(s)))
}

/// The length of a body, where the answer says it.
pub(super) fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Refuses answers that cannot be passed on faithfully.
pub(super) fn check(name: &str, answer: &hyper::Response<hyper::body::Incoming>) -> Result<(), Failure> {
    let encoding = answer.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|e| e != "identity") {
        let message = format!("provider {name:?} compressed its answer although that was not asked for");
        return Err(Failure::failed("upstream_encoding", message).after(answer.status()));
    }
    if answer.status().is_redirection() {
        let message = format!(
            "provider {name:?} answered with a redirect ({}); redirects are not followed, correct its URL",
            answer.status()
        );
        return Err(Failure::failed("upstream_redirect", message).after(answer.status()));
    }
    Ok(())
}
