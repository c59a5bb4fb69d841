//! A provider that answers at once, so that what is measured is the gateway: Chat Completions and Anthropic Messages.
//!
//! The model's name says how: `mock-nN-iG-bB` streams N pieces of B bytes, G milliseconds apart. It parses nothing else.
//! It tells how many streams are live, and which markers arrived.

use super::place::{self, Core};
use crate::load::on_thread;
use anyhow::Result;
use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    collections::HashSet,
    convert::Infallible,
    net::{SocketAddr, TcpListener as StdTcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What it tells.
#[derive(Debug, Default)]
pub(crate) struct Told {
    live: AtomicU64,
    markers: Mutex<HashSet<u64>>,
}

/// A running mock; dropping it ends it.
pub(crate) struct Mock {
    pub(crate) address: SocketAddr,
    told: Arc<Told>,
    _stop: DropGuard,
}

impl Mock {
    /// Starts it on a free port, on a thread of its own.
    pub(crate) fn start(core: Core) -> Result<Self> {
        Self::start_at("127.0.0.1:0", core)
    }

    /// Starts it at an address.
    pub(crate) fn start_at(address: &str, core: Core) -> Result<Self> {
        let listener = StdTcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, told) = (CancellationToken::new(), Arc::new(Told::default()));
        let (ended, tells) = (stop.clone(), Arc::clone(&told));
        // Its end is the token's; what it met until then shows as calls that fail.
        drop(on_thread("mock", move || async move {
            place::settle(core);
            tokio::select! {
                () = ended.cancelled() => Ok(()),
                result = accept(listener, tells) => result,
            }
        })?);
        Ok(Self { address, told, _stop: stop.drop_guard() })
    }

    /// Streams that are neither ended nor dropped.
    pub(crate) fn live(&self) -> u64 {
        self.told.live.load(Ordering::SeqCst)
    }

    /// The markers that arrived since the last time.
    pub(crate) fn take_markers(&self) -> HashSet<u64> {
        std::mem::take(&mut *self.told.markers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn accept(listener: StdTcpListener, told: Arc<Told>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let told = Arc::clone(&told);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&told)));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away is what some measurements are about.
            drop(connection.await);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(request: Request<Incoming>, told: Arc<Told>) -> Result<Response<Body>, hyper::Error> {
    let messages = request.uri().path().ends_with("/messages");
    if request.method() == hyper::Method::GET {
        return Ok(whole(models()));
    }
    let asked = request.into_body().collect().await?.to_bytes();
    if let Some(marker) = marker(&asked) {
        told.markers.lock().unwrap_or_else(PoisonError::into_inner).insert(marker);
    }
    let ways = Ways::of(&asked);
    if !contains(&asked, b"\"stream\":true") {
        return Ok(whole(if messages { message() } else { completion() }));
    }
    Ok(streamed(&ways, messages, told))
}

/// The names that the loads use.
const MODELS: [&str; 5] = ["mock", "mock-n50-i10", "mock-n200", "mock-n10000-b1000", "mock-n2000-i5"];

fn models() -> String {
    let list: Vec<String> = MODELS
        .iter()
        .map(|m| format!(r#"{{"id":"{m}","object":"model","type":"model","display_name":"{m}"}}"#))
        .collect();
    format!(r#"{{"object":"list","has_more":false,"data":[{}]}}"#, list.join(","))
}

/// The number after `marker-`.
pub(crate) fn marker(text: &[u8]) -> Option<u64> {
    let place = find(text, b"marker-")?;
    let digits: Vec<u8> = text.get(place + 7..)?.iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, part)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

/// How a stream goes.
#[derive(Debug, Clone, Copy)]
struct Ways {
    pieces: usize,
    gap: Duration,
    bytes: usize,
}

impl Ways {
    fn of(body: &[u8]) -> Self {
        let mut ways = Self { pieces: 10, gap: Duration::ZERO, bytes: 5 };
        let Some(name) = find(body, b"mock-").and_then(|i| body.get(i..)) else { return ways };
        let end = name.iter().position(|b| *b == b'"').unwrap_or_default();
        let name = std::str::from_utf8(name.get(..end).unwrap_or_default()).unwrap_or_default();
        for part in name.split('-').skip(1) {
            let Some(number) = part.get(1..).and_then(|n| n.parse::<u32>().ok()) else { continue };
            match part.as_bytes().first() {
                Some(b'n') => ways.pieces = number as usize,
                Some(b'i') => ways.gap = Duration::from_millis(u64::from(number)),
                Some(b'b') => ways.bytes = number as usize,
                _ => {}
            }
        }
        ways
    }
}

fn response(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn whole(text: String) -> Response<Body> {
    response("application/json", Full::from(text).boxed_unsync())
}

/// About 500 bytes.
fn completion() -> String {
    let words = "The quarterly totals are consistent with the ledger. ".repeat(4);
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"mock","choices":[{{"index":0,"message":{{"role":"assistant","content":"{words}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":400,"completion_tokens":40,"total_tokens":440}}}}"#
    )
}

fn message() -> String {
    let words = "The quarterly totals are consistent with the ledger. ".repeat(4);
    format!(
        r#"{{"id":"msg_1","type":"message","role":"assistant","model":"mock","content":[{{"type":"text","text":"{words}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":400,"output_tokens":40}}}}"#
    )
}

/// Counts a stream as live until it is dropped.
struct Live(Arc<Told>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}

fn streamed(ways: &Ways, messages: bool, told: Arc<Told>) -> Response<Body> {
    let (head, tail) = if messages { message_ends() } else { (String::new(), completion_end()) };
    let piece = piece(messages, ways.bytes);
    let (pieces, gap) = (ways.pieces, ways.gap);
    told.live.fetch_add(1, Ordering::SeqCst);
    let frames = stream::unfold((0usize, Live(told)), move |(n, live)| {
        let frame = match n {
            0 => Bytes::from([head.as_bytes(), &piece].concat()),
            n if n < pieces => piece.clone(),
            _ => Bytes::from(tail.clone()),
        };
        async move {
            if n > pieces {
                return None;
            }
            if n > 0 && n < pieces && !gap.is_zero() {
                tokio::time::sleep(gap).await;
            }
            Some((Ok::<_, Infallible>(Frame::data(frame)), (n + 1, live)))
        }
    });
    response("text/event-stream", StreamBody::new(frames).boxed_unsync())
}

fn piece(messages: bool, bytes: usize) -> Bytes {
    let text = "w".repeat(bytes);
    Bytes::from(if messages {
        format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
        )
    } else {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
        )
    })
}

fn completion_end() -> String {
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"mock\",\"choices\":[],\"usage\":{\"prompt_tokens\":400,\"completion_tokens\":40,\"total_tokens\":440}}\n\ndata: [DONE]\n\n".to_owned()
}

fn message_ends() -> (String, String) {
    let event = |name: &str, data: &str| format!("event: {name}\ndata: {data}\n\n");
    let head = event(
        "message_start",
        r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"mock","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":400,"output_tokens":1}}}"#,
    ) + &event(
        "content_block_start",
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    );
    let tail = event("content_block_stop", r#"{"type":"content_block_stop","index":0}"#)
        + &event(
            "message_delta",
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":40}}"#,
        )
        + &event("message_stop", r#"{"type":"message_stop"}"#);
    (head, tail)
}
