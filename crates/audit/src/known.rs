//! What was verified before: one small file per log, kept by whoever verifies, outside of the log.
//!
//! Trust on first use: the first verified checkpoint and key of a log are remembered; from then on a smaller log, a
//! fork or another key is refused.

use crate::{AuditError, Checkpoint, VerifierKey, writer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A remembered checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The key that was trusted.
    pub key: VerifierKey,
    /// The newest checkpoint that was verified.
    pub checkpoint: Checkpoint,
    /// When that was.
    pub verified_at: jiff::Timestamp,
}

/// A folder of remembered checkpoints.
#[derive(Debug, Clone)]
pub struct KnownFolder(PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    origin: String,
    key: String,
    checkpoint: String,
    verified_at: String,
}

impl KnownFolder {
    /// The folder; made when something is remembered.
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_path_buf())
    }

    /// What is remembered of a log. A file that cannot be read is an error, never "nothing known".
    pub fn load(&self, origin: &str) -> Result<Option<Known>, AuditError> {
        let path = self.0.join(file_name(origin));
        let Some(bytes) = writer::read_optional(&path)? else { return Ok(None) };
        let damaged = |why: String| AuditError::Altered { path: path.clone(), why };
        let file: File = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        let key: VerifierKey = file.key.parse().map_err(|e: AuditError| damaged(e.to_string()))?;
        let checkpoint = Checkpoint::open(&file.checkpoint, &key).map_err(|e| damaged(e.to_string()))?;
        let verified_at = file.verified_at.parse().map_err(|_| damaged("its time is malformed".to_owned()))?;
        if checkpoint.origin() != origin {
            return Err(damaged(format!("it is about {:?}", checkpoint.origin())));
        }
        Ok(Some(Known { key, checkpoint, verified_at }))
    }

    /// Remembers a verified checkpoint. Call it only after [`crate::verify()`] against what is remembered succeeded; a
    /// smaller one, another root at the same size and another key are refused here as well.
    pub fn remember(&self, key: &VerifierKey, checkpoint: &Checkpoint, now: jiff::Timestamp) -> Result<(), AuditError> {
        let refused = |why: String| Err(AuditError::Rollback(why));
        if let Some(known) = self.load(checkpoint.origin())? {
            let (old, new) = (known.checkpoint.size(), checkpoint.size());
            if known.key != *key {
                return refused(format!("{} is signed with another key than before", checkpoint.origin()));
            }
            if new < old {
                return refused(format!("the log shrank: {old} entries were verified before, {new} are signed now"));
            }
            if new == old && known.checkpoint.root() != checkpoint.root() {
                return refused(format!("the log forked: its root at size {old} is not the one verified before"));
            }
        }
        // The signature must hold under the key that is stored next to it.
        Checkpoint::open(checkpoint.note(), key)?;
        let file = File {
            origin: checkpoint.origin().to_owned(),
            key: key.to_string(),
            checkpoint: checkpoint.note().to_owned(),
            verified_at: now.to_string(),
        };
        let mut text = serde_json::to_vec_pretty(&file).map_err(AuditError::Canonical)?;
        text.push(b'\n');
        fs::create_dir_all(&self.0).map_err(AuditError::io("create", &self.0))?;
        writer::replace_durably(&self.0, &file_name(checkpoint.origin()), &text)
    }
}

/// Origins hold slashes and may be long; their hash does not.
fn file_name(origin: &str) -> String {
    let hash = hex::encode(Sha256::digest(origin));
    format!("{}.json", &hash[..32])
}
