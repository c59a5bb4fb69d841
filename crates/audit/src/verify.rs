//! Verification of a log folder against a public key: nothing in the folder is trusted.
//!
//! One pass recomputes the tree from the entries and compares every stored hash and every signed root on the way. Only
//! when something differs does the slower diagnosis find out what.

use crate::{
    AuditError, Checkpoint, Hash, Problem, Report, VerifierKey, diagnose,
    edge::Edge,
    files::Files,
    history::{HISTORY_FILE, records},
    leaf::leaf_hash,
    log::{CHECKPOINT_FILE, entries},
    tiles::{TILE_WIDTH, Tile, TileKind},
    writer::read_optional,
};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// Attempts at a consistent view of a log that is being written.
const LIVE_ATTEMPTS: usize = 5;
/// Pause between them: longer than a seal takes.
const LIVE_PAUSE: Duration = Duration::from_millis(100);

/// What to compare the log with, besides itself.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// A checkpoint that was verified before: the log must continue it.
    pub known: Option<Checkpoint>,
    /// Whether a server may be writing the log meanwhile: findings are then checked again on a fresh view.
    pub live: bool,
}

/// Verifies the log in `dir`. An error means that it could not be checked; what is wrong with it is in the report.
pub fn verify(dir: &Path, key: &VerifierKey, options: &VerifyOptions) -> Result<Report, AuditError> {
    let mut report = verify_once(dir, key, options)?;
    if options.live {
        for _ in 1..LIVE_ATTEMPTS {
            if report.valid {
                break;
            }
            std::thread::sleep(LIVE_PAUSE);
            report = verify_once(dir, key, options)?;
        }
    }
    Ok(report)
}

/// Roots by size, as far as validly signed.
pub(crate) type SignedRoots = BTreeMap<u64, Hash>;

fn verify_once(dir: &Path, key: &VerifierKey, options: &VerifyOptions) -> Result<Report, AuditError> {
    let mut report = Report { valid: true, origin: key.name().to_owned(), key: key.to_string(), ..Report::default() };
    let (signed, newest) = read_checkpoints(dir, key, &mut report)?;
    let size = newest.as_ref().map_or(0, Checkpoint::size);
    if let Some(newest) = &newest {
        report.size = size;
        report.root = hex::encode(newest.root());
        report.signed_at = newest.time().map(|t| t.to_string());
    } else {
        report.add(Problem::NothingSigned);
    }
    report.newest = newest;
    let known = options.known.as_ref().and_then(|known| compare_known(known, key, size, &signed, &mut report));
    let files = Files::list(dir)?;
    let ask = known.as_ref().map(|(size, _)| *size);
    let mut scan = scan(dir, size, &signed, ask)?;
    if !scan.intact {
        scan.asked = diagnose::diagnose(dir, size, &signed, &files, ask, &mut report)?;
    }
    if let Some((known, root)) = known {
        match scan.asked {
            Some(found) if found == root => {}
            Some(_) => report.add(Problem::Forked { known }),
            None => report.notes.push(format!(
                "whether the log continues the {known} entries verified before cannot be told: some of them are damaged"
            )),
        }
    }
    check_files(dir, size, &files, &mut report)?;
    Ok(report)
}

