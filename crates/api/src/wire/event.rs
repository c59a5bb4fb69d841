//! Events: leaves of the audit log as people and programs read them.

use domain::event::Leaf;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// An event. Its index is its place in the audit log and the cursor of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Place in the log, from 0.
    pub index: u64,
    /// RFC 3339, UTC, by the server's clock.
    pub time: String,
    /// What it is about, as a dotted name.
    #[schema(example = "llm.call")]
    pub kind: String,
    /// `point`, `begun` or `ended`.
    #[schema(value_type = String)]
    pub phase: serde_json::Value,
    /// Who caused it: `system`, `token` (with its name) or `sandbox` (nothing it says is trusted).
    #[schema(value_type = Object)]
    pub actor: serde_json::Value,
    /// The act: begun and ended share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// How the act ended: `done`, `not_done`, `failed`, `refused` or `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub outcome: Option<serde_json::Value>,
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The iteration, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iteration: Option<u32>,
    /// Metadata.
    #[schema(value_type = Object)]
    pub data: serde_json::Value,
    /// Contents by name, bounded: `truncated` says when there is more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bodies: BTreeMap<String, Body>,
}

/// The content that an event refers to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Body {
    /// Its salted commitment in the log.
    pub commitment: String,
    /// Its whole size in bytes.
    pub size: u64,
    /// Its beginning as text; none if it was erased or is not text.
    pub text: Option<String>,
    /// Whether there is more than `text`: fetch it whole at `/api/audit/entries/{index}/bodies/{name}`.
    pub truncated: bool,
    /// Whether it was erased.
    #[serde(default)]
    pub erased: bool,
}

impl From<Leaf> for Event {
    fn from(leaf: Leaf) -> Self {
        let e = leaf.event;
        Self {
            index: leaf.index,
            time: leaf.time,
            kind: e.kind.as_str().to_owned(),
            phase: serde_json::json!(e.phase),
            actor: serde_json::json!(e.actor),
            op: e.op.map(|o| o.to_string()),
            outcome: e.outcome.map(|o| serde_json::json!(o)),
            task: e.task.map(|t| t.to_string()),
            run: e.run.map(|r| r.to_string()),
            iteration: e.iteration,
            data: e.data,
            bodies: e
                .bodies
                .into_iter()
                .map(|(name, b)| {
                    let size = b.size;
                    (name, Body { commitment: b.commitment, size, text: None, truncated: size > 0, erased: false })
                })
                .collect(),
        }
    }
}
