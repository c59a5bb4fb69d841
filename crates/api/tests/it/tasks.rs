//! Tasks and bad input.

use crate::{Server, answer, error, new_task};
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

#[tokio::test]
async fn a_task_is_created_then_started_and_each_command_fits_or_says_why() {
    let s = Server::start().await;
    let id = s.task().await;
    let (_, task) = s.get(&format!("/api/tasks/{id}")).await;
    assert_eq!((&task["status"], &task["llm_model"]), (&json!("created"), &json!("scripted/gemini-2.5-flash")));
    error(s.post(&format!("/api/tasks/{id}/resume"), json!({})).await, 409, "illegal_transition");
    let (status, task) = answer(s.request(Method::POST, &format!("/api/tasks/{id}/start"))).await;
    assert_eq!((status, &task["status"]), (StatusCode::OK, &json!("starting")));
    let e = error(answer(s.request(Method::POST, &format!("/api/tasks/{id}/start"))).await, 409, "illegal_transition");
    assert_eq!(e["details"], json!({"from": "starting", "to": "start"}));
    assert_eq!(s.store.intents().await.unwrap().len(), 1, "the start left one intent for the engine");

    let (_, paused) = s.post(&format!("/api/tasks/{id}/pause"), json!({})).await;
    assert_eq!(paused["desired"], "pause");
    let (_, resumed) = s.post(&format!("/api/tasks/{id}/resume"), json!({})).await;
    assert_eq!(resumed["desired"], "run");
    let (status, message) = s.post(&format!("/api/tasks/{id}/messages"), json!({"text": "hurry", "now": true})).await;
    assert_eq!((status, &message["author"]), (StatusCode::CREATED, &json!("anna")));
    error(
        s.post(&format!("/api/tasks/{id}/continue"), json!({"instructions": "more"})).await,
        409,
        "illegal_transition",
    );
    let (_, cancelled) = s.post(&format!("/api/tasks/{id}/cancel"), json!({})).await;
    assert_eq!(cancelled["desired"], "cancel");
    error(s.post(&format!("/api/tasks/{id}/messages"), json!({"text": "hello"})).await, 409, "illegal_transition");
}