/// Reads the history and the published checkpoint; what is wrong with them goes into the report.
fn read_checkpoints(
    dir: &Path,
    key: &VerifierKey,
    report: &mut Report,
) -> Result<(SignedRoots, Option<Checkpoint>), AuditError> {
    let mut signed = SignedRoots::new();
    let mut newest: Option<Checkpoint> = None;
    let mut next_number = 0;
    let history = read_optional(&dir.join(HISTORY_FILE))?;
    if history.is_none() {
        report.add(Problem::FileMissing { file: HISTORY_FILE.to_owned() });
    }
    let history = history.unwrap_or_default();
    let (found, used) = records(&history);
    for (position, record) in found.iter().enumerate() {
        let invalid =
            |why: String| Problem::CheckpointInvalid { file: HISTORY_FILE.to_owned(), position: position as u64, why };
        let checkpoint = match Checkpoint::open(record.note, key) {
            Ok(checkpoint) => checkpoint,
            Err(e) => {
                report.add(invalid(e.to_string()));
                next_number += 1;
                continue;
            }
        };
        if let Some(number) = checkpoint.number() {
            if number > next_number {
                report.add(Problem::CheckpointsMissing { from: next_number, to: number });
            }
            next_number = next_number.max(number + 1);
        }
        if let Some(earlier) = &newest {
            compare_order(earlier, &checkpoint, report, &invalid);
        }
        keep(checkpoint, &mut signed, &mut newest, report);
    }
    if used < history.len() {
        report.add(Problem::FileJunk { file: HISTORY_FILE.to_owned(), from_byte: used as u64 });
    }
    read_published(dir, key, &mut signed, &mut newest, report)?;
    Ok((signed, newest))
}

fn compare_order(earlier: &Checkpoint, later: &Checkpoint, report: &mut Report, invalid: &impl Fn(String) -> Problem) {
    if later.size() <= earlier.size() {
        report.add(invalid(format!("its size {} does not come after {}", later.size(), earlier.size())));
    }
    if later.time() < earlier.time() {
        report.notes.push(format!("the clock went back before the checkpoint of size {}", later.size()));
    }
}

fn keep(checkpoint: Checkpoint, signed: &mut SignedRoots, newest: &mut Option<Checkpoint>, report: &mut Report) {
    report.checkpoints += 1;
    let size = checkpoint.size();
    if signed.insert(size, *checkpoint.root()).is_some_and(|root| root != *checkpoint.root()) {
        report.add(Problem::CheckpointsContradict { size });
    }
    if newest.as_ref().is_none_or(|n| n.size() < size) {
        *newest = Some(checkpoint);
    }
}

fn read_published(
    dir: &Path,
    key: &VerifierKey,
    signed: &mut SignedRoots,
    newest: &mut Option<Checkpoint>,
    report: &mut Report,
) -> Result<(), AuditError> {
    let file = CHECKPOINT_FILE.to_owned();
    let Some(bytes) = read_optional(&dir.join(CHECKPOINT_FILE))? else {
        report.add(Problem::FileMissing { file });
        return Ok(());
    };
    let note = String::from_utf8_lossy(&bytes);
    match Checkpoint::open(&note, key) {
        Err(e) => report.add(Problem::CheckpointInvalid { file, position: 0, why: e.to_string() }),
        Ok(published) => {
            let history = newest.as_ref().map_or(0, Checkpoint::size);
            if published.size() != history {
                report.add(Problem::CheckpointStale { published: published.size(), history });
            }
            let repeated = u64::from(signed.contains_key(&published.size()));
            keep(published, signed, newest, report);
            report.checkpoints -= repeated;
        }
    }
    Ok(())
}

/// Compares a remembered checkpoint with what is signed; returns it if only the entries can tell.
///
/// It is no anchor for the diagnosis: a fork must not look like a change of entries.
fn compare_known(
    known: &Checkpoint,
    key: &VerifierKey,
    size: u64,
    signed: &SignedRoots,
    report: &mut Report,
) -> Option<(u64, Hash)> {
    if known.origin() != key.name() {
        report.add(Problem::CheckpointInvalid {
            file: "the checkpoint to compare with".to_owned(),
            position: 0,
            why: format!("it is of {:?}, not of {:?}", known.origin(), key.name()),
        });
        return None;
    }
    if known.size() > size {
        report.add(Problem::Shrunk { known: known.size(), size });
        return None;
    }
    match signed.get(&known.size()) {
        Some(root) if root != known.root() => {
            report.add(Problem::Forked { known: known.size() });
            None
        }
        Some(_) => None,
        None => Some((known.size(), *known.root())),
    }
}

