//! Reading requests: JSON bodies, ids, cursors. What cannot be read is explained.

use crate::{ApiError, ApiResult, Code};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{header, request::Parts},
};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::{fmt::Display, str::FromStr};

/// The largest body, unless a route says otherwise.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Items of a page, unless asked otherwise.
pub const DEFAULT_PAGE: u32 = 50;
/// The largest page.
pub const MAX_PAGE: u32 = 200;

/// A JSON body and the SHA-256 of its bytes.
pub(crate) struct JsonBody<T>(pub(crate) T, pub(crate) [u8; 32]);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|c| c.to_str().ok()).unwrap_or("");
        let essence = content_type.split(';').next().unwrap_or("").trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::new(Code::UnsupportedMediaType, "the body must be application/json"));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|e| {
            let too_large = e.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE;
            let code = if too_large { Code::BodyTooLarge } else { Code::InvalidJson };
            ApiError::new(code, if too_large { "the body is too large" } else { "the body could not be read" })
                .because(e)
        })?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|e| ApiError::new(Code::InvalidJson, domain::text::visible_line(&e.to_string())))?;
        Ok(Self(value, Sha256::digest(&bytes).into()))
    }
}

/// Parameters of the query.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(e) => Err(ApiError::value(domain::text::visible_line(&e.body_text()))),
        }
    }
}

/// Reads an id of the path or a parameter.
pub(crate) fn id<T: FromStr<Err: Display>>(text: &str) -> ApiResult<T> {
    text.parse().map_err(|e: T::Err| ApiError::new(Code::InvalidId, domain::text::visible_line(&e.to_string())))
}

/// Reads an optional id.
pub(crate) fn optional_id<T: FromStr<Err: Display>>(text: Option<&str>) -> ApiResult<Option<T>> {
    text.map(id).transpose()
}

/// Reads the size of a page.
pub(crate) fn page_size(limit: Option<u32>) -> ApiResult<u32> {
    match limit.unwrap_or(DEFAULT_PAGE) {
        n @ 1..=MAX_PAGE => Ok(n),
        n => Err(ApiError::value(format!("limit is {n}; it must lie between 1 and {MAX_PAGE}"))),
    }
}

/// Checks words of a person: there are some, and not too many.
pub(crate) fn words(field: &str, text: &str, max_chars: usize) -> ApiResult<()> {
    if text.trim().is_empty() {
        return Err(ApiError::value(format!("{field} is empty")));
    }
    let count = text.chars().count();
    if count > max_chars {
        return Err(ApiError::value(format!("{field} has {count} characters; at most {max_chars} are allowed")));
    }
    Ok(())
}
