//! Kinds of providers: their native endpoints, and how each wants its key.

use hyper::header::{AUTHORIZATION, HeaderName};
use llm::Format;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of Anthropic's API that is spoken unless the client names another.
pub(crate) const ANTHROPIC_VERSION: &str = "2023-06-01";

/// What kind of service a provider is: which API it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// OpenAI: Chat Completions and Responses.
    Openai,
    /// Anthropic: Messages.
    Anthropic,
    /// Google's Gemini API: `generateContent`.
    Gemini,
    /// Ollama: `/api/chat`.
    Ollama,
    /// Any service that speaks Chat Completions.
    OpenaiCompatible,
}

/// What a call asks of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// An answer of a model.
    Generate,
    /// The size of a request in tokens.
    CountTokens,
    /// Embeddings of texts.
    Embed,
    /// The embedding of one text, where that is a call of its own.
    EmbedOne,
}

impl ProviderKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Openai, Self::Anthropic, Self::Gemini, Self::Ollama, Self::OpenaiCompatible];

    /// The text form, as in configuration files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
            Self::OpenaiCompatible => "openai-compatible",
        }
    }

    /// The kind of a text form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == text)
    }

    /// Where the provider's own service is; none where there is no such thing.
    pub const fn default_base_url(self) -> Option<&'static str> {
        match self {
            Self::Openai => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com"),
            Self::Gemini => Some("https://generativelanguage.googleapis.com"),
            Self::Ollama => Some("http://127.0.0.1:11434"),
            Self::OpenaiCompatible => None,
        }
    }

    /// The format in which a request that came as `ingress` goes to such a provider. Equal formats pass bytes through.
    pub(crate) const fn format_for(self, ingress: Format) -> Format {
        match (self, ingress) {
            (Self::Openai, Format::Responses) => Format::Responses,
            (Self::Openai | Self::OpenaiCompatible, _) => Format::Chat,
            (Self::Anthropic, _) => Format::Messages,
            (Self::Gemini, _) => Format::Gemini,
            (Self::Ollama, _) => Format::Ollama,
        }
    }

    /// Endings of a base URL that people write and that belong to the paths.
    pub(super) const fn surplus(self) -> &'static [&'static str] {
        match self {
            Self::Openai | Self::OpenaiCompatible => &[],
            Self::Anthropic => &["/v1"],
            Self::Gemini => &["/v1beta", "/v1"],
            Self::Ollama => &["/v1", "/api"],
        }
    }

    /// The path of an operation below the base URL; none where the provider has no such operation.
    pub(super) fn path(self, operation: Operation, format: Format, model: &str, stream: bool) -> Option<String> {
        let fixed = match (self, operation) {
            (Self::Openai | Self::OpenaiCompatible, Operation::Generate) if matches!(format, Format::Responses) => {
                "/responses"
            }
            (Self::Openai | Self::OpenaiCompatible, Operation::Generate) => "/chat/completions",
            (Self::Openai | Self::OpenaiCompatible, Operation::Embed | Operation::EmbedOne) => "/embeddings",
            (Self::Openai | Self::OpenaiCompatible | Self::Ollama, Operation::CountTokens)
            | (Self::Anthropic, Operation::Embed | Operation::EmbedOne) => return None,
            (Self::Anthropic, Operation::Generate) => "/v1/messages",
            (Self::Anthropic, Operation::CountTokens) => "/v1/messages/count_tokens",
            (Self::Ollama, Operation::Generate) => "/api/chat",
            (Self::Ollama, Operation::Embed | Operation::EmbedOne) => "/api/embed",
            (Self::Gemini, _) => {
                let action = match (operation, stream) {
                    (Operation::Generate, true) => "streamGenerateContent?alt=sse",
                    (Operation::Generate, false) => "generateContent",
                    (Operation::CountTokens, _) => "countTokens",
                    (Operation::Embed, _) => "batchEmbedContents",
                    (Operation::EmbedOne, _) => "embedContent",
                };
                return Some(format!("/v1beta/models/{}:{action}", path_segment(model)));
            }
        };
        Some(fixed.to_owned())
    }

    /// Whether such a provider lists every name that it answers to. The others also take names that they do not list:
    /// aliases such as `…-latest`, dated snapshots, variants.
    pub(super) const fn lists_all(self) -> bool {
        matches!(self, Self::Ollama)
    }

    /// Whether such a provider counts the tokens of a request.
    pub(crate) const fn counts_tokens(self) -> bool {
        matches!(self, Self::Anthropic | Self::Gemini)
    }

    /// Where the models are listed.
    pub(super) const fn list_path(self) -> &'static str {
        match self {
            Self::Openai | Self::OpenaiCompatible => "/models",
            Self::Anthropic => "/v1/models?limit=1000",
            Self::Gemini => "/v1beta/models?pageSize=1000",
            Self::Ollama => "/api/tags",
        }
    }

    /// The header that carries the key, and what stands before it.
    pub(super) const fn credential(self) -> (HeaderName, &'static str) {
        match self {
            Self::Openai | Self::OpenaiCompatible | Self::Ollama => (AUTHORIZATION, "Bearer "),
            Self::Anthropic => (HeaderName::from_static("x-api-key"), ""),
            Self::Gemini => (HeaderName::from_static("x-goog-api-key"), ""),
        }
    }

    /// The kind that the beginning of a bare model name suggests.
    pub(super) fn by_prefix(model: &str) -> Self {
        const OPENAI: [&str; 5] = ["gpt-", "chatgpt-", "o1", "o3", "o4"];
        if model.starts_with("gemini") {
            Self::Gemini
        } else if model.starts_with("claude") {
            Self::Anthropic
        } else if OPENAI.iter().any(|p| model.starts_with(p)) {
            Self::Openai
        } else {
            Self::Ollama
        }
    }

    /// The environment variables that a hint names.
    pub(super) const fn settings(self) -> &'static str {
        match self {
            Self::Openai => "OPENAI_API_KEY",
            Self::Anthropic => "ANTHROPIC_API_KEY",
            Self::Gemini => "GEMINI_API_KEY",
            Self::Ollama => "OLLAMA_URL",
            Self::OpenaiCompatible => "its key and URL",
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A model's name as part of a path: what would change the path is escaped.
fn path_segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'@' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_cannot_leave_its_path() {
        let path = ProviderKind::Gemini.path(Operation::Generate, Format::Gemini, "../x?y#z/é", true);
        assert_eq!(path.as_deref(), Some("/v1beta/models/..%2Fx%3Fy%23z%2F%C3%A9:streamGenerateContent?alt=sse"));
    }

    #[test]
    fn text_forms_come_back() {
        for kind in ProviderKind::ALL {
            assert_eq!(ProviderKind::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