/// What one pass over the entries found.
struct Scan {
    intact: bool,
    /// Root at the size asked for, if the pass came so far without a difference.
    asked: Option<Hash>,
}

/// Recomputes the tree from the entries and compares all hashes and roots.
fn scan(dir: &Path, size: u64, signed: &SignedRoots, ask: Option<u64>) -> Result<Scan, AuditError> {
    let mut pass = Pass { dir, edge: Edge::default(), intact: true };
    let mut stops = signed.iter().skip_while(|(s, _)| **s == 0).peekable();
    let mut asked = (ask == Some(0)).then(|| pass.edge.root());
    for index in 0..size.div_ceil(TILE_WIDTH) {
        let tile = Tile::at(TileKind::Entries, index, size);
        let bundle = read_optional(&dir.join(tile.to_string()))?.unwrap_or_default();
        let (mut count, mut whole) = (0, true);
        for entry in entries(&bundle) {
            let Ok(entry) = entry else {
                whole = false;
                break;
            };
            pass.push(leaf_hash(entry))?;
            count += 1;
            if let Some((_, root)) = stops.next_if(|(s, _)| **s == pass.edge.size()) {
                pass.intact &= *root == pass.edge.root();
            }
            if ask == Some(pass.edge.size()) {
                asked = Some(pass.edge.root());
            }
        }
        pass.intact &= count == tile.width && whole;
        if !pass.intact {
            return Ok(Scan { intact: false, asked: None });
        }
    }
    for (tile, bytes) in pass.edge.partials() {
        pass.intact &= read_optional(&dir.join(tile.to_string()))?.is_some_and(|stored| stored == bytes);
    }
    Ok(Scan { intact: pass.intact && pass.edge.size() == size, asked })
}

struct Pass<'a> {
    dir: &'a Path,
    edge: Edge,
    intact: bool,
}

impl Pass<'_> {
    /// Adds a leaf; a tile that becomes full is compared with its file.
    fn push(&mut self, hash: Hash) -> Result<(), AuditError> {
        let (dir, intact) = (self.dir, &mut self.intact);
        self.edge.push(hash, &mut |tile, bytes| {
            *intact &= read_optional(&dir.join(tile.to_string()))?.is_some_and(|stored| stored == bytes);
            Ok(())
        })
    }
}

/// Names files that do not belong to a log of this size.
fn check_files(dir: &Path, size: u64, files: &Files, report: &mut Report) -> Result<(), AuditError> {
    for file in &files.foreign {
        report.add(Problem::FileForeign { file: file.clone() });
    }
    for file in &files.temporary {
        report.notes.push(format!("{file} is left over from an interrupted write"));
    }
    let mut unsigned_end = 0;
    for tile in files.tiles.keys().filter(|t| !t.belongs_to(size)) {
        let end = tile.index.saturating_mul(TILE_WIDTH).saturating_add(u64::from(tile.width));
        if end > tile.kind.items(size) {
            match tile.kind {
                TileKind::Entries | TileKind::Hashes(0) => unsigned_end = unsigned_end.max(end),
                TileKind::Hashes(_) => report.add(Problem::FileForeign { file: tile.to_string() }),
            }
            continue;
        }
        let current = read_optional(&dir.join(Tile::at(tile.kind, tile.index, size).to_string()))?.unwrap_or_default();
        let stale = read_optional(&dir.join(tile.to_string()))?.unwrap_or_default();
        if current.starts_with(&stale) && tile.bytes().is_none_or(|n| n == stale.len() as u64) {
            report.notes.push(format!("{tile} is replaced by a newer tile and could be removed"));
        } else {
            report.add(Problem::FileForeign { file: tile.to_string() });
        }
    }
    if unsigned_end > size {
        report.add(Problem::EntriesUnsigned { size, count: unsigned_end - size });
    }
    Ok(())
}
