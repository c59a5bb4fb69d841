//! Loading what a damaged log still holds: entry hashes and stored hashes, with gaps where files are lost.

use crate::{
    AuditError, Hash, Problem, Report, Span,
    files::Files,
    leaf::leaf_hash,
    log::entries,
    tiles::{TILE_WIDTH, Tile, TileKind},
    writer::read_optional,
};
use std::path::Path;

/// An entry as found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its hash, unless it cannot be read.
    pub(crate) hash: Option<Hash>,
}

/// Everything that can still be read.
pub(crate) struct Evidence {
    /// Entries in order, also beyond the signed size.
    pub(crate) entries: Vec<Found>,
    /// Stored hashes per level, exactly as many as the tree has.
    pub(crate) tiles: Vec<Vec<Option<Hash>>>,
}

impl Evidence {
    /// Reads all files; what is missing, too short or too long goes into the report at once.
    pub(crate) fn load(dir: &Path, size: u64, files: &Files, report: &mut Report) -> Result<Self, AuditError> {
        let mut tiles = Vec::new();
        for kind in TileKind::all(size).filter(|k| *k != TileKind::Entries) {
            tiles.push(load_level(dir, kind, size, files, report)?);
        }
        let mut entries = Vec::new();
        for index in 0.. {
            let tile = Tile::at(TileKind::Entries, index, size);
            let Some(bundle) = read_tile(dir, tile, files)? else {
                if tile.width == 0 {
                    break;
                }
                report.add(Problem::FileMissing { file: tile.to_string() });
                entries.extend(vec![Found { hash: None }; usize::from(tile.width)]);
                continue;
            };
            let first = tile.first_entry();
            let stored = tiles[0].get(first as usize..).unwrap_or_default();
            load_bundle(tile, &bundle, stored, &mut entries, report);
        }
        Ok(Self { entries, tiles })
    }
}

/// Reads the tile that belongs to the tree, or another one with the same index, which a tampered log may have.
fn read_tile(dir: &Path, tile: Tile, files: &Files) -> Result<Option<Vec<u8>>, AuditError> {
    if tile.width > 0
        && let Some(bytes) = read_optional(&dir.join(tile.to_string()))?
    {
        return Ok(Some(bytes));
    }
    let (lowest, highest) = (Tile { width: 0, ..tile }, Tile { width: u16::MAX, ..tile });
    match files.tiles.range(lowest..=highest).next_back() {
        Some((other, _)) => read_optional(&dir.join(other.to_string())),
        None => Ok(None),
    }
}

fn load_level(
    dir: &Path,
    kind: TileKind,
    size: u64,
    files: &Files,
    report: &mut Report,
) -> Result<Vec<Option<Hash>>, AuditError> {
    let mut hashes = Vec::new();
    for index in 0..kind.items(size).div_ceil(TILE_WIDTH) {
        let tile = Tile::at(kind, index, size);
        let (expected, width) = (tile.bytes().unwrap_or(0), usize::from(tile.width));
        let exact = files.tiles.contains_key(&tile);
        let bytes = read_tile(dir, tile, files)?;
        match &bytes {
            _ if !exact => report.add(Problem::FileMissing { file: tile.to_string() }),
            Some(bytes) if bytes.len() as u64 > expected => {
                report.add(Problem::FileJunk { file: tile.to_string(), from_byte: expected });
            }
            Some(bytes) if (bytes.len() as u64) < expected => {
                report.add(Problem::FileLength { file: tile.to_string(), found: bytes.len() as u64, expected });
            }
            _ => {}
        }
        let bytes = bytes.unwrap_or_default();
        let found = bytes.as_chunks::<32>().0;
        hashes.extend((0..width).map(|n| found.get(n).copied()));
    }
    Ok(hashes)
}

/// Reads the entries of a bundle. The stored hashes help to find the next entry after a damaged length.
fn load_bundle(tile: Tile, bundle: &[u8], stored: &[Option<Hash>], into: &mut Vec<Found>, report: &mut Report) {
    let (mut at, mut read, mut garbled) = (0, Vec::new(), None);
    let width = usize::from(tile.width);
    while at < bundle.len() {
        let rest = &bundle[at..];
        let expected = stored.get(read.len()).copied().flatten();
        let plain = entries(rest).next().and_then(Result::ok);
        let hash = plain.map(leaf_hash);
        if garbled.is_none() && hash != expected && expected.is_some() {
            if let Some(len) = expected.and_then(|e| damaged_length(rest, &e)) {
                let first = tile.first_entry() + read.len() as u64;
                report.add(Problem::EntriesChanged { span: Span::one(first) });
                read.push(Found { hash: expected });
                at += 2 + len;
                continue;
            }
            garbled = Some(read.len());
        }
        let Some(plain) = plain else {
            describe_rest(tile, at, read.len(), garbled, report);
            // From the first entry that did not match, the cuts between entries are guesses.
            let sure = if read.len() >= width { read.len() } else { garbled.unwrap_or(read.len()) };
            read.truncate(sure);
            read.resize(read.len().max(width), Found { hash: None });
            break;
        };
        read.push(Found { hash });
        if hash == expected {
            garbled = None;
        }
        at += 2 + plain.len();
    }
    into.extend(read);
}

fn describe_rest(tile: Tile, at: usize, read: usize, garbled: Option<usize>, report: &mut Report) {
    let (file, width) = (tile.to_string(), usize::from(tile.width));
    if read >= width {
        report.add(Problem::FileJunk { file, from_byte: at as u64 });
    } else {
        let from = tile.first_entry() + garbled.unwrap_or(read) as u64;
        let to = tile.first_entry() + u64::from(tile.width);
        report.add(Problem::EntriesUnreadable { file, span: Span { from, to } });
    }
}

/// The true length of an entry whose length field has one wrong byte.
fn damaged_length(rest: &[u8], expected: &Hash) -> Option<usize> {
    let (prefix, body) = rest.split_first_chunk::<2>()?;
    let [high, low] = *prefix;
    let lengths = (0..=u8::MAX).flat_map(|b| [[b, low], [high, b]]).filter(|l| l != prefix);
    lengths
        .map(|l| usize::from(u16::from_be_bytes(l)))
        .find(|len| body.get(..*len).is_some_and(|entry| leaf_hash(entry) == *expected))
}
