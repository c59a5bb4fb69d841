//! The server itself.

use crate::{Api, ApiResult, error::Bare, wire};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

/// Facts about this installation.
#[utoipa::path(get, path = "/api/system/info", operation_id = "get_system_info", tag = "system",
    responses((status = 200, description = "The facts", body = wire::SystemInfo)))]
pub(crate) async fn info(State(api): State<Api>) -> ApiResult<Json<wire::SystemInfo>> {
    let facts = (api.services.facts)(()).await?;
    Ok(Json(wire::SystemInfo {
        version: api.config.version.clone(),
        installation: api.store.installation().to_string(),
        time: store::time_text(store::now()),
        log_entries: *api.store.changes().borrow(),
        facts,
    }))
}

/// How each part is.
#[utoipa::path(get, path = "/api/system/health", operation_id = "get_health", tag = "system",
    responses((status = 200, description = "The parts; `ok` says whether every required one works", body = wire::Health)))]
pub(crate) async fn health(State(api): State<Api>) -> Json<wire::Health> {
    Json(api.health().await)
}

/// `ok` or 503, and nothing else: it needs no token.
pub(crate) async fn healthz(State(api): State<Api>) -> Response {
    if api.health().await.ok {
        "ok".into_response()
    } else {
        let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
        response.extensions_mut().insert(Bare);
        response
    }
}

/// Metrics as Prometheus reads them. Without a token only where the settings say so.
pub(crate) async fn metrics(State(api): State<Api>) -> ApiResult<Response> {
    let text = (api.services.gateway.metrics)(()).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
