//! Model calls, with all that was sent and received, and the models that there are.

use crate::{
    Api, ApiError, ApiResult, ErrorEnvelope, Identity,
    extract::{self, JsonBody, Params},
    wire,
};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use domain::{
    event::Actor,
    ids::{CallId, KeyId},
};
use futures::{Stream, stream};
use std::collections::{HashMap, VecDeque};
use store::{CallFilter, CallScope, Store, StoreError};

/// Characters of the reason of an erasure.
const MAX_REASON_CHARS: usize = 500;

/// Lists model calls, oldest first, refused and failed ones too.
#[utoipa::path(get, path = "/api/llm/calls", operation_id = "list_calls", tag = "llm", params(wire::ListCalls),
    responses((status = 200, description = "A page of calls", body = wire::Page<wire::Call>)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Params(q): Params<wire::ListCalls>,
) -> ApiResult<Json<wire::Page<wire::Call>>> {
    let filter = filter(&api.store, &q).await?;
    let calls = api.store.call_list(&filter).await?;
    let full = calls.len() as u64 >= filter.limit.map_or(u64::MAX, u64::from);
    let next_cursor = calls.last().filter(|_| full).map(|c| c.id.to_string());
    let mut names = HashMap::new();
    let mut items = Vec::with_capacity(calls.len());
    for call in calls {
        items.push(named(&api.store, call, &mut names).await?);
    }
    Ok(Json(wire::Page { items, next_cursor }))
}

/// A call with the name of its key; `names` holds those that were looked up before.
async fn named(store: &Store, call: store::Call, names: &mut HashMap<KeyId, Option<String>>) -> ApiResult<wire::Call> {
    let Some(key) = call.key else { return Ok(call.into()) };
    let name = match names.get(&key) {
        Some(name) => name.clone(),
        None => match store.key_get(&key.to_string()).await {
            Ok(row) => Some(row.key.name),
            Err(StoreError::NotFound { .. }) => None,
            Err(e) => return Err(e.into()),
        },
    };
    names.insert(key, name.clone());
    Ok(wire::Call { key_name: name, ..call.into() })
}

/// Counts model calls.
#[utoipa::path(get, path = "/api/llm/calls/count", operation_id = "count_calls", tag = "llm", params(wire::ListCalls),
    responses((status = 200, description = "Their number", body = wire::CallCount)))]
pub(crate) async fn count(
    State(api): State<Api>,
    Params(q): Params<wire::ListCalls>,
) -> ApiResult<Json<wire::CallCount>> {
    let filter = filter(&api.store, &q).await?;
    Ok(Json(wire::CallCount { count: api.store.call_count(&filter).await? }))
}

async fn filter(store: &Store, q: &wire::ListCalls) -> ApiResult<CallFilter> {
    let mut scopes = Vec::new();
    if let Some(task) = &q.task {
        scopes.push(CallScope::Task(store.task_get(extract::id(task)?).await?.id));
    }
    if let Some(key) = &q.key {
        scopes.push(CallScope::Key(store.key_get(key).await?.key.id));
    }
    scopes.extend(q.token.clone().map(CallScope::Token));
    if scopes.len() > 1 {
        return Err(ApiError::value("task, key and token exclude each other"));
    }
    let status = q.status.as_deref().map(|text| {
        wire::status_of(text).ok_or_else(|| {
            let text = domain::text::visible_line(text);
            ApiError::value(format!(
                "status is {text:?}; it is begun, ended, failed, timed_out, cut, refused or unknown"
            ))
        })
    });
    Ok(CallFilter {
        scope: scopes.pop(),
        status: status.transpose()?,
        model: q.model.clone(),
        provider: q.provider.clone(),
        since: q.since.as_deref().map(|t| time("since", t)).transpose()?,
        until: q.until.as_deref().map(|t| time("until", t)).transpose()?,
        text: q.text.clone(),
        cursor: extract::optional_id(q.cursor.as_deref())?,
        newest_first: q.newest.unwrap_or(false),
        limit: Some(extract::page_size(q.limit)?),
    })
}

