//! `/mcp`: the tools by which an agent asks, reports and delivers. MCP over streamable HTTP, without sessions.
//!
//! A tool call runs as a job of its own, so that its record is ended also when the client stops waiting:
//!
//! ```text
//! [one transaction: what is known of the task → begun, with its provenance → effect] → bounded wait → [ended]
//! ```
//! Provenance is judged by the record of the model traffic, never by what the caller says. No tool decides anything.

mod ask;
mod call;
mod catalogue;
mod deliver;
mod wire;

use crate::{
    body,
    reply::{self, Reply},
    sandbox::Sandbox,
};
use hyper::{Request, StatusCode, body::Incoming};
use serde_json::{Value, json};
use std::sync::Arc;
use wire::{Message, RpcError};

/// The largest message.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Protocol versions that are spoken, newest first.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const VERSION_HEADER: &str = "mcp-protocol-version";
const INSTRUCTIONS: &str = "Tools of TaskForge, the system that runs you: ask for packages, ask a person, report \
     progress, submit your result. There is no other way out of this sandbox.";

/// Our tools as a model knows them when its client prefixes the server's name, as OpenClaw does.
pub(crate) fn prefixed_names() -> [&'static str; 4] {
    catalogue::Tool::ALL.map(catalogue::Tool::prefixed_name)
}

/// Answers one message.
pub(crate) async fn post(sandbox: &Arc<Sandbox>, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    let version = parts.headers.get(VERSION_HEADER).map(|v| v.to_str().unwrap_or_default());
    if version.is_some_and(|v| !VERSIONS.contains(&v)) {
        let error =
            RpcError::invalid_request(format!("unsupported {VERSION_HEADER}; supported: {}", VERSIONS.join(", ")));
        return reply::json(StatusCode::BAD_REQUEST, &wire::failure(&Value::Null, &error));
    }
    let (bytes, _held) = match body::read(&sandbox.memory, &parts.headers, body, MAX_MESSAGE_BYTES).await {
        Ok(read) => read,
        Err(refusal) => return refusal.reply(),
    };
    match wire::parse(&bytes) {
        Ok(Message::Request { id, method, params }) => {
            let answer = match handle(sandbox, &method, params).await {
                Ok(result) => wire::success(&id, &result),
                Err(error) => wire::failure(&id, &error),
            };
            reply::json(StatusCode::OK, &answer)
        }
        // A cancelled call ends by itself within its bound, so there is nothing to do on a notification.
        Ok(Message::Notification | Message::Response) => reply::empty(StatusCode::ACCEPTED),
        Err(error) => reply::json(StatusCode::BAD_REQUEST, &wire::failure(&Value::Null, &error)),
    }
}

async fn handle(sandbox: &Arc<Sandbox>, method: &str, params: Value) -> Result<Value, RpcError> {
    match method {
        "initialize" => Ok(initialize(&params)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": catalogue::list() })),
        "tools/call" => {
            let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
            let tool = catalogue::Tool::parse(name).ok_or_else(|| {
                let names = catalogue::Tool::ALL.map(catalogue::Tool::name).join(", ");
                RpcError::invalid_params(format!("there is no tool {:?}; the tools are: {names}", head(name)))
            })?;
            let arguments = params.get("arguments").filter(|a| !a.is_null()).cloned().unwrap_or_else(|| json!({}));
            let text = call::run(sandbox, tool, arguments).await?;
            Ok(json!({ "content": [{ "type": "text", "text": text }], "isError": false }))
        }
        _ => Err(RpcError::method_not_found(&head(method))),
    }
}

fn initialize(params: &Value) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str);
    let version = asked.filter(|v| VERSIONS.contains(v)).unwrap_or(VERSIONS[0]);
    json!({
        "protocolVersion": version,
        "capabilities": { "tools": { "listChanged": false } },
        "serverInfo": { "name": "taskforge", "title": "TaskForge", "version": env!("CARGO_PKG_VERSION") },
        "instructions": INSTRUCTIONS,
    })
}

/// The head of a text that comes from the sandbox, made visible.
fn head(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    domain::text::visible_line(&text.chars().take(MAX_CHARS).collect::<String>())
}
