//! What every request passes, outermost first: request id, error rendering and safety headers; the Host allow-list;
//! authentication. Handlers see only requests that passed all of them, with an [`Identity`].

use crate::{
    Api, ApiError, ApiResult, Code, access,
    error::{Bare, Raised},
    routes::playground::PATH as PLAYGROUND,
};
use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use std::{panic::AssertUnwindSafe, time::Duration};

/// Paths that need no token.
pub(crate) const OPEN_PATHS: &[&str] = &["/healthz", "/sign-in", "/api/sign-in"];

/// The longest explanation taken over from a rejected extraction.
const MAX_REJECTION: usize = 4096;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The name of the API token in the headers of a model call; none where there is none in force, and then the gateway
/// looks for a caller's key.
pub(crate) async fn token_name(api: &Api, headers: &HeaderMap) -> Option<String> {
    let secret = headers.get(header::AUTHORIZATION)?.to_str().ok().and_then(bearer)?;
    // A caller's key is the usual case, and must not cost a query.
    if secret.starts_with(store::KEY_PREFIX) {
        return None;
    }
    access::token_of(&api.store, secret).await.ok()?.map(|t| t.name)
}

/// Who makes a request.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The token's name: what decisions are signed with.
    pub name: String,
    /// The token's public part.
    pub key: String,
    /// The session, if it came by cookie.
    pub(crate) session: Option<store::SecretHash>,
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthenticated)
    }
}

fn unauthenticated() -> ApiError {
    ApiError::new(Code::Unauthenticated, "this route needs a token")
}

/// Gives the request an id, bounds its time, and turns whatever went wrong into the envelope.
pub(crate) async fn envelope(State(api): State<Api>, request: Request, next: Next) -> Response {
    let id = format!("rq_{:016x}", request_number());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let work = AssertUnwindSafe(next.run(request)).catch_unwind();
    // A model call has its own bounds, which are longer.
    let limit = if path == PLAYGROUND { Duration::MAX } else { api.config.request_timeout };
    let response = match tokio::time::timeout(limit, work).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => ApiError::internal("the handler panicked").into_response(),
        Err(_) => {
            let limit = limit.as_secs();
            ApiError::new(Code::TimedOut, format!("the request took longer than {limit} s")).into_response()
        }
    };
    let status = response.status();
    let bare = response.extensions().get::<Bare>().is_some();
    let mut response = if !bare && (status.is_client_error() || status.is_server_error()) {
        let (mut parts, body) = response.into_parts();
        let error = match parts.extensions.remove::<Raised>() {
            Some(Raised(e)) => e,
            None => std::sync::Arc::new(rejection(parts.status, body).await),
        };
        if error.code.status().is_server_error() {
            tracing::error!(request.id = id, %method, path, error.code = error.code.as_str(), error = error.chain(), "request failed");
        }
        let mut response = (error.code.status(), Json(error.envelope(&id))).into_response();
        for name in [header::WWW_AUTHENTICATE, header::ALLOW] {
            if let Some(value) = parts.headers.remove(&name) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    } else {
        response
    };
    safety_headers(response.headers_mut());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn request_number() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => store::now().as_nanosecond() as u64,
    }
}

/// Explains a response that a part of axum made: a body, query or path that could not be read, an unknown method.
async fn rejection(status: StatusCode, body: Body) -> ApiError {
    let code = match status {
        StatusCode::NOT_FOUND => Code::UnknownRoute,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
        s if s.is_client_error() => Code::InvalidValue,
        _ => Code::Internal,
    };
    let text = to_bytes(body, MAX_REJECTION).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let message = match code {
        Code::UnknownRoute => "there is no such route".to_owned(),
        Code::MethodNotAllowed => "this route does not take that method".to_owned(),
        Code::Internal => "something went wrong inside TaskForge".to_owned(),
        _ if text.is_empty() => format!("the request was refused: {status}"),
        _ => domain::text::visible_line(&text),
    };
    ApiError::new(code, message)
}