/// A time in the form in which times are stored, so that they compare as text.
fn time(field: &str, text: &str) -> ApiResult<String> {
    text.parse::<jiff::Timestamp>().map(store::time_text).map_err(|_| {
        let text = domain::text::visible_line(text);
        ApiError::value(format!("{field} is {text:?}; it is a time as RFC 3339, such as 2026-11-25T10:00:00Z"))
    })
}

/// Shows a model call with its attempts and whole bodies.
#[utoipa::path(get, path = "/api/llm/calls/{id}", operation_id = "get_call", tag = "llm",
    params(("id" = String, Path, description = "The call")),
    responses((status = 200, description = "The call", body = wire::CallDetail)))]
pub(crate) async fn show(State(api): State<Api>, Path(id): Path<String>) -> ApiResult<Json<wire::CallDetail>> {
    let call = api.store.call_get(extract::id(&id)?).await?;
    Ok(Json(detail(&api.store, call).await?))
}

async fn detail(store: &Store, call: store::Call) -> ApiResult<wire::CallDetail> {
    let request = text(store, Some(&call.request)).await?;
    let response = text(store, call.response.as_deref()).await?;
    let normalised = text(store, call.normalised.as_deref()).await?.and_then(|t| serde_json::from_str(&t).ok());
    let tries = tries(store, &call).await?;
    let call = named(store, call, &mut HashMap::new()).await?;
    Ok(wire::CallDetail { call, erased: request.is_none(), request, response, normalised, tries })
}

/// Each try; a body that is the call's own is not repeated.
async fn tries(store: &Store, call: &store::Call) -> ApiResult<Vec<wire::Attempt>> {
    let attempts = store.call_attempts(call.id).await?;
    let mut tries = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        let sent = text(store, attempt.sent.as_deref()).await?;
        let own = attempt.response.as_deref().filter(|r| call.response.as_deref() != Some(r));
        let response = text(store, own).await?;
        tries.push(wire::Attempt::new(attempt, sent, response));
    }
    Ok(tries)
}

/// Lists the attempts of a model call, oldest first; none of a refused one.
#[utoipa::path(get, path = "/api/llm/calls/{id}/attempts", operation_id = "list_attempts", tag = "llm",
    params(("id" = String, Path, description = "The call")),
    responses((status = 200, description = "The attempts", body = wire::Page<wire::Attempt>)))]
pub(crate) async fn attempts(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> ApiResult<Json<wire::Page<wire::Attempt>>> {
    let call = api.store.call_get(extract::id(&id)?).await?;
    Ok(Json(wire::Page { items: tries(&api.store, &call).await?, next_cursor: None }))
}

/// Downloads a body of a model call, byte for byte.
#[utoipa::path(get, path = "/api/llm/calls/{id}/bodies/{name}", operation_id = "get_call_body", tag = "llm",
    params(("id" = String, Path, description = "The call"),
        ("name" = String, Path, description = "`request`, `response`, `sent` (as it left last) or `received` (as the provider sent it last)")),
    responses((status = 200, description = "The bytes", body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn body(State(api): State<Api>, Path((id, name)): Path<(String, String)>) -> ApiResult<Response> {
    let id: CallId = extract::id(&id)?;
    let call = api.store.call_get(id).await?;
    let last = || async { Ok::<_, ApiError>(api.store.call_attempts(id).await?.pop()) };
    let commitment = match name.as_str() {
        "request" => Some(call.request),
        "response" => call.response,
        "sent" => last().await?.map(|a| a.sent.unwrap_or(call.request)),
        "received" => last().await?.and_then(|a| a.response.or(call.response)),
        _ => return Err(ApiError::value("a body is request, response, sent or received")),
    };
    let missing = || ApiError::not_found("body", format!("{name} of call {id}"));
    let bytes = api.store.body(&commitment.ok_or_else(missing)?).await?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))], bytes).into_response())
}

