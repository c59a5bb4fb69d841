//! A provider of models over real HTTP on a thread of its own: answers at once, and tells when it was called.

use crate::load::on_thread;
use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    fs::{self, File},
    future::Future,
    net::{SocketAddr, TcpListener as StdTcpListener},
    os::{
        fd::AsRawFd,
        unix::{fs::PermissionsExt, net::UnixListener as StdUnixListener},
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Calls that nobody has asked for yet; further ones are not noted.
const NOTED: usize = 1024;
/// Pieces of a streamed answer, and the pause between them.
const PIECES: usize = 10;
const PIECE_EVERY: Duration = Duration::from_millis(2);
/// The name of its model.
pub(crate) const MODEL: &str = "mock";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A running provider; dropping it ends it.
pub(crate) struct Upstream {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    calls: mpsc::Receiver<Instant>,
    _stop: DropGuard,
}

impl Upstream {
    /// Starts it on a free port of the loopback.
    pub(crate) fn start() -> Result<Self> {
        let listener = StdTcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Self::serve(address, move |noted| async move {
            let listener = TcpListener::from_std(listener)?;
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                converse(&mut connections, stream, Arc::clone(&noted));
            }
        })
    }

    /// Starts it at a socket for a sandbox, where it also stands in for the tools.
    pub(crate) fn at_socket(path: &Path) -> Result<Self> {
        // By way of its folder: the path may be longer than a socket's address can be.
        let folder = File::open(path.parent().context("a socket without a folder")?)?;
        let name = path.file_name().and_then(|n| n.to_str()).context("a socket without a name")?;
        let listener = StdUnixListener::bind(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        Self::serve(SocketAddr::from(([0, 0, 0, 0], 0)), move |noted| async move {
            let listener = UnixListener::from_std(listener)?;
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await?;
                converse(&mut connections, stream, Arc::clone(&noted));
            }
        })
    }

    fn serve<F>(address: SocketAddr, accept: impl FnOnce(Noted) -> F + Send + 'static) -> Result<Self>
    where
        F: Future<Output = Result<()>>,
    {
        let stop = CancellationToken::new();
        let (noted, calls) = mpsc::channel(NOTED);
        let told = stop.clone();
        // Its end is the token's; what it met until then shows as calls that fail.
        drop(on_thread("upstream", move || async move {
            tokio::select! {
                () = told.cancelled() => Ok(()),
                result = accept(Arc::new(noted)) => result,
            }
        })?);
        Ok(Self { address, calls, _stop: stop.drop_guard() })
    }

    /// When the next call arrived.
    pub(crate) async fn called(&mut self, at_most: Duration) -> Result<Instant> {
        let called = tokio::time::timeout(at_most, self.calls.recv()).await;
        called.context("no model call arrived in time")?.context("the upstream has ended")
    }

    /// Forgets the calls so far.
    pub(crate) fn forget(&mut self) {
        while self.calls.try_recv().is_ok() {}
    }
}

type Noted = Arc<mpsc::Sender<Instant>>;

fn converse<S>(connections: &mut JoinSet<()>, stream: S, noted: Noted)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    connections.spawn(async move {
        let service = service_fn(move |request| answer(request, Arc::clone(&noted)));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A client that goes away is no error of the measurement; one that fails reports it itself.
        drop(connection.await);
    });
    while connections.try_join_next().is_some() {}
}

async fn answer(request: Request<Incoming>, noted: Noted) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path().to_owned();
    if path == "/mcp" {
        let asked = (request.method() == Method::POST).then_some(request.into_body());
        return tools(asked).await;
    }
    if request.method() == Method::GET {
        return Ok(json(format!(r#"{{"object":"list","data":[{{"id":"{MODEL}","object":"model"}}]}}"#)));
    }
    if path.ends_with("/chat/completions") {
        noted.try_send(Instant::now()).ok();
    }
    let asked = request.into_body().collect().await?.to_bytes();
    Ok(if memmem(&asked, br#""stream":true"#) { sse() } else { json(chat_answer()) })
}

/// The least that an MCP client needs in order to list four tools.
async fn tools(asked: Option<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let status = |code| {
        let mut response = json(String::new());
        *response.status_mut() = code;
        response
    };
    let Some(body) = asked else { return Ok(status(StatusCode::METHOD_NOT_ALLOWED)) };
    let asked: Value = serde_json::from_slice(&body.collect().await?.to_bytes()).unwrap_or_default();
    let result = match asked["method"].as_str() {
        Some("initialize") => {
            json!({"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}},
            "serverInfo": {"name": "taskforge", "version": "1"}})
        }
        Some("tools/list") => {
            let tool = |name| json!({"name": name, "description": "A tool.", "inputSchema": {"type": "object"}});
            let tools = ["request_packages", "ask_human", "report_progress", "submit_result"].map(tool);
            json!({"tools": tools})
        }
        _ => return Ok(status(StatusCode::ACCEPTED)),
    };
    Ok(json(json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string()))
}

fn memmem(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|w| w == part)
}

fn json(text: String) -> Response<Body> {
    let mut response = Response::new(Full::from(text).boxed_unsync());
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    response
}

/// About 500 bytes.
fn chat_answer() -> String {
    let words = "The quarterly totals are consistent with the ledger. ".repeat(4);
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"{MODEL}","choices":[{{"index":0,"message":{{"role":"assistant","content":"{words}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":400,"completion_tokens":40,"total_tokens":440}}}}"#
    )
}

fn sse() -> Response<Body> {
    let piece = |n: usize| {
        let (delta, finish) = if n == PIECES { ("", r#""stop""#) } else { (r#""content":"word ""#, "null") };
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let frames = stream::iter(1..=PIECES + 1).then(move |n| async move {
        if n > 1 && n <= PIECES {
            tokio::time::sleep(PIECE_EVERY).await;
        }
        let text = if n > PIECES { "data: [DONE]\n\n".to_owned() } else { piece(n) };
        Ok::<_, Infallible>(Frame::data(Bytes::from(text)))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = hyper::header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}
