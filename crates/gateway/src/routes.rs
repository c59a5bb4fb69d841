//! The fixed routes of a sandbox's socket. Whatever is not here does not exist for it.

use crate::{
    events, mcp, proxy,
    reply::{self, Refusal, Reply},
    sandbox::Sandbox,
};
use hyper::{Method, Request, StatusCode, body::Incoming};
use serde_json::json;
use std::sync::Arc;

/// Answers one request.
pub(crate) async fn route(sandbox: &Arc<Sandbox>, request: Request<Incoming>) -> Reply {
    let (method, path) = (request.method(), request.uri().path());
    match (path, method) {
        ("/v1/chat/completions", &Method::POST) => proxy::chat(sandbox, request).await,
        ("/v1/chat/completions", _) => reply::not_allowed("POST"),
        ("/v1/models", &Method::GET) => models(sandbox).await,
        ("/v1/models", _) => reply::not_allowed("GET"),
        ("/mcp", &Method::POST) => mcp::post(sandbox, request).await,
        // Without sessions there is nothing to delete, and clients that try want to hear that it worked.
        ("/mcp", &Method::DELETE) => reply::empty(StatusCode::OK),
        ("/mcp", _) => reply::not_allowed("POST, DELETE"),
        ("/tf/events", &Method::POST) => events::post(sandbox, request).await,
        ("/tf/events", _) => reply::not_allowed("POST"),
        ("/healthz", &Method::GET) => reply::text(StatusCode::OK, "ok\n"),
        ("/healthz", _) => reply::not_allowed("GET"),
        _ => Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is no such route here").reply(),
    }
}

/// The models of the task's policy, and no others.
async fn models(sandbox: &Sandbox) -> Reply {
    match sandbox.shared.store.policy_current(sandbox.task).await {
        Ok(policy) => {
            let data: Vec<_> = policy
                .models
                .iter()
                .map(|id| {
                    let owner = id.split_once('/').map_or("", |(u, _)| u);
                    json!({ "id": id, "object": "model", "created": 0, "owned_by": owner })
                })
                .collect();
            reply::json(StatusCode::OK, &json!({ "object": "list", "data": data }))
        }
        Err(e) => {
            tracing::error!(task.id = %sandbox.task, error = %e, "the policy could not be read");
            Refusal::log_unwritable().reply()
        }
    }
}
