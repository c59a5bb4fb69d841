//! Checkpoints: what the log was at a size, signed (C2SP tlog-checkpoint in a signed-note).
//!
//! Each checkpoint carries one extension line, `checkpoint N TIME`: its number makes a checkpoint that is missing from
//! the history visible, its time says when the entries before it were sealed. Both are covered by the signature.

use crate::{AuditError, Hash, LogKey, VerifierKey, key::check_origin};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use std::fmt;

/// The largest note that is read.
pub(crate) const MAX_NOTE_BYTES: usize = 64 * 1024;
/// Signatures looked at in one note.
const MAX_SIGNATURES: usize = 64;
const SIGNATURE_MARK: &str = "\u{2014} ";

/// A signed statement: "this log had `size` entries, and this root".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    number: Option<u64>,
    time: Option<jiff::Timestamp>,
    note: String,
}

impl Checkpoint {
    /// Signs a checkpoint.
    pub(crate) fn sign(
        key: &LogKey,
        origin: &str,
        size: u64,
        root: Hash,
        number: u64,
        time: jiff::Timestamp,
    ) -> Result<Self, AuditError> {
        check_origin(origin)?;
        let text = format!("{origin}\n{size}\n{}\ncheckpoint {number} {}\n", BASE64.encode(root), time_text(time));
        let mut signature = key.verifier(origin)?.id().to_be_bytes().to_vec();
        signature.extend_from_slice(&key.sign(text.as_bytes()));
        let note = format!("{text}\n{SIGNATURE_MARK}{origin} {}\n", BASE64.encode(signature));
        Self::open(&note, &key.verifier(origin)?)
    }

    /// Reads a signed note and checks the log's signature and origin. Signatures of other keys are ignored, as the
    /// note format demands.
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, AuditError> {
        let checkpoint = Self::parse(note)?;
        if checkpoint.origin != key.name() {
            return Err(bad(&format!("it is of {:?}, not of {:?}", checkpoint.origin, key.name())));
        }
        let (text, signatures) = split_note(note)?;
        let mut verified = false;
        for line in signatures.split_terminator('\n').take(MAX_SIGNATURES) {
            let (name, bytes) = parse_signature(line)?;
            let Some((id, signature)) = bytes.split_first_chunk::<4>() else {
                return Err(bad("a signature is too short"));
            };
            if name != key.name() || u32::from_be_bytes(*id) != key.id() {
                continue;
            }
            let holds = <[u8; 64]>::try_from(signature).is_ok_and(|s| key.verifies(text.as_bytes(), &s));
            if !holds {
                return Err(bad("its signature does not hold"));
            }
            verified = true;
        }
        if verified { Ok(checkpoint) } else { Err(bad("it carries no signature of the log's key")) }
    }

    /// Reads the statement without looking at its signatures.
    fn parse(note: &str) -> Result<Self, AuditError> {
        let (text, _) = split_note(note)?;
        let mut lines = text.split_terminator('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(bad("it has fewer than three lines"));
        };
        let extensions: Vec<&str> = lines.collect();
        if origin.is_empty() || extensions.iter().any(|l| l.is_empty()) {
            return Err(bad("it has an empty line"));
        }
        let parsed: u64 = size.parse().map_err(|_| bad("its size is not a number"))?;
        if parsed.to_string() != size {
            return Err(bad("its size is not in plain decimal form"));
        }
        let root = BASE64.decode(root).ok().and_then(|b| Hash::try_from(b).ok());
        let (number, time) = extensions.iter().find_map(|l| parse_extension(l)).unzip();
        Ok(Self {
            origin: origin.to_owned(),
            size: parsed,
            root: root.ok_or_else(|| bad("its root is not a hash in base64"))?,
            number,
            time,
            note: note.to_owned(),
        })
    }

    /// The log it is about.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Entries covered.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of the tree over these entries.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// Its number in the log's history, from 0.
    pub fn number(&self) -> Option<u64> {
        self.number
    }

    /// When it was signed, by the signer's clock.
    pub fn time(&self) -> Option<jiff::Timestamp> {
        self.time
    }

    /// The signed note, as it is on disk.
    pub fn note(&self) -> &str {
        &self.note
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.note)
    }
}

fn bad(why: &str) -> AuditError {
    AuditError::Note(why.to_owned())
}

fn time_text(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn parse_extension(line: &str) -> Option<(u64, jiff::Timestamp)> {
    let (number, time) = line.strip_prefix("checkpoint ")?.split_once(' ')?;
    Some((number.parse().ok()?, time.parse().ok()?))
}

/// Text (with its final newline) and signature lines of a note.
fn split_note(note: &str) -> Result<(&str, &str), AuditError> {
    if note.len() > MAX_NOTE_BYTES {
        return Err(bad("it is too large"));
    }
    if note.chars().any(|c| c < ' ' && c != '\n') {
        return Err(bad("it has control characters"));
    }
    let end = note.rfind("\n\n").ok_or_else(|| bad("it has no signature part"))?;
    let (text, signatures) = (&note[..=end], &note[end + 2..]);
    if signatures.is_empty() || !signatures.ends_with('\n') {
        return Err(bad("its signature part is cut off"));
    }
    Ok((text, signatures))
}

fn parse_signature(line: &str) -> Result<(&str, Vec<u8>), AuditError> {
    let (name, signature) = line
        .strip_prefix(SIGNATURE_MARK)
        .and_then(|l| l.split_once(' '))
        .ok_or_else(|| bad("a signature line is malformed"))?;
    let bytes = BASE64.decode(signature).map_err(|_| bad("a signature is not base64"))?;
    Ok((name, bytes))
}
