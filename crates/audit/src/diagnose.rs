//! Finding out what is wrong, once a verification found that something is.
//!
//! Three records of each entry exist: its bytes, its hash in a level-0 tile, and the roots that were signed. A prefix
//! of hashes that leads to a signed root is authentic, wherever it comes from; so is a tile whose parent hash is. From
//! the authentic hashes the wrong entries are named; where both records were changed, only the range can be.

use crate::{
    AuditError, Hash, Problem, Report, Span, diff,
    evidence::Evidence,
    files::Files,
    tiles::{TILE_WIDTH, Tile, TileKind},
    tree::{CompactRange, fold_roots, root_from_leaves},
    verify::SignedRoots,
};
use std::path::Path;

/// Signed sizes from which tiles are authenticated, newest first. A bound on work, not on correctness.
const MAX_ANCHORS: usize = 4096;
/// Suspects named per range.
const MAX_SUSPECTS: usize = 16;

/// Adds what is wrong to the report; returns the authentic root at the size asked for, if it is known.
pub(crate) fn diagnose(
    dir: &Path,
    size: u64,
    signed: &SignedRoots,
    files: &Files,
    ask: Option<u64>,
    report: &mut Report,
) -> Result<Option<Hash>, AuditError> {
    if size == 0 {
        return Ok(None);
    }
    let before = report.findings.len();
    let evidence = Evidence::load(dir, size, files, report)?;
    let authentic = authenticate(&evidence, size, signed);
    diff::compare_entries(&evidence.entries, &authentic, report);
    compare_tiles(&evidence, &authentic, size, report);
    name_ranges(&evidence, &authentic, signed, report);
    if report.findings.len() == before {
        // The pass over the log saw a difference; it must never be explained away.
        report.add(Problem::RangeChanged { span: Span { from: 0, to: size }, suspects: Vec::new() });
    }
    Ok(ask.and_then(|ask| {
        let prefix: Option<Vec<Hash>> = authentic.get(..ask as usize)?.iter().copied().collect();
        prefix.map(|p| root_from_leaves(&p))
    }))
}

/// The hash of each entry as far as a signature vouches for it.
fn authenticate(evidence: &Evidence, size: u64, signed: &SignedRoots) -> Vec<Option<Hash>> {
    let stored = &evidence.tiles[0];
    let found: Vec<Option<Hash>> = evidence.entries.iter().map(|e| e.hash).collect();
    let by_stored = authentic_prefix(stored, signed);
    let by_entries = authentic_prefix(&found, signed);
    let mut authentic: Vec<Option<Hash>> = vec![None; size as usize];
    let (source, len) = if by_stored >= by_entries { (stored, by_stored) } else { (&found, by_entries) };
    let len = len as usize;
    authentic[..len].copy_from_slice(&source[..len]);
    if len < authentic.len() {
        descend(evidence, &found, size, signed, &mut authentic);
    }
    authentic
}

/// The largest signed size whose root the hashes lead to.
fn authentic_prefix(hashes: &[Option<Hash>], signed: &SignedRoots) -> u64 {
    let (mut range, mut best) = (CompactRange::default(), 0);
    for hash in hashes {
        let Some(hash) = hash else { break };
        range.push(*hash);
        if signed.get(&range.size()).is_some_and(|root| *root == range.root()) {
            best = range.size();
        }
    }
    best
}

/// Authenticates tiles from signed roots downwards: a tile is authentic if its own root is a hash that is.
fn descend(
    evidence: &Evidence,
    found: &[Option<Hash>],
    size: u64,
    signed: &SignedRoots,
    authentic: &mut [Option<Hash>],
) {
    let mut levels: Vec<Vec<Option<Hash>>> = evidence.tiles.iter().map(|l| vec![None; l.len()]).collect();
    for (anchor, root) in signed.iter().rev().filter(|(s, _)| **s <= size).take(MAX_ANCHORS) {
        if let Some(edge) = edge_at(evidence, *anchor).filter(|e| e.root == *root) {
            for (level, from, hashes) in edge.parts {
                for (n, hash) in hashes.into_iter().enumerate() {
                    levels[level][from + n] = Some(hash);
                }
            }
        }
    }
    for level in (1..levels.len()).rev() {
        let (below, here) = levels.split_at_mut(level);
        let (below, here) = (&mut below[level - 1], &here[0]);
        for (index, parent) in here.iter().enumerate() {
            let Some(parent) = parent else { continue };
            let span = index * TILE_WIDTH as usize..(index + 1) * TILE_WIDTH as usize;
            let stored = evidence.tiles[level - 1].get(span.clone());
            let computed = if level == 1 { found.get(span.clone()) } else { None };
            let tile = [stored, computed].into_iter().flatten().find_map(|hashes| {
                let hashes: Vec<Hash> = hashes.iter().copied().collect::<Option<_>>()?;
                (root_from_leaves(&hashes) == *parent).then_some(hashes)
            });
            if let (Some(tile), Some(below)) = (tile, below.get_mut(span)) {
                below.iter_mut().zip(tile).for_each(|(slot, hash)| *slot = Some(hash));
            }
        }
    }
    for (slot, hash) in authentic.iter_mut().zip(&levels[0]) {
        *slot = slot.or(*hash);
    }
}

