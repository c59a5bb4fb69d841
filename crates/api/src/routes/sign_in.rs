//! Signing a browser in: a single-use code becomes a cookie.

use crate::{Api, ApiError, ApiResult, Code, Identity, access, extract::JsonBody, layers, wire};
use axum::{
    Json, RequestExt,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use futures::FutureExt;
use store::Durability;

const PAGE: &str = include_str!("sign_in.html");
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'self' 'unsafe-inline'; form-action 'self'";
/// Where a browser goes once it is signed in.
const HOME: &str = "/docs/";

/// The page that takes the code. The code stands behind `#`, so that it reaches no log and no other server.
pub(crate) async fn page() -> Response {
    ([(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY))], Html(PAGE)).into_response()
}

/// Makes a single-use sign-in code for the token that asks. It works for ten minutes.
#[utoipa::path(post, path = "/api/sign-in/codes", operation_id = "create_sign_in_code", tag = "access",
    responses((status = 201, description = "The code", body = wire::SignInCode)))]
pub(crate) async fn code(
    State(api): State<Api>,
    identity: Identity,
) -> ApiResult<(StatusCode, Json<wire::SignInCode>)> {
    let (code, expires) = access::sign_in_code(&api.store, &identity.name).await?;
    let answer = wire::SignInCode { code, path: "/sign-in".to_owned(), expires_at: store::time_text(expires) };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Exchanges a code for a session cookie. Takes JSON, or the form of the sign-in page.
#[utoipa::path(post, path = "/api/sign-in", operation_id = "sign_in", tag = "access", request_body = wire::SignIn,
    responses((status = 204, description = "Signed in; the cookie is set"), (status = 303, description = "The same, for the page's form")))]
pub(crate) async fn exchange(State(api): State<Api>, request: Request) -> ApiResult<Response> {
    let form = is_form(&request);
    if form || request.headers().contains_key(header::ORIGIN) {
        layers::same_origin(request.headers(), request.uri())?;
    }
    let secure = request.headers().get(header::ORIGIN).is_some_and(|o| o.as_bytes().starts_with(b"https://"));
    let code = if form {
        let bytes: Bytes =
            request.extract().await.map_err(|e| ApiError::value("the form could not be read").because(e))?;
        String::from_utf8_lossy(&bytes).strip_prefix("code=").unwrap_or_default().to_owned()
    } else {
        let JsonBody(body, _): JsonBody<wire::SignIn> = request.extract().await?;
        body.code
    };
    let session = access::sign_in(&api.store, code.trim()).await?;
    let session = session.ok_or_else(|| ApiError::new(Code::InvalidSignInCode, "the sign-in code is not in force"))?;
    let cookie = cookie(&session, access::SESSION_TTL.as_secs(), secure)?;
    Ok(if form {
        (StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie), (header::LOCATION, HeaderValue::from_static(HOME))])
            .into_response()
    } else {
        (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
    })
}

fn is_form(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|c| c.to_str().ok());
    content_type.is_some_and(|c| c.starts_with("application/x-www-form-urlencoded"))
}

fn cookie(value: &str, max_age_s: u64, secure: bool) -> ApiResult<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={max_age_s}{secure}", access::COOKIE);
    HeaderValue::from_str(&text).map_err(ApiError::internal)
}

/// Ends the session that makes this request.
#[utoipa::path(delete, path = "/api/session", operation_id = "end_session", tag = "access",
    responses((status = 204, description = "The session is over")))]
pub(crate) async fn end(State(api): State<Api>, identity: Identity) -> ApiResult<Response> {
    if let Some(session) = identity.session {
        let work = store::work(move |tx| async move { tx.session_delete(&session).await }.boxed());
        api.store.write(Durability::Power, work).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie("", 0, false)?)]).into_response())
}
