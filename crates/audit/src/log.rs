//! The log on disk: appending, sealing, reading, proving.
//!
//! `tile/…` holds hashes and entries (C2SP tlog-tiles), `checkpoint` the newest signed checkpoint, `checkpoints` all of
//! them. Order of a seal: entries and hashes → disk; the signed checkpoint → history → disk; then `checkpoint` is
//! replaced. So whatever a signature covers is on disk before anyone can see the signature.
//!
//! The caller owns the leaves and can supply them again from any index; [`Log::size`] says from where. After a crash
//! the log is back at the newest signed size whose files are whole.

use crate::{
    AuditError, Checkpoint, Hash, LogKey, VerifierKey,
    checkpoint::MAX_NOTE_BYTES,
    edge::Edge,
    history::History,
    leaf::leaf_hash,
    recover::{self, Recovered},
    tiles::{TILE_WIDTH, Tile, TileKind},
    tree::{self, Subtree},
    writer::{Unsynced, read_optional, remove_optional, replace_durably},
};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

/// The largest leaf: an entry bundle gives its length in 16 bits.
pub const MAX_LEAF_BYTES: usize = u16::MAX as usize;
/// Name of the newest checkpoint below the log's folder.
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";

/// A log that this process alone writes.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    key: LogKey,
    verifier: VerifierKey,
    edge: Edge,
    /// The unfinished entry bundle as it lies in the file.
    bundle: Vec<u8>,
    unsynced: Unsynced,
    history: History,
    newest: Option<Checkpoint>,
    /// Signed checkpoints above the size that survived: leaves supplied again must lead to their roots.
    ahead: VecDeque<Checkpoint>,
    /// Partial tiles on disk, removed once newer ones are published.
    partials: Vec<Tile>,
    /// Whether these can be relied on; not after the log fell back.
    partials_whole: bool,
    /// Set when supplied leaves contradicted a signature; nothing is written any more.
    forked: Option<u64>,
}

