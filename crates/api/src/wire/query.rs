//! Parameters of listings.

use serde::Deserialize;
use utoipa::IntoParams;

/// Which tasks to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListTasks {
    /// Only those in this state.
    pub status: Option<String>,
    /// Only those whose name or description contains this.
    pub text: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// How many, 1 to 200.
    pub limit: Option<u32>,
}

/// Which requests to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListRequests {
    /// Only this task's.
    pub task: Option<String>,
    /// Only those in this state, such as `pending`.
    pub status: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// How many, 1 to 200.
    pub limit: Option<u32>,
}

/// Whose policies to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListPolicies {
    /// Every version of this task's policy; without it, the policy in force of each of the newest tasks.
    pub task: Option<String>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// How many tasks, 1 to 200.
    pub limit: Option<u32>,
}

/// Which calls.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListCalls {
    /// Only this task's; a task, a key and a token exclude each other.
    pub task: Option<String>,
    /// Only this key's, by name or id.
    pub key: Option<String>,
    /// Only those of this API token, by its name.
    pub token: Option<String>,
    /// Only those of this model, as asked for or as the provider names it.
    pub model: Option<String>,
    /// Only those that went to this provider.
    pub provider: Option<String>,
    /// Only those in this state: `begun`, `ended`, `failed`, `timed_out`, `cut`, `refused` or `unknown`.
    pub status: Option<String>,
    /// Only those that began at this time or later, RFC 3339.
    pub since: Option<String>,
    /// Only those that began before this time, RFC 3339.
    pub until: Option<String>,
    /// Only those whose model, provider, error or finish reason contains this. Bodies are encrypted and not searched.
    pub text: Option<String>,
    /// The newest first.
    pub newest: Option<bool>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// How many, 1 to 200.
    pub limit: Option<u32>,
}

/// Which events to read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ReadEvents {
    /// Only events after this index: `next_cursor` of the page before.
    pub cursor: Option<u64>,
    /// How many, 1 to 200.
    pub limit: Option<u32>,
    /// The newest events instead of the oldest.
    pub tail: Option<bool>,
}

/// Which entries to read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ReadEntries {
    /// Only this task's.
    pub task: Option<String>,
    /// Only entries after this index.
    pub cursor: Option<u64>,
    /// How many, 1 to 200.
    pub limit: Option<u32>,
    /// The newest entries instead of the oldest.
    pub tail: Option<bool>,
}