/// Exports model calls with their attempts and bodies, one JSON document per line, oldest first.
#[utoipa::path(get, path = "/api/llm/export", operation_id = "export_calls", tag = "llm", params(wire::ListCalls),
    responses((status = 200, description = "Lines of CallDetail", body = String, content_type = "application/x-ndjson")))]
pub(crate) async fn export(State(api): State<Api>, Params(q): Params<wire::ListCalls>) -> ApiResult<Response> {
    let filter = filter(&api.store, &wire::ListCalls { limit: None, ..q }).await?;
    let lines = Body::from_stream(exported(api, filter));
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))], lines).into_response())
}

/// Calls as lines. One page of calls and one whole call are held at a time, as fast as the client reads.
fn exported(api: Api, filter: CallFilter) -> impl Stream<Item = ApiResult<Bytes>> {
    let begin = (api, filter, VecDeque::new(), false);
    stream::try_unfold(begin, |(api, mut filter, mut page, mut last)| async move {
        if page.is_empty() && !last {
            page = VecDeque::from(api.store.call_list(&filter).await?);
            last = (page.len() as u64) < filter.limit.map_or(u64::MAX, u64::from);
            filter.cursor = page.back().map(|c: &store::Call| c.id).or(filter.cursor);
        }
        let Some(call) = page.pop_front() else { return Ok(None) };
        let mut line = serde_json::to_vec(&detail(&api.store, call).await?).map_err(ApiError::internal)?;
        line.push(b'\n');
        Ok(Some((Bytes::from(line), (api, filter, page, last))))
    })
}

async fn text(store: &Store, commitment: Option<&str>) -> ApiResult<Option<String>> {
    let Some(commitment) = commitment else { return Ok(None) };
    match store.body_text(commitment).await {
        Ok(text) => Ok(Some(text)),
        Err(StoreError::Erased) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Erases every body of a task, a caller's key or an API token for good. Records and log stay.
#[utoipa::path(post, path = "/api/llm/bodies/erase", operation_id = "erase_bodies", tag = "llm",
    request_body = wire::EraseBodies,
    responses((status = 200, description = "What was erased", body = wire::ErasedBodies),
        (status = 409, description = "The task has not ended, or a call is under way: `bodies_in_use`",
            body = ErrorEnvelope)))]
pub(crate) async fn erase(
    State(api): State<Api>,
    identity: Identity,
    JsonBody(body, _): JsonBody<wire::EraseBodies>,
) -> ApiResult<Json<wire::ErasedBodies>> {
    extract::words("reason", &body.reason, MAX_REASON_CHARS)?;
    let scope = match (&body.task, &body.key, &body.token) {
        (Some(task), None, None) => CallScope::Task(api.store.task_get(extract::id(task)?).await?.id),
        (None, Some(key), None) => CallScope::Key(api.store.key_get(key).await?.key.id),
        (None, None, Some(name)) => {
            let known = api.store.token_list().await?.into_iter().any(|t| t.name == *name);
            if !known {
                return Err(ApiError::not_found("token", domain::text::visible_line(name)));
            }
            CallScope::Token(name.clone())
        }
        _ => return Err(ApiError::value("name one of task, key and token")),
    };
    let reason = domain::text::visible_line(&body.reason);
    let erased = api.store.bodies_erase(scope, reason, Actor::Token { name: identity.name }).await?;
    Ok(Json(wire::ErasedBodies { bodies: erased.bodies, entry: erased.leaf }))
}

/// Lists the models that the configured providers offer, and the aliases.
#[utoipa::path(get, path = "/api/llm/models", operation_id = "list_models", tag = "llm",
    responses((status = 200, description = "The models", body = wire::Models)))]
pub(crate) async fn models(State(api): State<Api>) -> ApiResult<Json<wire::Models>> {
    let aliases = (api.services.gateway.aliases)(()).await?;
    Ok(Json(wire::Models { models: (api.services.models)(()).await?, aliases }))
}
