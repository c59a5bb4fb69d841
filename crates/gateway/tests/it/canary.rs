//! The key of an upstream comes back to nobody: not to the sandbox, not into a record.

use crate::{
    fake::{json_answer, piecewise},
    world::{KEY, World, chat_body, eventually, nobody},
};
use bytes::Bytes;
use domain::event::Leaf;
use http_body_util::BodyExt;
use serde_json::json;
use std::path::Path;
use store::{CallStatus, EventFilter};

#[tokio::test]
async fn an_echoed_key_is_masked_in_every_split() {
    let event = json!({"choices":[{"delta":{"content":format!("your key is {KEY}, {KEY}")}}]});
    let text = format!(": ping\n\ndata: {event}\n\ndata: [DONE]\n\n");
    let w = World::new(nobody).await;
    let at = text.find(KEY).unwrap();
    for split in at..=at + KEY.len() {
        let (pieces, _live, mut response) = piecewise("text/event-stream");
        response.headers_mut().insert("x-request-id", format!("r-{KEY}").parse().unwrap());
        let mut response = Some(response);
        w.fake.answer(move |_| response.take().unwrap());
        let answer = w.send("POST", "/v1/chat/completions", chat_body(&[]).to_string());
        let (head, tail) = (Bytes::from(text[..split].to_owned()), Bytes::from(text[split..].to_owned()));
        pieces.send(Ok(head)).unwrap();
        let answer = answer.await;
        assert_eq!(answer.headers()["x-request-id"], "r-[masked]");
        let mut body = answer.into_body();
        // The first piece has arrived before the second is sent: its whole event is passed on.
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        pieces.send(Ok(tail)).unwrap();
        drop(pieces);
        let rest = body.collect().await.unwrap().to_bytes();
        let got = String::from_utf8([first, rest].concat()).unwrap();
        assert_eq!(got, text.replace(KEY, "[masked]"), "split at {split}");
    }
    for call in w.calls().await {
        let recorded = w.store.body_text(call.response.as_ref().unwrap()).await.unwrap();
        assert!(recorded.contains("[masked]") && !recorded.contains(KEY));
    }
}

#[tokio::test]
async fn the_key_is_in_nothing_that_is_left_behind() {
    let w = World::new(|_| json_answer(401, &json!({"error":{"message":format!("bad key {KEY}")}}))).await;
    let (_, body) = w.chat(&chat_body(&[])).await;
    assert!(!String::from_utf8_lossy(&body).contains(KEY));
    let arguments = json!({"command":format!("echo {KEY}")});
    // Split between two events, where no masking of bytes can see it: the answer is cut before the key is whole.
    let split = crate::fake::stream_of("", &[("c1", "exec", &arguments)]);
    w.fake.answer(move |_| crate::fake::sse_answer(&split));
    let mut body = w.send("POST", "/v1/chat/completions", chat_body(&[]).to_string()).await.into_body();
    let mut got = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        got.extend_from_slice(frame.data_ref().unwrap());
    }
    assert!(!String::from_utf8_lossy(&got).contains(&KEY[KEY.len() / 2 + 2..]), "the second half got out");
    assert_eq!(w.newest_call(CallStatus::Cut).await.error_code.as_deref(), Some("secret_in_answer"));
    w.emit("c2", "exec", &json!({"command":"ls"})).await;
    w.fake.answer(|_| json_answer(200, &json!({"data":[{"id":"m"}]})));
    let health = w.gateway.registry().health().await;
    assert!(!serde_json::to_string(&health).unwrap().contains(KEY));
    w.newest_call(CallStatus::Done).await;

    let filter = EventFilter { task: Some(w.task), ..EventFilter::default() };
    let leaves: Vec<Leaf> = w.store.event_list(&filter).await.unwrap().into_iter().map(|r| r.leaf).collect();
    let mut bodies = 0;
    for leaf in &leaves {
        assert!(!serde_json::to_string(leaf).unwrap().contains(KEY));
        for body in leaf.event.bodies.values() {
            bodies += 1;
            assert!(!w.store.body_text(&body.commitment).await.unwrap().contains(KEY), "{leaf:?}");
        }
    }
    assert!(bodies > 5, "bodies were looked at");
    for call in w.calls().await {
        assert!(!serde_json::to_string(&call).unwrap().contains(KEY));
    }
    assert_eq!(w.fake.seen()[0].headers["authorization"], format!("Bearer {KEY}"), "the upstream did get it");
    let mut files = 0;
    scan(w.dir.path(), &mut files);
    assert!(files > 1, "files were looked at");
    eventually("the socket is still there", || async { w.socket.exists().then_some(()) }).await;
}

fn scan(folder: &Path, files: &mut usize) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            scan(&path, files);
        } else if kind.is_file() {
            *files += 1;
            let bytes = std::fs::read(&path).unwrap();
            let found = memchr::memmem::find(&bytes, KEY.as_bytes());
            assert!(found.is_none(), "{} holds the key", path.display());
        }
    }
}

#[test]
fn values_of_secrets_stay_out_of_configuration_errors() {
    let mut config = crate::world::provider("up", gateway::ProviderKind::Openai, "http://u:pw-secret@h/v1".into());
    let settings = gateway::Config::new("/nowhere".into());
    let fail =
        |c: gateway::ProviderConfig| gateway::Registry::new(vec![c], Vec::new(), &settings).err().unwrap().to_string();
    assert!(!fail(config.clone()).contains("pw-secret"));
    config.base_url = "http://h/v1".into();
    config.api_key = Some(gateway::Secret::new("bad\nkey-value"));
    let text = fail(config);
    assert!(text.contains("up") && !text.contains("key-value"), "{text}");
}
