//! Named tokens.

use crate::{Api, ApiResult, Identity, access, extract::JsonBody, wire};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use domain::event::Actor;

/// Lists tokens, those in force first. Secrets are not kept and cannot be shown.
#[utoipa::path(get, path = "/api/tokens", operation_id = "list_tokens", tag = "access",
    responses((status = 200, description = "The tokens", body = wire::Page<wire::Token>)))]
pub(crate) async fn list(State(api): State<Api>) -> ApiResult<Json<wire::Page<wire::Token>>> {
    let items = api.store.token_list().await?.into_iter().map(Into::into).collect();
    Ok(Json(wire::Page { items, next_cursor: None }))
}

/// Makes a token. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/tokens", operation_id = "create_token", tag = "access", request_body = wire::NewToken,
    responses((status = 201, description = "The token with its secret", body = wire::CreatedToken)))]
pub(crate) async fn create(
    State(api): State<Api>,
    identity: Identity,
    JsonBody(body, _): JsonBody<wire::NewToken>,
) -> ApiResult<(StatusCode, Json<wire::CreatedToken>)> {
    let (token, secret) = access::issue_token(&api.store, &body.name, Actor::Token { name: identity.name }).await?;
    Ok((StatusCode::CREATED, Json(wire::CreatedToken { token: token.into(), secret })))
}

/// Revokes a token, with its sessions.
#[utoipa::path(delete, path = "/api/tokens/{name}", operation_id = "revoke_token", tag = "access",
    params(("name" = String, Path, description = "The token's name")),
    responses((status = 200, description = "The revoked token", body = wire::Token)))]
pub(crate) async fn revoke(
    State(api): State<Api>,
    identity: Identity,
    Path(name): Path<String>,
) -> ApiResult<Json<wire::Token>> {
    access::check_name(&name)?;
    Ok(Json(access::revoke_token(&api.store, &name, &identity.name).await?.into()))
}