impl Log {
    /// Opens or makes the log in `dir`. Unsigned and torn files are dropped; [`Log::size`] says which leaf is next.
    ///
    /// The origin names the log in its checkpoints, for example `taskforge.example/log`. Exactly one process may have
    /// the log open; the lock is the caller's.
    pub fn open(dir: &Path, key: LogKey, origin: &str) -> Result<Self, AuditError> {
        let verifier = key.verifier(origin)?;
        let Recovered { edge, bundle, history, newest, ahead, partials, partials_whole } =
            recover::recover(dir, &verifier)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            key,
            verifier,
            edge,
            bundle,
            unsynced: Unsynced::default(),
            history,
            newest,
            ahead,
            partials,
            partials_whole,
            forked: None,
        })
    }

    /// Entries so far, signed or not: the index of the next leaf.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Root over the entries so far.
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// The newest signed checkpoint.
    pub fn newest(&self) -> Option<&Checkpoint> {
        self.newest.as_ref()
    }

    /// The public key, in whose name checkpoints are signed.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Appends leaves. They are covered by the next [`Log::checkpoint`]; until then a crash can drop them.
    ///
    /// After an error a prefix of them may have been taken: continue from [`Log::size`].
    pub fn append(&mut self, leaves: &[&[u8]]) -> Result<(), AuditError> {
        for leaf in leaves {
            self.append_one(leaf)?;
        }
        Ok(())
    }

    /// Signs what was appended since the last checkpoint and publishes it; `None` if there is nothing new.
    pub fn checkpoint(&mut self, now: jiff::Timestamp) -> Result<Option<Checkpoint>, AuditError> {
        self.check_forked()?;
        let (size, signed) = (self.size(), self.newest.as_ref().map_or(0, Checkpoint::size));
        if size < signed {
            return Err(AuditError::Behind { size, signed });
        }
        let partials = self.write_partials()?;
        self.unsynced.sync()?;
        if size > signed {
            let number = self.newest.as_ref().map_or(0, |c| c.number().map_or(0, |n| n + 1));
            let checkpoint = Checkpoint::sign(&self.key, self.verifier.name(), size, self.root(), number, now)?;
            self.history.append(&checkpoint)?;
            self.newest = Some(checkpoint.clone());
            self.publish()?;
            self.drop_partials(partials)?;
            return Ok(Some(checkpoint));
        }
        // Also reached after leaves were supplied again: the files are whole and the signature exists.
        self.publish()?;
        self.drop_partials(partials)?;
        Ok(None)
    }

    /// The bytes of a signed entry.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, AuditError> {
        let size = self.signed_size();
        if index >= size {
            return Err(AuditError::OutOfRange { index, size });
        }
        let tile = Tile::at(TileKind::Entries, index / TILE_WIDTH, size);
        let path = self.dir.join(tile.to_string());
        let bytes = read_optional(&path)?.ok_or_else(|| altered(&path, "it is missing"))?;
        let entry = entries(&bytes).nth((index % TILE_WIDTH) as usize);
        entry.and_then(Result::ok).map(<[u8]>::to_vec).ok_or_else(|| altered(&path, "its entries cannot be read"))
    }

    /// Proves that an entry is covered by the newest checkpoint.
    pub fn prove_inclusion(&self, index: u64) -> Result<Vec<Hash>, AuditError> {
        tree::inclusion_proof(index, self.signed_size(), &mut |s| self.subtree(s))
    }

    /// Proves that the log of `old` entries is a prefix of the newest checkpoint's.
    pub fn prove_consistency(&self, old: u64) -> Result<Vec<Hash>, AuditError> {
        tree::consistency_proof(old, self.signed_size(), &mut |s| self.subtree(s))
    }

    fn signed_size(&self) -> u64 {
        self.newest.as_ref().map_or(0, Checkpoint::size).min(self.size())
    }

    fn check_forked(&self) -> Result<(), AuditError> {
        self.forked.map_or(Ok(()), |size| Err(AuditError::Forked { size }))
    }

    fn append_one(&mut self, leaf: &[u8]) -> Result<(), AuditError> {
        self.check_forked()?;
        let index = self.size();
        let prefix = u16::try_from(leaf.len()).map_err(|_| AuditError::LeafTooLarge {
            index,
            size: leaf.len(),
            max: MAX_LEAF_BYTES,
        })?;
        let kept = self.bundle.len();
        self.bundle.extend_from_slice(&prefix.to_be_bytes());
        self.bundle.extend_from_slice(leaf);
        if let Err(e) = self.integrate(leaf_hash(leaf)) {
            self.bundle.truncate(kept);
            return Err(e);
        }
        if self.size().is_multiple_of(TILE_WIDTH) {
            self.bundle.clear();
        }
        self.compare_with_signed()
    }

    /// Adds a leaf hash. Files of tiles that become full are written before memory changes, so a failure changes
    /// nothing.
    fn integrate(&mut self, hash: Hash) -> Result<(), AuditError> {
        let size = self.size() + 1;
        if !size.is_multiple_of(TILE_WIDTH) {
            return self.edge.push(hash, &mut |_, _| Ok(()));
        }
        let mut edge = self.edge.clone();
        let (dir, unsynced, again) = (&self.dir, &mut self.unsynced, !self.ahead.is_empty());
        edge.push(hash, &mut |tile, bytes| {
            let name = tile.to_string();
            if again && holds_other_hashes(&dir.join(&name), bytes)? {
                return Err(altered(&dir.join(&name), RESUPPLIED_DIFFER));
            }
            unsynced.write(dir, &name, bytes)
        })?;
        let bundle = Tile::full(TileKind::Entries, size / TILE_WIDTH - 1);
        unsynced.write(dir, &bundle.to_string(), &self.bundle)?;
        self.edge = edge;
        Ok(())
    }

    fn compare_with_signed(&mut self) -> Result<(), AuditError> {
        while let Some(signed) = self.ahead.front().filter(|c| c.size() <= self.edge.size()) {
            if *signed.root() != self.edge.root() {
                self.forked = Some(signed.size());
                return self.check_forked();
            }
            self.ahead.pop_front();
        }
        Ok(())
    }

    fn write_partials(&mut self) -> Result<Vec<Tile>, AuditError> {
        let mut written = Vec::new();
        for (tile, bytes) in self.edge.partials() {
            written.push(tile);
            if !(self.partials_whole && self.partials.contains(&tile)) {
                self.unsynced.write(&self.dir, &tile.to_string(), bytes)?;
            }
        }
        if let Some(tile) = Tile::partial(TileKind::Entries, self.edge.size()) {
            written.push(tile);
            if !(self.partials_whole && self.partials.contains(&tile)) {
                self.unsynced.write(&self.dir, &tile.to_string(), &self.bundle)?;
            }
        }
        Ok(written)
    }

    fn publish(&self) -> Result<(), AuditError> {
        let Some(newest) = &self.newest else { return Ok(()) };
        let path = self.dir.join(CHECKPOINT_FILE);
        if read_optional(&path)?.is_some_and(|b| b.len() <= MAX_NOTE_BYTES && b == newest.note().as_bytes()) {
            return Ok(());
        }
        replace_durably(&self.dir, CHECKPOINT_FILE, newest.note().as_bytes())
    }

    /// Removes partial tiles that newer ones replace.
    fn drop_partials(&mut self, current: Vec<Tile>) -> Result<(), AuditError> {
        for tile in self.partials.iter().filter(|t| !current.contains(t)) {
            let path = self.dir.join(tile.to_string());
            remove_optional(&path)?;
            if let Some(parent) = path.parent() {
                // Fails while a newer partial tile lies there, which is as it should be.
                drop(std::fs::remove_dir(parent));
            }
        }
        self.partials = current;
        self.partials_whole = true;
        Ok(())
    }

    fn subtree(&self, subtree: Subtree) -> Result<Hash, AuditError> {
        let size = self.signed_size();
        let (level, within) = (subtree.height / 8, subtree.height % 8);
        let first = subtree.index << within;
        let tile = Tile::at(TileKind::Hashes(level), first / TILE_WIDTH, size);
        let path = self.dir.join(tile.to_string());
        let bytes = read_optional(&path)?.ok_or_else(|| altered(&path, "it is missing"))?;
        let from = (first % TILE_WIDTH) as usize;
        let hashes = bytes.as_chunks::<32>().0.get(from..from + (1 << within));
        hashes.map(tree::root_from_leaves).ok_or_else(|| altered(&path, "it is too short"))
    }
}

const RESUPPLIED_DIFFER: &str = "the leaves supplied again have other hashes than this file; if the file was damaged, \
     move it away and start again: it is written anew and compared with what was signed";

fn altered(path: &Path, why: &str) -> AuditError {
    AuditError::Altered { path: path.to_path_buf(), why: why.to_owned() }
}

/// Whether a whole file of hashes lies there that differs from these.
fn holds_other_hashes(path: &Path, bytes: &[u8]) -> Result<bool, AuditError> {
    Ok(read_optional(path)?.is_some_and(|old| old.len() == bytes.len() && old != bytes))
}

/// The entries of a bundle; an error carries the position at which no further entry could be read.
pub(crate) fn entries(bundle: &[u8]) -> impl Iterator<Item = Result<&[u8], usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= bundle.len() {
            return None;
        }
        let rest = &bundle[at..];
        let entry =
            rest.split_first_chunk::<2>().and_then(|(len, rest)| rest.get(..usize::from(u16::from_be_bytes(*len))));
        let result = entry.ok_or(at);
        at = entry.map_or(bundle.len(), |e| at + 2 + e.len());
        Some(result)
    })
}
