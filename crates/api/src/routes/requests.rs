//! Requests of agents: listing, showing, deciding.

use crate::{
    Api, ApiError, ApiResult, Code, Identity,
    extract::{self, JsonBody, Params},
    wire,
};
use axum::{
    Json,
    extract::{Path, State},
};
use domain::{
    ids::RequestId,
    request::{Ask, Request, RequestStatus, Verdict},
};
use futures::FutureExt;
use store::{Durability, RequestFilter, StoreError};

const MAX_WORDS_CHARS: usize = 4000;
const DIGEST_DIGITS: usize = 64;

/// Lists requests, newest first.
#[utoipa::path(get, path = "/api/capabilities/requests", operation_id = "list_requests", tag = "requests", params(wire::ListRequests),
    responses((status = 200, description = "A page of requests", body = wire::Page<wire::Request>)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Params(q): Params<wire::ListRequests>,
) -> ApiResult<Json<wire::Page<wire::Request>>> {
    let status = q.status.as_deref().map(parse_status).transpose()?;
    let filter = RequestFilter {
        task: extract::optional_id(q.task.as_deref())?,
        status,
        before: extract::optional_id(q.cursor.as_deref())?,
        limit: extract::page_size(q.limit)?,
    };
    let page = api.store.request_page(&filter).await?;
    let next_cursor = page.next.map(|id| id.to_string());
    Ok(Json(wire::Page { items: page.requests.into_iter().map(Into::into).collect(), next_cursor }))
}

fn parse_status(text: &str) -> ApiResult<RequestStatus> {
    RequestStatus::parse(text).ok_or_else(|| {
        let known: Vec<_> = RequestStatus::ALL.iter().map(|s| s.as_str()).collect();
        ApiError::value(format!("{:?} is not a request status", domain::text::visible_line(text)))
            .hint(format!("one of: {}", known.join(", ")))
    })
}

/// Shows a request with exactly what an approval would grant.
#[utoipa::path(get, path = "/api/capabilities/requests/{id}", operation_id = "get_request", tag = "requests",
    params(("id" = String, Path, description = "The request")),
    responses((status = 200, description = "The request", body = wire::RequestDetail)))]
pub(crate) async fn show(State(api): State<Api>, Path(id): Path<String>) -> ApiResult<Json<wire::RequestDetail>> {
    let request = api.store.request_get(extract::id(&id)?).await?;
    Ok(Json(detail(&api, request).await?))
}

async fn detail(api: &Api, request: Request) -> ApiResult<wire::RequestDetail> {
    let task_name = api.store.task_get(request.task).await?.name;
    let candidate = match (&request.ask, &request.digest) {
        (Ask::Packages { .. }, Some(digest)) => {
            let candidate = api.store.candidate_get(digest).await?;
            let approved = api.store.approved_set(request.task).await?;
            Some(wire::Candidate::new(candidate, &approved))
        }
        (Ask::Packages { .. } | Ask::Question { .. } | Ask::Budget(_), _) => None,
    };
    Ok(wire::RequestDetail { request: request.into(), task_name, candidate })
}

/// Decides a request, bound to the digest that was shown. The reviewer is the token's name.
#[utoipa::path(post, path = "/api/capabilities/requests/{id}/review", operation_id = "review_request", tag = "requests",
    params(("id" = String, Path, description = "The request")), request_body = wire::Review,
    responses((status = 200, description = "The request as decided", body = wire::Request),
        (status = 409, description = "`request_stale`, `request_decided` (the recorded decision is in `details.decision`) or `request_not_pending`", body = crate::ErrorEnvelope)))]
pub(crate) async fn review(
    State(api): State<Api>,
    identity: Identity,
    Path(id): Path<String>,
    JsonBody(body, _): JsonBody<wire::Review>,
) -> ApiResult<Json<wire::Request>> {
    let id: RequestId = extract::id(&id)?;
    let (digest, verdict) = verdict(body)?;
    let work =
        store::work(move |tx| async move { tx.request_review(id, &digest, verdict, &identity.name).await }.boxed());
    match api.store.write(Durability::Power, work).await {
        Ok(request) => Ok(Json(request.into())),
        Err(e) => Err(refusal(&api, id, e).await?),
    }
}

/// Adds what is recorded to a refusal, so that the person sees why.
async fn refusal(api: &Api, id: RequestId, e: StoreError) -> ApiResult<ApiError> {
    let conflict = matches!(e, StoreError::Conflict { .. });
    let error = ApiError::from(e);
    if !conflict {
        return Ok(error);
    }
    let request = wire::Request::from(api.store.request_get(id).await?);
    let details = serde_json::json!({"status": request.status, "digest": request.digest, "decision": request.decision});
    Ok(error.details(details))
}

fn verdict(body: wire::Review) -> ApiResult<(String, Verdict)> {
    let wire::Review { decision, digest, reason, alternative, answer } = body;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digest.len() != DIGEST_DIGITS || !digest.bytes().all(hex) {
        return Err(ApiError::value(format!("digest is not {DIGEST_DIGITS} lower-case hexadecimal digits"))
            .hint("send the digest that the request shows"));
    }
    let (field, text) = match decision {
        wire::Verb::Approve => ("", Some(String::new())),
        wire::Verb::Deny => ("reason", reason.clone()),
        wire::Verb::Suggest => ("alternative", alternative.clone()),
        wire::Verb::Answer => ("answer", answer.clone()),
    };
    for (name, given) in [("reason", &reason), ("alternative", &alternative), ("answer", &answer)] {
        if name != field && given.is_some() {
            return Err(ApiError::new(Code::InvalidValue, format!("{name} does not belong to this decision")));
        }
    }
    let text = text.ok_or_else(|| ApiError::value(format!("{field} is missing: the agent is told it")))?;
    if !field.is_empty() {
        extract::words(field, &text, MAX_WORDS_CHARS)?;
    }
    Ok((
        digest,
        match decision {
            wire::Verb::Approve => Verdict::Approve,
            wire::Verb::Deny => Verdict::Deny { reason: text },
            wire::Verb::Suggest => Verdict::Suggest { alternative: text },
            wire::Verb::Answer => Verdict::Answer { answer: text },
        },
    ))
}
