//! What a task left in its workspace, and what its agent processes wrote.

use crate::{Api, ApiError, ApiResult, Code, extract, wire};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use domain::{
    event::{EventKind, Phase},
    ids::TaskId,
};
use store::{EventFilter, OutputFile, Store};
use tokio_util::io::ReaderStream;

/// Pages of events (500 each) looked through for outputs.
const MAX_LOG_PAGES: usize = 200;
/// Bytes of one output that are shown; its end is what matters.
const MAX_LOG_BYTES: usize = 256 << 10;

/// Lists the files of a task's newest run.
#[utoipa::path(get, path = "/api/tasks/{id}/files", operation_id = "list_files", tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    responses((status = 200, description = "The files", body = wire::FileList)))]
pub(crate) async fn list(State(api): State<Api>, Path(id): Path<String>) -> ApiResult<Json<wire::FileList>> {
    let (run, files) = newest(&api.store, extract::id(&id)?).await?;
    Ok(Json(wire::FileList { run, files: files.into_iter().map(Into::into).collect() }))
}

/// The newest run that has files, and its files.
async fn newest(store: &Store, task: TaskId) -> ApiResult<(Option<String>, Vec<OutputFile>)> {
    store.task_get(task).await?;
    for run in store.run_list(task).await?.into_iter().rev() {
        let files = store.output_file_list(run.id).await?;
        if !files.is_empty() {
            return Ok((Some(run.id.to_string()), files));
        }
    }
    Ok((None, Vec::new()))
}

/// Downloads a file of a task's newest run.
#[utoipa::path(get, path = "/api/tasks/{id}/files/{*path}", operation_id = "get_file", tag = "tasks",
    params(("id" = String, Path, description = "The task"), ("path" = String, Path, description = "Path below the workspace")),
    responses((status = 200, description = "The bytes", body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn download(State(api): State<Api>, Path((id, path)): Path<(String, String)>) -> ApiResult<Response> {
    let task: TaskId = extract::id(&id)?;
    let (_, files) = newest(&api.store, task).await?;
    let shown = domain::text::visible_line(&path);
    let file =
        files.into_iter().find(|f| f.path == path).ok_or_else(|| ApiError::not_found("file", format!("{shown:?}")))?;
    let Some(place) = api.store.output_file_path(task, &file) else {
        let why = file.skipped.unwrap_or_else(|| format!("it is a {}", file.kind));
        return Err(ApiError::new(Code::FileNotKept, format!("{shown:?} was not kept: {why}")));
    };
    let bytes = tokio::fs::File::open(place).await.map_err(store::StoreError::from)?;
    let length = bytes.metadata().await.map_err(store::StoreError::from)?.len();
    let name = path.rsplit('/').next().unwrap_or("file");
    let disposition = HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{}", percent(name)));
    let headers = [
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, disposition.map_err(ApiError::internal)?),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(bytes))).into_response())
}

/// A name as RFC 8187 wants it in a header.
fn percent(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Shows what the agent processes of a task wrote: the end of each output.
#[utoipa::path(get, path = "/api/tasks/{id}/logs", operation_id = "get_logs", tag = "tasks",
    params(("id" = String, Path, description = "The task")),
    responses((status = 200, description = "The outputs, oldest first", body = wire::Page<wire::LogPart>)))]
pub(crate) async fn logs(State(api): State<Api>, Path(id): Path<String>) -> ApiResult<Json<wire::Page<wire::LogPart>>> {
    let task = api.store.task_get(extract::id(&id)?).await?;
    let runs = api.store.run_list(task.id).await?;
    let mut items = Vec::new();
    let mut filter = EventFilter { task: Some(task.id), ..EventFilter::default() };
    for _ in 0..MAX_LOG_PAGES {
        let page = api.store.event_list(&filter).await?;
        let Some(last) = page.last() else { break };
        filter.after = Some(last.leaf.index);
        for event in page.into_iter().map(|r| r.leaf.event) {
            if event.kind != EventKind::SandboxRun || event.phase != Phase::Ended {
                continue;
            }
            let number = runs.iter().find(|r| Some(r.id) == event.run).map_or(0, |r| r.number);
            for (stream, body) in event.bodies.into_iter().filter(|(name, _)| name != "end") {
                let bytes = api.store.body(&body.commitment).await?;
                let end = &bytes[bytes.len().saturating_sub(MAX_LOG_BYTES)..];
                items.push(wire::LogPart {
                    run: number,
                    iteration: event.iteration.unwrap_or_default(),
                    stream,
                    text: String::from_utf8_lossy(end).into_owned(),
                    truncated: end.len() < bytes.len(),
                    size: body.size,
                });
            }
        }
    }
    Ok(Json(wire::Page { items, next_cursor: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_header() {
        assert_eq!(percent("chart 1.png"), "chart%201.png");
        assert_eq!(percent("a\"\r\nb;é"), "a%22%0D%0Ab%3B%C3%A9");
    }
}
