//! The fixed routes of a sandbox's socket. Whatever is not here does not exist for it.

use crate::{
    calls::{self, Ingress, Who},
    events, mcp, models,
    reply::{self, Refusal, Reply},
    sandbox::Sandbox,
};
use hyper::{Method, Request, StatusCode, body::Incoming};
use std::sync::Arc;

/// Answers one request.
pub(crate) async fn route(sandbox: &Arc<Sandbox>, request: Request<Incoming>) -> Reply {
    let (method, path) = (request.method(), request.uri().path());
    if let Some(ingress) = Ingress::of_path(path) {
        if method != Method::POST {
            return reply::not_allowed("POST");
        }
        let (parts, body) = request.into_parts();
        return calls::serve(Who::Sandbox(Arc::clone(sandbox)), ingress, parts, body).await;
    }
    if let Some(asked) = models::Asked::of_path(path) {
        return match *method {
            Method::GET => models::of_sandbox(sandbox, asked, request.headers()).await,
            _ => reply::not_allowed("GET"),
        };
    }
    match (path, method) {
        ("/mcp", &Method::POST) => mcp::post(sandbox, request).await,
        // Without sessions there is nothing to delete, and clients that try want to hear that it worked.
        ("/mcp", &Method::DELETE) => reply::empty(StatusCode::OK),
        ("/mcp", _) => reply::not_allowed("POST, DELETE"),
        ("/tf/events", &Method::POST) => events::post(sandbox, request).await,
        ("/tf/events", _) => reply::not_allowed("POST"),
        ("/healthz", &Method::GET) => reply::text(StatusCode::OK, "ok\n"),
        ("/healthz", _) => reply::not_allowed("GET"),
        _ => Refusal::not_found().reply(),
    }
}
