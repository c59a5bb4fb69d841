//! The Engine's endpoints that need a streamed body and BuildKit's answer: `POST /build` and image import.
//!
//! BuildKit inside Engine 20.10 works through the plain API without a session (tried): `POST /build?version=2` with a tar
//! body, `networkmode=none`, `RUN --mount=type=bind` from the context and from local images. So package files never enter
//! a layer, and no second protocol is needed. Two things differ from the classic builder: `FROM` takes no bare image
//! ID (hence the tags that spell one), and a step that only mounts a changed file is not run again (hence hashes in the
//! commands). The output arrives as protobuf inside the JSON; `log_lines` reads the one field that is wanted.

use crate::error::ImageError;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::{Method, Request, body::Frame};
use hyper_util::rt::TokioIo;
use sandbox::Docker;
use serde_json::Value;
use std::{
    collections::VecDeque,
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_util::io::ReaderStream;

/// Lines of output that are kept for a failure.
const TAIL_LINES: usize = 40;
/// Longest line that is kept.
const MAX_LINE: usize = 2_000;
/// Longest JSON message of the Engine.
const MAX_MESSAGE: usize = 32 << 20;

/// A part of a build context.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// Bytes in memory.
    Bytes { path: String, bytes: Vec<u8>, executable: bool },
    /// A file on disk.
    File { path: String, source: PathBuf },
}

/// What a build said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) image_id: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) tail: VecDeque<String>,
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

pub(crate) type TarStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A tar archive of the parts, as a stream that reads each file when its turn comes.
pub(crate) fn tar_stream(parts: Vec<Part>) -> TarStream {
    let parts = futures::stream::iter(parts).then(|part| async move {
        match part {
            Part::Bytes { path, bytes, executable } => {
                let header = header(&path, bytes.len() as u64, executable)?;
                let rest = padding(bytes.len() as u64);
                let chunks = vec![Ok(header), Ok(Bytes::from(bytes)), Ok(rest)];
                Ok::<TarStream, io::Error>(Box::pin(futures::stream::iter(chunks)))
            }
            Part::File { path, source } => {
                let file = tokio::fs::File::open(&source).await?;
                let size = file.metadata().await?.len();
                let head = futures::stream::iter([header(&path, size, false)]);
                let body = ReaderStream::with_capacity(file, 1 << 18);
                Ok(Box::pin(head.chain(body).chain(futures::stream::iter([Ok(padding(size))]))) as TarStream)
            }
        }
    });
    let flat = parts.flat_map(|part| match part {
        Ok(stream) => stream,
        Err(error) => Box::pin(futures::stream::iter([Err(error)])) as TarStream,
    });
    Box::pin(flat.chain(futures::stream::iter([Ok(Bytes::from_static(&[0; 1024]))])))
}

fn header(path: &str, size: u64, executable: bool) -> io::Result<Bytes> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_mtime(0);
    // A long path gets an entry of its own before; the body follows outside of the builder.
    builder.append_data(&mut header, path, io::empty())?;
    let bytes = builder.get_ref().clone();
    Ok(bytes.into())
}

fn padding(size: u64) -> Bytes {
    let rest = (512 - size % 512) % 512;
    Bytes::from(vec![0; usize::try_from(rest).unwrap_or_default()])
}

/// Sends a POST with a streamed body and hands each JSON message of the answer to `each`.
pub(crate) async fn post_stream(
    docker: &Docker,
    path_and_query: &str,
    body: TarStream,
    each: impl FnMut(Value),
) -> Result<(), ImageError> {
    exchange(docker, Method::POST, path_and_query, body, each).await
}

/// Sends a GET and hands each JSON message of the answer to `each`.
pub(crate) async fn get_stream(
    docker: &Docker,
    path_and_query: &str,
    each: impl FnMut(Value),
) -> Result<(), ImageError> {
    exchange(docker, Method::GET, path_and_query, no_body(), each).await
}

/// A request body without bytes.
pub(crate) fn no_body() -> TarStream {
    Box::pin(futures::stream::empty())
}

/// A body whose bytes are counted as they go.
pub(crate) fn counted(body: TarStream, count: Arc<AtomicU64>) -> TarStream {
    Box::pin(body.inspect_ok(move |chunk| {
        count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }))
}

