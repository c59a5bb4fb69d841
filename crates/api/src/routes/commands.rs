//! What a person may do to a task: start, pause, resume, cancel, continue. Each writes the wish and wakes the workflow.

use super::new_task::MAX_INSTRUCTION_CHARS;
use crate::{
    Api, ApiResult, Identity,
    extract::{self, JsonBody},
    wire,
};
use axum::{
    Json,
    extract::{Path, State},
};
use domain::{ids::TaskId, task::Command};
use futures::FutureExt;
use store::Durability;

async fn command(api: &Api, identity: Identity, id: &str, command: Command) -> ApiResult<Json<wire::Task>> {
    let (id, by): (TaskId, String) = (extract::id(id)?, identity.name);
    let make = || {
        let by = by.clone();
        store::work(move |tx| async move { tx.task_command(id, command, &by).await }.boxed())
    };
    let stops = matches!(command, Command::Pause | Command::Cancel);
    let task =
        if stops { api.store.write_stopping(make).await? } else { api.store.write(Durability::Power, make()).await? };
    Ok(Json(task.into()))
}

/// Starts a task for the first time.
#[utoipa::path(post, path = "/api/tasks/{id}/start", operation_id = "start_task", tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    responses((status = 200, description = "The task", body = wire::Task)))]
pub(crate) async fn start(
    State(api): State<Api>,
    identity: Identity,
    Path(id): Path<String>,
) -> ApiResult<Json<wire::Task>> {
    command(&api, identity, &id, Command::Start).await
}

/// Stops a task at once and keeps everything.
#[utoipa::path(post, path = "/api/tasks/{id}/pause", operation_id = "pause_task", tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    responses((status = 200, description = "The task", body = wire::Task)))]
pub(crate) async fn pause(
    State(api): State<Api>,
    identity: Identity,
    Path(id): Path<String>,
) -> ApiResult<Json<wire::Task>> {
    command(&api, identity, &id, Command::Pause).await
}

/// Goes on with a paused task, in the same session.
#[utoipa::path(post, path = "/api/tasks/{id}/resume", operation_id = "resume_task", tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    responses((status = 200, description = "The task", body = wire::Task)))]
pub(crate) async fn resume(
    State(api): State<Api>,
    identity: Identity,
    Path(id): Path<String>,
) -> ApiResult<Json<wire::Task>> {
    command(&api, identity, &id, Command::Resume).await
}

/// Ends a task at once.
#[utoipa::path(post, path = "/api/tasks/{id}/cancel", operation_id = "cancel_task", tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    responses((status = 200, description = "The task", body = wire::Task)))]
pub(crate) async fn cancel(
    State(api): State<Api>,
    identity: Identity,
    Path(id): Path<String>,
) -> ApiResult<Json<wire::Task>> {
    command(&api, identity, &id, Command::Cancel).await
}

/// Starts a further run of a task that has ended, from its last image, workspace and session.
#[utoipa::path(post, path = "/api/tasks/{id}/continue", operation_id = "continue_task", tag = "tasks",
    params(("id" = String, Path, description = "The task")), request_body = wire::Continue,
    responses((status = 200, description = "The task", body = wire::Task)))]
pub(crate) async fn further(
    State(api): State<Api>,
    identity: Identity,
    Path(id): Path<String>,
    JsonBody(body, _): JsonBody<wire::Continue>,
) -> ApiResult<Json<wire::Task>> {
    let id: TaskId = extract::id(&id)?;
    extract::words("instructions", &body.instructions, MAX_INSTRUCTION_CHARS)?;
    let work =
        store::work(move |tx| async move { tx.task_continue(id, &body.instructions, &identity.name).await }.boxed());
    let task = api.store.write(Durability::Power, work).await?;
    Ok(Json(task.into()))
}
