//! The gateway's part of the API: model calls past the layers, callers' keys, providers, metrics.

use crate::{Server, answer, error};
use api::{ApiConfig, Surface};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

async fn call(s: &Server, path: &str, bearer: Option<&str>) -> Value {
    let mut request = s.http.post(s.url(path)).body("{}");
    if let Some(secret) = bearer {
        request = request.bearer_auth(secret);
    }
    let text = request.send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn model_calls_reach_the_gateway_with_who_made_them() {
    let s = Server::start().await;
    for path in ["/v1/chat/completions", "/v1/anything", "/api/llm/v1/chat/completions", "/v1beta/models/m:x"] {
        assert_eq!(call(&s, path, None).await, json!({"who": "Headers", "path": path, "bytes": 2}));
    }
    assert_eq!(call(&s, "/v1/messages", Some(&s.token)).await["who"], "Token(\"anna\")");
    for other in [format!("tfk_{}", "0".repeat(64)), format!("tf_{}", "0".repeat(64)), "sk-other".to_owned()] {
        assert_eq!(call(&s, "/v1/messages", Some(&other)).await["who"], "Headers", "{other}");
    }
    error(answer(s.http.post(s.url("/v1"))).await, 401, "unauthenticated");
}

#[tokio::test]
async fn the_playground_is_a_call_of_the_token() {
    let s = Server::start().await;
    let big = json!({"model": "lab/a", "messages": [{"role": "user", "content": "x".repeat(2 << 20)}]});
    let (status, told) = s.post("/api/llm/playground", big).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    assert_eq!((&told["who"], &told["path"]), (&json!("Token(\"anna\")"), &json!("/v1/chat/completions")));
    assert!(told["bytes"].as_u64().unwrap() > 2 << 20);
}

#[tokio::test]
async fn a_key_is_shown_once_and_revoked() {
    let s = Server::start().await;
    let new = json!({"name": "ci", "models": ["openai/*"], "budget": "5 USD/month", "expires": "30d"});
    let (status, made) = s.post("/api/keys", new).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let secret = made["key"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("tfk_") && secret.len() == 68);
    assert_eq!((&made["budget"], &made["state"]), (&json!("5 USD/month"), &json!("in_force")));
    assert_eq!(s.store.keys().find(&secret).unwrap().name, "ci", "it works at once");
    let (_, list) = s.get("/api/keys").await;
    assert!(!list.to_string().contains(&secret[24..]), "secrets are not shown again");
    assert_eq!(s.get("/api/keys/ci").await.1["id"], made["id"]);

    error(s.post("/api/keys", json!({"name": "ci"})).await, 409, "name_taken");
    for bad in [
        json!({"name": "a b"}),
        json!({"name": "x", "budget": "5 EUR"}),
        json!({"name": "x", "expires": "soon"}),
        json!({"name": "x", "models": ["*/x"]}),
    ] {
        error(s.post("/api/keys", bad).await, 400, "invalid_value");
    }
    error(s.post("/api/keys", json!({"name": "x", "model": "y"})).await, 400, "invalid_json");
    error(answer(s.http.get(s.url("/api/keys")).bearer_auth(&secret)).await, 401, "unauthenticated");

    let (status, gone) = answer(s.request(Method::DELETE, "/api/keys/ci")).await;
    assert_eq!((status, &gone["state"]), (StatusCode::OK, &json!("revoked")));
    assert!(s.store.keys().find(&secret).is_none());
    error(answer(s.request(Method::DELETE, "/api/keys/ci")).await, 404, "not_found");
    let kinds: Vec<String> = s.get("/api/audit/entries?limit=200").await.1["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| format!("{} {}", e["kind"].as_str().unwrap(), e["actor"]["name"].as_str().unwrap_or("")))
        .collect();
    assert!(kinds.contains(&"key.created anna".to_owned()) && kinds.contains(&"key.revoked anna".to_owned()));
}

#[tokio::test]
async fn bodies_are_erased_with_a_reason_once_nothing_needs_them() {
    let s = Server::start().await;
    let path = "/api/llm/bodies/erase";
    let task = s.task().await;
    let why = "ticket 4711";
    let running = error(s.post(path, json!({"task": task, "reason": why})).await, 409, "bodies_in_use");
    assert!(running["message"].as_str().unwrap().contains("created"), "{running}");
    for bad in [
        json!({"reason": why}),
        json!({"task": task, "token": "anna", "reason": why}),
        json!({"token": "anna", "reason": " "}),
        json!({"token": "anna", "reason": "x".repeat(501)}),
    ] {
        error(s.post(path, bad).await, 400, "invalid_value");
    }
    error(s.post(path, json!({"token": "anna"})).await, 400, "invalid_json");
    for (kind, name) in [("key", "none"), ("token", "none"), ("task", "task_0193a7c05c5a7f1e8b4de1a3c6f7b2d9")] {
        error(s.post(path, json!({kind: name, "reason": why})).await, 404, "not_found");
    }
    let (status, cancelled) = s.post(&format!("/api/tasks/{task}/cancel"), json!({})).await;
    assert!(status.is_success() && cancelled["status"] == "cancelled", "{cancelled}");
    let (status, erased) = s.post(path, json!({"task": task, "reason": why})).await;
    assert_eq!(status, StatusCode::OK, "{erased}");
    assert!(erased["bodies"].as_u64().unwrap() > 0, "{erased}");

    let (_, timeline) = s.get(&format!("/api/tasks/{task}/timeline")).await;
    let events = timeline["items"].as_array().unwrap();
    let bodies: Vec<&Value> = events.iter().filter_map(|e| e["bodies"].as_object()).flat_map(|b| b.values()).collect();
    assert!(!bodies.is_empty() && bodies.iter().all(|b| b["erased"] == true && b["text"].is_null()), "{timeline}");
    let last = events.last().unwrap();
    assert_eq!((&last["kind"], &last["actor"]["name"]), (&json!("body.erased"), &json!("anna")));
    assert_eq!((&last["data"]["reason"], &last["data"]["bodies"]), (&json!(why), &erased["bodies"]));
    let (status, nothing) = s.post(path, json!({"token": "anna", "reason": why})).await;
    assert_eq!((status, &nothing["bodies"]), (StatusCode::OK, &json!(0)));
}

#[tokio::test]
async fn providers_are_saved_under_the_tokens_name() {
    let s = Server::start().await;
    let body = json!({"kind": "ollama", "base_url": "http://x"});
    let put = |body: &Value| answer(s.request(Method::PUT, "/api/llm/providers/lab").json(body));
    assert_eq!(put(&body).await.1["name"], "lab by anna, replace true");
    error(put(&json!({"name": "other", "kind": "ollama"})).await, 400, "invalid_value");
    error(put(&json!({"kind": "ollama", "apikey": "x"})).await, 400, "invalid_json");
    error(s.post("/api/llm/providers", body).await, 400, "invalid_value");
    let (status, made) = s.post("/api/llm/providers", json!({"name": "lab", "kind": "ollama"})).await;
    assert_eq!((status, &made["name"]), (StatusCode::CREATED, &json!("lab by anna, replace false")));
    assert_eq!(s.get("/api/llm/providers/lab").await.1["fingerprint"], "sha256:0123456789ab");
    error(s.get("/api/llm/providers/none").await, 404, "not_found");
    error(answer(s.request(Method::DELETE, "/api/llm/providers/lab")).await, 409, "provider_fixed");
    error(s.post("/api/llm/reload", json!({})).await, 422, "invalid_config");
}

#[tokio::test]
async fn metrics_are_public_only_by_setting() {
    let s = Server::start().await;
    let response = s.request(Method::GET, "/metrics").send().await.unwrap();
    assert!(response.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    assert_eq!(response.text().await.unwrap(), "taskforge_up 1\n");
    error(answer(s.http.get(s.url("/metrics"))).await, 401, "unauthenticated");
    let s = Server::with(ApiConfig { metrics_public: true, ..ApiConfig::default() }).await;
    assert_eq!(s.http.get(s.url("/metrics")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_gateway_by_itself_has_no_tasks() {
    let s = Server::with(ApiConfig { surface: Surface::Gateway, ..ApiConfig::default() }).await;
    for path in ["/api/tasks", "/api/images", "/api/policies", "/api/capabilities/requests"] {
        error(s.get(path).await, 404, "unknown_route");
    }
    for path in ["/api/keys", "/api/llm/providers", "/api/audit/entries", "/api/system/health", "/docs/"] {
        assert_eq!(s.request(Method::GET, path).send().await.unwrap().status(), StatusCode::OK, "{path}");
    }
    let (_, document) = s.get("/api/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key("/api/keys") && !paths.keys().any(|p| p.starts_with("/api/tasks")), "{paths:?}");
}
