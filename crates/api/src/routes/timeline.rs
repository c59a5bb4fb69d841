//! The timeline of a task: its events, with the beginning of each content.

use crate::{
    Api, ApiError, ApiResult,
    extract::{self, Params},
    wire,
};
use axum::{
    Json,
    extract::{Path, State},
};
use domain::event::Leaf;
use store::{EventFilter, Store, StoreError};

/// Characters of a content that an event shows.
const MAX_SHOWN_CHARS: usize = 4096;
/// Contents larger than this are not opened to show their beginning.
const MAX_OPENED_BYTES: u64 = 256 << 10;

/// Reads the timeline of a task, oldest first.
#[utoipa::path(get, path = "/api/tasks/{id}/timeline", operation_id = "get_timeline", tag = "tasks",
    params(("id" = String, Path, description = "The task"), wire::ReadEvents),
    responses((status = 200, description = "A page of events", body = wire::Page<wire::Event>)))]
pub(crate) async fn timeline(
    State(api): State<Api>,
    Path(id): Path<String>,
    Params(q): Params<wire::ReadEvents>,
) -> ApiResult<Json<wire::Page<wire::Event>>> {
    let task = api.store.task_get(extract::id(&id)?).await?;
    Ok(Json(page(&api.store, Some(task.id), &q).await?))
}

/// Reads a page of events, with the beginning of each content.
pub(crate) async fn page(
    store: &Store,
    task: Option<domain::ids::TaskId>,
    q: &wire::ReadEvents,
) -> ApiResult<wire::Page<wire::Event>> {
    let limit = extract::page_size(q.limit)?;
    let records = if q.tail.unwrap_or(false) {
        if q.cursor.is_some() {
            return Err(ApiError::value("tail and cursor exclude each other"));
        }
        store.event_tail(task, limit).await?
    } else {
        store.event_list(&EventFilter { task, after: q.cursor, limit: Some(limit) }).await?
    };
    let full = records.len() as u64 == u64::from(limit);
    let next_cursor = records.last().filter(|_| full).map(|r| r.leaf.index.to_string());
    let mut items = Vec::with_capacity(records.len());
    for record in records {
        items.push(with_bodies(store, record.leaf).await?);
    }
    Ok(wire::Page { items, next_cursor })
}

/// An event with the beginning of each content.
pub(crate) async fn with_bodies(store: &Store, leaf: Leaf) -> ApiResult<wire::Event> {
    let mut event = wire::Event::from(leaf);
    for body in event.bodies.values_mut().filter(|b| b.size <= MAX_OPENED_BYTES) {
        match store.body(&body.commitment).await {
            Ok(bytes) => {
                let Ok(text) = std::str::from_utf8(&bytes) else { continue };
                let cut = text.char_indices().nth(MAX_SHOWN_CHARS).map_or(text.len(), |(at, _)| at);
                body.truncated = cut < text.len();
                body.text = Some(text[..cut].to_owned());
            }
            Err(StoreError::Erased) => (body.erased, body.truncated) = (true, false),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(event)
}
