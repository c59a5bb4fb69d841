//! Providers of models. What is saved here takes effect at once; keys go in and never come out.

use crate::{Api, ApiError, ApiResult, Identity, extract::JsonBody, services::Save, wire};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};

/// Lists the providers, wherever they are configured.
#[utoipa::path(get, path = "/api/llm/providers", operation_id = "list_providers", tag = "llm",
    responses((status = 200, description = "The providers", body = wire::Page<wire::Provider>)))]
pub(crate) async fn list(State(api): State<Api>) -> ApiResult<Json<wire::Page<wire::Provider>>> {
    let items = (api.services.gateway.providers)(()).await?;
    Ok(Json(wire::Page { items, next_cursor: None }))
}

/// Shows a provider.
#[utoipa::path(get, path = "/api/llm/providers/{name}", operation_id = "get_provider", tag = "llm",
    params(("name" = String, Path, description = "The provider's name")),
    responses((status = 200, description = "The provider", body = wire::Provider)))]
pub(crate) async fn show(State(api): State<Api>, Path(name): Path<String>) -> ApiResult<Json<wire::Provider>> {
    let all = (api.services.gateway.providers)(()).await?;
    let found = all.into_iter().find(|p| p.name == name);
    let missing = || ApiError::not_found("provider", format!("{:?}", domain::text::visible_line(&name)));
    Ok(Json(found.ok_or_else(missing)?))
}

/// Adds a provider.
#[utoipa::path(post, path = "/api/llm/providers", operation_id = "create_provider", tag = "llm",
    request_body = wire::SaveProvider,
    responses((status = 201, description = "The provider", body = wire::Provider)))]
pub(crate) async fn create(
    State(api): State<Api>,
    identity: Identity,
    JsonBody(body, _): JsonBody<wire::SaveProvider>,
) -> ApiResult<(StatusCode, Json<wire::Provider>)> {
    let name = body.name.clone().ok_or_else(|| ApiError::value("name is missing"))?;
    let save = Save { name, provider: body, replace: false, by: identity.name };
    Ok((StatusCode::CREATED, Json((api.services.gateway.provider_save)(save).await?)))
}

/// Saves a provider, in the place of a saved one by that name if there is one.
#[utoipa::path(put, path = "/api/llm/providers/{name}", operation_id = "save_provider", tag = "llm",
    params(("name" = String, Path, description = "The provider's name")), request_body = wire::SaveProvider,
    responses((status = 200, description = "The provider", body = wire::Provider)))]
pub(crate) async fn save(
    State(api): State<Api>,
    identity: Identity,
    Path(name): Path<String>,
    JsonBody(provider, _): JsonBody<wire::SaveProvider>,
) -> ApiResult<Json<wire::Provider>> {
    if provider.name.as_ref().is_some_and(|n| *n != name) {
        return Err(ApiError::value("name in the body is not the one in the path"));
    }
    let save = Save { name, provider, replace: true, by: identity.name };
    Ok(Json((api.services.gateway.provider_save)(save).await?))
}

/// Removes a saved provider with its key.
#[utoipa::path(delete, path = "/api/llm/providers/{name}", operation_id = "remove_provider", tag = "llm",
    params(("name" = String, Path, description = "The provider's name")),
    responses((status = 200, description = "The provider that was removed", body = wire::Provider)))]
pub(crate) async fn remove(
    State(api): State<Api>,
    identity: Identity,
    Path(name): Path<String>,
) -> ApiResult<Json<wire::Provider>> {
    Ok(Json((api.services.gateway.provider_remove)((name, identity.name)).await?))
}

/// Asks a provider for its models, now.
#[utoipa::path(post, path = "/api/llm/providers/{name}/test", operation_id = "test_provider", tag = "llm",
    params(("name" = String, Path, description = "The provider's name")),
    responses((status = 200, description = "What it answered", body = wire::ProviderTest)))]
pub(crate) async fn test(
    State(api): State<Api>,
    _: Identity,
    Path(name): Path<String>,
) -> ApiResult<Json<wire::ProviderTest>> {
    Ok(Json((api.services.gateway.provider_test)(name).await?))
}

/// Reads the configuration file and the environment again; calls under way end as they began.
#[utoipa::path(post, path = "/api/llm/reload", operation_id = "reload_gateway", tag = "llm",
    responses((status = 200, description = "What is in use from now on", body = wire::Reloaded)))]
pub(crate) async fn reload(State(api): State<Api>, identity: Identity) -> ApiResult<Json<wire::Reloaded>> {
    Ok(Json((api.services.gateway.reload)(identity.name).await?))
}
