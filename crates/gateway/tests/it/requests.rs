//! Requests of agents: stored, resolved, answered, and never twice.

use crate::world::{World, chat_body, command_agent, eventually, nobody, request};
use domain::{
    candidate::Candidate,
    event::{EventKind, Outcome, Phase},
    ids::RequestId,
    request::{Provenance, Request, RequestStatus, Verdict},
};
use futures::FutureExt;
use serde_json::{Value, json};
use std::time::Duration;
use store::Durability;

fn packages(name: &str) -> Value {
    json!({"packages":[{"ecosystem":"pip","name":name}],"reason":"to draw"})
}

impl World {
    async fn requests(&self) -> Vec<Request> {
        self.store.request_list(Some(self.task), None).await.unwrap()
    }

    async fn resolving(&self) -> RequestId {
        let list = || async {
            let found = self.store.request_list(Some(self.task), Some(RequestStatus::Resolving)).await.unwrap();
            found.first().map(|r| r.id)
        };
        eventually("a request is being resolved", list).await
    }

    /// What the workflow does: a candidate, or a reason why there is none.
    async fn resolve(&self, id: RequestId, failure: Option<&'static str>) -> Request {
        let candidate = Candidate {
            request: id,
            base_image: "sha256:base".into(),
            parent_image: "sha256:base".into(),
            artefacts: Vec::new(),
            dockerfile: "FROM a\n".into(),
            policy_version: 1,
        };
        let resolved = self.store.write(Durability::Power, move |tx| {
            async move {
                match failure {
                    Some(failure) => tx.request_rejected(id, failure).await,
                    None => tx.request_pending(id, &candidate).await,
                }
            }
            .boxed()
        });
        resolved.await.unwrap()
    }

    async fn review(&self, r: &Request, verdict: Verdict) {
        let (id, digest) = (r.id, r.digest.clone().unwrap());
        self.store
            .write(Durability::Power, move |tx| {
                async move { tx.request_review(id, &digest, verdict, "ann").await }.boxed()
            })
            .await
            .unwrap();
    }

    /// Asks and resolves; returns the answer and the request.
    async fn ask_packages(&self, arguments: &Value, failure: Option<&'static str>) -> (String, Request) {
        let resolver = async {
            let id = self.resolving().await;
            self.resolve(id, failure).await
        };
        futures::join!(self.tool("request_packages", arguments), resolver)
    }
}

#[tokio::test]
async fn a_request_of_the_model_waits_for_its_candidate_and_says_what_to_do() {
    let w = World::new(nobody).await;
    w.emit("c1", "taskforge__request_packages", &packages("matplotlib")).await;
    let intents = w.store.intents().await.unwrap().len();
    let (text, r) = w.ask_packages(&packages("matplotlib"), None).await;
    assert!(text.contains(&r.id.to_string()) && text.contains("waiting for a person. End your turn now"), "{text}");
    assert_eq!((r.provenance, r.iteration, r.reason.as_str()), (Provenance::Model { turn: 1 }, 1, "to draw"));
    assert!(w.store.intents().await.unwrap().len() > intents, "the workflow is woken");
    let leaves = w.leaves(EventKind::McpCall).await;
    assert_eq!(leaves.iter().map(|l| l.event.phase).collect::<Vec<_>>(), [Phase::Begun, Phase::Ended]);
    assert_eq!(leaves[0].event.data["provenance"], json!({"by":"model","turn":1}));
    assert_eq!(w.body_of(&leaves[1], "result").await, text);
    let created = w.leaves(EventKind::RequestCreated).await.pop().unwrap();
    assert!(leaves[0].index < created.index && created.index < leaves[1].index);
}

#[tokio::test]
async fn a_request_of_a_program_says_so() {
    let w = World::new(nobody).await;
    w.emit("c1", "exec", &packages("x")).await;
    let (_, r) = w.ask_packages(&packages("x"), None).await;
    assert_eq!(r.provenance, Provenance::Program);
}

#[tokio::test]
async fn what_cannot_be_resolved_is_answered_at_once_and_told_once() {
    let w = World::new(nobody).await;
    let (text, r) = w.ask_packages(&packages("no-such"), Some("pip knows no package no-such")).await;
    assert!(text.contains("pip knows no package no-such") && text.contains("nothing was installed"), "{text}");
    let r = w.store.request_get(r.id).await.unwrap();
    assert!((r.status, r.told) == (RequestStatus::Rejected, true), "not told again in the next prompt");
    assert_eq!(w.leaves(EventKind::McpCall).await.pop().unwrap().event.outcome, Some(Outcome::Failed));
}

