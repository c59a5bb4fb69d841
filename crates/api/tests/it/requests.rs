//! Deciding: bound to what was shown, once, by the token's name.

use crate::{Server, error};
use domain::{
    candidate::{Artefact, Candidate},
    ids::{RequestId, TaskId},
    request::{Ask, Ecosystem, PackageAsk, Provenance},
};
use futures::FutureExt;
use reqwest::StatusCode;
use serde_json::json;
use std::time::Duration;
use store::{Durability, NewRequest};

async fn request(s: &Server, task: &str, ask: Ask) -> RequestId {
    let task: TaskId = task.parse().unwrap();
    let run = s.store.task_get(task).await.unwrap().run.unwrap();
    let new = NewRequest {
        task,
        run,
        iteration: 1,
        ask,
        reason: "I need it \u{202e}txt".into(),
        provenance: Provenance::Model { turn: 3 },
        ttl: Duration::from_secs(3600),
        max_open: 3,
    };
    let made = s.store.write(Durability::Power, move |tx| async move { tx.request_insert(new).await }.boxed());
    made.await.unwrap().id
}

async fn candidate(s: &Server, id: RequestId, name: &str) -> String {
    let candidate = Candidate {
        request: id,
        base_image: "sha256:base".into(),
        parent_image: "sha256:base".into(),
        artefacts: vec![Artefact {
            ecosystem: Ecosystem::Pip,
            name: name.into(),
            version: "2.1.0".into(),
            sha256: "ab".repeat(32),
            size_bytes: 1000,
            file_name: format!("{name}.whl"),
            url: String::new(),
            licence: None,
            uploaded_at: None,
            install_scripts: false,
            requested: true,
            places: vec![],
        }],
        dockerfile: "FROM sha256:base\n".into(),
        policy_version: 1,
    };
    let shown =
        s.store.write(Durability::Power, move |tx| async move { tx.request_pending(id, &candidate).await }.boxed());
    shown.await.unwrap().digest.unwrap()
}

fn packages(name: &str) -> Ask {
    Ask::Packages { packages: vec![PackageAsk { ecosystem: Ecosystem::Pip, name: name.into(), version: None }] }
}

async fn started(s: &Server) -> String {
    let task = s.task().await;
    s.post(&format!("/api/tasks/{task}/start"), json!({})).await;
    task
}

#[tokio::test]
async fn an_approval_needs_the_digest_that_was_shown_and_counts_once() {
    let s = Server::start().await;
    let task = started(&s).await;
    let (a, b) = (request(&s, &task, packages("pandas")).await, request(&s, &task, packages("numpy")).await);
    let review = format!("/api/capabilities/requests/{a}/review");
    let some = "0".repeat(64);
    error(s.post(&review, json!({"decision": "approve", "digest": some})).await, 409, "request_not_pending");
    let (digest, stale) = (candidate(&s, a, "pandas").await, candidate(&s, b, "numpy").await);

    let (_, shown) = s.get(&format!("/api/capabilities/requests/{a}")).await;
    assert_eq!((&shown["digest"], &shown["candidate"]["added_bytes"]), (&json!(digest), &json!(1000)));
    assert_eq!(shown["provenance"]["text"], "asked by the model in turn 3");
    let e = error(s.post(&review, json!({"decision": "approve", "digest": some})).await, 409, "request_stale");
    assert_eq!(e["details"]["digest"], json!(digest));
    for bad in [
        json!({"decision": "approve"}),
        json!({"decision": "approve", "digest": digest, "reviewer": "someone else"}),
        json!({"decision": "allow", "digest": digest}),
    ] {
        error(s.post(&review, bad).await, 400, "invalid_json");
    }
    for bad in [
        json!({"decision": "approve", "digest": "short"}),
        json!({"decision": "approve", "digest": digest, "reason": "why not"}),
        json!({"decision": "deny", "digest": digest}),
        json!({"decision": "deny", "digest": digest, "reason": " "}),
    ] {
        error(s.post(&review, bad).await, 400, "invalid_value");
    }
    error(
        s.post(&review, json!({"decision": "answer", "digest": digest, "answer": "yes"})).await,
        400,
        "verdict_unfit",
    );

    let (status, decided) = s.post(&review, json!({"decision": "approve", "digest": digest})).await;
    assert_eq!((status, &decided["status"]), (StatusCode::OK, &json!("approved")));
    assert_eq!(decided["decision"]["reviewer"], "anna");
    let late = s.post(&review, json!({"decision": "deny", "digest": digest, "reason": "changed my mind"})).await;
    assert_eq!(error(late, 409, "request_decided")["details"]["decision"]["decision"], "approve");

    let other = s
        .post(&format!("/api/capabilities/requests/{b}/review"), json!({"decision": "approve", "digest": stale}))
        .await;
    let e = error(other, 409, "request_stale");
    assert_eq!(e["details"]["status"], "resolving", "the other candidate is made and reviewed again");
    assert!(e["message"].as_str().unwrap().contains("another request"), "it says why: {e}");
}

