//! Images.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An image that this installation built or found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// The Engine's image ID.
    pub id: String,
    /// `base` or `task`.
    pub kind: String,
    /// What it was made from, as one hash.
    pub key: String,
    /// The base image's ID.
    pub base: Option<String>,
    /// The image that the task had before.
    pub parent: Option<String>,
    /// The request that caused it first.
    pub request: Option<String>,
    /// Digest of the approved candidate.
    pub digest: Option<String>,
    /// Bytes.
    pub size: u64,
    /// RFC 3339.
    pub created_at: String,
    /// When a task last took it, RFC 3339.
    pub used_at: String,
}

impl From<store::ImageRow> for Image {
    fn from(i: store::ImageRow) -> Self {
        Self {
            id: i.id,
            kind: i.kind,
            key: i.key,
            base: i.base,
            parent: i.parent,
            request: i.request.map(|r| r.to_string()),
            digest: i.digest,
            size: i.size,
            created_at: i.created_at,
            used_at: i.used_at,
        }
    }
}

/// An image with the Dockerfile that was really built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImageDetail {
    /// The image.
    #[serde(flatten)]
    pub image: Image,
    /// The Dockerfile that was really built.
    pub dockerfile: String,
}

/// The base image, or how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Bootstrap {
    /// `ready`, `running` or `failed`.
    pub state: String,
    /// The base image's ID, when ready.
    pub image: Option<String>,
    /// What is being done, or what went wrong.
    pub detail: String,
}

/// What a prune removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    /// IDs of the removed images.
    pub removed: Vec<String>,
    /// Bytes that the Engine reports as freed.
    pub freed_bytes: u64,
}
