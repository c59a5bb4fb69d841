//! Messages and their parts.

use super::{Json, Seal};
use crate::Format;
use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The operator; stands where the source put it, so a renderer for a format with one system text hoists it.
    System,
    /// The operator, as OpenAI's reasoning models call it.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// Results of tools. Holds [`Content::ToolResult`] and nothing else, and no other role holds one.
    Tool,
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// A name of the speaker.
    pub name: Option<String>,
    /// What is said. Of the assistant: reasoning, text and tool calls in the order in which they were emitted.
    pub parts: Vec<Part>,
}

impl Message {
    /// A message without a name.
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Self { role, name: None, parts }
    }
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What it holds.
    pub content: Content,
    /// The prompt up to and with this part is to be cached.
    pub cache: Option<CacheMark>,
}

impl Part {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Content::Text { text: text.into(), annotations: Vec::new() }.into()
    }
}

impl From<Content> for Part {
    fn from(content: Content) -> Self {
        Self { content, cache: None }
    }
}

/// A marker after which a provider caches the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMark {
    /// How long, in the vendor's words (`5m`, `1h`).
    pub ttl: Option<String>,
}

/// What a part holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text {
        /// The text.
        text: String,
        /// Citations and annotations, readable by their own format alone.
        annotations: Vec<Opaque>,
    },
    /// An image.
    Image {
        /// Where it is.
        source: Source,
        /// `low`, `high` or `auto`.
        detail: Option<String>,
    },
    /// A document.
    File {
        /// Where it is.
        source: Source,
        /// Its name or title.
        name: Option<String>,
    },
    /// Sound.
    Audio {
        /// Where it is.
        source: Source,
    },
    /// The model's reasoning.
    Reasoning(Reasoning),
    /// The model declined, in these words.
    Refusal(String),
    /// The model calls a tool.
    ToolCall(ToolCallPart),
    /// A tool answered.
    ToolResult(ToolResultPart),
    /// A part that only its own format knows, such as the trace of a tool that runs at the provider.
    Opaque(Opaque),
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// To be fetched by the provider.
    Url {
        /// The address; never a `data:` one.
        url: String,
        /// Its type, where the source told it.
        media_type: Option<String>,
    },
    /// In the request.
    Base64 {
        /// Its type, such as `image/png`.
        media_type: String,
        /// Standard base64.
        data: String,
    },
    /// Plain text in the request.
    Text(String),
    /// Kept at a provider; means nothing to another.
    Id {
        /// The format whose provider keeps it.
        origin: Format,
        /// Its id.
        id: String,
    },
}

/// Reasoning of the model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasoning {
    /// What may be read of it, in one or several parts; none if it is redacted.
    pub texts: Vec<String>,
    /// The provider's id for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The provider's signature, redacted or encrypted form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// The seal is all there is (Anthropic's `redacted_thinking`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCallPart {
    /// Its id, unique in the conversation; made up by the parser where the format has none.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as text: JSON if the model did well, and free text if `custom`.
    pub arguments: String,
    /// The tool takes free text (OpenAI's custom tools).
    pub custom: bool,
    /// The provider's signature on the call (Gemini).
    pub seal: Option<Seal>,
}

/// The result of a tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResultPart {
    /// The call.
    pub call_id: String,
    /// The tool, where the source names it; a renderer that needs it asks [`super::Request::tool_of`].
    pub name: Option<String>,
    /// Text, images and files.
    pub parts: Vec<Part>,
    /// The tool failed.
    pub is_error: bool,
    /// The result of a custom tool.
    pub custom: bool,
}

/// Something that only its own format knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opaque {
    /// The format.
    pub format: Format,
    /// What it calls it.
    pub kind: String,
    /// The whole value.
    pub value: Json,
}
