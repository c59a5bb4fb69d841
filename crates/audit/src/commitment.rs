//! Commitments: a leaf names a body without revealing it.
//!
//! HMAC-SHA-256 under a random salt per record. Without the salt a commitment says nothing about the body, not even
//! whether a guess is right; so erasing salt and body erases the content while the log still verifies.

use hmac::{Hmac, Mac};
use sha2::Sha256;

fn mac(salt: &[u8; 32], body: &[u8]) -> Hmac<Sha256> {
    // A key of exactly one hash length needs no length check, unlike `new_from_slice`.
    let mut block = [0u8; 64];
    block[..32].copy_from_slice(salt);
    <Hmac<Sha256> as hmac::digest::KeyInit>::new(&block.into()).chain_update(body)
}

/// A commitment to a body that comes in pieces.
#[derive(Clone)]
pub struct Committer(Hmac<Sha256>);

impl Committer {
    /// Begins under a salt.
    pub fn new(salt: &[u8; 32]) -> Self {
        Self(mac(salt, &[]))
    }

    /// Adds a piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The commitment to all pieces, as bytes.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into_bytes().into()
    }
}

/// The commitment to a body under a salt, as 64 hexadecimal digits.
pub fn commitment(salt: &[u8; 32], body: &[u8]) -> String {
    hex::encode(mac(salt, body).finalize().into_bytes())
}

/// Whether a commitment belongs to this salt and body; takes the same time wherever they differ.
pub fn commitment_matches(commitment: &str, salt: &[u8; 32], body: &[u8]) -> bool {
    hex::decode(commitment).is_ok_and(|tag| mac(salt, body).verify_slice(&tag).is_ok())
}
