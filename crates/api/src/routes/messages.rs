//! Words of people for an agent.

use crate::{
    Api, ApiResult, Identity,
    extract::{self, JsonBody},
    wire,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use domain::ids::TaskId;
use futures::FutureExt;
use store::Durability;

const MAX_CHARS: usize = 20_000;

/// Lists the messages of a task, oldest first.
#[utoipa::path(get, path = "/api/tasks/{id}/messages", operation_id = "list_messages", tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    responses((status = 200, description = "The messages", body = wire::Page<wire::Message>)))]
pub(crate) async fn list(State(api): State<Api>, Path(id): Path<String>) -> ApiResult<Json<wire::Page<wire::Message>>> {
    let task = api.store.task_get(extract::id(&id)?).await?;
    let items = api.store.message_list(task.id).await?.into_iter().map(Into::into).collect();
    Ok(Json(wire::Page { items, next_cursor: None }))
}

/// Sends words to a task's agent: with its next TaskForge tool result, or at once.
#[utoipa::path(post, path = "/api/tasks/{id}/messages", operation_id = "send_message", tag = "tasks",
    params(("id" = String, Path, description = "The task")), request_body = wire::NewMessage,
    responses((status = 201, description = "The message", body = wire::Message)))]
pub(crate) async fn post(
    State(api): State<Api>,
    identity: Identity,
    Path(id): Path<String>,
    JsonBody(body, _): JsonBody<wire::NewMessage>,
) -> ApiResult<(StatusCode, Json<wire::Message>)> {
    let id: TaskId = extract::id(&id)?;
    extract::words("text", &body.text, MAX_CHARS)?;
    let work =
        store::work(move |tx| async move { tx.task_message(id, &body.text, body.now, &identity.name).await }.boxed());
    let message = api.store.write(Durability::Power, work).await?;
    Ok((StatusCode::CREATED, Json(message.into())))
}
