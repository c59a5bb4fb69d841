//! `openclaw`: OpenClaw as it was tried, `openclaw agent --local`.
//!
//! The configuration takes away what the sandbox cannot use or must not have (other tools than files, commands and
//! ours, bootstrap files, text of the workspace in the system prompt, updates) and points models and MCP at the
//! gateway. Our instructions come through a plugin that adds them to the system prompt and reports tool calls as
//! advisory events.

use super::{AgentEnd, EVENTS_URL, Launch, MCP_URL, MODEL_URL, NO_KEY, Turn, last_line};
use crate::{
    lifecycle::Exit,
    run_dir::{PROMPT, RunFile},
    spec::{RUN, STATE, WORKSPACE},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The name of our MCP server; the model sees `taskforge__<tool>`.
pub const MCP_SERVER: &str = "taskforge";
/// The tools that the first model request of a run must offer; without them the run is not worth going on.
pub const REQUIRED_TOOLS: [&str; 4] =
    ["taskforge__request_packages", "taskforge__ask_human", "taskforge__report_progress", "taskforge__submit_result"];
/// The longest that a call of the gateway may last inside, in seconds: as long as it waits for an upstream.
const MODEL_TIMEOUT_S: u64 = 900;
/// The longest that a tool call may block; the gateway answers "pending" long before.
const TOOL_TIMEOUT_MS: u64 = 86_400_000;
/// The longest that connecting to the MCP server may take on a loaded host.
const MCP_CONNECT_MS: u64 = 120_000;

/// Added to OpenClaw's system prompt.
pub const INSTRUCTIONS: &str = "\
# TaskForge

You work inside a sealed TaskForge sandbox. There is no network: pip, npm, apt, curl and git remotes cannot reach \
anything and will not, so do not retry them and do not look for mirrors. Your files are in /workspace; nothing outside \
it is kept, except your own session.

When you need software that is not installed, ask for it with the tool taskforge__request_packages: name the packages \
per ecosystem (pip, apt, npm) and say why. Ask for everything that you need in one call. A person reviews the request.
- If a tool answers `pending`, END YOUR TURN AT ONCE: say in one sentence what you wait for and stop. Do not call \
further tools and do not poll. You will be started again, in an image that has the packages, and told the decision.
- If a request is denied, or something else is suggested, go on without what was denied and say so in your result. \
Do not ask for the same again.
- If it cannot be resolved, the answer says why; correct the request or go on without.

When something only a person can know or decide is missing, use taskforge__ask_human and treat `pending` the same way.
Tell what you are doing with taskforge__report_progress, in one line, at larger steps.
When the work is done, call taskforge__submit_result with a summary and the files in /workspace that are the result. \
Work that is not submitted is not delivered. After it was accepted, end your turn.
";

/// How to start it. Resumed turns use the same session and a new prompt.
pub(super) fn launch(turn: &Turn<'_>) -> Launch {
    let prompt = format!("{RUN}/{PROMPT}");
    let session = turn.task.to_string();
    let argv = [
        "openclaw",
        "agent",
        "--local",
        "--agent",
        "main",
        "--session-id",
        &session,
        "--timeout",
        "0",
        "--json",
        "--message-file",
        &prompt,
    ];
    let config = format!("{RUN}/openclaw.json");
    let env = [
        ("OPENCLAW_CONFIG_PATH", config.as_str()),
        ("OPENCLAW_STATE_DIR", STATE),
        ("OPENCLAW_OFFLINE", "1"),
        ("OPENCLAW_NO_AUTO_UPDATE", "1"),
        ("TASKFORGE_TASK_ID", &session),
    ];
    Launch {
        argv: argv.map(str::to_owned).to_vec(),
        env: env.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect::<BTreeMap<_, _>>(),
        files: vec![
            RunFile::new(PROMPT, turn.prompt),
            RunFile::new("openclaw.json", pretty(&configuration(turn))),
            RunFile::new("plugin/index.js", plugin()),
            RunFile::new(
                "plugin/package.json",
                pretty(&json!({"name": "tf-progress", "version": "1.0.0", "type": "module",
                    "openclaw": {"extensions": ["./index.js"]}})),
            ),
            RunFile::new(
                "plugin/openclaw.plugin.json",
                pretty(&json!({"id": "tf-progress", "name": "TaskForge", "activation": {"onStartup": true},
                    "configSchema": {"type": "object", "additionalProperties": false}})),
            ),
        ],
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn configuration(turn: &Turn<'_>) -> Value {
    json!({
        "models": {"mode": "replace", "catalogRefresh": {"enabled": false}, "providers": {"taskforge": {
            "baseUrl": MODEL_URL, "apiKey": NO_KEY, "api": "openai-completions", "timeoutSeconds": MODEL_TIMEOUT_S,
            "models": [{"id": turn.model, "name": turn.model, "reasoning": false, "input": ["text"],
                "contextWindow": turn.context_window, "maxTokens": turn.max_tokens,
                "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}}]}}},
        "agents": {"defaults": {"model": {"primary": format!("taskforge/{}", turn.model)}, "workspace": WORKSPACE,
            "skipBootstrap": true, "contextInjection": "never", "skills": [], "timeoutSeconds": 0}},
        "tools": {"profile": "coding",
            "allow": ["exec", "process", "read", "write", "edit", "apply_patch", "ls", "taskforge__*"],
            "toolSearch": false, "codeMode": false, "fs": {"workspaceOnly": true},
            "loopDetection": {"enabled": true},
            "exec": {"host": "gateway", "mode": "full", "timeoutSeconds": 1800, "backgroundMs": 30_000}},
        "mcp": {"servers": {MCP_SERVER: {"url": MCP_URL, "transport": "streamable-http",
            "connectionTimeoutMs": MCP_CONNECT_MS, "requestTimeoutMs": TOOL_TIMEOUT_MS,
            "headers": {"Authorization": format!("Bearer {NO_KEY}")}}}},
        "plugins": {"enabled": true, "allow": ["tf-progress"], "load": {"paths": [format!("{RUN}/plugin")]},
            "slots": {"memory": "none"}, "entries": {"tf-progress": {"enabled": true,
                "hooks": {"allowConversationAccess": true, "allowPromptInjection": true}}}},
        "logging": {"level": "info", "consoleLevel": "warn", "consoleStyle": "json",
            "file": format!("{STATE}/openclaw.log")},
        "update": {"checkOnStart": false, "auto": {"enabled": false}},
        "telemetry": {"enabled": false},
        "skills": {"allowBundled": []},
    })
}

/// The plugin's program. The instructions are data in it: JSON text is a JavaScript literal.
fn plugin() -> String {
    let instructions = Value::from(INSTRUCTIONS);
    format!(
        "const post = (event) => fetch('{EVENTS_URL}', {{ method: 'POST', \
headers: {{ 'content-type': 'application/json' }},\n  body: JSON.stringify({{ t: Date.now(), ...event }}), \
signal: AbortSignal.timeout(5000) }}).catch(() => {{}});
const cut = (value) => JSON.stringify(value)?.slice(0, 2000);
const instructions = {instructions};
export default {{ id: 'tf-progress', name: 'TaskForge', description: 'Instructions and progress', register(api) {{
  api.on('before_tool_call', (e) => {{ post({{ ev: 'tool_start', tool: e.toolName, id: e.toolCallId, \
params: cut(e.params) }}); }});
  api.on('after_tool_call', (e) => {{ post({{ ev: 'tool_end', tool: e.toolName, id: e.toolCallId, \
ms: e.durationMs, err: cut(e.error) }}); }});
  api.on('model_call_ended', (e) => {{ post({{ ev: 'model_end', ms: e.durationMs, outcome: e.outcome }}); }});
  api.on('before_prompt_build', () => ({{ appendSystemContext: instructions }}));
  api.on('agent_end', (e) => {{ post({{ ev: 'agent_end', ok: e.success, ms: e.durationMs }}); }});
}} }};
"
    )
}

/// What its end means: exit 0, a last stop reason of `stop` and no payload that is an error.
pub(super) fn interpret(exit: &Exit, stdout: &[u8], stderr: &[u8]) -> AgentEnd {
    let failed = |reason: String| AgentEnd::Failed { reason };
    let Some(report) = report(stdout) else {
        let said = last_line(stderr, "it printed no reason");
        return failed(format!("openclaw ended with code {} and without its report: {said}", exit.code));
    };
    let payloads: &[Value] = report.get("payloads").and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let text_of = |p: &Value| p.get("text").and_then(Value::as_str).map(str::to_owned);
    let error = payloads.iter().find(|p| p.get("isError").and_then(Value::as_bool) == Some(true));
    let reported = report.pointer("/error/message").or_else(|| report.pointer("/meta/error/message"));
    let stop = report.pointer("/meta/stopReason").and_then(Value::as_str).unwrap_or("none");
    if exit.code != 0 || error.is_some() || stop != "stop" {
        let why = reported.and_then(Value::as_str).map(str::to_owned).or_else(|| error.and_then(text_of));
        let why = why.unwrap_or_else(|| last_line(stderr, "it printed no reason"));
        let why = last_line(why.as_bytes(), "it gave no reason");
        return failed(format!("openclaw ended with code {}, stop reason {stop}: {why}", exit.code));
    }
    AgentEnd::Done { text: payloads.iter().rev().find_map(text_of) }
}

/// The report at the end of standard output: the last JSON object that begins a line.
fn report(stdout: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(stdout);
    let starts = text.match_indices('{').map(|(at, _)| at).filter(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n');
    starts
        .filter_map(|at| serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>().next()?.ok())
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{ids::TaskId, task::Agent};

    fn exit(code: i64) -> Exit {
        Exit {
            code,
            oom_killed: false,
            limit: None,
            started_at: None,
            finished_at: None,
            error: None,
            image: String::new(),
        }
    }

    fn check(code: i64, stdout: &str, expect: Result<Option<&str>, &str>) {
        match (super::super::interpret(&Agent::Openclaw, &exit(code), stdout.as_bytes(), b""), expect) {
            (AgentEnd::Done { text }, Ok(expect)) => assert_eq!(text.as_deref(), expect),
            (AgentEnd::Failed { reason }, Err(part)) => assert!(reason.contains(part), "{reason}"),
            (other, expect) => panic!("{other:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn only_a_clean_stop_is_success() {
        let ok = r#"{"payloads":[{"text":"a"},{"text":"done"}],"meta":{"stopReason":"stop"}}"#;
        check(0, ok, Ok(Some("done")));
        check(0, &format!("some warning {{}}\n{ok}\n"), Ok(Some("done")));
        check(1, ok, Err("code 1"));
        check(0, r#"{"payloads":[{"text":"x","isError":true}],"meta":{"stopReason":"toolUse"}}"#, Err("toolUse: x"));
        check(0, r#"{"payloads":[{"text":"x","isError":true}],"meta":{"stopReason":"stop"}}"#, Err("stop: x"));
        check(1, r#"{"ok":false,"error":{"type":"cli_error","message":"401"}}"#, Err("401"));
        check(0, "", Err("without its report"));
        check(0, "{\"payloads\":", Err("without its report"));
    }

    #[test]
    fn ends_from_outside_are_told_from_failures() {
        let end = |code| super::super::interpret(&Agent::Openclaw, &exit(code), b"", b"x: not found");
        assert_eq!(end(75), AgentEnd::GatewayAway);
        assert_eq!(end(137), AgentEnd::Interrupted { code: 137 });
        assert!(matches!(end(127), AgentEnd::NotStarted { reason } if reason == "x: not found"));
    }

    #[test]
    fn a_hostile_model_name_stays_data() {
        let task = TaskId::from_uuid(uuid::Uuid::nil());
        let turn = Turn {
            task,
            agent: &Agent::Openclaw,
            model: "a/b\"};x",
            prompt: "do",
            context_window: 1000,
            max_tokens: 100,
        };
        let launch = super::super::launch(&turn);
        let file = |name: &str| launch.files.iter().find(|f| f.path == name).expect(name).bytes.clone();
        let config: Value = serde_json::from_slice(&file("openclaw.json")).expect("JSON");
        assert_eq!(config.pointer("/models/providers/taskforge/models/0/id"), Some(&Value::from("a/b\"};x")));
        let plugin = String::from_utf8(file("plugin/index.js")).expect("text");
        assert!(plugin.contains("END YOUR TURN AT ONCE") && !plugin.contains("\nYou work"), "one line of data");
    }
}
