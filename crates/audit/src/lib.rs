//! The audit log as files and maths: leaves, tree, tiles, signed checkpoints, proofs and verification.
//!
//! - A leaf is RFC 8785 JSON of metadata ([`canonical`]); bodies appear in it as salted commitments ([`commitment()`]).
//! - The tree is that of RFC 6962; the files follow C2SP tlog-tiles, tlog-checkpoint and signed-note ([`Log`]).
//! - [`verify()`] recomputes everything from the entries, without trust in any file, and names what is wrong.
//!
//! Invariants: a checkpoint is published only after every byte that it covers is on disk; no checkpoint is signed that
//! is smaller than, or inconsistent with, one signed before; full tiles are written once.
//!
//! Deliberately absent: a database, a clock (times are passed in), async, and any judgement of what leaves mean.

mod checkpoint;
mod commitment;
mod diagnose;
mod diff;
mod edge;
mod error;
mod evidence;
mod files;
mod history;
mod key;
mod known;
mod leaf;
mod log;
mod recover;
mod report;
mod tiles;
mod tree;
mod verify;
mod writer;

pub use checkpoint::Checkpoint;
pub use commitment::{Committer, commitment, commitment_matches};
pub use error::AuditError;
pub use key::{LogKey, VerifierKey};
pub use known::{Known, KnownFolder};
pub use leaf::{HASH_BYTES, Hash, canonical, leaf_hash, node_hash};
pub use log::{Log, MAX_LEAF_BYTES};
pub use report::{Finding, Problem, Report, Span};
pub use tiles::{TILE_WIDTH, Tile, TileKind};
pub use tree::{
    CompactRange, Subtree, consistency_proof, inclusion_proof, root_from_leaves, verify_consistency, verify_inclusion,
};
pub use verify::{VerifyOptions, verify};