#[tokio::test]
async fn equal_requests_are_one_and_a_denied_one_is_answered_from_the_record() {
    let w = World::new(nobody).await;
    let resolver = async {
        let id = w.resolving().await;
        eventually("both calls have begun", || async { (w.leaves(EventKind::McpCall).await.len() >= 2).then_some(()) })
            .await;
        w.resolve(id, None).await
    };
    let ask = packages("numpy");
    let (a, b, r) = futures::join!(w.tool("request_packages", &ask), w.tool("request_packages", &ask), resolver);
    assert!(a.contains(&r.id.to_string()) && b.contains(&r.id.to_string()));
    assert!(w.tool("request_packages", &packages("numpy")).await.contains(&r.id.to_string()));
    assert_eq!(w.requests().await.len(), 1);

    w.review(&r, Verdict::Deny { reason: "use what is there".into() }).await;
    let text = w.tool("request_packages", &packages("numpy")).await;
    assert!(text.contains("ann has already denied this") && text.contains("use what is there"), "{text}");
    assert_eq!(w.requests().await.len(), 1);

    let (_, r) = w.ask_packages(&packages("pandas"), None).await;
    w.review(&r, Verdict::Suggest { alternative: "the csv module".into() }).await;
    assert!(w.tool("request_packages", &packages("pandas")).await.contains("Suggestion: the csv module"));
}

#[tokio::test]
async fn no_more_than_three_are_open_and_nothing_is_submitted_meanwhile() {
    let w = World::new(nobody).await;
    for name in ["a", "b"] {
        w.ask_packages(&packages(name), None).await;
    }
    let text = w.tool("ask_human", &json!({"question":"Blue or red?","options":["blue","red"]})).await;
    assert!(text.contains("waiting for a person. End your turn now"), "{text}");
    assert_eq!(w.tool("ask_human", &json!({"question":"Blue or red?","options":[]})).await, text, "the same question");
    let text = w.tool("request_packages", &packages("c")).await;
    assert!(text.starts_with("Not done: 3 requests wait"), "{text}");
    let text = w.tool("submit_result", &json!({"summary":"s"})).await;
    assert!(text.starts_with("Not submitted: req_"), "{text}");
    assert_eq!(w.requests().await.len(), 3);
    assert!(w.store.run_get(w.run).await.unwrap().submitted.is_none());
}

#[tokio::test]
async fn the_wait_is_bounded() {
    let tweak = |c: &mut gateway::Config| c.resolve_wait = Duration::from_millis(100);
    let w = World::with(command_agent(), tweak, nobody).await;
    let text = w.tool("request_packages", &packages("x")).await;
    assert!(text.contains("still being prepared") && text.contains("End your turn now"), "{text}");
    assert_eq!(w.requests().await[0].status, RequestStatus::Resolving);
}

#[tokio::test]
async fn a_client_that_stops_waiting_leaves_a_record_that_ends() {
    let w = World::new(nobody).await;
    let call = json!({"jsonrpc":"2.0","id":1,"method":"tools/call",
        "params":{"name":"request_packages","arguments":packages("x")}});
    let mut connection = w.connect().await;
    let waiting = connection.send_request(request("POST", "/mcp", call.to_string()));
    let id = {
        futures::pin_mut!(waiting);
        let resolving = w.resolving();
        futures::pin_mut!(resolving);
        match futures::future::select(waiting, resolving).await {
            futures::future::Either::Right((id, _)) => id,
            futures::future::Either::Left(_) => panic!("answered before it was resolved"),
        }
    };
    drop(connection);
    w.resolve(id, Some("no such package")).await;
    let ended = eventually("the call's record ends", || async {
        w.leaves(EventKind::McpCall).await.into_iter().find(|l| l.event.phase == Phase::Ended)
    })
    .await;
    assert_eq!(ended.event.outcome, Some(Outcome::Failed));
    assert_eq!(w.chat(&chat_body(&[])).await.0.as_u16(), 500, "the sandbox goes on");
}
