//! Policies of tasks: immutable versions.

use crate::{
    Api, ApiResult,
    extract::{self, Params},
    wire,
};
use axum::{
    Json,
    extract::{Path, State},
};
use domain::ids::TaskId;
use store::TaskFilter;

/// Lists policies.
#[utoipa::path(get, path = "/api/policies", operation_id = "list_policies", tag = "policies", params(wire::ListPolicies),
    responses((status = 200, description = "The policies", body = wire::Page<wire::Policy>)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Params(q): Params<wire::ListPolicies>,
) -> ApiResult<Json<wire::Page<wire::Policy>>> {
    if let Some(task) = extract::optional_id(q.task.as_deref())? {
        return Ok(Json(versions(&api, task).await?));
    }
    let before = extract::optional_id(q.cursor.as_deref())?;
    let filter = TaskFilter { before, limit: Some(extract::page_size(q.limit)?), ..TaskFilter::default() };
    let page = api.store.task_list(&filter).await?;
    let mut items = Vec::with_capacity(page.tasks.len());
    for task in &page.tasks {
        items.push(wire::Policy::new(task, api.store.policy_current(task.id).await?));
    }
    Ok(Json(wire::Page { items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// Lists the versions of a task's policy, oldest first.
#[utoipa::path(get, path = "/api/tasks/{id}/policies", operation_id = "list_task_policies", tag = "policies",
    params(("id" = String, Path, description = "The task")),
    responses((status = 200, description = "The versions", body = wire::Page<wire::Policy>)))]
pub(crate) async fn of_task(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> ApiResult<Json<wire::Page<wire::Policy>>> {
    Ok(Json(versions(&api, extract::id(&id)?).await?))
}

async fn versions(api: &Api, task: TaskId) -> ApiResult<wire::Page<wire::Policy>> {
    let task = api.store.task_get(task).await?;
    let items = api.store.policy_list(task.id).await?.into_iter().map(|p| wire::Policy::new(&task, p)).collect();
    Ok(wire::Page { items, next_cursor: None })
}
