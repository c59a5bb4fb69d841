//! The only way out of the resolver: a small proxy that serves the configured registries and nothing else.
//!
//!   resolver ─127.0.0.1─ relay ─ registry.sock ─► this proxy ─ lookup recorded ─► registry
//!
//! GET and HEAD only. Each request is reported to the caller's [`LookupFn`] before it leaves, and an error there is a
//! refusal. Lookups are counted per request and per task and hour. Redirects are followed only to configured hosts.
//! Index pages are rewritten so that the files they name come through here as well.

mod session;
mod trouble;

pub use session::{FileFact, Session};
pub use trouble::{HourBudget, Trouble};

use crate::error::ImageError;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, StatusCode, Uri, header},
};
use domain::{ids::TaskId, request::Ecosystem};
use futures::future::BoxFuture;
use std::{path::Path, sync::Arc, time::Duration};

/// How long a registry may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a registry may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest CA bundle.
const MAX_CA_BYTES: u64 = 4 << 20;

/// One request to a registry, told before it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// For which task.
    pub task: TaskId,
    /// Which registry.
    pub ecosystem: Ecosystem,
    /// `GET` or `HEAD`.
    pub method: &'static str,
    /// The whole address.
    pub url: String,
}

/// Records a lookup; an error is the reason why it may not leave.
pub type LookupFn = Arc<dyn Fn(Lookup) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A client for registries: the host's authorities or those of `ca_bundle`, no redirects of its own.
pub(crate) fn http_client(ca_bundle: Option<&Path>) -> Result<reqwest::Client, ImageError> {
    // A second installation of the provider is refused, and that is fine: the first one is the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("taskforge/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_bundle {
        let what = || format!("the CA bundle {} cannot be used", path.display());
        let size = std::fs::metadata(path).map_err(|e| ImageError::io(what(), e))?.len();
        if size > MAX_CA_BYTES {
            return Err(ImageError::protocol(format!("{}: larger than {MAX_CA_BYTES} bytes", what())));
        }
        let pem = std::fs::read(path).map_err(|e| ImageError::io(what(), e))?;
        let bundle = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|e| ImageError::protocol(format!("{}: {e}", what())))?;
        for authority in bundle {
            builder = builder.add_root_certificate(authority);
        }
    }
    builder.build().map_err(|e| ImageError::protocol(format!("no HTTP client could be made: {e}")))
}

/// The routes that the resolver sees.
pub fn router(session: Arc<Session>) -> Router {
    Router::new().fallback(serve).with_state(session)
}

async fn serve(State(session): State<Arc<Session>>, method: Method, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let method = match method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        _ => return plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only"),
    };
    match answer(&session, method, uri.path(), &headers).await {
        Ok(response) => response,
        Err(trouble) => {
            let (status, text) = trouble.as_response();
            session.remember(trouble);
            plain(status, &text)
        }
    }
}

async fn answer(
    session: &Session,
    method: &'static str,
    path: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, Trouble> {
    let path = path.trim_start_matches('/');
    let Some((registry, rest)) = path.split_once('/') else { return Err(Trouble::NoRoute) };
    match registry {
        "pypi" => match rest.split_once('/') {
            Some(("simple", name)) => json(session.pypi_page(name.trim_end_matches('/')).await?, PYPI_JSON),
            Some(("file", file)) => json(session.pypi_file(file).await?, "application/octet-stream"),
            _ => Err(Trouble::NoRoute),
        },
        "npm" => json(session.npm_page(rest).await?, "application/vnd.npm.install-v1+json"),
        "debian" | "debian-security" => session.debian(method, registry, rest, headers).await,
        _ => Err(Trouble::NoRoute),
    }
}

/// PEP 691.
pub(crate) const PYPI_JSON: &str = "application/vnd.pypi.simple.v1+json";

fn json(body: Bytes, kind: &str) -> Result<Response<Body>, Trouble> {
    Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from(body))
        .map_err(|e| Trouble::Network { ecosystem: Ecosystem::Pip, detail: e.to_string() })
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response
}
