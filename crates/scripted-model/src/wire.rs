//! The parts of a Chat Completions request that scripts and answers depend on. Unknown fields are ignored, as real
//! providers' SDK users expect of additions.

use serde::Deserialize;
use serde_json::Value;

/// A request to `/v1/chat/completions`.
#[derive(Debug, Deserialize)]
pub(crate) struct ChatRequest {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    #[serde(default)]
    pub(crate) tools: Vec<Tool>,
    #[serde(default)]
    pub(crate) stream: bool,
    #[serde(default)]
    pub(crate) stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StreamOptions {
    #[serde(default)]
    pub(crate) include_usage: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Tool {
    pub(crate) function: ToolFunction,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ToolFunction {
    pub(crate) name: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) role: String,
    #[serde(default)]
    pub(crate) content: Content,
    #[serde(default)]
    pub(crate) tool_calls: Option<Vec<ToolCall>>,
    #[serde(default)]
    pub(crate) tool_call_id: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    pub(crate) function: CalledFunction,
}

#[derive(Debug, Deserialize)]
pub(crate) struct CalledFunction {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) arguments: String,
}

/// Text, parts, or nothing (an assistant message that only calls tools).
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Value>),
    #[default]
    None,
}

impl Content {
    /// The text of all text parts; other parts (images, files) say nothing to a script.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => {
                let texts: Vec<_> = parts.iter().filter_map(|p| p.get("text").and_then(Value::as_str)).collect();
                texts.join("\n")
            }
            Self::None => String::new(),
        }
    }
}
