//! The bodies of a frame while it is made.

use crate::{
    StoreError,
    journal::{
        Journal,
        frame::{Closed, Frame, Kind},
        record::{BodyAt, Entry, LeafText, Record},
    },
    recorder::{
        body::{PIECE, seal_received, seal_whole},
        leaf::LeafOwned,
        seal::ScopeKey,
        types::Received,
    },
};
use std::sync::Arc;

/// Room for the record beside the bodies.
const RECORD_ROOM: usize = 2048;

/// The bodies of a frame while it is made.
pub(super) struct Bodies {
    journal: Arc<Journal>,
    pub(super) key: Arc<ScopeKey>,
    frame: Frame,
    at: Vec<BodyAt>,
}

/// A body by its number, with what a leaf says about it.
pub(super) type Named = (u32, String, u64);

impl Bodies {
    pub(super) fn new(journal: &Arc<Journal>, key: &Arc<ScopeKey>, room: usize) -> Self {
        let (journal, key) = (Arc::clone(journal), Arc::clone(key));
        Self { journal, key, frame: Frame::new(room.min(PIECE) + RECORD_ROOM), at: Vec::new() }
    }

    /// Seals a body that is there as a whole.
    pub(super) fn whole(&mut self, bytes: &[u8]) -> Result<Named, StoreError> {
        let at = seal_whole(&self.journal, &self.key, self.frame.data(), bytes)?;
        Ok(self.add(at))
    }

    /// Seals a body, if there is one.
    pub(super) fn optional(&mut self, bytes: Option<&[u8]>) -> Result<Option<Named>, StoreError> {
        bytes.map(|b| self.whole(b)).transpose()
    }

    /// Seals what came back, if anything did.
    pub(super) fn received(&mut self, received: Received) -> Result<Option<Named>, StoreError> {
        let at = seal_received(&self.journal, &self.key, self.frame.data(), received)?;
        Ok(at.map(|at| self.add(at)))
    }

    fn add(&mut self, at: BodyAt) -> Named {
        let named = (self.at.len() as u32, at.name(), at.size);
        self.at.push(at);
        named
    }

    pub(super) fn close(self, leaves: &[LeafOwned], record: Record<'_>) -> Result<Closed, StoreError> {
        let leaves = leaves.iter().map(|l| LeafText {
            kind: l.kind,
            phase: l.phase,
            op: l.op.as_deref(),
            task: l.task.as_deref(),
            head: &l.head,
            middle: &l.middle,
        });
        let entry = Entry { leaves: leaves.collect(), bodies: self.at, scope: &self.key.scope, record };
        self.frame.close(Kind::Record, &entry)
    }
}

pub(super) fn in_leaf(name: &'static str, named: &Named) -> (&'static str, String, u64) {
    (name, named.1.clone(), named.2)
}
