//! People and tools over TCP: who they are, and the routes that they have.

use crate::{
    calls::{self, Identity, Ingress, Outside, Who},
    models,
    reply::{self, Refusal, Reply},
    sandbox::Shared,
};
use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Uri,
    body::Body,
    header::{AUTHORIZATION, HeaderName},
    http::request::Parts,
};
use llm::Format;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What stands before the paths of the seed's API.
const SEED_PREFIX: &str = "/api/llm";

/// Answers one request.
pub(crate) async fn serve<B>(
    shared: &Arc<Shared>,
    cancel: &CancellationToken,
    parts: Parts,
    body: B,
    token: Option<String>,
) -> Reply
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let identity = match token {
        Some(name) => Identity::Token(name),
        None => {
            match key(&parts.headers).or_else(|| key_in_query(&parts.uri)).and_then(|k| shared.store.keys().find(k)) {
                Some(key) => Identity::Key(key),
                None => Identity::Unknown,
            }
        }
    };
    let outside = Outside { shared: Arc::clone(shared), identity, cancel: cancel.clone() };
    let path = parts.uri.path();
    let path = path.strip_prefix(SEED_PREFIX).unwrap_or(path);
    if let Some(ingress) = Ingress::of_path(path) {
        return match parts.method {
            Method::POST => calls::serve(Who::Caller(Arc::new(outside)), ingress, parts, body).await,
            _ => reply::not_allowed("POST"),
        };
    }
    let Some(asked) = models::Asked::of_path(path) else {
        return Refusal::not_found().reply_in(format_of(path));
    };
    match parts.method {
        Method::GET => models::of_caller(&outside, asked, &parts.headers).await,
        _ => reply::not_allowed("GET"),
    }
}

/// The format in which an error is best told, by the path alone.
fn format_of(path: &str) -> Format {
    if path.starts_with("/v1/messages") {
        Format::Messages
    } else if path.starts_with("/v1beta/") {
        Format::Gemini
    } else {
        Format::Chat
    }
}

/// The key as Gemini's plain REST clients send it.
fn key_in_query(uri: &Uri) -> Option<&str> {
    if !uri.path().starts_with("/v1beta/") {
        return None;
    }
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("key="))
}

/// The key that a request carries, in whichever of the usual headers.
fn key(headers: &HeaderMap) -> Option<&str> {
    const PLAIN: [HeaderName; 2] = [HeaderName::from_static("x-api-key"), HeaderName::from_static("x-goog-api-key")];
    let bearer = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| {
        let (scheme, key) = v.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| PLAIN.iter().find_map(|name| headers.get(name)?.to_str().ok()).map(str::trim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_the_usual_headers() {
        let with = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            headers
        };
        assert_eq!(key(&with("authorization", "bearer  tfk_1 ")), Some("tfk_1"));
        assert_eq!(key(&with("x-api-key", "tfk_2")), Some("tfk_2"));
        assert_eq!(key(&with("x-goog-api-key", "tfk_3")), Some("tfk_3"));
        assert_eq!(key(&with("authorization", "Basic abc")), None);
        assert_eq!(key(&HeaderMap::new()), None);
    }
}
