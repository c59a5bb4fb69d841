//! A gateway over TCP in front of the provider emulator, and a caller with a key.

use crate::world::eventually;
use bytes::Bytes;
use domain::ids::KeyId;
use futures::FutureExt;
use gateway::{AliasConfig, Config, Gateway, ProviderConfig, ProviderKind, Registry, Secret};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use provider_emulator::Emulator;
use serde_json::{Value, json};
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use store::{Call, CallFilter, CallStatus, CallerKey, Durability, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// The providers' key in every test.
pub(crate) const KEY: &str = "sk-canary-4be1d07f22";

pub(crate) struct Outside {
    pub(crate) store: Store,
    pub(crate) gateway: Gateway,
    pub(crate) emulator: Emulator,
    pub(crate) address: SocketAddr,
    /// A key for everything.
    pub(crate) key: String,
    _dir: tempfile::TempDir,
    _server: AbortOnDropHandle<()>,
}

/// The five providers of an emulator, each under the name of its kind.
pub(crate) fn providers(emulator: &Emulator) -> Vec<ProviderConfig> {
    let one = |kind: ProviderKind, at: &str, path: &str| {
        let url = format!("{}{path}", emulator.url(at));
        ProviderConfig::new(kind.as_str(), kind, url).key(Secret::new(KEY))
    };
    vec![
        one(ProviderKind::Openai, "openai", "/v1"),
        one(ProviderKind::Anthropic, "anthropic", ""),
        one(ProviderKind::Gemini, "gemini", ""),
        one(ProviderKind::Ollama, "ollama", ""),
        one(ProviderKind::OpenaiCompatible, "compatible", "/v1"),
    ]
}

impl Outside {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}, |p| p, Vec::new()).await
    }

    pub(crate) async fn with(
        tweak: impl FnOnce(&mut Config),
        configure: impl FnOnce(Vec<ProviderConfig>) -> Vec<ProviderConfig>,
        aliases: Vec<AliasConfig>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let emulator = Emulator::start().await.unwrap();
        let mut config = Config::new(dir.path().join("run"));
        config.retry.base = Duration::from_millis(1);
        tweak(&mut config);
        let registry = Registry::new(configure(providers(&emulator)), aliases, &config).unwrap();
        let gateway = Gateway::new(config, store.clone(), registry);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, gateway.clone()));
        let mut world = Self {
            store,
            gateway,
            emulator,
            address,
            key: String::new(),
            _dir: dir,
            _server: AbortOnDropHandle::new(server),
        };
        world.key = world.new_key("all", None, None).await;
        world
    }

    /// Makes a key.
    pub(crate) async fn new_key(&self, name: &str, models: Option<&[&str]>, budget: Option<&str>) -> String {
        let id = store::new_id(KeyId::from_uuid);
        // The end of an id is random, and a key is found by its first digits.
        let digits: String = id.to_string().bytes().rev().map(|b| format!("{:x}", b & 15)).collect();
        let secret = format!("tfk_{digits:0<64}");
        let key = CallerKey {
            id,
            name: name.to_owned(),
            models: models.map(|m| m.iter().map(|m| (*m).to_owned()).collect()),
            budget: budget.map(|b| b.parse().unwrap()),
            expires_ms: None,
        };
        let inside = secret.clone();
        self.store
            .write(Durability::Power, move |tx| async move { tx.key_insert(key, &inside, "tester").await }.boxed())
            .await
            .unwrap();
        self.store.keys_refresh().await.unwrap();
        secret
    }

    pub(crate) async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) fn request(&self, key: &str, path: &str, body: &Value) -> Request<Full<Bytes>> {
        Request::post(path)
            .header("host", "gateway")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {key}"))
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap()
    }

    pub(crate) async fn send(&self, key: &str, path: &str, body: &Value) -> Response<Incoming> {
        self.connect().await.send_request(self.request(key, path, body)).await.unwrap()
    }

    /// Sends with the key for everything and reads the whole answer.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> (StatusCode, Bytes) {
        self.ask_as(&self.key, path, body).await
    }

    pub(crate) async fn ask_as(&self, key: &str, path: &str, body: &Value) -> (StatusCode, Bytes) {
        let response = self.send(key, path, body).await;
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    pub(crate) async fn get(&self, key: &str, path: &str, headers: &[(&'static str, &str)]) -> (StatusCode, Value) {
        let mut request =
            Request::get(path).header("host", "gateway").header("x-api-key", key).body(Full::default()).unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let response = self.connect().await.send_request(request).await.unwrap();
        let status = response.status();
        (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    pub(crate) async fn calls(&self) -> Vec<Call> {
        self.store.call_list(&CallFilter::default()).await.unwrap()
    }

    /// Waits until the newest call has this status.
    pub(crate) async fn newest_call(&self, status: CallStatus) -> Call {
        eventually("the call's status", || async { self.calls().await.pop().filter(|c| c.status == status) }).await
    }

    /// Requests that the emulator saw, apart from lists of models.
    pub(crate) fn seen(&self) -> Vec<Value> {
        let seen = self.emulator.seen("limit=4096");
        let all = seen["entries"].as_array().unwrap_or_else(|| panic!("{seen}"));
        all.iter().rev().filter(|r| r["method"] == "POST").cloned().collect()
    }
}

async fn serve(listener: TcpListener, gateway: Gateway) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let gateway = gateway.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let gateway = gateway.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    Ok::<_, Infallible>(gateway.serve_callers(parts, body, None).await)
                }
            });
            // A client that goes away is what some tests are about.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// A request in Chat Completions.
pub(crate) fn chat(model: &str, stream: bool) -> Value {
    json!({"model":model,"stream":stream,"messages":[{"role":"user","content":"hi"}]})
}

pub(crate) fn error_code(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(body)));
    value["error"]["code"].as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}
