//! The API over real HTTP, with a real SQLite store in a temporary folder.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what a test needs and does not get ends it")]

mod access;
mod contract;
mod gateway;
mod requests;
mod stream;
mod tasks;

use api::{Api, ApiConfig, ApiError, Code, GatewayServices, Save, Services, ask, wire};
use axum::{
    body::Body,
    http::{Request, Response},
};
use domain::event::Actor;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use store::Store;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    store: Store,
    address: SocketAddr,
    token: String,
    http: reqwest::Client,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    dir: TempDir,
}

impl Server {
    async fn start() -> Self {
        Self::with(ApiConfig { allowed_hosts: vec!["forge.example".into()], ..ApiConfig::default() }).await
    }

    async fn with(config: ApiConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let (_, token) = api::issue_token(&store, "anna", Actor::System).await.unwrap();
        let stop = CancellationToken::new();
        let api = Api::new(store.clone(), services(), config, stop.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(api::serve(listener, api, stop.clone()));
        // A second test may have installed the same provider before.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE);
        Self { store, address, token, http: http.build().unwrap(), stop, serving, dir }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path)).bearer_auth(&self.token)
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).json(&body)).await
    }

    /// Creates a task and returns its id.
    async fn task(&self) -> String {
        let (status, task) = self.post("/api/tasks", new_task()).await;
        assert_eq!(status, StatusCode::CREATED, "{task}");
        task["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        self.serving.abort();
    }
}

fn new_task() -> Value {
    json!({
        "name": "Analyze data",
        "description": "Process the CSV file and generate a summary report",
        "llm_model": "gemini-2.5-flash",
    })
}

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    let value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
    (status, value)
}

/// Checks that an answer is the envelope with this status and code, and returns the error.
#[track_caller]
fn error((status, body): (StatusCode, Value), want: u16, code: &str) -> Value {
    assert_eq!((status.as_u16(), body["error"]["code"].as_str()), (want, Some(code)), "{body}");
    for field in ["message", "hint", "request_id"] {
        assert!(body["error"][field].as_str().is_some_and(|t| !t.is_empty()), "{field} in {body}");
    }
    body["error"].clone()
}

/// The other parts: one upstream with one model, all well.
fn services() -> Services {
    Services {
        model_resolve: ask(|name: String| async move {
            match name.as_str() {
                "gemini-2.5-flash" | "scripted/gemini-2.5-flash" => Ok("scripted/gemini-2.5-flash".to_owned()),
                "broken" => Err(ApiError::internal("the secret cause tf_in_the_log_only")),
                _ => Err(ApiError::new(Code::UnknownModel, format!("no upstream offers {name:?}"))
                    .details(json!({"near": ["scripted/gemini-2.5-flash"]}))),
            }
        }),
        models: ask(|()| async { Ok(vec!["scripted/gemini-2.5-flash".to_owned()]) }),
        health: ask(|()| async {
            Ok(vec![wire::HealthCheck {
                name: "store".into(),
                ok: true,
                required: true,
                detail: "open".into(),
                hint: None,
            }])
        }),
        facts: ask(|()| async { Ok(json!({})) }),
        audit_verify: ask(|()| async { Err(ApiError::new(Code::LogUnavailable, "no log in this test")) }),
        audit_checkpoint: ask(|()| async { Err(ApiError::new(Code::LogUnavailable, "no log in this test")) }),
        gateway: gateway(),
        images: None,
    }
}

/// A gateway that answers each call with who made it and where it went.
fn gateway() -> GatewayServices {
    let lab = || wire::Provider {
        name: "lab".into(),
        kind: "openai-compatible".into(),
        base_url: "http://10.0.0.5/v1".into(),
        source: "saved".into(),
        fingerprint: Some("sha256:0123456789ab".into()),
        headers: vec![],
        settings: wire::ProviderSettings::default(),
        saved_by: None,
        updated_at: None,
        problem: None,
    };
    GatewayServices {
        call: Arc::new(|who, request: Request<Body>| {
            Box::pin(async move {
                let path = request.uri().path().to_owned();
                let body = axum::body::to_bytes(request.into_body(), 64 << 20).await.unwrap();
                let told = json!({"who": format!("{who:?}"), "path": path, "bytes": body.len()});
                Response::new(Body::from(told.to_string()))
            })
        }),
        providers: ask(move |()| async move { Ok(vec![lab()]) }),
        provider_save: ask(move |s: Save| async move {
            let name = format!("{} by {}, replace {}", s.name, s.by, s.replace);
            Ok(wire::Provider { name, ..lab() })
        }),
        provider_remove: ask(move |(name, by): (String, String)| async move {
            Err(ApiError::new(Code::ProviderFixed, format!("{name} is not {by}'s to remove")))
        }),
        provider_test: ask(|name| async move {
            Ok(wire::ProviderTest { name, ok: true, models: Some(1), latency_ms: 2, error: None, hint: None })
        }),
        aliases: ask(|()| async { Ok(vec![wire::Alias { name: "fast".into(), targets: vec!["lab/a".into()] }]) }),
        reload: ask(|_| async { Err(ApiError::new(Code::InvalidConfig, "line 3: unknown field")) }),
        metrics: ask(|()| async { Ok("taskforge_up 1\n".to_owned()) }),
    }
}
