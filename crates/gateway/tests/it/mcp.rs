//! MCP as OpenClaw speaks it, provenance, and delivering.

use crate::{
    fake::{sse_answer, stream_of},
    world::{World, chat_body, nobody, our_tools, request},
};
use domain::{
    event::{Actor, EventKind, Outcome, Phase},
    task::Agent,
};
use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::StatusCode;
use serde_json::{Value, json};
use store::Durability;

async fn openclaw() -> World {
    let w = World::with(Agent::Openclaw, |_| {}, |_| sse_answer(&stream_of("x", &[]))).await;
    w.chat(&chat_body(&[("tools", our_tools())])).await;
    w
}

#[tokio::test]
async fn the_sequence_of_a_real_client_works() {
    let w = World::new(nobody).await;
    let mut connection = w.connect().await;
    let mut send = async |method: &str, body: &Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut r = request(method, "/mcp", body);
        let headers = r.headers_mut();
        headers.insert("accept", "application/json, text/event-stream".parse().unwrap());
        headers.insert("mcp-protocol-version", "2025-11-25".parse().unwrap());
        connection.ready().await.unwrap();
        let answer = connection.send_request(r).await.unwrap();
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    };
    let init = json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25",
        "capabilities":{},"clientInfo":{"name":"openclaw","version":"2026.9.6"}}});
    let (status, answer) = send("POST", &init).await;
    assert_eq!((status, &answer["result"]["protocolVersion"]), (StatusCode::OK, &json!("2025-11-25")));
    assert_eq!(answer["result"]["capabilities"]["tools"]["listChanged"], json!(false));
    let note = |method: &str, params: Value| json!({"jsonrpc":"2.0","method":method,"params":params});
    let (status, body) = send("POST", &note("notifications/initialized", json!({}))).await;
    assert_eq!((status, body), (StatusCode::ACCEPTED, Value::Null));
    assert_eq!(send("GET", &Value::Null).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let (_, list) = send("POST", &json!({"jsonrpc":"2.0","id":1,"method":"tools/list"})).await;
    let names: Vec<_> = list["result"]["tools"].as_array().unwrap().iter().map(|t| t["name"].clone()).collect();
    assert_eq!(names, ["request_packages", "ask_human", "report_progress", "submit_result"]);
    let cancelled = note("notifications/cancelled", json!({"requestId":0,"reason":"timeout"}));
    assert_eq!(send("POST", &cancelled).await.0, StatusCode::ACCEPTED);
    let call = json!({"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"report_progress",
        "arguments":{"message":"reading","percent":10},"_meta":{"progressToken":2}}});
    let (_, answer) = send("POST", &call).await;
    assert_eq!(answer["result"], json!({"content":[{"type":"text","text":"Noted. Go on."}],"isError":false}));
    let (_, pong) = send("POST", &json!({"jsonrpc":"2.0","id":"p","method":"ping"})).await;
    assert_eq!(pong, json!({"jsonrpc":"2.0","id":"p","result":{}}));
    assert_eq!(send("DELETE", &Value::Null).await.0, StatusCode::OK);

    let leaves = w.leaves(EventKind::McpCall).await;
    assert_eq!(leaves.iter().map(|l| l.event.phase).collect::<Vec<_>>(), [Phase::Begun, Phase::Ended]);
    assert_eq!(leaves[0].event.op, leaves[1].event.op);
    assert_eq!(w.body_of(&leaves[0], "arguments").await, r#"{"message":"reading","percent":10}"#);
    assert_eq!(w.body_of(&leaves[1], "result").await, "Noted. Go on.");
    let progress = w.leaves(EventKind::AgentProgress).await.pop().unwrap();
    assert_eq!((&progress.event.actor, progress.event.data["percent"].as_f64()), (&Actor::Sandbox, Some(10.0)));
}

