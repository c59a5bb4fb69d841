//! Bodies of the journal: sealed under a key per scope, committed to under a salt of their own.
//!
//! What is sealed is the salt and then the body, so that whoever has the files without the key cannot test a commitment
//! against a guess. AES-256-GCM of `ring`, which is in the program for TLS, uses the processor's instructions in every
//! build; bodies in the database have ChaCha20-Poly1305. The key is derived, so that no key serves two ciphers.

use crate::{StoreError, body::random, journal::record::BodyAt};
use audit::Committer;
use hmac::{Hmac, Mac};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::Sha256;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

pub(crate) const SALT: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;

/// The key of a scope, ready for use.
pub(crate) struct ScopeKey {
    /// The scope, with the generation of the key.
    pub(crate) scope: String,
    cipher: LessSafeKey,
    retired: RwLock<bool>,
}

impl std::fmt::Debug for ScopeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScopeKey").field("scope", &self.scope).finish_non_exhaustive()
    }
}

fn broken<E>(_: E) -> StoreError {
    StoreError::corrupt("a body of the call journal does not decrypt")
}

impl ScopeKey {
    /// The journal's key of a scope, from the scope's own.
    pub(crate) fn new(scope: &str, key: &[u8; 32]) -> Result<Self, StoreError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(StoreError::corrupt)?;
        mac.update(b"taskforge call journal, AES-256-GCM, 1");
        let derived: [u8; 32] = mac.finalize().into_bytes().into();
        let cipher = UnboundKey::new(&AES_256_GCM, &derived).map_err(broken)?;
        Ok(Self { scope: scope.to_owned(), cipher: LessSafeKey::new(cipher), retired: RwLock::new(false) })
    }

    /// Keeps the key from being retired while a call is recorded under it; none if it is retired.
    pub(crate) fn in_use(&self) -> Option<RwLockReadGuard<'_, bool>> {
        let retired = self.retired.read().unwrap_or_else(PoisonError::into_inner);
        (!*retired).then_some(retired)
    }

    /// From now on no call begins under it.
    pub(crate) fn retire(&self) {
        *self.retired.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Seals what `write` adds to `out`: nonce, ciphertext, tag. Returns how many bytes that became.
    pub(crate) fn seal(
        &self,
        out: &mut Vec<u8>,
        nonce: [u8; NONCE],
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<usize, StoreError> {
        let from = out.len();
        out.extend_from_slice(&nonce);
        write(out);
        let plain = out.get_mut(from + NONCE..).unwrap_or_default();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.cipher.seal_in_place_separate_tag(nonce, Aad::empty(), plain).map_err(broken)?;
        out.extend_from_slice(tag.as_ref());
        Ok(out.len() - from)
    }

    /// Opens what was sealed, in place.
    pub(crate) fn open<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], StoreError> {
        if sealed.len() < NONCE + TAG {
            return Err(broken(()));
        }
        let (nonce, rest) = sealed.split_at_mut(NONCE);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(broken)?;
        self.cipher.open_in_place(nonce, Aad::empty(), rest).map_err(broken)
    }

    /// Seals a small secret on its own.
    pub(crate) fn seal_small(&self, secret: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut out = Vec::with_capacity(NONCE + secret.len() + TAG);
        self.seal(&mut out, random()?, |out| out.extend_from_slice(secret))?;
        Ok(out)
    }

    /// Seals a whole body into a frame's data.
    pub(crate) fn seal_body(&self, out: &mut Vec<u8>, body: &[u8]) -> Result<BodyAt, StoreError> {
        let random: [u8; SALT + NONCE] = random()?;
        let (salt, nonce) = split(&random);
        let mut committer = Committer::new(&salt);
        committer.update(body);
        let sealed = self.seal(out, nonce, |out| {
            out.reserve(SALT + body.len() + TAG);
            out.extend_from_slice(&salt);
            out.extend_from_slice(body);
        })?;
        Ok(BodyAt {
            commitment: committer.finish(),
            size: body.len() as u64,
            pieces: Vec::new(),
            sealed: sealed as u32,
        })
    }
}

fn split(random: &[u8; SALT + NONCE]) -> ([u8; SALT], [u8; NONCE]) {
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE]);
    salt.copy_from_slice(&random[..SALT]);
    nonce.copy_from_slice(&random[SALT..]);
    (salt, nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_opens_under_its_own_key_alone() {
        let (mine, other) = (ScopeKey::new("a", &[1; 32]).unwrap(), ScopeKey::new("a", &[2; 32]).unwrap());
        let mut out = b"before".to_vec();
        let body = mine.seal_body(&mut out, b"hello").unwrap();
        assert_eq!(out.len(), 6 + body.sealed as usize);
        assert!(other.open(&mut out.clone()[6..]).is_err());
        let mut sealed = out[6..].to_vec();
        let plain = mine.open(&mut sealed).unwrap();
        let salt: [u8; 32] = plain[..SALT].try_into().unwrap();
        assert_eq!(&plain[SALT..], b"hello");
        assert!(audit::commitment_matches(&body.name(), &salt, b"hello"));
        out[9] ^= 1;
        assert!(mine.open(&mut out[6..]).is_err());
        assert!(mine.open(&mut [0; 20]).is_err());
    }
}