async fn exchange(
    docker: &Docker,
    method: Method,
    path_and_query: &str,
    body: TarStream,
    mut each: impl FnMut(Value),
) -> Result<(), ImageError> {
    let version = docker.client().await?.client_version();
    let endpoint = docker.endpoint();
    let stream: Box<dyn Transport> = match endpoint.strip_prefix("unix://") {
        Some(path) => Box::new(UnixStream::connect(path).await.map_err(|e| unreachable(endpoint, &e))?),
        None => {
            let address = endpoint.trim_start_matches("tcp://").trim_start_matches("http://");
            Box::new(TcpStream::connect(address).await.map_err(|e| unreachable(endpoint, &e))?)
        }
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| unreachable(endpoint, &e))?;
    let request = Request::builder()
        .method(method)
        .uri(format!("/v{version}{path_and_query}"))
        .header("host", "docker")
        .header("content-type", "application/x-tar")
        .body(StreamBody::new(body.map(|chunk| chunk.map(Frame::data))))
        .map_err(|e| ImageError::protocol(format!("a request to docker could not be made: {e}")))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|e| unreachable(endpoint, &e))?;
        let status = response.status();
        let mut body = response.into_body();
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| unreachable(endpoint, &e))?;
            pending.extend_from_slice(frame.data_ref().map(|d| &d[..]).unwrap_or_default());
            if pending.len() > MAX_MESSAGE {
                return Err(ImageError::protocol("docker sent a message without an end"));
            }
            while let Some(end) = pending.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                each(serde_json::from_slice(&line).unwrap_or(Value::Null));
            }
        }
        if !status.is_success() {
            let message = String::from_utf8_lossy(&pending).trim().to_owned();
            return Err(sandbox::Error::Refused { op: "a build", status: status.as_u16(), message }.into());
        }
        each(serde_json::from_slice(&pending).unwrap_or(Value::Null));
        Ok(())
    };
    drive(connection, exchange, endpoint).await
}

/// Drives the connection and the exchange together; dropping this closes the connection, which cancels a build.
async fn drive<T>(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    exchange: impl Future<Output = Result<T, ImageError>>,
    endpoint: &str,
) -> Result<T, ImageError> {
    tokio::pin!(connection, exchange);
    tokio::select! {
        done = &mut exchange => done,
        ended = &mut connection => match ended {
            // The answer may still be in the buffers of the exchange.
            Ok(()) => exchange.await,
            Err(error) => Err(unreachable(endpoint, &error)),
        },
    }
}

fn unreachable(endpoint: &str, error: &dyn std::error::Error) -> ImageError {
    sandbox::Error::Unreachable { endpoint: endpoint.to_owned(), cause: error.to_string() }.into()
}

impl Outcome {
    /// Takes one message of `POST /build` in; returns its lines of output.
    pub(crate) fn take(&mut self, message: &Value) -> Vec<String> {
        let id = message.get("id").and_then(Value::as_str);
        let mut lines = Vec::new();
        if id == Some("moby.image.id") {
            self.image_id = message.pointer("/aux/ID").and_then(Value::as_str).map(str::to_owned);
        } else if id == Some("moby.buildkit.trace") {
            let aux = message.get("aux").and_then(Value::as_str).unwrap_or_default();
            lines = log_lines(&STANDARD.decode(aux).unwrap_or_default());
        } else if let Some(text) = message.get("stream").and_then(Value::as_str) {
            lines.push(text.trim_end().to_owned());
        }
        if let Some(error) = message.get("error").and_then(Value::as_str) {
            self.error = Some(error.chars().take(MAX_LINE).collect());
        }
        for line in &lines {
            self.tail.push_back(line.clone());
            if self.tail.len() > TAIL_LINES {
                self.tail.pop_front();
            }
        }
        lines
    }
}

/// The lines of output in a BuildKit status message (`StatusResponse.logs[].msg`, protobuf).
pub(crate) fn log_lines(message: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, log) in fields(message) {
        if number != 3 {
            continue;
        }
        for (number, text) in fields(log) {
            if number == 4 {
                let text = String::from_utf8_lossy(text);
                let kept = text.lines().map(str::trim_end).filter(|l| !l.is_empty());
                lines.extend(kept.map(|l| l.chars().take(MAX_LINE).collect()));
            }
        }
    }
    lines
}

/// The length-delimited fields of a protobuf message; stops at what it cannot read.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    while let Some(key) = varint(&mut message) {
        let skip = match key & 7 {
            0 => varint(&mut message).map(|_| 0),
            1 => Some(8),
            5 => Some(4),
            2 => {
                let length = varint(&mut message).and_then(|n| usize::try_from(n).ok());
                let Some(field) = length.and_then(|n| message.get(..n)) else { break };
                found.push((key >> 3, field));
                Some(field.len())
            }
            _ => None,
        };
        let Some(rest) = skip.and_then(|n| message.get(n..)) else { break };
        message = rest;
    }
    found
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Percent-encodes a query value.
pub(crate) fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
