//! Signatures that only this emulator can have made, so that it can tell whether they came back unchanged.
//!
//! A signature is a nonce and a digest over the nonce and what is signed. It differs from answer to answer, and no state
//! is needed to check it.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

/// What makes a digest ours; nothing is protected by it.
const SALT: &[u8] = b"provider-emulator signature";

/// Signs these pieces. The nonce is the answer's number.
pub(crate) fn sign(nonce: u64, pieces: &[&str]) -> String {
    let mut bytes = nonce.to_be_bytes().to_vec();
    bytes.extend_from_slice(&digest(nonce, pieces));
    STANDARD.encode(bytes)
}

/// Whether `signature` was made for these pieces.
pub(crate) fn is_ours(signature: &str, pieces: &[&str]) -> bool {
    let Ok(bytes) = STANDARD.decode(signature) else { return false };
    let Some((nonce, rest)) = bytes.split_first_chunk::<8>() else { return false };
    rest == digest(u64::from_be_bytes(*nonce), pieces)
}

fn digest(nonce: u64, pieces: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(SALT);
    hash.update(nonce.to_be_bytes());
    for piece in pieces {
        hash.update((piece.len() as u64).to_be_bytes());
        hash.update(piece);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_its_pieces() {
        let signature = sign(7, &["a", "bc"]);
        assert!(is_ours(&signature, &["a", "bc"]));
        assert!(!is_ours(&signature, &["ab", "c"]));
        assert!(!is_ours(&sign(8, &["a"]), &["b"]));
        assert!(!is_ours("", &[]));
        assert_ne!(signature, sign(8, &["a", "bc"]));
    }
}
