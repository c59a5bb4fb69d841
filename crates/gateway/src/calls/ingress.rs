//! What clients can ask for, and in which format.

use crate::providers::Operation;
use llm::Format;

/// One kind of request of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ingress {
    /// `POST /v1/chat/completions`
    Chat,
    /// `POST /v1/responses`
    Responses,
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1beta/models/MODEL:generateContent` and `:streamGenerateContent`
    Gemini,
}

impl Ingress {
    /// The request that a path means.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/chat/completions" => Self::Chat,
            "/v1/responses" => Self::Responses,
            "/v1/messages" => Self::Messages,
            "/v1/messages/count_tokens" => Self::CountTokens,
            "/v1/embeddings" => Self::Embeddings,
            gemini => {
                let (_, method) = gemini.strip_prefix("/v1beta/models/")?.rsplit_once(':')?;
                return matches!(method, "generateContent" | "streamGenerateContent").then_some(Self::Gemini);
            }
        })
    }

    /// The format of the request, its answer and its errors.
    pub(crate) const fn format(self) -> Format {
        match self {
            Self::Chat | Self::Embeddings => Format::Chat,
            Self::Responses => Format::Responses,
            Self::Messages | Self::CountTokens => Format::Messages,
            Self::Gemini => Format::Gemini,
        }
    }

    /// The name in records.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Embeddings => "embeddings",
            Self::Gemini => "gemini",
        }
    }

    /// What is asked of the provider.
    pub(crate) const fn operation(self) -> Operation {
        match self {
            Self::Chat | Self::Responses | Self::Messages | Self::Gemini => Operation::Generate,
            Self::CountTokens => Operation::CountTokens,
            Self::Embeddings => Operation::Embed,
        }
    }
}
