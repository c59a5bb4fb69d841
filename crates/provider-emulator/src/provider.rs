//! Which provider's API a request is for.

use hyper::HeaderMap;

/// An API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    OpenAi,
    Compatible,
    Anthropic,
    Gemini,
    Ollama,
}

impl Provider {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Compatible => "compatible",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
        }
    }

    /// The provider and the rest of the path.
    pub(crate) fn of<'p>(path: &'p str, headers: &HeaderMap) -> (Self, &'p str) {
        for provider in [Self::OpenAi, Self::Compatible, Self::Anthropic, Self::Gemini, Self::Ollama] {
            let rest = path.strip_prefix('/').and_then(|p| p.strip_prefix(provider.name()));
            if let Some(rest) = rest.filter(|r| r.starts_with('/')) {
                return (provider, rest);
            }
        }
        let provider = match path {
            // Both versions of the API have the same shapes; of the stable one only calls are told by their path.
            p if p.starts_with("/v1beta/") || (p.starts_with("/v1/models/") && p.contains(':')) => Self::Gemini,
            p if p.starts_with("/api/") => Self::Ollama,
            p if p.starts_with("/v1/messages") => Self::Anthropic,
            _ if headers.contains_key("anthropic-version") => Self::Anthropic,
            _ => Self::OpenAi,
        };
        (provider, path)
    }

    /// The key that a request brings, from where this provider looks for it.
    pub(crate) fn key(self, headers: &HeaderMap, query: &str) -> Option<String> {
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let bearer = || header("authorization").and_then(|v| v.strip_prefix("Bearer ").map(str::to_owned));
        let key = match self {
            Self::OpenAi | Self::Compatible | Self::Ollama => bearer(),
            Self::Anthropic => header("x-api-key").or_else(bearer),
            Self::Gemini => header("x-goog-api-key").or_else(|| {
                let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                pairs.into_iter().find(|(name, _)| *name == "key").map(|(_, value)| value.to_owned())
            }),
        };
        key.filter(|k| !k.is_empty())
    }

    /// Whether it answers without a key.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Compatible | Self::Ollama)
    }
}
