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

/// Which calls to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListCalls {
    /// The task.
    pub task: String,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
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
