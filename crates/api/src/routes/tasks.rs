//! Creating, listing and showing tasks.

use super::new_task;
use crate::{
    Api, ApiError, ApiResult, Code, Identity,
    extract::{self, JsonBody, Params},
    wire,
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use domain::{ids::TaskId, request::RequestStatus, task::TaskStatus};
use futures::FutureExt;
use store::{Durability, Repeated, TaskFilter};

/// The largest body of a create: the files in base64, and room for the rest.
pub(crate) const MAX_CREATE_BYTES: usize = new_task::MAX_UPLOAD_BYTES / 3 * 4 + (2 << 20);
const MAX_KEY_CHARS: usize = 128;
const MAX_TEXT_CHARS: usize = 200;

/// Creates a task. It does not run until it is started.
///
/// With an `Idempotency-Key`, the same create sent again within seven days answers with the task that the first one made.
#[utoipa::path(post, path = "/api/tasks", operation_id = "create_task", tag = "tasks", request_body = wire::NewTask,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters")),
    responses((status = 201, description = "The task", body = wire::Task), (status = 200, description = "Made before with this key", body = wire::Task)))]
pub(crate) async fn create(
    State(api): State<Api>,
    identity: Identity,
    headers: HeaderMap,
    JsonBody(body, body_hash): JsonBody<wire::NewTask>,
) -> ApiResult<(StatusCode, [(header::HeaderName, HeaderValue); 1], Json<wire::Task>)> {
    let key = idempotency_key(&headers)?;
    let mut new = new_task::check(body)?;
    new.llm_model = (api.services.model_resolve)(new.llm_model).await?;
    let made = api
        .store
        .write(Durability::Power, move |tx| {
            async move {
                if let Some(key) = &key
                    && let Some(before) = tx.idempotency_get(&identity.key, key).await?
                {
                    if before.body_hash != body_hash {
                        let message = format!("the key {key:?} was used for another create");
                        return Err(store::StoreError::conflict("idempotency_mismatch", message));
                    }
                    return Ok((StatusCode::OK, tx.task_get(before.task).await?));
                }
                let task = tx.task_create(new, &identity.name).await?;
                if let Some(key) = &key {
                    tx.idempotency_put(&identity.key, key, &Repeated { body_hash, task: task.id }).await?;
                }
                Ok((StatusCode::CREATED, task))
            }
            .boxed()
        })
        .await?;
    let place = HeaderValue::from_str(&format!("/api/tasks/{}", made.1.id)).map_err(ApiError::internal)?;
    Ok((made.0, [(header::LOCATION, place)], Json(made.1.into())))
}

fn idempotency_key(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= MAX_KEY_CHARS => Ok(Some(key.to_owned())),
        _ => Err(ApiError::value(format!("Idempotency-Key has 1 to {MAX_KEY_CHARS} visible ASCII characters"))),
    }
}

/// Lists tasks, newest first.
#[utoipa::path(get, path = "/api/tasks", operation_id = "list_tasks", tag = "tasks", params(wire::ListTasks),
    responses((status = 200, description = "A page of tasks", body = wire::Page<wire::Task>)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Params(q): Params<wire::ListTasks>,
) -> ApiResult<Json<wire::Page<wire::Task>>> {
    let status = q.status.as_deref().map(parse_status).transpose()?;
    if q.text.as_ref().is_some_and(|t| t.chars().count() > MAX_TEXT_CHARS) {
        return Err(ApiError::value(format!("text has more than {MAX_TEXT_CHARS} characters")));
    }
    let filter = TaskFilter {
        status,
        text: q.text,
        before: extract::optional_id(q.cursor.as_deref())?,
        limit: Some(extract::page_size(q.limit)?),
    };
    let page = api.store.task_list(&filter).await?;
    let next_cursor = page.next.map(|id| id.to_string());
    Ok(Json(wire::Page { items: page.tasks.into_iter().map(Into::into).collect(), next_cursor }))
}

fn parse_status(text: &str) -> ApiResult<TaskStatus> {
    TaskStatus::parse(text).ok_or_else(|| {
        let known: Vec<_> = TaskStatus::ALL.iter().map(|s| s.as_str()).collect();
        ApiError::new(Code::InvalidValue, format!("{:?} is not a task status", domain::text::visible_line(text)))
            .hint(format!("one of: {}", known.join(", ")))
    })
}

/// Shows a task with its runs and what it waits for.
#[utoipa::path(get, path = "/api/tasks/{id}", operation_id = "get_task", tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    responses((status = 200, description = "The task", body = wire::TaskDetail)))]
pub(crate) async fn show(State(api): State<Api>, Path(id): Path<String>) -> ApiResult<Json<wire::TaskDetail>> {
    let id: TaskId = extract::id(&id)?;
    let task = api.store.task_get(id).await?;
    let mut runs = Vec::new();
    for run in api.store.run_list(id).await? {
        let iterations = api.store.iteration_list(run.id).await?;
        runs.push(wire::Run::new(run, iterations));
    }
    let pending = api.store.request_list(Some(id), Some(RequestStatus::Pending)).await?;
    Ok(Json(wire::TaskDetail {
        task: task.into(),
        runs,
        pending_requests: pending.into_iter().rev().map(|r| r.id.to_string()).collect(),
        usage: api.store.call_totals(id).await?.into(),
    }))
}
