//! A store with a running task, a gateway, an upstream, and a client inside the sandbox.

use crate::fake::{Fake, Seen, json_answer};
use axum::body::Body;
use bytes::Bytes;
use domain::{
    budget::Budget,
    event::{EventKind, Leaf},
    ids::{RunId, TaskId},
    plan::Cause,
    task::{Agent, Limits},
};
use futures::FutureExt;
use gateway::{Config, Gateway, ProviderConfig, ProviderKind, Registry, Secret};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    future::Future,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Duration,
};
use store::{Call, CallStatus, Durability, EventFilter, NewTask, Store};
use tokio::net::UnixStream;

/// The upstream's key in every test.
pub(crate) const KEY: &str = "sk-canary-7f3a9b2c51";
/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) gateway: Gateway,
    pub(crate) fake: Fake,
    pub(crate) task: TaskId,
    pub(crate) run: RunId,
    pub(crate) socket: PathBuf,
}

pub(crate) fn provider(name: &str, kind: ProviderKind, base_url: String) -> ProviderConfig {
    ProviderConfig::new(name, kind, base_url).key(Secret::new(KEY))
}

pub(crate) fn command_agent() -> Agent {
    Agent::Command { argv: vec!["/agent".into()] }
}

impl World {
    /// A running task of the agent `command`.
    pub(crate) async fn new(answer: impl FnMut(&Seen) -> Response<Body> + Send + 'static) -> Self {
        Self::with(command_agent(), |_| {}, answer).await
    }

    pub(crate) async fn with(
        agent: Agent,
        tweak: impl FnOnce(&mut Config),
        answer: impl FnMut(&Seen) -> Response<Body> + Send + 'static,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let fake = Fake::start(answer).await;
        let mut config = Config::new(dir.path().join("run"));
        // Retries have tests of their own.
        config.retry.attempts = 1;
        tweak(&mut config);
        let configs = vec![provider("up", ProviderKind::OpenaiCompatible, fake.url())];
        let registry = Registry::new(configs, Vec::new(), &config).unwrap();
        let gateway = Gateway::new(config, store.clone(), registry);
        let (task, run) = running_task(&store, agent, "up/m").await;
        let socket = gateway.open(task).await.unwrap().path;
        Self { dir, store, gateway, fake, task, run, socket }
    }

    /// A client's connection from inside the sandbox.
    pub(crate) async fn connect(&self) -> http1::SendRequest<Full<Bytes>> {
        connect(&self.socket).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Response<Incoming> {
        let mut connection = self.connect().await;
        connection.send_request(request(method, path, body)).await.unwrap()
    }

    /// Sends and reads the whole answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: impl Into<Bytes>) -> (StatusCode, Bytes) {
        let response = self.send(method, path, body).await;
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    pub(crate) async fn chat(&self, body: &Value) -> (StatusCode, Bytes) {
        self.ask("POST", "/v1/chat/completions", body.to_string()).await
    }

    /// Calls an MCP tool and returns the text of its result.
    pub(crate) async fn tool(&self, name: &str, arguments: &Value) -> String {
        let call = json!({"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":name,"arguments":arguments}});
        let (status, body) = self.ask("POST", "/mcp", call.to_string()).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &answer["id"]), (StatusCode::OK, &json!(7)), "{answer}");
        answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Lets the model emit this tool call, as OpenClaw's model would.
    pub(crate) async fn emit(&self, id: &str, name: &str, arguments: &Value) {
        let stream = crate::fake::stream_of("", &[(id, name, arguments)]);
        self.fake.answer(move |_| crate::fake::sse_answer(&stream));
        let (status, _) = self.chat(&chat_body(&[])).await;
        assert_eq!(status, StatusCode::OK);
    }

    pub(crate) async fn calls(&self) -> Vec<Call> {
        self.store.call_list(&self.task.into()).await.unwrap()
    }

    /// Waits until the newest call has this status.
    pub(crate) async fn newest_call(&self, status: CallStatus) -> Call {
        eventually("the call's status", || async { self.calls().await.pop().filter(|c| c.status == status) }).await
    }

    pub(crate) async fn leaves(&self, kind: EventKind) -> Vec<Leaf> {
        let filter = EventFilter { task: Some(self.task), ..EventFilter::default() };
        let all = self.store.event_list(&filter).await.unwrap();
        all.into_iter().map(|r| r.leaf).filter(|l| l.event.kind == kind).collect()
    }

    pub(crate) async fn body_of(&self, leaf: &Leaf, name: &str) -> String {
        self.store.body_text(&leaf.event.bodies[name].commitment).await.unwrap()
    }
}

/// A task with a run and an iteration under way.
pub(crate) async fn running_task(store: &Store, agent: Agent, model: &str) -> (TaskId, RunId) {
    running_task_with(store, agent, model, None).await
}

/// The same with a budget.
pub(crate) async fn running_task_with(
    store: &Store,
    agent: Agent,
    model: &str,
    budget: Option<Budget>,
) -> (TaskId, RunId) {
    let new = NewTask {
        name: "t".into(),
        description: "d".into(),
        llm_model: model.to_owned(),
        agent,
        limits: Limits::default(),
        max_iterations: 5,
        budget,
        files: Vec::new(),
    };
    let made = store.write(Durability::Process, move |tx| {
        async move {
            let task = tx.task_create(new, "tester").await?;
            tx.task_start(task.id, "tester").await?;
            tx.task_prepared(task.id, "sha256:base").await?;
            let task = tx.task_get(task.id).await?;
            let run = task.run.unwrap();
            tx.iteration_begin(&task, run, 1, Cause::Start, |_| "go".to_owned()).await?;
            Ok((task.id, run))
        }
        .boxed()
    });
    made.await.unwrap()
}

pub(crate) fn chat_body(more: &[(&str, Value)]) -> Value {
    let mut body = json!({"model":"up/m","stream":true,"stream_options":{"include_usage":true},
        "messages":[{"role":"user","content":"hi"}]});
    for (name, value) in more {
        body[*name] = value.clone();
    }
    body
}

/// The tools as OpenClaw offers them to its model, so that its first request is let out.
pub(crate) fn our_tools() -> Value {
    let names = ["exec", "request_packages", "ask_human", "report_progress", "submit_result"];
    let prefixed = names.map(|n| if n == "exec" { n.to_owned() } else { format!("taskforge__{n}") });
    json!(prefixed.map(|n| json!({"type":"function","function":{"name":n,"parameters":{}}})))
}

pub(crate) fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:8080")
        .header("content-type", "application/json")
        .header("authorization", "Bearer unused-by-the-gateway")
        .body(Full::new(body.into()))
        .unwrap()
}

/// Connects to a socket at a path of any length.
pub(crate) async fn connect(socket: &Path) -> http1::SendRequest<Full<Bytes>> {
    let folder = std::fs::File::open(socket.parent().unwrap()).unwrap();
    let name = socket.file_name().unwrap().to_str().unwrap();
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Waits until a condition holds and returns what it found.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            ticks.tick().await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("{what} did not come true within {PATIENCE:?}"))
}

/// An upstream that must not be called.
pub(crate) fn nobody(_: &Seen) -> Response<Body> {
    json_answer(500, &json!({"error":"nobody should call this"}))
}
