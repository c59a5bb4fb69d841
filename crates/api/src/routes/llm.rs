//! Model calls, with all that was sent and received, and the models that there are.

use crate::{
    Api, ApiResult,
    extract::{self, Params},
    wire,
};
use axum::{
    Json,
    extract::{Path, State},
};
use store::{Store, StoreError};

/// Lists the model calls of a task, oldest first, refused and failed ones too.
#[utoipa::path(get, path = "/api/llm/calls", operation_id = "list_calls", tag = "llm", params(wire::ListCalls),
    responses((status = 200, description = "A page of calls", body = wire::Page<wire::Call>)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Params(q): Params<wire::ListCalls>,
) -> ApiResult<Json<wire::Page<wire::Call>>> {
    let task = api.store.task_get(extract::id(&q.task)?).await?;
    let filter = store::CallFilter { cursor: extract::optional_id(q.cursor.as_deref())?, ..task.id.into() };
    let calls = api.store.call_list(&filter).await?;
    let full = calls.len() as u64 >= u64::from(store::MAX_CALL_PAGE);
    let next_cursor = calls.last().filter(|_| full).map(|c| c.id.to_string());
    Ok(Json(wire::Page { items: calls.into_iter().map(Into::into).collect(), next_cursor }))
}

/// Shows a model call with the whole request and answer.
#[utoipa::path(get, path = "/api/llm/calls/{id}", operation_id = "get_call", tag = "llm",
    params(("id" = String, Path, description = "The call")),
    responses((status = 200, description = "The call", body = wire::CallDetail)))]
pub(crate) async fn show(State(api): State<Api>, Path(id): Path<String>) -> ApiResult<Json<wire::CallDetail>> {
    let call = api.store.call_get(extract::id(&id)?).await?;
    let request = text(&api.store, Some(&call.request)).await?;
    let response = text(&api.store, call.response.as_deref()).await?;
    Ok(Json(wire::CallDetail { call: call.into(), request, response }))
}

async fn text(store: &Store, commitment: Option<&str>) -> ApiResult<Option<String>> {
    let Some(commitment) = commitment else { return Ok(None) };
    match store.body_text(commitment).await {
        Ok(text) => Ok(Some(text)),
        Err(StoreError::Erased) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Lists the models that the configured upstreams offer.
#[utoipa::path(get, path = "/api/llm/models", operation_id = "list_models", tag = "llm",
    responses((status = 200, description = "The models", body = wire::Models)))]
pub(crate) async fn models(State(api): State<Api>) -> ApiResult<Json<wire::Models>> {
    Ok(Json(wire::Models { models: (api.services.models)(()).await? }))
}
