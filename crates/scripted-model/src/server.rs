//! The HTTP side: routes, the key, faults by name, counters for observers, recordings.
//!
//! Two families of model names are not scripts but faults: `status-NNN` answers with that status, `cut` closes the
//! connection in the middle of a stream.

use crate::{
    job::Turn,
    respond::Answer,
    scripts,
    transcript::Transcript,
    wire::{ChatRequest, Message},
};
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

/// The largest request that is read; agents' transcripts grow to a few megabytes.
const MAX_BODY_BYTES: usize = 64 << 20;

/// Wait between two events of a stream that is going to be cut.
const CUT_PAUSE_MS: u64 = 20;

/// How to serve.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// Wait before each answer's first byte.
    pub delay_ms: u64,
    /// Wait between two events of a stream.
    pub chunk_delay_ms: u64,
    /// Write each request and answer as a pair of files here.
    pub record: Option<PathBuf>,
    /// The key that callers must bring; any or none will do if unset.
    pub api_key: Option<String>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    refused: u64,
    paths: BTreeMap<String, u64>,
    models: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    seen: Mutex<Seen>,
    recorded: AtomicU64,
}

impl Shared {
    fn seen(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

type Here = Arc<Shared>;

/// Serves until the process ends or the future is dropped.
pub async fn serve(listener: TcpListener, options: Options) -> io::Result<()> {
    let here: Here = Arc::new(Shared { options, seen: Mutex::default(), recorded: AtomicU64::new(0) });
    let api = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        .layer(middleware::from_fn_with_state(here.clone(), gate));
    let app = api.route("/_seen", get(seen)).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(here);
    axum::serve(listener, app).await
}

/// Counts every request before anything else, so that `/_seen` tells what left the caller.
async fn gate(State(here): State<Here>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    here.seen(|s| {
        s.requests += 1;
        *s.paths.entry(path).or_default() += 1;
    });
    if !has_key(&here.options, request.headers()) {
        here.seen(|s| s.refused += 1);
        return error(StatusCode::UNAUTHORIZED, "invalid_api_key", "the key is not the one that this server was given");
    }
    next.run(request).await
}

fn has_key(options: &Options, headers: &HeaderMap) -> bool {
    let Some(key) = &options.api_key else { return true };
    let brought = headers.get(header::AUTHORIZATION).map_or(&b""[..], |v| v.as_bytes());
    brought.ct_eq(format!("Bearer {key}").as_bytes()).into()
}

/// Faults that are listed as models, so that a task can name them; any other status works too.
const LISTED_FAULTS: [(&str, &str); 2] =
    [("status-500", "always fails with this status"), ("cut", "breaks off in the middle of a streamed answer")];

async fn models() -> Json<Value> {
    let models: Vec<_> = scripts::TABLE
        .iter()
        .map(|(name, summary, _)| (*name, *summary))
        .chain(LISTED_FAULTS)
        .map(|(name, summary)| json!({ "id": name, "object": "model", "created": 0, "owned_by": "scripted-model", "description": summary }))
        .collect();
    Json(json!({ "object": "list", "data": models }))
}

async fn seen(State(here): State<Here>) -> Json<Value> {
    let mut out = Value::Null;
    here.seen(|s| {
        out = json!({ "requests": s.requests, "refused": s.refused, "paths": s.paths, "models": s.models });
    });
    Json(out)
}

async fn chat(State(here): State<Here>, body: Bytes) -> Response {
    let request: ChatRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(e) => return error(StatusCode::BAD_REQUEST, "invalid_request_error", &e.to_string()),
    };
    here.seen(|s| *s.models.entry(request.model.clone()).or_default() += 1);
    let (answer, turn) = match turn_of(&request) {
        Ok(turn) => (None, turn),
        Err(refusal) => (Some(refusal), Turn::default()),
    };
    if let Err(e) = record(&here, &body, &turn).await {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "recording_failed", &e.to_string());
    }
    if let Some(refusal) = answer {
        return refusal;
    }
    tokio::time::sleep(Duration::from_millis(here.options.delay_ms + turn.think_ms)).await;
    respond(&here.options, &request, &turn)
}

/// The turn to take, or the refusal to send.
#[expect(clippy::result_large_err, reason = "a refusal is an HTTP response, handed out once")]
fn turn_of(request: &ChatRequest) -> Result<Turn, Response> {
    let name = request.model.rsplit('/').next().unwrap_or_default();
    if name == "cut" {
        return Ok(Turn::say("This answer is cut before its end."));
    }
    if let Some(status) = name.strip_prefix("status-").and_then(|n| n.parse().ok()) {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Err(error(status, "scripted_fault", "this model always answers so"));
    }
    scripts::next_turn(name, &Transcript::of(request)).ok_or_else(|| {
        error(
            StatusCode::NOT_FOUND,
            "model_not_found",
            &format!("there is no model `{name}`; GET /v1/models lists all"),
        )
    })
}

fn respond(options: &Options, request: &ChatRequest, turn: &Turn) -> Response {
    let prompt_characters = request.messages.iter().map(|m| m.content.text().len()).sum();
    let id = format!("chatcmpl-{:016x}", fingerprint(&request.messages));
    let answer = Answer { id, model: &request.model, turn, prompt_characters };
    if !request.stream {
        return Json(answer.whole()).into_response();
    }
    let include_usage = request.stream_options.as_ref().is_some_and(|o| o.include_usage);
    let mut events: Vec<io::Result<Bytes>> =
        answer.events(include_usage).iter().map(|e| Ok(Bytes::from(format!("data: {e}\n\n")))).collect();
    if request.model.ends_with("cut") {
        events.truncate(events.len() / 2);
        events.push(Err(io::Error::other("cut on purpose")));
    } else {
        events.push(Ok(Bytes::from_static(b"data: [DONE]\n\n")));
    }
    // A cut stream pauses between events, or its first half would never leave the buffer.
    let least = if request.model.ends_with("cut") { CUT_PAUSE_MS } else { 0 };
    let pause = Duration::from_millis(options.chunk_delay_ms.max(least));
    let paced = stream::unfold((events.into_iter(), true), move |(mut events, first)| async move {
        let event = events.next()?;
        if !first && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Some((event, (events, false)))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(paced)).into_response()
}

/// FNV-1a over the transcript: ids differ from turn to turn and repeat with a repeated request.
fn fingerprint(messages: &[Message]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for message in messages {
        for byte in message.role.bytes().chain(message.content.text().bytes()).chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash ^ messages.len() as u64
}

async fn record(here: &Shared, request: &Bytes, turn: &Turn) -> io::Result<()> {
    let Some(dir) = &here.options.record else { return Ok(()) };
    let n = here.recorded.fetch_add(1, Ordering::Relaxed) + 1;
    tokio::fs::create_dir_all(dir).await?;
    tokio::fs::write(dir.join(format!("{n:05}-request.json")), request).await?;
    let calls: Vec<_> = turn.calls.iter().map(|c| json!({ "name": c.name, "arguments": c.arguments })).collect();
    let turn = json!({ "text": turn.text, "calls": calls, "think_ms": turn.think_ms });
    tokio::fs::write(dir.join(format!("{n:05}-turn.json")), turn.to_string()).await
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({ "error": { "message": message, "type": code, "code": code, "param": null } });
    (status, Json(body)).into_response()
}
