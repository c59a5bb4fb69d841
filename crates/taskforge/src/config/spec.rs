//! A provider as it is configured, wherever that is.

use api::wire::ProviderSettings;
use store::Credentials;

/// What a provider speaks, as settings name it.
pub(crate) const KINDS: [&str; 5] = ["openai", "anthropic", "gemini", "ollama", "openai-compatible"];

/// Where a provider is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The environment.
    Environment,
    /// The configuration file.
    File,
    /// The store, over the API.
    Saved,
}

impl Source {
    /// As shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::File => "file",
            Self::Saved => "saved",
        }
    }
}

/// A provider with its credentials. It has no `Debug`, so that they reach no log by accident.
#[derive(Clone)]
pub(crate) struct ProviderSpec {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) base_url: String,
    pub(crate) credentials: Credentials,
    pub(crate) settings: ProviderSettings,
    pub(crate) source: Source,
}

/// An alias: the first of its targets that works answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AliasSpec {
    pub(crate) name: String,
    pub(crate) targets: Vec<String>,
}

/// Where the provider's own service is; none where there is no such thing.
pub(crate) fn default_base_url(kind: &str) -> Option<&'static str> {
    match kind {
        "openai" => Some("https://api.openai.com/v1"),
        "anthropic" => Some("https://api.anthropic.com"),
        "gemini" => Some("https://generativelanguage.googleapis.com"),
        "ollama" => Some("http://127.0.0.1:11434"),
        _ => None,
    }
}
