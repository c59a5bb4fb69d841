//! The audit log.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VerifyReport {
    /// Whether everything that was checked is sound.
    pub ok: bool,
    /// Entries that were checked.
    pub entries: u64,
    /// The root hash that was established, base64.
    pub root: Option<String>,
    /// The newest signed checkpoint, as text.
    pub checkpoint: Option<String>,
    /// What is wrong, one finding each: the entry, or the smallest range between two signed checkpoints.
    pub findings: Vec<String>,
}

/// A signed checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Checkpoint {
    /// The checkpoint as a C2SP signed note.
    pub checkpoint: String,
}

/// A file of the log, to be downloaded for offline verification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogFile {
    /// Path below the log folder.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// The files of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogFiles {
    /// The installation: what a client remembers its last verified checkpoint by.
    pub installation: String,
    /// The log's public key, to be trusted on first use.
    pub key: String,
    /// The files, by path.
    pub files: Vec<LogFile>,
}
