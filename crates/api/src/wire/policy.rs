//! Policies.

use super::Budget;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A version of a task's policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// The task.
    pub task: String,
    /// From 1.
    pub version: u32,
    /// Whether it is the one in force.
    pub in_force: bool,
    /// Models (`provider/model`) that the sandbox may call.
    pub models: Vec<String>,
    /// Ecosystems that may be asked for.
    pub ecosystems: Vec<String>,
    /// How many requests may be open at once.
    pub max_open_requests: u32,
    /// How much the task may use of models; none: not limited.
    pub budget: Option<Budget>,
}

impl Policy {
    pub(crate) fn new(task: &domain::task::Task, p: domain::policy::Policy) -> Self {
        Self {
            task: task.id.to_string(),
            version: p.version,
            in_force: p.version == task.policy_version,
            models: p.models,
            ecosystems: p.ecosystems.iter().map(|e| e.as_str().to_owned()).collect(),
            max_open_requests: p.max_open_requests,
            budget: p.budget.map(Into::into),
        }
    }
}
