//! The audit log: entries, contents, verification, and its files for a verification elsewhere.

use super::timeline;
use crate::{
    Api, ApiError, ApiResult, Identity,
    extract::{self, Params},
    wire,
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use std::path::Path as FilePath;

/// Files of the log that are listed; more is an error, never a shorter list.
const MAX_LOG_FILES: usize = 1_000_000;
/// Folders below the log folder.
const MAX_DEPTH: usize = 12;

/// Reads the log, oldest first.
#[utoipa::path(get, path = "/api/audit/entries", operation_id = "list_entries", tag = "audit", params(wire::ReadEntries),
    responses((status = 200, description = "A page of entries", body = wire::Page<wire::Event>)))]
pub(crate) async fn entries(
    State(api): State<Api>,
    Params(q): Params<wire::ReadEntries>,
) -> ApiResult<Json<wire::Page<wire::Event>>> {
    let task = extract::optional_id(q.task.as_deref())?;
    let read = wire::ReadEvents { cursor: q.cursor, limit: q.limit, tail: q.tail };
    Ok(Json(timeline::page(&api.store, task, &read).await?))
}

/// Shows one entry.
#[utoipa::path(get, path = "/api/audit/entries/{index}", operation_id = "get_entry", tag = "audit",
    params(("index" = u64, Path, description = "Place in the log, from 0")),
    responses((status = 200, description = "The entry", body = wire::Event)))]
pub(crate) async fn entry(State(api): State<Api>, Path(index): Path<u64>) -> ApiResult<Json<wire::Event>> {
    let record = api.store.event_get(checked(index)?).await?;
    Ok(Json(timeline::with_bodies(&api.store, record.leaf).await?))
}

fn checked(index: u64) -> ApiResult<u64> {
    if i64::try_from(index).is_err() { Err(ApiError::not_found("log entry", index)) } else { Ok(index) }
}

/// Downloads a content of an entry whole.
#[utoipa::path(get, path = "/api/audit/entries/{index}/bodies/{name}", operation_id = "get_entry_body", tag = "audit",
    params(("index" = u64, Path, description = "Place in the log, from 0"), ("name" = String, Path, description = "The content's name")),
    responses((status = 200, description = "The bytes", body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn body(State(api): State<Api>, Path((index, name)): Path<(u64, String)>) -> ApiResult<Response> {
    let record = api.store.event_get(checked(index)?).await?;
    let body = record.leaf.event.bodies.get(&name).ok_or_else(|| {
        ApiError::not_found("content", format!("{:?} of entry {index}", domain::text::visible_line(&name)))
    })?;
    Ok(octets(api.store.body(&body.commitment).await?))
}

fn octets(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))], bytes).into_response()
}

/// Verifies the whole log on the server.
#[utoipa::path(post, path = "/api/audit/verify", operation_id = "verify_log", tag = "audit",
    responses((status = 200, description = "What was found", body = wire::VerifyReport)))]
pub(crate) async fn verify(State(api): State<Api>, _: Identity) -> ApiResult<Json<wire::VerifyReport>> {
    Ok(Json((api.services.audit_verify)(()).await?))
}

/// Seals the log up to now and signs a checkpoint.
#[utoipa::path(post, path = "/api/audit/checkpoint", operation_id = "create_checkpoint", tag = "audit",
    responses((status = 200, description = "The newest checkpoint", body = wire::Checkpoint)))]
pub(crate) async fn checkpoint(State(api): State<Api>, _: Identity) -> ApiResult<Json<wire::Checkpoint>> {
    Ok(Json(wire::Checkpoint { checkpoint: (api.services.audit_checkpoint)(()).await? }))
}

/// Lists the files of the log, for verification elsewhere.
#[utoipa::path(get, path = "/api/audit/files", operation_id = "list_log_files", tag = "audit",
    responses((status = 200, description = "The files", body = wire::LogFiles)))]
pub(crate) async fn files(State(api): State<Api>) -> ApiResult<Json<wire::LogFiles>> {
    let (dir, key) = (api.store.log_dir().to_owned(), api.store.log_key().await?.to_string());
    let files = tokio::task::spawn_blocking(move || {
        let mut files = Vec::new();
        walk(&dir, "", 0, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok::<_, ApiError>(files)
    });
    let files = files.await.map_err(ApiError::internal)??;
    Ok(Json(wire::LogFiles { installation: api.store.installation().to_string(), key, files }))
}

fn walk(dir: &FilePath, prefix: &str, depth: usize, files: &mut Vec<wire::LogFile>) -> ApiResult<()> {
    let entries = std::fs::read_dir(dir).map_err(store::StoreError::from)?;
    for entry in entries {
        let entry = entry.map_err(store::StoreError::from)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let meta = entry.metadata().map_err(store::StoreError::from)?;
        if !is_log_path(&path) || depth > MAX_DEPTH {
            continue;
        }
        if meta.is_dir() {
            walk(&entry.path(), &path, depth + 1, files)?;
        } else if meta.is_file() {
            files.push(wire::LogFile { path, size: meta.len() });
        }
        if files.len() > MAX_LOG_FILES {
            return Err(ApiError::internal(format!("the log has more than {MAX_LOG_FILES} files")));
        }
    }
    Ok(())
}

/// Downloads a file of the log.
#[utoipa::path(get, path = "/api/audit/files/{*path}", operation_id = "get_log_file", tag = "audit",
    params(("path" = String, Path, description = "Path below the log folder")),
    responses((status = 200, description = "The bytes", body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn file(State(api): State<Api>, Path(path): Path<String>) -> ApiResult<Response> {
    let missing = || ApiError::not_found("log file", format!("{:?}", domain::text::visible_line(&path)));
    if !is_log_path(&path) {
        return Err(missing());
    }
    match tokio::fs::read(api.store.log_dir().join(&path)).await {
        Ok(bytes) => Ok(octets(bytes)),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory) => Err(missing()),
        Err(e) => Err(store::StoreError::from(e).into()),
    }
}

/// Paths of the log are plain: lower-case letters, digits, `.`, `_`, `-`, and no part begins with a dot.
fn is_log_path(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    path.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_paths_stay_in_the_log() {
        for good in ["checkpoint", "tile/0/000", "tile/entries/x001/067", "tile/0/000.p/12"] {
            assert!(is_log_path(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../token", "tile/../../token", "tile//0", ".hidden", "a\0", "A"] {
            assert!(!is_log_path(bad), "{bad}");
        }
    }
}
