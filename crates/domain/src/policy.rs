//! What a task may do. Immutable per version; a change makes a new version.

use crate::budget::Budget;
use serde::{Deserialize, Serialize};

/// A version of a task's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// From 1.
    pub version: u32,
    /// Models (`provider/model`) that the sandbox may call.
    pub models: Vec<String>,
    /// Ecosystems that may be asked for.
    pub ecosystems: Vec<crate::request::Ecosystem>,
    /// How many requests may be open at once.
    pub max_open_requests: u32,
    /// How much the task may use of models; none: not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

impl Policy {
    /// The first version of a task: its own model, all package ecosystems to ask for, nothing granted.
    pub fn initial(model: &str) -> Self {
        use crate::request::Ecosystem;
        Self {
            version: 1,
            models: vec![model.to_owned()],
            ecosystems: vec![Ecosystem::Pip, Ecosystem::Apt, Ecosystem::Npm],
            max_open_requests: crate::request::MAX_OPEN_REQUESTS,
            budget: None,
        }
    }

    /// Whether the sandbox may call `model` (`provider/model`).
    pub fn allows_model(&self, model: &str) -> bool {
        self.models.iter().any(|m| m == model)
    }
}
