//! What came back, on its way into the record: small answers in memory, larger ones written while they come.

use bytes::Bytes;
use store::{BodyWriter, CallRef, Received, Recorder, StoreError};

/// How much of a stream is held in memory before it is written.
pub(super) const MAX_HELD_BYTES: usize = 256 << 10;
/// How much of an answer is held that can only be read as a whole.
pub(super) const MAX_READ_BYTES: usize = 16 << 20;

/// The bytes of an answer.
pub(super) struct Capture {
    held: Held,
    written: Option<BodyWriter>,
    len: usize,
    /// How much is held before it is written.
    limit: usize,
}

/// Most whole answers are one piece, which is kept as it is.
#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    One(Bytes),
    More(Vec<u8>),
}

impl Held {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::One(bytes) => bytes.len(),
            Self::More(bytes) => bytes.len(),
        }
    }

    fn take(&mut self) -> Bytes {
        match std::mem::take(self) {
            Self::Nothing => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::More(bytes) => bytes.into(),
        }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self { held: Held::Nothing, written: None, len: 0, limit: MAX_HELD_BYTES }
    }
}

impl Capture {
    /// Holds on to what can only be read as a whole.
    pub(super) const fn hold_whole(&mut self) {
        self.limit = MAX_READ_BYTES;
    }

    /// Holds no more than of a stream.
    pub(super) const fn let_go(&mut self) {
        self.limit = MAX_HELD_BYTES;
    }

    /// What it takes in memory.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Adds a piece.
    pub(super) fn push(&mut self, piece: &Bytes, recorder: &Recorder, call: &CallRef) -> Result<(), StoreError> {
        if piece.is_empty() {
            return Ok(());
        }
        self.len += piece.len();
        self.held = match std::mem::take(&mut self.held) {
            Held::Nothing => Held::One(piece.clone()),
            Held::One(first) => {
                let mut all = Vec::with_capacity((first.len() + piece.len()).max(4 << 10));
                all.extend_from_slice(&first);
                all.extend_from_slice(piece);
                Held::More(all)
            }
            Held::More(mut all) => {
                all.extend_from_slice(piece);
                Held::More(all)
            }
        };
        if self.held.len() > self.limit {
            let bytes = self.held.take();
            let writer = match &mut self.written {
                Some(writer) => writer,
                None => self.written.insert(recorder.body(call)?),
            };
            writer.push(&bytes);
        }
        Ok(())
    }

    /// All that was added, in bytes.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// All of it, if it is still in memory.
    pub(super) fn whole(&mut self) -> Option<Bytes> {
        if self.written.is_some() {
            return None;
        }
        let bytes = self.held.take();
        self.held = Held::One(bytes.clone());
        Some(bytes)
    }

    /// Ends it.
    pub(super) fn finish(&mut self) -> Result<Received, StoreError> {
        let rest = self.held.take();
        self.len = 0;
        match self.written.take() {
            None if rest.is_empty() => Ok(Received::Nothing),
            None => Ok(Received::Whole(rest)),
            Some(mut writer) => {
                if !rest.is_empty() {
                    writer.push(&rest);
                }
                Ok(writer.finish())
            }
        }
    }
}
