//! Leaves: their canonical bytes and the two hashes of RFC 6962.

use crate::AuditError;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Size of every hash in the tree.
pub const HASH_BYTES: usize = 32;

/// A SHA-256 hash.
pub type Hash = [u8; HASH_BYTES];

/// The RFC 8785 (JCS) bytes of a value: equal values have equal bytes, whoever writes them.
pub fn canonical(value: &impl Serialize) -> Result<Vec<u8>, AuditError> {
    serde_json_canonicalizer::to_vec(value).map_err(AuditError::Canonical)
}

/// The RFC 6962 hash of an entry: SHA-256(0x00 || entry).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new_with_prefix([0u8]).chain_update(entry).finalize().into()
}

/// The RFC 6962 hash of an inner node: SHA-256(0x01 || left || right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    // One buffer, one update: this is the hot path of verification.
    let mut node = [1u8; 1 + 2 * HASH_BYTES];
    node[1..=HASH_BYTES].copy_from_slice(left);
    node[1 + HASH_BYTES..].copy_from_slice(right);
    Sha256::digest(node).into()
}
