//! Events as they happen (server-sent events). The id of each is its place in the log, so that a client that comes
//! back with `Last-Event-ID` misses nothing and sees nothing twice.
//!
//! A stream reads the store only as fast as its client reads the stream: a slow client holds one page in memory.

use super::timeline::with_bodies;
use crate::{Api, ApiError, ApiResult, extract};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::sse::{Event, KeepAlive, Sse},
};
use domain::{event::Leaf, ids::TaskId};
use futures::{Stream, stream};
use std::{collections::VecDeque, convert::Infallible, time::Duration};
use store::EventFilter;
use tokio::sync::{OwnedSemaphorePermit, watch};

/// Events read ahead for one client.
const PAGE: u32 = 50;
/// How often an idle stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams the events of a task, from the first one or after `Last-Event-ID`.
#[utoipa::path(get, path = "/api/tasks/{id}/events", operation_id = "stream_task_events", tag = "tasks",
    params(("id" = String, Path, description = "The task"), ("Last-Event-ID" = Option<u64>, Header, description = "Go on after this event")),
    responses((status = 200, description = "Server-sent events; the data of each is an Event", body = String, content_type = "text/event-stream")))]
pub(crate) async fn task_events(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let task = api.store.task_get(extract::id(&id)?).await?;
    let after = last_event_id(&headers)?;
    open(&api, Some(task.id), after)
}

/// Streams all events, from now on or after `Last-Event-ID`.
#[utoipa::path(get, path = "/api/events", operation_id = "stream_events", tag = "system",
    params(("Last-Event-ID" = Option<u64>, Header, description = "Go on after this event")),
    responses((status = 200, description = "Server-sent events; the data of each is an Event", body = String, content_type = "text/event-stream")))]
pub(crate) async fn all_events(
    State(api): State<Api>,
    headers: HeaderMap,
) -> ApiResult<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let newest = api.store.changes().borrow().checked_sub(1);
    let after = last_event_id(&headers)?.or(newest);
    open(&api, None, after)
}

fn last_event_id(headers: &HeaderMap) -> ApiResult<Option<u64>> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let index = value.to_str().ok().and_then(|v| v.parse::<u64>().ok()).filter(|i| i64::try_from(*i).is_ok());
    index.map(Some).ok_or_else(|| ApiError::value("Last-Event-ID is not the index of an event"))
}

fn open(
    api: &Api,
    task: Option<TaskId>,
    after: Option<u64>,
) -> ApiResult<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>> {
    let reader = Reader {
        changes: api.store.changes(),
        _permit: api.stream_permit()?,
        api: api.clone(),
        task,
        after,
        ready: VecDeque::new(),
        broken: false,
    };
    let events = stream::unfold(reader, |mut reader| async move { Some((Ok(reader.next().await?), reader)) });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Reader {
    api: Api,
    task: Option<TaskId>,
    after: Option<u64>,
    changes: watch::Receiver<u64>,
    ready: VecDeque<Leaf>,
    broken: bool,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// The next event; none when the server stops, or after an error was shown.
    async fn next(&mut self) -> Option<Event> {
        if self.broken {
            return None;
        }
        match self.read().await {
            Ok(event) => event,
            Err(e) => {
                tracing::error!(error = e.chain(), "an event stream broke off");
                self.broken = true;
                Some(Event::default().event("error").data(e.code.as_str()))
            }
        }
    }

    async fn read(&mut self) -> ApiResult<Option<Event>> {
        loop {
            if let Some(leaf) = self.ready.pop_front() {
                let event = with_bodies(&self.api.store, leaf).await?;
                let data = Event::default().id(event.index.to_string()).event(&event.kind).json_data(&event);
                return data.map(Some).map_err(ApiError::internal);
            }
            // Seen before the read: what is recorded during the read wakes us again.
            self.changes.mark_unchanged();
            let filter = EventFilter { task: self.task, after: self.after, limit: Some(PAGE) };
            self.ready = self.api.store.event_list(&filter).await?.into_iter().map(|r| r.leaf).collect();
            if let Some(last) = self.ready.back() {
                self.after = Some(last.index);
                continue;
            }
            tokio::select! {
                () = self.api.stop.cancelled() => return Ok(None),
                changed = self.changes.changed() => if changed.is_err() { return Ok(None) },
            }
        }
    }
}
