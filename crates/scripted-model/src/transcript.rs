//! What has happened so far, as a flat list: people's words, the model's words, and tool calls with their results.

use crate::wire::ChatRequest;
use serde_json::Value;
use std::collections::BTreeSet;

/// How words begin that the agent program writes as the user: state of its commands, and prompts for a retry after a
/// cut answer. No person wrote them and they say nothing new.
const NOT_A_PERSON: &[&str] =
    &["<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>", "Continue the current task from the existing transcript"];
/// What OpenClaw puts in place of a result that a killed process never delivered.
const MISSING_RESULT: &[&str] = &["missing tool result", "No result provided"];

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// Words to the model.
    User(String),
    /// Words of the model.
    Said(String),
    /// A tool call of the model.
    Call {
        /// The tool's name.
        name: String,
        /// Its arguments.
        arguments: Value,
        /// Its result; none if it never arrived.
        result: Option<String>,
    },
}

/// The transcript and the tools of one request.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    /// In order.
    pub entries: Vec<Entry>,
    /// Names of the tools that the request offers.
    pub tools: BTreeSet<String>,
}

impl Transcript {
    pub(crate) fn of(request: &ChatRequest) -> Self {
        let mut entries = Vec::new();
        let mut ids: Vec<(String, usize)> = Vec::new();
        for message in &request.messages {
            let text = message.content.text();
            match message.role.as_str() {
                "user" if !is_agents_own(&text) => entries.push(Entry::User(without_time(&text).to_owned())),
                "assistant" => {
                    if !text.trim().is_empty() {
                        entries.push(Entry::Said(text));
                    }
                    for call in message.tool_calls.iter().flatten() {
                        ids.push((call.id.clone(), entries.len()));
                        let arguments = serde_json::from_str(&call.function.arguments).unwrap_or(Value::Null);
                        entries.push(Entry::Call { name: call.function.name.clone(), arguments, result: None });
                    }
                }
                "tool" => {
                    // The newest call of that id: an agent may use an id again in a later turn.
                    let found = ids.iter().rev().find(|(id, _)| Some(id) == message.tool_call_id.as_ref());
                    if let Some(Entry::Call { result, .. }) = found.and_then(|(_, at)| entries.get_mut(*at)) {
                        *result = Some(text).filter(|t| !is_missing(t));
                    }
                }
                // System and developer messages are the agent's own instructions.
                _ => {}
            }
        }
        Self { entries, tools: request.tools.iter().map(|t| t.function.name.clone()).collect() }
    }

    /// All words to the model, oldest first.
    pub fn user_texts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.entries.iter().filter_map(|e| match e {
            Entry::User(text) => Some(text.as_str()),
            Entry::Said(_) | Entry::Call { .. } => None,
        })
    }
}

fn is_agents_own(text: &str) -> bool {
    NOT_A_PERSON.iter().any(|p| text.trim_start().starts_with(p))
}

/// OpenClaw puts the time before a person's words: `[Mon 2026-11-23 21:31 UTC] `.
fn without_time(text: &str) -> &str {
    let after = text.strip_prefix('[').and_then(|rest| rest.split_once(" UTC] "));
    after.filter(|(time, _)| time.len() < 32 && !time.contains('\n')).map_or(text, |(_, words)| words)
}

fn is_missing(result: &str) -> bool {
    result.len() < 400 && MISSING_RESULT.iter().any(|m| result.contains(m))
}