/// The right edge of a tree, from stored hashes.
struct StoredEdge {
    root: Hash,
    /// Level, position of the first hash, hashes.
    parts: Vec<(usize, usize, Vec<Hash>)>,
}

fn edge_at(evidence: &Evidence, size: u64) -> Option<StoredEdge> {
    let mut parts = Vec::new();
    let mut roots = Vec::new();
    for (level, hashes) in evidence.tiles.iter().enumerate() {
        let items = TileKind::Hashes(level as u8).items(size);
        let from = items - items % TILE_WIDTH;
        let part: Vec<Hash> = hashes.get(from as usize..items as usize)?.iter().copied().collect::<Option<_>>()?;
        let mut range = CompactRange::default();
        part.iter().for_each(|h| range.push(*h));
        roots.extend(range.roots().iter().rev().copied());
        parts.push((level, from as usize, part));
    }
    Some(StoredEdge { root: fold_roots(roots.iter()), parts })
}

/// Names stored hashes that differ from the authentic ones.
fn compare_tiles(evidence: &Evidence, authentic: &[Option<Hash>], size: u64, report: &mut Report) {
    compare_level(0, &evidence.tiles[0], authentic, size, report);
    let Some(leaves) = authentic.iter().copied().collect::<Option<Vec<Hash>>>() else { return };
    let mut below = leaves;
    for (level, stored) in evidence.tiles.iter().enumerate().skip(1) {
        below = below.as_chunks::<{ TILE_WIDTH as usize }>().0.iter().map(root_from_leaves).collect();
        let expected: Vec<Option<Hash>> = below.iter().copied().map(Some).collect();
        compare_level(level, stored, &expected, size, report);
    }
}

fn compare_level(level: usize, stored: &[Option<Hash>], expected: &[Option<Hash>], size: u64, report: &mut Report) {
    let kind = TileKind::Hashes(level as u8);
    let width = TILE_WIDTH as usize;
    for (index, (stored, expected)) in stored.chunks(width).zip(expected.chunks(width)).enumerate() {
        let differs = |(s, e): (&Option<Hash>, &Option<Hash>)| s.is_some() && e.is_some() && s != e;
        if let Some(position) = stored.iter().zip(expected).position(differs) {
            let file = Tile::at(kind, index as u64, size).to_string();
            report.add(Problem::HashChanged { file, position: position as u64 });
        }
    }
}

/// Names the ranges in which nothing authentic is left to compare with.
fn name_ranges(evidence: &Evidence, authentic: &[Option<Hash>], signed: &SignedRoots, report: &mut Report) {
    let mut at = 0;
    while let Some(from) = authentic[at..].iter().position(Option::is_none).map(|n| at + n) {
        let gap_end = authentic[from..].iter().position(Option::is_some).map_or(authentic.len(), |n| from + n);
        // Everything before the gap is authentic, so the first signed size in it already fails.
        let signed_end = signed.range(from as u64 + 1..).next().map_or(gap_end, |(s, _)| *s as usize);
        let to = gap_end.min(signed_end);
        let suspects = (from..to)
            .filter(|n| {
                let pair =
                    (evidence.entries.get(*n).and_then(|e| e.hash), evidence.tiles[0].get(*n).copied().flatten());
                matches!(pair, (Some(entry), Some(stored)) if entry != stored)
            })
            .take(MAX_SUSPECTS)
            .map(|n| n as u64)
            .collect();
        let span = Span { from: from as u64, to: to as u64 };
        let lost = evidence.entries.get(from..to).is_some_and(|e| e.iter().all(|e| e.hash.is_none()));
        if !lost {
            report.add(Problem::RangeChanged { span, suspects });
        }
        if to < gap_end {
            report.notes.push(format!(
                "entries {to} to {} cannot be judged one by one, because what lies before them was changed",
                gap_end - 1
            ));
        }
        at = gap_end;
    }
}