fn safety_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Lets through requests for hosts that this server answers for: a page of another name must not reach it by DNS.
pub(crate) async fn host(State(api): State<Api>, request: Request, next: Next) -> Response {
    let named = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).map(host_name);
    let target = request.uri().host().map(host_name);
    let allowed =
        |name: &str| is_loopback(name) || api.config.allowed_hosts.iter().any(|h| h.eq_ignore_ascii_case(name));
    match (&named, &target) {
        (Some(name), None) if allowed(name) => next.run(request).await,
        (Some(name), Some(target)) if allowed(name) && allowed(target) => next.run(request).await,
        _ => {
            let name = named.or(target).unwrap_or_default();
            let name = domain::text::visible_line(&name);
            ApiError::new(Code::HostNotAllowed, format!("this server does not answer for the host {name:?}"))
                .into_response()
        }
    }
}

/// The host of `host:port`, without the port and the brackets of an IPv6 address.
fn host_name(text: &str) -> String {
    let name = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => text.rsplit_once(':').map_or(text, |(name, _)| name),
    };
    name.to_ascii_lowercase()
}

fn is_loopback(name: &str) -> bool {
    matches!(name, "localhost" | "127.0.0.1" | "::1")
}

/// Finds out who makes the request, or refuses it.
pub(crate) async fn authenticate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if OPEN_PATHS.contains(&path) || (path == "/metrics" && api.config.metrics_public) {
        return next.run(request).await;
    }
    match identify(&api, request.method(), request.uri(), request.headers()).await {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(e) => e.into_response(),
    }
}

async fn identify(api: &Api, method: &Method, uri: &Uri, headers: &HeaderMap) -> ApiResult<Identity> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let secret =
            value.to_str().ok().and_then(bearer).ok_or_else(|| {
                ApiError::new(Code::Unauthenticated, "the Authorization header is not `Bearer tf_...`")
            })?;
        return match access::token_of(&api.store, secret).await? {
            Some(t) => Ok(Identity { name: t.name, key: t.key, session: None }),
            None => Err(ApiError::new(Code::Unauthenticated, "the token is unknown or was revoked")),
        };
    }
    let Some(secret) = session_cookie(headers) else { return Err(unauthenticated()) };
    let session = access::hash(secret);
    let Some(t) = api.store.session_find(&session).await? else {
        return Err(ApiError::new(Code::Unauthenticated, "the session is over"));
    };
    if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        same_origin(headers, uri)?;
    }
    Ok(Identity { name: t.name, key: t.key, session: Some(session) })
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

pub(crate) fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == access::COOKIE).then_some(value))
}

/// A change that a browser sends by cookie must come from a page of this server.
pub(crate) fn same_origin(headers: &HeaderMap, uri: &Uri) -> ApiResult<()> {
    let origin = headers.get(header::ORIGIN).and_then(|o| o.to_str().ok()).unwrap_or("none");
    let host = uri.authority().map(|a| a.as_str()).or_else(|| headers.get(header::HOST).and_then(|h| h.to_str().ok()));
    let same = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
        .is_some_and(|o| host.is_some_and(|h| h.eq_ignore_ascii_case(o)));
    if same {
        return Ok(());
    }
    let origin = domain::text::visible_line(origin);
    Err(ApiError::new(Code::OriginNotAllowed, format!("a change by cookie came from the origin {origin:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_port() {
        for (text, name) in [
            ("127.0.0.1:8000", "127.0.0.1"),
            ("LOCALHOST", "localhost"),
            ("[::1]:8000", "::1"),
            ("[::1]", "::1"),
            ("evil.example:80", "evil.example"),
        ] {
            assert_eq!(host_name(text), name);
        }
        assert!(!is_loopback(&host_name("127.0.0.1.evil.example:8000")));
    }

    #[test]
    fn origins_are_compared_whole() {
        let check = |origin: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8000"));
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            same_origin(&headers, &Uri::from_static("/api/tasks")).is_ok()
        };
        assert!(check("http://127.0.0.1:8000"));
        for bad in ["http://127.0.0.1:8001", "http://127.0.0.1:8000.evil.example", "null", "127.0.0.1:8000"] {
            assert!(!check(bad), "{bad}");
        }
    }
}
