//! Callers' keys: for people and tools that use the gateway, and for nothing else.

use crate::{Api, ApiResult, Identity, extract::JsonBody, keys, wire};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};

/// Lists callers' keys, those in force first. Secrets are not kept and cannot be shown.
#[utoipa::path(get, path = "/api/keys", operation_id = "list_keys", tag = "access",
    responses((status = 200, description = "The keys", body = wire::Page<wire::Key>)))]
pub(crate) async fn list(State(api): State<Api>) -> ApiResult<Json<wire::Page<wire::Key>>> {
    let items = api.store.key_list().await?.into_iter().map(Into::into).collect();
    Ok(Json(wire::Page { items, next_cursor: None }))
}

/// Makes a caller's key. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/keys", operation_id = "create_key", tag = "access", request_body = wire::NewKey,
    responses((status = 201, description = "The key with its secret", body = wire::CreatedKey)))]
pub(crate) async fn create(
    State(api): State<Api>,
    identity: Identity,
    JsonBody(body, _): JsonBody<wire::NewKey>,
) -> ApiResult<(StatusCode, Json<wire::CreatedKey>)> {
    let (row, key) = keys::issue_key(&api.store, &body, &identity.name).await?;
    Ok((StatusCode::CREATED, Json(wire::CreatedKey { key, info: row.into() })))
}

/// Shows a caller's key by name or id, with what it has used.
#[utoipa::path(get, path = "/api/keys/{name}", operation_id = "get_key", tag = "access",
    params(("name" = String, Path, description = "The key's name or id")),
    responses((status = 200, description = "The key", body = wire::KeyDetail)))]
pub(crate) async fn show(State(api): State<Api>, Path(name): Path<String>) -> ApiResult<Json<wire::KeyDetail>> {
    let row = api.store.key_get(&name).await?;
    let usage = api.store.call_totals(row.key.id).await?.into();
    Ok(Json(wire::KeyDetail { key: row.into(), usage }))
}

/// Revokes a caller's key by name or id: it works for nobody from now on.
#[utoipa::path(delete, path = "/api/keys/{name}", operation_id = "revoke_key", tag = "access",
    params(("name" = String, Path, description = "The key's name or id")),
    responses((status = 200, description = "The revoked key", body = wire::Key)))]
pub(crate) async fn revoke(
    State(api): State<Api>,
    identity: Identity,
    Path(name): Path<String>,
) -> ApiResult<Json<wire::Key>> {
    Ok(Json(keys::revoke_key(&api.store, &name, &identity.name).await?.into()))
}
