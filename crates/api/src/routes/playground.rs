//! The playground: a model call of a signed-in person, with any configured model, recorded under the token's name.

use crate::{Api, ApiError, ApiResult, Code, Identity, error::Bare, services::Who, wire};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, Method, Request, Uri, header},
    response::Response,
};

/// Where it is.
pub(crate) const PATH: &str = "/api/llm/playground";
/// The largest request.
pub(crate) const MAX_BYTES: usize = 64 << 20;
/// What the gateway knows it as.
const INGRESS: &str = "/v1/chat/completions";

/// Calls a model, as `POST /v1/chat/completions` does: `stream` gives server-sent events.
#[utoipa::path(post, path = "/api/llm/playground", operation_id = "create_chat", tag = "llm",
    request_body = wire::PlaygroundRequest,
    responses((status = 200, description = "The answer, as OpenAI's Chat Completions", body = Object)))]
pub(crate) async fn playground(
    State(api): State<Api>,
    identity: Identity,
    request: Request<Body>,
) -> ApiResult<Response> {
    let agent = request.headers().get(header::USER_AGENT).cloned();
    let body: Bytes = axum::body::to_bytes(request.into_body(), MAX_BYTES).await.map_err(|e| {
        ApiError::new(Code::BodyTooLarge, format!("the body could not be read, or has more than {MAX_BYTES} bytes"))
            .because(e)
    })?;
    let mut call = Request::new(Body::from(body));
    *call.method_mut() = Method::POST;
    *call.uri_mut() = Uri::from_static(INGRESS);
    call.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(agent) = agent {
        call.headers_mut().insert(header::USER_AGENT, agent);
    }
    let mut response = (api.services.gateway.call)(Who::Token(identity.name), call).await;
    // Its errors have the shape that clients of models know.
    response.extensions_mut().insert(Bare);
    Ok(response)
}
