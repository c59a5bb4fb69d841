//! An upstream served over real HTTP: each call is answered as the test says.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Response},
};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::task::AbortOnDropHandle;

/// A request as the upstream saw it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Answer = Box<dyn FnMut(&Seen) -> Response<Body> + Send>;

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
    _server: AbortOnDropHandle<()>,
}

struct Inner {
    seen: Mutex<Vec<Seen>>,
    answer: Mutex<Answer>,
    connections: AtomicUsize,
}

/// Counts itself while it lives: an answer that is still being sent.
struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Fake {
    pub(crate) async fn start(answer: impl FnMut(&Seen) -> Response<Body> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            seen: Mutex::default(),
            answer: Mutex::new(Box::new(answer)),
            connections: AtomicUsize::new(0),
        });
        let router = Router::new().fallback(handle).with_state(Arc::clone(&inner));
        let counter = Arc::clone(&inner);
        let server = tokio::spawn(async move {
            let listener = axum::serve::ListenerExt::tap_io(listener, move |tcp: &mut tokio::net::TcpStream| {
                counter.connections.fetch_add(1, Ordering::SeqCst);
                tcp.set_nodelay(true).unwrap();
            });
            axum::serve(listener, router).await.unwrap();
        });
        Self { address, inner, _server: AbortOnDropHandle::new(server) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn answer(&self, answer: impl FnMut(&Seen) -> Response<Body> + Send + 'static) {
        *self.inner.answer.lock().unwrap() = Box::new(answer);
    }
}

async fn handle(State(inner): State<Arc<Inner>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 100 << 20).await.unwrap();
    let seen = Seen { path: parts.uri.path().to_owned(), headers: parts.headers, body };
    inner.seen.lock().unwrap().push(seen.clone());
    let mut answer = inner.answer.lock().unwrap();
    answer(&seen)
}

/// A JSON answer.
pub(crate) fn json_answer(status: u16, value: &Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(value.to_string()))
        .unwrap()
}

/// A streamed answer whose pieces the test sends; it ends when the sender is dropped, and breaks off on an error.
pub(crate) fn piecewise(
    content_type: &str,
) -> (mpsc::UnboundedSender<Result<Bytes, std::io::Error>>, Arc<AtomicUsize>, Response<Body>) {
    let (send, receive) = mpsc::unbounded_channel();
    let live = Arc::new(AtomicUsize::new(1));
    let guard = Live(Arc::clone(&live));
    let pieces = stream::unfold((receive, guard), |(mut receive, guard)| async move {
        let piece = receive.recv().await?;
        Some((piece, (receive, guard)))
    });
    let response = Response::builder().header("content-type", content_type).body(Body::from_stream(pieces)).unwrap();
    (send, live, response)
}

/// A whole streamed answer.
pub(crate) fn sse_answer(text: &str) -> Response<Body> {
    Response::builder().header("content-type", "text/event-stream").body(Body::from(text.to_owned())).unwrap()
}

/// The stream of an answer that says `text` and calls `tools` (id, name, arguments).
pub(crate) fn stream_of(text: &str, tools: &[(&str, &str, &Value)]) -> String {
    let mut out = String::new();
    let mut event = |v: Value| out.push_str(&format!("data: {v}\n\n"));
    event(json!({"choices":[{"index":0,"delta":{"role":"assistant","content":text}}]}));
    for (i, (id, name, arguments)) in tools.iter().enumerate() {
        let arguments = arguments.to_string();
        let (a, b) = arguments.split_at(arguments.len() / 2);
        event(json!({"choices":[{"index":0,"delta":{"tool_calls":[
            {"index":i,"id":id,"type":"function","function":{"name":name,"arguments":a}}]}}]}));
        event(json!({"choices":[{"index":0,"delta":{"tool_calls":[{"index":i,"function":{"arguments":b}}]}}]}));
    }
    let reason = if tools.is_empty() { "stop" } else { "tool_calls" };
    event(json!({"choices":[{"index":0,"delta":{},"finish_reason":reason}]}));
    event(json!({"choices":[],"usage":{"prompt_tokens":25,"completion_tokens":7,
        "prompt_tokens_details":{"cached_tokens":8}}}));
    out.push_str("data: [DONE]\n\n");
    out
}
