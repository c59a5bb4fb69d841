//! Keys, and keeping them out of what comes back.
//!
//! An upstream may echo the key it was given. [`Masker`] replaces it in a stream of pieces, also where it is split
//! between two of them: an end of a piece that could be the beginning of a key is held back until the next.

use bytes::Bytes;
use memchr::memmem::Finder;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// What stands in the place of a key.
pub(crate) const MASK: &[u8] = b"[masked]";
/// Shorter keys are placeholders such as `ollama` or `unused`; masking them would damage answers.
const MIN_KEY_BYTES: usize = 8;

/// A key or another credential. It has no `Debug`, no `Display` and no serialisation.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a credential; surrounding white space of a setting is not part of it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().into())
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// What stands for a credential in records.
pub(crate) fn fingerprint(credential: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(credential));
    format!("sha256:{}", &digest[..16])
}

/// The byte strings that must not come back.
#[derive(Clone)]
pub(crate) struct Needles(Arc<[Finder<'static>]>);

impl Needles {
    /// The spellings of `secrets` to look for: as they are, and as JSON writes them.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for secret in secrets {
            let plain = secret.expose();
            let json = serde_json::Value::from(plain).to_string();
            for text in [plain, json.trim_matches('"')] {
                if text.len() >= MIN_KEY_BYTES && !all.iter().any(|k| k == text.as_bytes()) {
                    all.push(text.as_bytes().to_vec());
                }
            }
        }
        Self(all.iter().map(|k| Finder::new(k).into_owned()).collect())
    }

    /// Whether there is nothing to look for.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The length of the longest of them.
    pub(crate) fn longest(&self) -> usize {
        self.0.iter().map(|n| n.needle().len()).max().unwrap_or(0)
    }

    /// Whether one of them is in `bytes`.
    pub(crate) fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|n| n.find(bytes).is_some())
    }

    /// A value whose texts are without secrets.
    pub(crate) fn mask_json(&self, value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::String(text) => Value::String(self.mask_text(text)),
            Value::Array(all) => all.into_iter().map(|v| self.mask_json(v)).collect(),
            Value::Object(all) => all.into_iter().map(|(k, v)| (k, self.mask_json(v))).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    /// A text that was put together from pieces, without secrets.
    pub(crate) fn mask_text(&self, text: String) -> String {
        if self.0.iter().all(|n| n.find(text.as_bytes()).is_none()) {
            return text;
        }
        String::from_utf8_lossy(&self.mask(text.as_bytes())).into_owned()
    }

    /// Bytes without secrets; the same ones where there is none in them.
    pub(crate) fn mask_bytes(&self, bytes: Bytes) -> Bytes {
        if self.is_in(&bytes) { Bytes::from(self.mask(&bytes)) } else { bytes }
    }

    /// A text without secrets.
    pub(crate) fn mask(&self, text: &[u8]) -> Vec<u8> {
        let mut masker = Masker::new(self.clone());
        let mut out = masker.feed(Bytes::copy_from_slice(text)).to_vec();
        out.extend_from_slice(&masker.finish());
        out
    }
}

/// Masks secrets in a stream.
pub(crate) struct Masker {
    needles: Needles,
    held: Vec<u8>,
}

impl Masker {
    pub(crate) fn new(needles: Needles) -> Self {
        Self { needles, held: Vec::new() }
    }

    /// Masks a piece; what could be the beginning of a secret is held back. Without a secret nothing is copied.
    pub(crate) fn feed(&mut self, piece: Bytes) -> Bytes {
        let whole = if self.held.is_empty() {
            piece
        } else {
            let mut whole = std::mem::take(&mut self.held);
            whole.extend_from_slice(&piece);
            Bytes::from(whole)
        };
        let mut out: Option<Vec<u8>> = None;
        let mut from = 0;
        while let Some((at, len)) = self.first_match(&whole[from..]) {
            let out = out.get_or_insert_default();
            out.extend_from_slice(&whole[from..from + at]);
            out.extend_from_slice(MASK);
            from += at + len;
        }
        let keep = self.held_back(&whole[from..]);
        let end = whole.len() - keep;
        self.held.extend_from_slice(&whole[end..]);
        match out {
            None => whole.slice(from..end),
            Some(mut out) => {
                out.extend_from_slice(&whole[from..end]);
                Bytes::from(out)
            }
        }
    }

    /// What was held back and turned out to be harmless.
    pub(crate) fn finish(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.held))
    }

    fn first_match(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let found = self.needles.0.iter().filter_map(|n| Some((n.find(bytes)?, n.needle().len())));
        found.min_by_key(|(at, len)| (*at, usize::MAX - len))
    }

    /// How many bytes at the end could be the beginning of a secret.
    fn held_back(&self, bytes: &[u8]) -> usize {
        let longest = |needle: &[u8]| {
            (1..needle.len().min(bytes.len() + 1)).rev().find(|n| bytes.ends_with(&needle[..*n])).unwrap_or(0)
        };
        self.needles.0.iter().map(|n| longest(n.needle())).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needles(keys: &[&str]) -> Needles {
        let secrets: Vec<_> = keys.iter().map(|k| Secret::new(k)).collect();
        Needles::new(&secrets)
    }

    #[test]
    fn a_key_is_masked_in_every_split() {
        let keys = needles(&["sk-secret-key", "sk-secret-other"]);
        let text = b"a sk-secret-key, sk-secret-sk-secret-other sk-secret-k!sk-secret-ke";
        let expected = b"a [masked], sk-secret-[masked] sk-secret-k!sk-secret-ke";
        for i in 0..=text.len() {
            for j in i..=text.len() {
                let mut masker = Masker::new(keys.clone());
                let mut out = Vec::new();
                for piece in [&text[..i], &text[i..j], &text[j..]] {
                    out.extend_from_slice(&masker.feed(Bytes::copy_from_slice(piece)));
                }
                out.extend_from_slice(&masker.finish());
                assert_eq!(out, expected, "split at {i} and {j}");
            }
        }
    }

    #[test]
    fn a_piece_without_a_key_is_passed_on_as_it_is() {
        let mut masker = Masker::new(needles(&["sk-secret-key"]));
        let piece = Bytes::from_static(b"data: nothing of the kind\n\n");
        let out = masker.feed(piece.clone());
        assert_eq!(out.as_ptr(), piece.as_ptr(), "no copy");
        assert_eq!(out, piece);
    }

    #[test]
    fn escaped_spellings_are_masked_and_placeholders_are_not() {
        assert_eq!(needles(&["pass\"word/x"]).mask(br#"{"k":"pass\"word/x"}"#), br#"{"k":"[masked]"}"#);
        assert_eq!(needles(&["ollama"]).mask(b"ollama"), b"ollama");
    }
}
