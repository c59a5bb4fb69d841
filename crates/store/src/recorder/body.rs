//! Bodies that come in pieces: a long stream takes the memory of one piece.

use super::{
    seal::{SALT, ScopeKey},
    types::Received,
};
use crate::{
    MAX_BODY_BYTES, StoreError,
    body::random,
    journal::{Journal, frame::Frame, record::BodyAt},
};
use audit::Committer;
use std::sync::Arc;

/// Where a body is cut.
pub(crate) const PIECE: usize = 256 << 10;

/// What was recorded of a body while it came, with its end still in hand.
pub struct Written {
    key: Arc<ScopeKey>,
    committer: Committer,
    pieces: Vec<(u32, u64)>,
    size: u64,
    /// What is not in a piece yet, behind the salt if it is the first.
    rest: Vec<u8>,
    failed: Option<StoreError>,
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Written").field("size", &self.size).field("pieces", &self.pieces.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.written.fmt(f)
    }
}

/// Records a body while it comes.
pub struct BodyWriter {
    written: Written,
    journal: Arc<Journal>,
}

impl BodyWriter {
    pub(crate) fn new(journal: Arc<Journal>, key: Arc<ScopeKey>) -> Result<Self, StoreError> {
        let salt: [u8; SALT] = random()?;
        let written = Written {
            key,
            committer: Committer::new(&salt),
            pieces: Vec::new(),
            size: 0,
            rest: salt.to_vec(),
            failed: None,
        };
        Ok(Self { written, journal })
    }

    /// Adds what came. A piece that cannot be written is an error of the record that would refer to it.
    pub fn push(&mut self, mut bytes: &[u8]) {
        let w = &mut self.written;
        w.committer.update(bytes);
        w.size += bytes.len() as u64;
        while w.failed.is_none() && w.rest.len() + bytes.len() > PIECE {
            let (fits, more) = bytes.split_at(PIECE.saturating_sub(w.rest.len()).min(bytes.len()));
            w.rest.extend_from_slice(fits);
            bytes = more;
            match w.piece(&self.journal) {
                Ok(at) => w.pieces.push(at),
                Err(e) => w.failed = Some(e),
            }
            w.rest.clear();
        }
        if w.failed.is_none() {
            w.rest.extend_from_slice(bytes);
        }
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.written.size
    }

    /// All that came.
    pub fn finish(self) -> Received {
        Received::Written(Box::new(self.written))
    }
}

impl Written {
    fn piece(&self, journal: &Journal) -> Result<(u32, u64), StoreError> {
        if self.size > MAX_BODY_BYTES {
            return Err(StoreError::TooLarge { size: self.size, max: MAX_BODY_BYTES });
        }
        let mut frame = Frame::new(self.rest.len() + 64);
        self.key.seal(frame.data(), random()?, |out| out.extend_from_slice(&self.rest))?;
        let at = journal.append(frame.close_piece()?, false)?.at;
        Ok((at.segment, at.offset))
    }

    /// Seals the end into a frame's data.
    pub(crate) fn seal(self, out: &mut Vec<u8>) -> Result<BodyAt, StoreError> {
        if let Some(e) = self.failed {
            return Err(e);
        }
        let sealed = self.key.seal(out, random()?, |out| out.extend_from_slice(&self.rest))?;
        Ok(BodyAt {
            commitment: self.committer.finish(),
            size: self.size,
            pieces: self.pieces,
            sealed: u32::try_from(sealed).map_err(StoreError::corrupt)?,
        })
    }
}

/// Seals a body into a frame's data; a large one goes into pieces first.
pub(crate) fn seal_whole(
    journal: &Arc<Journal>,
    key: &Arc<ScopeKey>,
    out: &mut Vec<u8>,
    body: &[u8],
) -> Result<BodyAt, StoreError> {
    if body.len() <= PIECE {
        return key.seal_body(out, body);
    }
    let mut writer = BodyWriter::new(Arc::clone(journal), Arc::clone(key))?;
    writer.push(body);
    writer.written.seal(out)
}

/// Seals what came back; none where nothing did.
pub(crate) fn seal_received(
    journal: &Arc<Journal>,
    key: &Arc<ScopeKey>,
    out: &mut Vec<u8>,
    received: Received,
) -> Result<Option<BodyAt>, StoreError> {
    match received {
        Received::Nothing => Ok(None),
        Received::Whole(bytes) => seal_whole(journal, key, out, &bytes).map(Some),
        Received::Written(written) => written.seal(out).map(Some),
    }
}
