//! The server itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How one part is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthCheck {
    /// The part: `docker`, `store`, `engine`, `audit`, `disk`, `provider:...`.
    pub name: String,
    /// Whether it works.
    pub ok: bool,
    /// Whether nothing works without it.
    pub required: bool,
    /// What was seen.
    pub detail: String,
    /// What to do, when it does not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How the server is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Whether every required part works.
    pub ok: bool,
    /// The parts.
    pub checks: Vec<HealthCheck>,
}

/// Facts about this installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SystemInfo {
    /// The version of TaskForge.
    pub version: String,
    /// The installation's id: the label of everything it makes.
    pub installation: String,
    /// The server's clock, RFC 3339.
    pub time: String,
    /// Entries in the audit log.
    pub log_entries: u64,
    /// Docker, sandbox posture, limits, providers without keys.
    #[schema(value_type = Object)]
    pub facts: serde_json::Value,
}

/// The models that can be named in a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Models {
    /// `provider/model`.
    pub models: Vec<String>,
    /// Names for ordered lists of models.
    #[serde(default)]
    pub aliases: Vec<super::Alias>,
}
