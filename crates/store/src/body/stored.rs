//! Bodies as they lie in the journal.

use crate::{
    StoreError,
    journal::{
        Position,
        record::{BodyAt, Entry},
        segment,
    },
    recorder::seal::{SALT, ScopeKey},
};
use std::path::Path;

/// A sealed body.
pub(super) struct Stored {
    pub(super) scope: String,
    at: BodyAt,
    end: Vec<u8>,
}

/// The body of this commitment in the frame at a place, if it has it.
pub(super) fn find(dir: &Path, at: Position, commitment: &[u8; 32]) -> Result<Option<Stored>, StoreError> {
    let (_, data, meta) = segment::read_frame(dir, at).map_err(|e| lost(e, at))?;
    let entry: Entry<'_> = postcard::from_bytes(&meta).map_err(StoreError::corrupt)?;
    let scope = entry.scope.to_owned();
    let mut from = 0;
    for at in entry.bodies {
        let to = from + at.sealed as usize;
        if at.commitment == *commitment {
            let end = data.get(from..to).ok_or_else(|| StoreError::corrupt("a body is longer than its frame"))?;
            return Ok(Some(Stored { scope, end: end.to_vec(), at }));
        }
        from = to;
    }
    Ok(None)
}

impl Stored {
    /// The whole body, once it is opened and fits its commitment.
    pub(super) fn open(mut self, dir: &Path, key: &ScopeKey) -> Result<Vec<u8>, StoreError> {
        let mut all = Vec::with_capacity(usize::try_from(self.at.size).unwrap_or(0).saturating_add(SALT));
        for (segment, offset) in &self.at.pieces {
            let at = Position { segment: *segment, offset: *offset };
            let (_, mut data, _) = segment::read_frame(dir, at).map_err(|e| lost(e, at))?;
            all.extend_from_slice(key.open(&mut data)?);
        }
        all.extend_from_slice(key.open(&mut self.end)?);
        let name = self.at.name();
        let salt: [u8; SALT] = all
            .get(..SALT)
            .and_then(|s| s.try_into().ok())
            .ok_or_else(|| StoreError::corrupt(format!("body {name} has no salt")))?;
        all.drain(..SALT);
        if !audit::commitment_matches(&name, &salt, &all) {
            return Err(StoreError::corrupt(format!("body {name} does not match its commitment")));
        }
        Ok(all)
    }
}

/// A frame that the database knows and the journal has not was lost with the power, or removed by hand.
fn lost(e: StoreError, at: Position) -> StoreError {
    match e {
        StoreError::Io(io) if matches!(io.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof) => {
            StoreError::corrupt(format!(
                "the call journal has nothing at {}:{}; its files are incomplete",
                at.segment, at.offset
            ))
        }
        other => other,
    }
}
