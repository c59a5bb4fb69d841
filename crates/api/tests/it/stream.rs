//! Events as they happen.

use crate::{PATIENCE, Server, error};
use futures::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};

/// Reads events until `enough` says so.
async fn read(response: Response, mut enough: impl FnMut(&[(u64, Value)]) -> bool) -> Vec<(u64, Value)> {
    let mut events = Vec::new();
    let mut text = String::new();
    let mut bytes = response.bytes_stream();
    let reading = async {
        while !enough(&events) {
            let part = bytes.next().await.expect("the stream goes on").unwrap();
            text.push_str(std::str::from_utf8(&part).unwrap());
            while let Some(end) = text.find("\n\n") {
                let block: String = text.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
                if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                    events.push((id.parse().unwrap(), serde_json::from_str(&data).unwrap()));
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the events arrive in time");
    events
}

#[tokio::test]
async fn a_client_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let s = Server::start().await;
    let (id, other) = (s.task().await, s.task().await);
    let path = format!("/api/tasks/{id}/events");
    let open = s.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(open.headers()["content-type"], "text/event-stream");
    s.post(&format!("/api/tasks/{other}/start"), json!({})).await;
    s.post(&format!("/api/tasks/{id}/start"), json!({})).await;
    let first = read(open, |e| e.iter().any(|(_, v)| v["kind"] == "task.started")).await;
    assert!(first.iter().all(|(_, v)| v["task"] == json!(id)), "only this task's events");
    assert!(first.iter().all(|(index, v)| v["index"] == json!(index)));

    s.post(&format!("/api/tasks/{id}/pause"), json!({})).await;
    let last = first.last().unwrap().0;
    let again = s.request(Method::GET, &path).header("Last-Event-ID", last).send().await.unwrap();
    let rest = read(again, |e| e.iter().any(|(_, v)| v["kind"] == "task.pause_requested")).await;
    let seen: Vec<u64> = first.iter().chain(&rest).map(|(index, _)| *index).collect();
    let (_, timeline) = s.get(&format!("/api/tasks/{id}/timeline")).await;
    let whole: Vec<u64> = timeline["items"].as_array().unwrap().iter().map(|e| e["index"].as_u64().unwrap()).collect();
    assert_eq!(seen, whole);
}

#[tokio::test]
async fn the_stream_of_all_events_begins_now() {
    let s = Server::start().await;
    let before = s.task().await;
    let open = s.request(Method::GET, "/api/events").send().await.unwrap();
    let after = s.task().await;
    let events = read(open, |e| e.iter().any(|(_, v)| v["kind"] == "task.created")).await;
    assert!(events.iter().any(|(_, v)| v["task"] == json!(after)));
    assert!(events.iter().all(|(_, v)| v["task"] != json!(before)));
    for bad in ["x", "-1", "18446744073709551615"] {
        let request = s.request(Method::GET, "/api/events").header("Last-Event-ID", bad);
        error(crate::answer(request).await, 400, "invalid_value");
    }
}

#[tokio::test]
async fn streams_are_counted_and_end_with_the_server() {
    let s = Server::start().await;
    let mut open = Vec::new();
    for _ in 0..api::MAX_STREAMS {
        open.push(s.request(Method::GET, "/api/events").send().await.unwrap());
    }
    error(s.get("/api/events").await, 503, "too_many_streams");
    s.stop.cancel();
    for response in open {
        assert!(response.text().await.is_ok(), "the stream ends in order");
    }
}