#[tokio::test]
async fn versions_are_negotiated_and_bad_messages_named() {
    let w = World::new(nobody).await;
    let rpc = async |body: &str| {
        let (status, body) = w.ask("POST", "/mcp", body.to_owned()).await;
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    for (asked, spoken) in [("2025-06-18", "2025-06-18"), ("2099-01-01", "2025-11-25")] {
        let body = json!({"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":asked}});
        assert_eq!(rpc(&body.to_string()).await.1["result"]["protocolVersion"], spoken);
    }
    for (body, code) in [
        ("{", -32700),
        ("[]", -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"approve"}}"#, -32602),
    ] {
        assert_eq!(rpc(body).await.1["error"]["code"], code, "{body}");
    }
    let mut bad = request("POST", "/mcp", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    bad.headers_mut().insert("mcp-protocol-version", "1999-01-01".parse().unwrap());
    assert_eq!(w.connect().await.send_request(bad).await.unwrap().status(), StatusCode::BAD_REQUEST);
    let text = w.tool("submit_result", &json!({"summary":"s","files":["../etc/passwd"]})).await;
    assert!(text.starts_with("Not done") && text.contains("../etc/passwd"), "{text}");
}

#[tokio::test]
async fn a_forged_submission_is_refused_and_the_models_own_is_stored_once() {
    let w = openclaw().await;
    let arguments = json!({"summary":"all done","files":["/workspace/report.md","chart.png"]});
    let text = w.tool("submit_result", &arguments).await;
    assert!(text.contains("made by a program"), "{text}");
    assert!(w.store.run_get(w.run).await.unwrap().submitted.is_none());

    // The model emits another one: equal arguments are needed, not just the tool's name.
    w.emit("c1", "taskforge__submit_result", &json!({"summary":"something else"})).await;
    assert!(w.tool("submit_result", &arguments).await.contains("made by a program"));

    // Spelled otherwise, the same JSON.
    let spelled = json!({"files":["/workspace/report.md","chart.png"],"summary":"all done"});
    w.emit("c2", "taskforge__submit_result", &spelled).await;
    let intents = w.store.intents().await.unwrap().len();
    assert_eq!(w.tool("submit_result", &arguments).await, "Submitted. End your turn now.");
    let run = w.store.run_get(w.run).await.unwrap();
    assert_eq!(
        (run.summary.as_deref(), run.submitted),
        (Some("all done"), Some(vec!["report.md".into(), "chart.png".into()]))
    );
    assert_eq!(w.store.intents().await.unwrap().len(), intents + 1);

    assert!(w.tool("submit_result", &arguments).await.contains("made by a program"), "one emission is one call");
    let submitted = w.leaves(EventKind::AgentSubmitted).await;
    assert_eq!(submitted.len(), 1);
    assert_eq!(submitted[0].event.data["provenance"], json!({"by":"model","turn":3}));
    let ended: Vec<_> = w.leaves(EventKind::McpCall).await.iter().filter_map(|l| l.event.outcome).collect();
    assert_eq!(ended, [Outcome::Refused, Outcome::Refused, Outcome::Done, Outcome::Refused]);
}

#[tokio::test]
async fn a_command_may_submit_by_itself() {
    let w = World::new(nobody).await;
    assert_eq!(w.tool("submit_result", &json!({"summary":"s"})).await, "Submitted. End your turn now.");
    assert_eq!(w.store.run_get(w.run).await.unwrap().submitted, Some(Vec::new()));
    assert!(w.tool("submit_result", &json!({"summary":"other"})).await.contains("the first one counts"));
}

#[tokio::test]
async fn a_message_is_added_to_the_next_result_once() {
    let w = World::new(nobody).await;
    let task = w.task;
    w.store
        .write(Durability::Process, move |tx| {
            async move { tx.task_message(task, "use blue\u{1b}[31m", false, "ann").await.map(drop) }.boxed()
        })
        .await
        .unwrap();
    let text = w.tool("report_progress", &json!({"message":"m"})).await;
    assert!(text.starts_with("Noted. Go on.") && text.contains("Message from ann"), "{text}");
    assert!(text.contains("use blue\\u{1b}[31m"), "{text}");
    assert!(!w.store.message_waiting(w.task).await.unwrap());
    assert_eq!(w.tool("report_progress", &json!({"message":"m"})).await, "Noted. Go on.");
    assert_eq!(w.leaves(EventKind::TaskMessageDelivered).await.len(), 1);
}

#[tokio::test]
async fn calls_of_tools_are_bounded_in_rate() {
    let w = World::new(nobody).await;
    for _ in 0..30 {
        w.tool("report_progress", &json!({"message":"m"})).await;
    }
    let mut refused = false;
    for _ in 0..50 {
        refused |= w.tool("report_progress", &json!({"message":"m"})).await.contains("too many calls");
    }
    assert!(refused);
}
