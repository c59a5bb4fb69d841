//! Tiles: which files a tree of a size has, and what they are called (C2SP tlog-tiles).

use crate::HASH_BYTES;
use std::{fmt, str::FromStr};

/// Hashes or entries in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// Levels that a tree of 2^64 entries can have.
pub(crate) const MAX_LEVELS: u8 = 8;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes of this level.
    Hashes(u8),
    /// Length-prefixed entries.
    Entries,
}

/// A tile file: kind, index and width (below 256 for the partial one at the right edge).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    /// What it holds.
    pub kind: TileKind,
    /// Position within its level.
    pub index: u64,
    /// Hashes or entries in it, 1 to 256.
    pub width: u16,
}

impl TileKind {
    /// Kinds of tile in a tree of this size.
    pub(crate) fn all(size: u64) -> impl Iterator<Item = Self> {
        let levels = (0..MAX_LEVELS).take_while(move |l| size >> (8 * u32::from(*l)) > 0).map(Self::Hashes);
        std::iter::once(Self::Entries).filter(move |_| size > 0).chain(levels)
    }

    /// Items that a tree of this size has at this level.
    pub(crate) fn items(self, size: u64) -> u64 {
        match self {
            Self::Entries => size,
            Self::Hashes(level) => size.checked_shr(8 * u32::from(level)).unwrap_or(0),
        }
    }

    /// Entries below one item of this level.
    pub(crate) fn span(self) -> u64 {
        match self {
            Self::Entries => 1,
            Self::Hashes(level) => 1u64.checked_shl(8 * u32::from(level)).unwrap_or(u64::MAX),
        }
    }
}

impl Tile {
    /// A full tile.
    pub fn full(kind: TileKind, index: u64) -> Self {
        Self { kind, index, width: TILE_WIDTH as u16 }
    }

    /// The partial tile of this kind in a tree of this size, if there is one.
    pub(crate) fn partial(kind: TileKind, size: u64) -> Option<Self> {
        let items = kind.items(size);
        let width = (items % TILE_WIDTH) as u16;
        (width > 0).then_some(Self { kind, index: items / TILE_WIDTH, width })
    }

    /// The tile with this index in a tree of this size.
    pub(crate) fn at(kind: TileKind, index: u64, size: u64) -> Self {
        let rest = kind.items(size).saturating_sub(index.saturating_mul(TILE_WIDTH));
        Self { kind, index, width: rest.min(TILE_WIDTH) as u16 }
    }

    /// Whether it is full.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// Whether a tree of this size has this very tile.
    pub(crate) fn belongs_to(&self, size: u64) -> bool {
        let items = self.kind.items(size);
        let end = self.index.saturating_mul(TILE_WIDTH).saturating_add(u64::from(self.width));
        if self.is_full() { end <= items } else { end == items }
    }

    /// The first entry below it.
    pub(crate) fn first_entry(&self) -> u64 {
        self.index.saturating_mul(TILE_WIDTH).saturating_mul(self.kind.span())
    }

    /// Size in bytes, where it is fixed.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match self.kind {
            TileKind::Entries => None,
            TileKind::Hashes(_) => Some(u64::from(self.width) * HASH_BYTES as u64),
        }
    }
}

/// The path below the log's folder, for example `tile/0/x001/234` or `tile/entries/000.p/17`.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => f.write_str("tile/entries/")?,
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let digits = format!("{:03}", self.index);
        let groups = digits.len().div_ceil(3);
        let digits = format!("{digits:0>width$}", width = groups * 3);
        for n in 0..groups {
            let last = n + 1 == groups;
            write!(f, "{}{}{}", if last { "" } else { "x" }, &digits[3 * n..3 * n + 3], if last { "" } else { "/" })?;
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

/// A path that is not that of a tile.
#[derive(Debug, PartialEq, Eq)]
pub struct NotATile;

impl FromStr for Tile {
    type Err = NotATile;

    fn from_str(path: &str) -> Result<Self, NotATile> {
        let (kind, rest) = path.strip_prefix("tile/").and_then(|p| p.split_once('/')).ok_or(NotATile)?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes(level.parse().ok().filter(|l| *l < MAX_LEVELS).ok_or(NotATile)?),
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().ok().filter(|w| (1..256).contains(w)).ok_or(NotATile)?),
            None => (rest, TILE_WIDTH as u16),
        };
        let digits: String = index.split('/').map(|group| group.strip_prefix('x').unwrap_or(group)).collect();
        let tile = Self { kind, index: digits.parse().map_err(|_| NotATile)?, width };
        // Only the one canonical spelling is the tile; everything else is a foreign file.
        if tile.to_string() == path { Ok(tile) } else { Err(NotATile) }
    }
}