#[tokio::test]
async fn a_repeated_create_makes_one_task() {
    let s = Server::start().await;
    let create =
        |body: Value| answer(s.request(Method::POST, "/api/tasks").header("Idempotency-Key", "k-1").json(&body));
    let (first, task) = create(new_task()).await;
    let (second, again) = create(new_task()).await;
    assert_eq!((first, second), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(task["id"], again["id"]);
    let mut other = new_task();
    other["name"] = json!("Another");
    error(create(other).await, 409, "idempotency_mismatch");
    let (_, list) = s.get("/api/tasks").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let s = Server::start().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let mut task = new_task();
        task["name"] = json!(format!("task number {n}"));
        ids.push(s.post("/api/tasks", task).await.1["id"].clone());
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let (_, page) = s.get(&format!("/api/tasks?limit=2{cursor}")).await;
        seen.extend(page["items"].as_array().unwrap().iter().map(|t| t["id"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    seen.reverse();
    assert_eq!(seen, ids);
    let (_, found) = s.get("/api/tasks?text=NUMBER%203&status=created").await;
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    assert_eq!(s.get("/api/tasks?status=running").await.1["items"], json!([]));
    error(s.get("/api/tasks?status=bogus").await, 400, "invalid_value");
    error(s.get("/api/tasks?limit=0").await, 400, "invalid_value");
    error(s.get("/api/tasks?limit=201").await, 400, "invalid_value");
    error(s.get("/api/tasks?cursor=x").await, 400, "invalid_id");
    error(s.get("/api/tasks?colour=red").await, 400, "invalid_value");
}

#[tokio::test]
async fn bad_input_is_explained_and_leaves_nothing() {
    let s = Server::start().await;
    let raw = |body: &str, kind: &str| {
        answer(s.request(Method::POST, "/api/tasks").header(header::CONTENT_TYPE, kind).body(body.to_owned()))
    };
    error(raw("{", "application/json").await, 400, "invalid_json");
    error(raw("[]", "application/json").await, 400, "invalid_json");
    error(raw("\u{0}\u{ff}", "application/json").await, 400, "invalid_json");
    error(raw("{}", "text/plain").await, 415, "unsupported_media_type");
    let with = |changes: Value| {
        let mut task = new_task();
        task.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        s.post("/api/tasks", task)
    };
    for (changes, code) in [
        (json!({"agent_config": {"max_iterations": 3}}), "invalid_json"),
        (json!({"name": ""}), "invalid_value"),
        (json!({"name": "a\nb"}), "invalid_value"),
        (json!({"description": "x".repeat(100_001)}), "invalid_value"),
        (json!({"max_iterations": 0}), "invalid_value"),
        (json!({"limits": {"pids": 1}}), "invalid_value"),
        (json!({"limits": {"gpus": 1}}), "invalid_json"),
        (json!({"agent": "command"}), "invalid_value"),
        (json!({"files": [{"path": "../x", "content_base64": ""}]}), "invalid_value"),
        (json!({"files": [{"path": "x", "content_base64": "?"}]}), "invalid_value"),
    ] {
        error(with(changes).await, 400, code);
    }
    let e = error(with(json!({"llm_model": "gemini"})).await, 422, "unknown_model");
    assert_eq!(e["details"]["near"], json!(["scripted/gemini-2.5-flash"]));
    let big = STANDARD.encode(vec![0; api::MAX_UPLOAD_BYTES + 1]);
    error(with(json!({"files": [{"path": "x", "content_base64": big}]})).await, 413, "body_too_large");
    let id = s.task().await;
    let long = json!({"text": "x".repeat(api::MAX_BODY_BYTES)});
    error(s.post(&format!("/api/tasks/{id}/messages"), long).await, 413, "body_too_large");

    let nobody = "task_00000000000000000000000000000001";
    error(s.get(&format!("/api/tasks/{nobody}")).await, 404, "not_found");
    error(s.get("/api/tasks/../../etc/passwd").await, 404, "unknown_route");
    error(s.get("/api/tasks/req_00000000000000000000000000000001").await, 400, "invalid_id");
    error(s.get("/api/tasks/%ff").await, 400, "invalid_value");
    for part in ["timeline", "files", "files/a", "logs", "messages", "policies", "events"] {
        error(s.get(&format!("/api/tasks/{nobody}/{part}")).await, 404, "not_found");
    }
    for path in ["/api/audit/entries/999999", "/api/audit/entries/18446744073709551615", "/api/audit/files/..%2ftoken"]
    {
        error(s.get(path).await, 404, "not_found");
    }
    assert_eq!(s.get("/api/tasks").await.1["items"].as_array().unwrap().len(), 1, "only the sound task was made");
}

#[tokio::test]
async fn a_fault_of_ours_has_an_id_and_no_detail() {
    let s = Server::start().await;
    let mut task = new_task();
    task["llm_model"] = json!("broken");
    let response = s.request(Method::POST, "/api/tasks").json(&task).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let header = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let text = response.text().await.unwrap();
    assert!(!text.contains("tf_in_the_log_only"), "{text}");
    assert!(text.contains(&header));
}

#[tokio::test]
async fn the_timeline_shows_bounded_contents_and_the_whole_on_request() {
    let s = Server::start().await;
    let mut task = new_task();
    task["description"] = json!("é".repeat(50_000));
    task["files"] = json!([{"path": "data/sales.csv", "content_base64": STANDARD.encode("a,b\n1,2\n")}]);
    let id = s.post("/api/tasks", task).await.1["id"].as_str().unwrap().to_owned();
    let (_, page) = s.get(&format!("/api/tasks/{id}/timeline")).await;
    let created = &page["items"][0];
    assert_eq!((&created["kind"], &created["actor"]["name"]), (&json!("task.created"), &json!("anna")));
    let body = &created["bodies"]["description"];
    assert_eq!((body["size"].as_u64(), &body["truncated"]), (Some(100_000), &json!(true)));
    assert_eq!(body["text"].as_str().unwrap().chars().count(), 4096);
    assert_eq!(created["bodies"]["name"]["truncated"], json!(false));
    let whole = format!("/api/audit/entries/{}/bodies/description", created["index"]);
    let whole = s.request(Method::GET, &whole).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(whole.len(), 100_000);
    error(s.get(&format!("/api/audit/entries/{}/bodies/nothing", created["index"])).await, 404, "not_found");
    let (_, policies) = s.get(&format!("/api/tasks/{id}/policies")).await;
    assert_eq!(policies["items"][0]["models"], json!(["scripted/gemini-2.5-flash"]));
}
