//! What works in the sandboxes: OpenClaw, or a small real program of ours.

use api::wire::{AgentName, NewFile, NewTask, TaskLimits};
use base64::{Engine, engine::general_purpose::STANDARD};

/// The program: a model client and an MCP client with one function per behaviour.
const PROGRAM: &str = include_str!("../agents/agent.py");

/// A task for OpenClaw with the scripted model `model`.
pub fn openclaw(model: &str, description: &str) -> NewTask {
    NewTask {
        name: format!("test {model}"),
        description: description.to_owned(),
        llm_model: format!("openai/{model}"),
        agent: None,
        command: None,
        limits: None,
        max_iterations: None,
        budget: None,
        files: Vec::new(),
    }
}

/// A task for our program: `behaviour` is a function of agents/agent.py, with its arguments.
pub fn program(behaviour: &[&str]) -> NewTask {
    let command = ["python3", "agent.py"].iter().chain(behaviour).map(|&a| a.to_owned()).collect();
    NewTask {
        name: behaviour.join(" "),
        agent: Some(AgentName::Command),
        command: Some(command),
        files: vec![file("agent.py", PROGRAM.as_bytes())],
        ..openclaw("echo", "Do what the program does.")
    }
}

/// The same with other limits.
#[must_use]
pub fn limited(task: NewTask, change: impl FnOnce(&mut TaskLimits)) -> NewTask {
    let mut limits = task.limits.unwrap_or_default();
    change(&mut limits);
    NewTask { limits: Some(limits), ..task }
}

/// A file for the workspace.
pub fn file(path: &str, bytes: &[u8]) -> NewFile {
    NewFile { path: path.to_owned(), content_base64: STANDARD.encode(bytes) }
}
