//! Errors of this crate, by what the caller can do about them.

use std::path::{Path, PathBuf};

/// Why the log could not be read, written or trusted.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file operation failed: look at the disk and the permissions.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A value has no RFC 8785 form (for example a number that is not finite).
    #[error("cannot write the value as canonical JSON")]
    Canonical(#[source] serde_json::Error),
    /// A leaf is larger than an entry bundle can hold: put the content into a body.
    #[error("leaf {index} has {size} bytes, more than the {max} that an entry may have")]
    LeafTooLarge {
        /// The index that it would have had.
        index: u64,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The system gave no random bytes.
    #[error("no random bytes for a key: {0}")]
    Random(String),
    /// A key file or verifier key is not usable.
    #[error("the key is not usable: {0}")]
    Key(String),
    /// An origin cannot stand in a checkpoint.
    #[error("the origin {0:?} must be a non-empty text without spaces, plus signs and control characters")]
    Origin(String),
    /// A signed note is malformed or its signature does not hold.
    #[error("the checkpoint is not valid: {0}")]
    Note(String),
    /// Files contradict what was signed; this is not what a crash leaves behind.
    #[error("{} contradicts the signed log: {why}", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// What is wrong and what can be done.
        why: String,
    },
    /// Leaves supplied again differ from those that were signed: nothing is signed on top of them.
    #[error("the leaves supplied up to {size} differ from those in the checkpoint signed at that size")]
    Forked {
        /// The size at which the roots differ.
        size: u64,
    },
    /// The log lost files and must get its leaves again before it can sign.
    #[error("the log holds {size} entries but {signed} were signed: supply the leaves from {size} on")]
    Behind {
        /// Entries in the log.
        size: u64,
        /// Entries covered by the newest signature.
        signed: u64,
    },
    /// A proof was asked for indices outside the tree.
    #[error("{index} is not inside a log of {size} entries")]
    OutOfRange {
        /// The index or smaller size.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// A proof does not lead to the root.
    #[error("the proof does not hold: {0}")]
    Proof(&'static str),
    /// The log is smaller than, or differs from, what was verified before.
    #[error("refused: {0}")]
    Rollback(String),
}

impl AuditError {
    /// Names the action and file of an io error.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
