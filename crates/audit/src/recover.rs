//! Opening a log after any kind of stop: what is whole stays, what is torn or unsigned goes.
//!
//! Everything that a checkpoint covers was synced before the checkpoint existed. So a crash can only tear what is
//! newer; but files may also have been lost or cut by other means, and then the log falls back to the largest size
//! below which all files are whole. Bytes that changed without a change of length are left to verification, except in
//! the newest bundles, which are read here anyway.

use crate::{
    AuditError, Checkpoint, Hash, VerifierKey,
    edge::Edge,
    files::Files,
    history::History,
    leaf::leaf_hash,
    log::{CHECKPOINT_FILE, entries},
    tiles::{TILE_WIDTH, Tile, TileKind},
    writer::{read_optional, remove_optional},
};
use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::Path,
};

/// Full bundles at the end whose entries are read and hashed when the log is opened.
const CHECKED_BUNDLES: u64 = 16;

/// What was found whole.
pub(crate) struct Recovered {
    pub(crate) edge: Edge,
    pub(crate) bundle: Vec<u8>,
    pub(crate) history: History,
    pub(crate) newest: Option<Checkpoint>,
    pub(crate) ahead: VecDeque<Checkpoint>,
    pub(crate) partials: Vec<Tile>,
    /// Whether the partial tiles can stay; those of a log that fell back are written again by the next seal.
    pub(crate) partials_whole: bool,
}

/// Brings the folder into a consistent state and reads the right edge of the log.
pub(crate) fn recover(dir: &Path, key: &VerifierKey) -> Result<Recovered, AuditError> {
    fs::create_dir_all(dir).map_err(AuditError::io("create", dir))?;
    let (mut history, mut signed) = History::open(dir, key)?;
    // A checkpoint that its own history lacks is still a promise.
    if let Some(published) = published(dir, key)?
        && signed.last().is_none_or(|c| c.size() < published.size())
    {
        history.append(&published)?;
        signed.push(published);
    }
    let newest = signed.last().cloned();
    let signed_size = newest.as_ref().map_or(0, Checkpoint::size);
    let Files { tiles: files, temporary, .. } = Files::list(dir)?;
    for name in temporary {
        remove_optional(&dir.join(name))?;
    }
    let size = whole_size(dir, &files, signed_size)?;
    let partials = drop_unsigned(dir, &files, signed_size)?;
    let edge = read_edge(dir, size, signed_size)?;
    if let Some(newest) = newest.as_ref().filter(|c| c.size() == size)
        && *newest.root() != edge.root()
    {
        return Err(AuditError::Altered {
            path: dir.to_path_buf(),
            why: format!(
                "the hashes at its end do not lead to the root signed at size {size}; run a verification to see which \
                 file was changed, move that file away and start again"
            ),
        });
    }
    let bundle = match Tile::partial(TileKind::Entries, size) {
        Some(tile) => read(dir, tile)?,
        None => Vec::new(),
    };
    let ahead = signed.into_iter().filter(|c| c.size() > size).collect();
    Ok(Recovered { edge, bundle, history, newest, ahead, partials, partials_whole: size == signed_size })
}

/// The published checkpoint, unless it is missing or torn: the history then has it.
fn published(dir: &Path, key: &VerifierKey) -> Result<Option<Checkpoint>, AuditError> {
    let bytes = read_optional(&dir.join(CHECKPOINT_FILE))?;
    Ok(bytes.and_then(|b| String::from_utf8(b).ok()).and_then(|note| Checkpoint::open(&note, key).ok()))
}

/// The largest size up to which every file is whole.
fn whole_size(dir: &Path, files: &BTreeMap<Tile, u64>, signed: u64) -> Result<u64, AuditError> {
    let mut size = signed;
    for kind in TileKind::all(signed) {
        for index in 0..kind.items(signed).div_ceil(TILE_WIDTH) {
            let tile = Tile::at(kind, index, signed);
            let whole = files.get(&tile).is_some_and(|len| tile.bytes().is_none_or(|expected| *len == expected));
            if !whole {
                size = size.min(tile.first_entry());
                break;
            }
        }
    }
    let bundles = size.div_ceil(TILE_WIDTH);
    for index in bundles.saturating_sub(CHECKED_BUNDLES)..bundles {
        if !bundle_is_whole(dir, index, size)? {
            return Ok(index * TILE_WIDTH);
        }
    }
    Ok(size)
}

/// Whether a bundle holds exactly the entries whose hashes are recorded.
fn bundle_is_whole(dir: &Path, index: u64, size: u64) -> Result<bool, AuditError> {
    let bundle = read(dir, Tile::at(TileKind::Entries, index, size))?;
    let hashes = read(dir, Tile::at(TileKind::Hashes(0), index, size))?;
    let found: Option<Vec<u8>> = entries(&bundle).try_fold(Vec::new(), |mut found, entry| {
        found.extend_from_slice(&leaf_hash(entry.ok()?));
        Some(found)
    });
    Ok(found.is_some_and(|found| found == hashes))
}

/// Removes tile files that no checkpoint covers; returns the partial tiles that remain.
fn drop_unsigned(dir: &Path, files: &BTreeMap<Tile, u64>, signed: u64) -> Result<Vec<Tile>, AuditError> {
    let mut partials = Vec::new();
    for tile in files.keys() {
        if !tile.belongs_to(signed) {
            remove_optional(&dir.join(tile.to_string()))?;
        } else if !tile.is_full() {
            partials.push(*tile);
        }
    }
    Ok(partials)
}

/// Reads the unfinished tile of each level for a tree of `size` from the files of a tree of `signed` entries.
fn read_edge(dir: &Path, size: u64, signed: u64) -> Result<Edge, AuditError> {
    let mut partials = Vec::new();
    for kind in TileKind::all(size).filter(|k| *k != TileKind::Entries) {
        let hashes = match Tile::partial(kind, size) {
            Some(part) => {
                let tile = Tile::at(kind, part.index, signed);
                let bytes = read(dir, tile)?;
                bytes.as_chunks::<32>().0.iter().take(usize::from(part.width)).copied().collect()
            }
            None => Vec::<Hash>::new(),
        };
        partials.push(hashes);
    }
    Ok(Edge::from_partials(size, partials))
}

fn read(dir: &Path, tile: Tile) -> Result<Vec<u8>, AuditError> {
    let path = dir.join(tile.to_string());
    fs::read(&path).map_err(AuditError::io("read", &path))
}