#[tokio::test]
async fn a_question_is_answered_or_denied() {
    let s = Server::start().await;
    let task = started(&s).await;
    let id = request(&s, &task, Ask::Question { question: "Which year?".into(), options: vec![] }).await;
    let (_, shown) = s.get(&format!("/api/capabilities/requests/{id}")).await;
    assert_eq!((&shown["status"], &shown["candidate"]), (&json!("pending"), &json!(null)));
    let review = format!("/api/capabilities/requests/{id}/review");
    let digest = &shown["digest"];
    error(s.post(&review, json!({"decision": "approve", "digest": digest})).await, 400, "verdict_unfit");
    let (_, answered) = s.post(&review, json!({"decision": "answer", "digest": digest, "answer": "2026"})).await;
    assert_eq!((&answered["status"], &answered["decision"]["words"]), (&json!("answered"), &json!("2026")));
}

#[tokio::test]
async fn pending_requests_are_found() {
    let s = Server::start().await;
    let task = started(&s).await;
    let id = request(&s, &task, packages("pandas")).await;
    assert_eq!(s.get("/api/capabilities/requests?status=pending").await.1["items"], json!([]));
    candidate(&s, id, "pandas").await;
    let (_, pending) = s.get(&format!("/api/capabilities/requests?status=pending&task={task}")).await;
    assert_eq!(pending["items"][0]["id"], json!(id.to_string()));
    assert_eq!(s.get(&format!("/api/tasks/{task}")).await.1["pending_requests"], json!([id.to_string()]));
    let newer = request(&s, &task, packages("numpy")).await;
    let (_, first) = s.get("/api/capabilities/requests?limit=1").await;
    assert_eq!((&first["items"][0]["id"], &first["next_cursor"]), (&json!(newer), &json!(newer)));
    let (_, rest) = s.get(&format!("/api/capabilities/requests?limit=1&cursor={newer}")).await;
    assert_eq!((&rest["items"][0]["id"], &rest["next_cursor"]), (&json!(id), &json!(null)), "the last page says so");
    error(s.get("/api/capabilities/requests?status=open").await, 400, "invalid_value");
    error(s.get("/api/capabilities/requests/req_00000000000000000000000000000001").await, 404, "not_found");
}

#[tokio::test]
async fn of_many_decisions_at_once_one_counts() {
    let s = Server::start().await;
    let task = started(&s).await;
    let id = request(&s, &task, packages("pandas")).await;
    let digest = candidate(&s, id, "pandas").await;
    let review = format!("/api/capabilities/requests/{id}/review");
    let verdicts = (0..16).map(|n| match n % 2 {
        0 => json!({"decision": "approve", "digest": digest}),
        _ => json!({"decision": "deny", "digest": digest, "reason": "no"}),
    });
    let answers = futures::future::join_all(verdicts.map(|v| s.post(&review, v))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(status, _)| *status == StatusCode::OK);
    assert_eq!(won.len(), 1);
    let decided = &won[0].1["decision"]["decision"];
    for answer in lost {
        assert_eq!(&error(answer, 409, "request_decided")["details"]["decision"]["decision"], decided);
    }
}
