//! The adapters with real programs.

use crate::fixture::{Fixture, Gateway, Seen, until, with_fixture};
use domain::task::Agent;
use sandbox::{
    SandboxSpec,
    agent::{self, AgentEnd, Turn, openclaw::REQUIRED_TOOLS},
};
use serde_json::{Value, json};

async fn spec_of(f: &Fixture, agent: &Agent, model: &str, prompt: &str, iteration: u32) -> SandboxSpec {
    let turn = Turn { task: f.task, agent, model, prompt, context_window: 128_000, max_tokens: 8192 };
    let launch = agent::launch(&turn);
    let argv: Vec<&str> = launch.argv.iter().map(String::as_str).collect();
    f.spec_of(iteration, &argv, launch.env, launch.files).await
}

#[test]
fn a_command_finds_what_it_needs() {
    with_fixture(|f| async move {
        let script = "cat $TASKFORGE_PROMPT_FILE; echo; echo $TASKFORGE_MODEL $OPENAI_BASE_URL $TASKFORGE_MCP_URL; \
            echo $OPENAI_API_KEY; exit 3";
        let agent = Agent::Command { argv: vec!["/bin/sh".into(), "-c".into(), script.into()] };
        let spec = spec_of(&f, &agent, "p/m", "do it", 1).await;
        let _gateway = f.gateway();
        f.sandboxes.ensure(&spec).await.expect("started");
        let exit = f.sandboxes.wait(&f.task).await.expect("an end");
        let output = f.sandboxes.output(&f.task, 10_000).await.expect("output");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, "do it\np/m http://127.0.0.1:8080/v1 http://127.0.0.1:8080/mcp\nunused\n");
        let end = agent::interpret(&agent, &exit, &output.stdout, &output.stderr);
        assert!(matches!(end, AgentEnd::Failed { reason } if reason.contains("code 3")));
    });
}

/// A gateway as OpenClaw needs it: four tools, and a model that says `text`.
fn scripted(seen: &Seen, text: &str) -> (u16, String) {
    if seen.path == "/v1/chat/completions" {
        let chunk = |delta: Value, finish: Value| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
            format!(
                "data: {}\n\n",
                json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": [choice]})
            )
        };
        let end = chunk(json!({}), json!("stop"));
        return (
            200,
            format!("{}{end}data: [DONE]\n\n", chunk(json!({"role": "assistant", "content": text}), Value::Null)),
        );
    }
    if seen.path != "/mcp" || seen.method != "POST" {
        return (if seen.path == "/tf/events" { 200 } else { 405 }, "{}".to_owned());
    }
    let call: Value = serde_json::from_str(&seen.body).expect("JSON-RPC");
    let result = match call["method"].as_str() {
        Some("initialize") => json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
            "serverInfo": {"name": "taskforge", "version": "1"}}),
        Some("tools/list") => {
            let names = REQUIRED_TOOLS.map(|t| t.trim_start_matches("taskforge__").to_owned());
            json!({"tools": names.map(|n| json!({"name": n, "description": n, "inputSchema": {"type": "object"}}))})
        }
        _ => return (202, String::new()),
    };
    (200, json!({"jsonrpc": "2.0", "id": call["id"], "result": result}).to_string())
}

fn model_requests(gateway: &Gateway) -> Vec<Value> {
    let calls = gateway.requests().into_iter().filter(|s| s.path == "/v1/chat/completions");
    calls.map(|s| serde_json::from_str(&s.body).expect("a request")).collect()
}

/// OpenClaw itself: it finds model, tools, instructions and prompt, does not notice that the gateway restarts while it
/// starts, ends well, and goes on with the same session in a new container.
#[test]
#[ignore = "needs the base image; TASKFORGE_TEST_BASE_IMAGE names it"]
fn openclaw_works_and_resumes() {
    let image = std::env::var("TASKFORGE_TEST_BASE_IMAGE").expect("TASKFORGE_TEST_BASE_IMAGE");
    with_fixture(|f| async move {
        let mut limits = f.limits;
        (limits.memory_bytes, limits.pids, limits.disk_bytes) = (2 << 30, 512, 1 << 30);
        let socket = f.sandboxes.socket_path(&f.task);
        let mut spec = spec_of(&f, &Agent::Openclaw, "scripted/model-1", "FIRST-PROMPT", 1).await;
        (spec.image, spec.limits) = (image.clone(), limits);
        let first = Gateway::serve(&socket);
        f.sandboxes.ensure(&spec).await.expect("started");
        let posture = f.sandboxes.posture(&f.task).await.expect("measured");
        assert_eq!(posture.violations(), Vec::<String>::new());
        until("the agent's first files", || async { f.sandboxes.usage(&f.task).await.expect("use").entries > 3 }).await;
        drop(first);
        std::fs::remove_file(&socket).expect("removed");
        let gateway = Gateway::serve_with(&socket, |seen| scripted(seen, "first answer"));
        let exit = f.sandboxes.wait(&f.task).await.expect("an end");
        let output = f.sandboxes.output(&f.task, 1 << 20).await.expect("output");
        let end = agent::interpret(&Agent::Openclaw, &exit, &output.stdout, &output.stderr);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(end, AgentEnd::Done { text: Some("first answer".into()) }, "{exit:?} {said}");
        let requests = model_requests(&gateway);
        let request = requests.first().expect("a model request").to_string();
        assert_eq!(requests[0]["model"], "scripted/model-1");
        for expect in REQUIRED_TOOLS.into_iter().chain(["FIRST-PROMPT", "END YOUR TURN AT ONCE"]) {
            assert!(request.contains(expect), "{expect} is not in {request}");
        }
        assert!(gateway.requests().iter().any(|s| s.path == "/tf/events"), "the plugin reports");
        drop(gateway);
        let gateway = Gateway::serve_with(&socket, |seen| scripted(seen, "second answer"));
        let mut spec = spec_of(&f, &Agent::Openclaw, "scripted/model-1", "SECOND-PROMPT", 2).await;
        (spec.image, spec.limits) = (image, limits);
        f.sandboxes.ensure(&spec).await.expect("started");
        let exit = f.sandboxes.wait(&f.task).await.expect("an end");
        assert_eq!(exit.code, 0, "{exit:?}");
        let request = model_requests(&gateway).first().expect("a model request").to_string();
        for expect in ["FIRST-PROMPT", "first answer", "SECOND-PROMPT"] {
            assert!(request.contains(expect), "{expect} is not in the resumed session: {request}");
        }
        let listed = f.sandboxes.collect(&f.task, &f.image, Default::default(), sandbox::workspace::Keep::List).await;
        assert_eq!(listed.expect("listed").entries, vec![], "it leaves nothing in the workspace by itself");
    });
}
