//! Providers of models. Credentials go in and never come out.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Limits of a provider; what is not set has the gateway's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderSettings {
    /// Calls that may be under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_concurrency: Option<u32>,
    /// Calls that may wait for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// How long connecting may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout_ms: Option<u64>,
    /// How long it may take to answer with its first byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_timeout_ms: Option<u64>,
    /// How long it may be silent within an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
    /// Whether it may be at a link-local or metadata address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_link_local: bool,
}

/// A provider, without its credentials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Provider {
    /// Its name: the part of a model's name before the slash.
    pub name: String,
    /// `openai`, `anthropic`, `gemini`, `ollama` or `openai-compatible`.
    pub kind: String,
    /// Where it is.
    pub base_url: String,
    /// `environment`, `file` or `saved`; only saved ones can be changed here.
    pub source: String,
    /// Tells one key from another; none: it has no key.
    #[schema(example = "sha256:0123456789ab")]
    pub fingerprint: Option<String>,
    /// Names of further headers.
    pub headers: Vec<String>,
    /// Its limits.
    #[serde(flatten)]
    pub settings: ProviderSettings,
    /// The token that saved it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_by: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// Why it is not in use, though configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A provider to be saved.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveProvider {
    /// Its name: letters, digits, `-`, `_`, `.`. Where the path has it, it need not stand here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "lab", max_length = 64)]
    pub name: Option<String>,
    /// `openai`, `anthropic`, `gemini`, `ollama` or `openai-compatible`.
    #[schema(example = "anthropic")]
    pub kind: String,
    /// Where it is; without it the provider's own service, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The key. Without it the saved one stays, as long as kind and address do; empty: none. It cannot be read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub api_key: Option<String>,
    /// Further headers; values are as secret as the key. Without it the saved ones stay, as the key does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only)]
    pub headers: Option<BTreeMap<String, String>>,
    /// Calls that may be under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_concurrency: Option<u32>,
    /// Calls that may wait for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// How long connecting may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout_ms: Option<u64>,
    /// How long it may take to answer with its first byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_timeout_ms: Option<u64>,
    /// How long it may be silent within an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
    /// Whether it may be at a link-local or metadata address.
    #[serde(default)]
    pub allow_link_local: bool,
}

impl SaveProvider {
    /// The limits.
    pub fn settings(&self) -> ProviderSettings {
        ProviderSettings {
            max_concurrency: self.max_concurrency,
            queue: self.queue,
            connect_timeout_ms: self.connect_timeout_ms,
            first_byte_timeout_ms: self.first_byte_timeout_ms,
            idle_timeout_ms: self.idle_timeout_ms,
            allow_link_local: self.allow_link_local,
        }
    }
}

/// What a provider answered when it was asked for its models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProviderTest {
    /// The provider.
    pub name: String,
    /// Whether it answered, and took the key.
    pub ok: bool,
    /// How many models it lists; none: it has no list.
    pub models: Option<usize>,
    /// How long it took.
    pub latency_ms: u64,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// An alias: a name for an ordered list of models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alias {
    /// The name that clients use.
    pub name: String,
    /// `provider/model`, the first that works answers.
    pub targets: Vec<String>,
}

/// The configuration after it was read again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// The file that was read; none: the environment alone.
    pub file: Option<String>,
    /// Names of the providers in use.
    pub providers: Vec<String>,
    /// The aliases.
    pub aliases: Vec<Alias>,
}
