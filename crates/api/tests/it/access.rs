//! Who gets in, and how.

use crate::{Server, answer, error, new_task};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

#[tokio::test]
async fn nothing_is_open_but_health_and_signing_in() {
    let s = Server::start().await;
    for (path, item) in serde_json::to_value(api::openapi()).unwrap()["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            if path == "/api/sign-in" {
                continue;
            }
            let url =
                s.url(&path.replace("{id}", "x").replace("{path}", "x").replace("{index}", "0").replace("{name}", "x"));
            let method: Method = method.to_uppercase().parse().unwrap();
            let request = || s.http.request(method.clone(), &url).json(&json!({}));
            let e = error(answer(request()).await, 401, "unauthenticated");
            assert!(e["hint"].as_str().unwrap().contains("taskforge token show"), "{method} {path}: {e}");
            let bad = format!("tf_{}", "0".repeat(64));
            error(answer(request().bearer_auth(bad)).await, 401, "unauthenticated");
        }
    }
    for path in ["/docs", "/docs/", "/metrics", "/api/openapi.json", "/api/nothing", "/"] {
        error(answer(s.http.get(s.url(path))).await, 401, "unauthenticated");
    }
    assert_eq!(answer(s.http.get(s.url("/healthz"))).await, (StatusCode::OK, Value::String("ok".into())));
    error(s.get("/api/nothing").await, 404, "unknown_route");
    error(answer(s.request(Method::DELETE, "/api/tasks")).await, 405, "method_not_allowed");
}

#[tokio::test]
async fn a_token_in_the_url_is_no_token() {
    let s = Server::start().await;
    let url = format!("{}?access_token={}&token={}", s.url("/api/events"), s.token, s.token);
    error(answer(s.http.get(url)).await, 401, "unauthenticated");
}

#[tokio::test]
async fn only_known_hosts_are_answered_for() {
    let s = Server::start().await;
    let with = |host: &str| answer(s.request(Method::GET, "/api/tasks").header(header::HOST, host));
    for good in ["localhost:8000", "127.0.0.1", "[::1]:9", "forge.example:443"] {
        assert_eq!(with(good).await.0, StatusCode::OK, "{good}");
    }
    for bad in ["evil.example", "127.0.0.1.evil.example:8000", "localhost.evil.example"] {
        error(with(bad).await, 403, "host_not_allowed");
    }
}

#[tokio::test]
async fn a_code_works_once_and_its_cookie_needs_the_origin() {
    let s = Server::start().await;
    let (status, code) = s.post("/api/sign-in/codes", json!({})).await;
    assert_eq!(status, StatusCode::CREATED);
    let exchange = || s.http.post(s.url("/api/sign-in")).json(&json!({"code": code["code"]}));
    error(answer(exchange().header(header::ORIGIN, "http://evil.example")).await, 403, "origin_not_allowed");
    let response = exchange().send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    error(answer(exchange()).await, 401, "invalid_sign_in_code");

    let cookie = cookie.split(';').next().unwrap().to_owned();
    let by_cookie = |method: Method, path: &str| s.http.request(method, s.url(path)).header(header::COOKIE, &cookie);
    assert_eq!(answer(by_cookie(Method::GET, "/api/tasks")).await.0, StatusCode::OK);
    let create = || by_cookie(Method::POST, "/api/tasks").json(&new_task());
    error(answer(create()).await, 403, "origin_not_allowed");
    error(answer(create().header(header::ORIGIN, "http://evil.example")).await, 403, "origin_not_allowed");
    let (status, task) = answer(create().header(header::ORIGIN, s.url(""))).await;
    assert_eq!((status, &task["created_by"]), (StatusCode::CREATED, &json!("anna")));

    let end = by_cookie(Method::DELETE, "/api/session").header(header::ORIGIN, s.url(""));
    assert_eq!(answer(end).await.0, StatusCode::NO_CONTENT);
    error(answer(by_cookie(Method::GET, "/api/tasks")).await, 401, "unauthenticated");
}

#[tokio::test]
async fn the_sign_in_page_takes_a_form() {
    let s = Server::start().await;
    let page = s.http.get(s.url("/sign-in")).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.text().await.unwrap().contains("action=\"/api/sign-in\""));
    let code = s.post("/api/sign-in/codes", json!({})).await.1["code"].as_str().unwrap().to_owned();
    let form = || {
        let body = format!("code={code}");
        s.http.post(s.url("/api/sign-in")).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
    };
    error(answer(form()).await, 403, "origin_not_allowed");
    let response = form().header(header::ORIGIN, s.url("")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert!(response.headers().contains_key(header::SET_COOKIE));
}

#[tokio::test]
async fn tokens_have_one_name_one_life_and_no_second_showing() {
    let s = Server::start().await;
    let (status, made) = s.post("/api/tokens", json!({"name": "ben"})).await;
    assert_eq!(status, StatusCode::CREATED);
    let secret = made["secret"].as_str().unwrap();
    error(s.post("/api/tokens", json!({"name": "ben"})).await, 409, "name_taken");
    error(s.post("/api/tokens", json!({"name": "not a name"})).await, 400, "invalid_value");

    let as_ben = || s.http.get(s.url("/api/tokens")).bearer_auth(secret);
    let (status, list) = answer(as_ben()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!list.to_string().contains(&secret[20..]), "secrets are not shown again");
    let stored: Vec<u8> = std::fs::read(s.dir.path().join("state.db")).unwrap();
    let stored = [stored, std::fs::read(s.dir.path().join("state.db-wal")).unwrap()].concat();
    assert!(!stored.windows(secret.len()).any(|w| w == secret.as_bytes()), "secrets are stored as hashes");

    assert_eq!(answer(s.request(Method::DELETE, "/api/tokens/ben")).await.0, StatusCode::OK);
    error(answer(as_ben()).await, 401, "unauthenticated");
    error(answer(s.request(Method::DELETE, "/api/tokens/ben")).await, 404, "not_found");
    error(answer(s.request(Method::DELETE, "/api/tokens/anna")).await, 409, "last_token");
}

#[tokio::test]
async fn the_first_token_is_private_and_made_once() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store = store::Store::open(dir.path()).await.unwrap();
    let path = dir.path().join("token");
    api::first_token(&store, &path).await.unwrap();
    let first = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    api::first_token(&store, &path).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
    assert_eq!(store.token_list().await.unwrap().len(), 1);
}
