//! The right edge of the log in memory: the hashes of the unfinished tile of each level.

use crate::{
    CompactRange, Hash,
    tiles::{TILE_WIDTH, Tile, TileKind},
    tree::fold_roots,
};

/// One level's unfinished tile: its hashes as they lie in the file, and the tree over them.
#[derive(Debug, Clone, Default)]
struct Level {
    hashes: Vec<u8>,
    range: CompactRange,
}

/// The unfinished tiles of all levels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<Level>,
}

impl Edge {
    /// Leaves so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The edge of a tree of `size` leaves from the hashes in its partial tiles, from level 0 up.
    pub(crate) fn from_partials(size: u64, partials: Vec<Vec<Hash>>) -> Self {
        let mut edge = Self { size, levels: Vec::new() };
        for hashes in partials {
            let mut level = Level::default();
            for hash in hashes {
                level.hashes.extend_from_slice(&hash);
                level.range.push(hash);
            }
            edge.levels.push(level);
        }
        edge
    }

    /// Appends a leaf hash; each tile that becomes full is handed out once, from level 0 up.
    pub(crate) fn push<E>(&mut self, leaf: Hash, full: &mut impl FnMut(Tile, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let (mut hash, mut items) = (leaf, self.size + 1);
        for level in 0u8.. {
            let n = usize::from(level);
            if self.levels.len() == n {
                self.levels.push(Level::default());
            }
            let current = &mut self.levels[n];
            current.hashes.extend_from_slice(&hash);
            current.range.push(hash);
            if !items.is_multiple_of(TILE_WIDTH) {
                break;
            }
            items /= TILE_WIDTH;
            full(Tile::full(TileKind::Hashes(level), items - 1), &current.hashes)?;
            hash = current.range.root();
            *current = Level::default();
        }
        self.size += 1;
        Ok(())
    }

    /// Root of the tree over all leaves so far.
    pub(crate) fn root(&self) -> Hash {
        fold_roots(self.levels.iter().flat_map(|l| l.range.roots().iter().rev()))
    }

    /// The unfinished tiles that are not empty, with their bytes.
    pub(crate) fn partials(&self) -> impl Iterator<Item = (Tile, &[u8])> {
        self.levels.iter().enumerate().filter_map(|(n, level)| {
            let tile = Tile::partial(TileKind::Hashes(n as u8), self.size)?;
            Some((tile, level.hashes.as_slice()))
        })
    }
}
