//! The Merkle tree of RFC 6962: roots, inclusion and consistency proofs and their verification.
//!
//! Everything is computed from hashes of perfect subtrees, which the caller supplies; nothing here reads a file.

use crate::{AuditError, Hash, node_hash};
use sha2::{Digest, Sha256};

/// A perfect subtree: the entries from `index << height`, `1 << height` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subtree {
    /// Levels above the leaves.
    pub height: u8,
    /// Position among the subtrees of this height.
    pub index: u64,
}

/// The right edge of a tree: roots of its perfect subtrees from left to right. Appending is O(1) amortised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    roots: Vec<Hash>,
}

impl CompactRange {
    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        let (mut hash, mut size) = (leaf, self.size);
        while size & 1 == 1 {
            if let Some(left) = self.roots.pop() {
                hash = node_hash(&left, &hash);
            }
            size >>= 1;
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// Root of the tree over the leaves so far.
    pub fn root(&self) -> Hash {
        fold_roots(self.roots.iter().rev())
    }

    /// Roots of the perfect subtrees, from left to right.
    pub(crate) fn roots(&self) -> &[Hash] {
        &self.roots
    }
}

/// Root over perfect subtrees given from right to left; the empty tree hashes the empty string.
pub(crate) fn fold_roots<'a>(mut from_right: impl Iterator<Item = &'a Hash>) -> Hash {
    match from_right.next() {
        None => Sha256::digest([]).into(),
        Some(last) => from_right.fold(*last, |right, left| node_hash(left, &right)),
    }
}

/// Root of the tree over leaf hashes.
pub fn root_from_leaves<'a>(leaves: impl IntoIterator<Item = &'a Hash>) -> Hash {
    let mut range = CompactRange::default();
    leaves.into_iter().for_each(|l| range.push(*l));
    range.root()
}

/// Hashes that prove that entry `index` is in the tree of `size` entries (RFC 6962, 2.1.1).
pub fn inclusion_proof<E: From<AuditError>>(
    index: u64,
    size: u64,
    subtree: &mut impl FnMut(Subtree) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    if index >= size {
        return Err(AuditError::OutOfRange { index, size }.into());
    }
    let (mut lo, mut hi) = (0, size);
    let mut proof = Vec::new();
    while hi - lo > 1 {
        let mid = lo + split(hi - lo);
        if index < mid {
            proof.push(range_hash(mid, hi, subtree)?);
            hi = mid;
        } else {
            proof.push(range_hash(lo, mid, subtree)?);
            lo = mid;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Hashes that prove that the tree of `old` entries is a prefix of the tree of `new` entries (RFC 6962, 2.1.2).
pub fn consistency_proof<E: From<AuditError>>(
    old: u64,
    new: u64,
    subtree: &mut impl FnMut(Subtree) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    if old > new {
        return Err(AuditError::OutOfRange { index: old, size: new }.into());
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut lo, mut hi) = (0, new);
    let mut proof = Vec::new();
    while old != hi {
        let mid = lo + split(hi - lo);
        if old <= mid {
            proof.push(range_hash(mid, hi, subtree)?);
            hi = mid;
        } else {
            proof.push(range_hash(lo, mid, subtree)?);
            lo = mid;
        }
    }
    // The old root itself is known to the verifier when the old tree is one perfect subtree.
    if lo != 0 {
        proof.push(range_hash(lo, hi, subtree)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Checks an inclusion proof against a root (RFC 9162, 2.1.3.2).
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), AuditError> {
    if index >= size {
        return Err(AuditError::OutOfRange { index, size });
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for step in proof {
        if last == 0 {
            return Err(AuditError::Proof("it is too long"));
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(step, &hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, step);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last != 0 {
        return Err(AuditError::Proof("it is too short"));
    }
    if hash == *root { Ok(()) } else { Err(AuditError::Proof("it leads to another root")) }
}

/// Checks a consistency proof between two roots (RFC 9162, 2.1.4.2).
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), AuditError> {
    if old > new {
        return Err(AuditError::OutOfRange { index: old, size: new });
    }
    if old == 0 || old == new {
        let same = old == 0 || old_root == new_root;
        return match (proof.is_empty(), same) {
            (true, true) => Ok(()),
            (false, _) => Err(AuditError::Proof("it is too long")),
            (true, false) => Err(AuditError::Proof("equal sizes have different roots")),
        };
    }
    let (first, rest) = match proof.split_first() {
        _ if old.is_power_of_two() => (old_root, proof),
        Some((first, rest)) => (first, rest),
        None => return Err(AuditError::Proof("it is too short")),
    };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    let (mut from_old, mut from_new) = (*first, *first);
    for step in rest {
        if last == 0 {
            return Err(AuditError::Proof("it is too long"));
        }
        if node & 1 == 1 || node == last {
            from_old = node_hash(step, &from_old);
            from_new = node_hash(step, &from_new);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            from_new = node_hash(&from_new, step);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last != 0 {
        return Err(AuditError::Proof("it is too short"));
    }
    if from_old == *old_root && from_new == *new_root {
        Ok(())
    } else {
        Err(AuditError::Proof("it leads to other roots"))
    }
}

/// The largest power of two below `n`, for `n` of two or more.
fn split(n: u64) -> u64 {
    1 << (u64::BITS - 1 - (n - 1).leading_zeros())
}

/// Hash over the entries `lo..hi`, where `lo` is a split point of the tree.
fn range_hash<E>(lo: u64, hi: u64, subtree: &mut impl FnMut(Subtree) -> Result<Hash, E>) -> Result<Hash, E> {
    let (mut lo, mut roots) = (lo, Vec::new());
    while lo < hi {
        let n = hi - lo;
        let width = if n.is_power_of_two() { n } else { split(n) };
        let height = width.trailing_zeros() as u8;
        roots.push(subtree(Subtree { height, index: lo >> height })?);
        lo += width;
    }
    Ok(fold_roots(roots.iter().rev()))
}
