//! The outcome of a verification: what was checked and, in plain sentences, what is wrong.

use crate::Checkpoint;
use serde::Serialize;
use std::fmt;

/// Findings kept in a report; the rest is counted.
const MAX_FINDINGS: usize = 1000;

/// Entries `from..to` of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// The first entry.
    pub from: u64,
    /// One after the last entry.
    pub to: u64,
}

impl Span {
    /// A single entry.
    pub fn one(index: u64) -> Self {
        Self { from: index, to: index + 1 }
    }
}

/// "entry 5 was" or "entries 5 to 7 were".
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.to == self.from + 1 {
            write!(f, "entry {} was", self.from)
        } else {
            write!(f, "entries {} to {} were", self.from, self.to.saturating_sub(1))
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Problem {
    /// Entries whose bytes are not those that were signed.
    EntriesChanged {
        /// Which entries.
        span: Span,
    },
    /// Entries that were signed and are gone; later ones follow in their place.
    EntriesRemoved {
        /// Which entries.
        span: Span,
    },
    /// Entries that were never signed stand before a signed one.
    EntriesInserted {
        /// The signed entry before which they stand.
        before: u64,
        /// How many.
        count: u64,
    },
    /// Two entries stand in each other's place.
    EntriesSwapped {
        /// The first entry.
        first: u64,
        /// The second entry.
        second: u64,
    },
    /// The end of the log is missing.
    EntriesTruncated {
        /// The missing entries.
        span: Span,
    },
    /// Entries lie after the end of what was signed.
    EntriesUnsigned {
        /// The signed size.
        size: u64,
        /// How many follow, as far as it can be told.
        count: u64,
    },
    /// Entries cannot be read from their bundle.
    EntriesUnreadable {
        /// The bundle.
        file: String,
        /// Which entries.
        span: Span,
    },
    /// Something between two signed checkpoints was changed together with the hashes that would say what.
    RangeChanged {
        /// The smallest range that can be told.
        span: Span,
        /// Entries in it that do not match their stored hash either (at most 16).
        suspects: Vec<u64>,
    },
    /// Stored hashes are not those of the signed entries; the entries themselves are unharmed.
    HashChanged {
        /// The tile.
        file: String,
        /// Position of the first wrong hash in the tile.
        position: u64,
    },
    /// A file that a checkpoint covers is gone.
    FileMissing {
        /// The file.
        file: String,
    },
    /// A file has the wrong length.
    FileLength {
        /// The file.
        file: String,
        /// Bytes that it has.
        found: u64,
        /// Bytes that it should have.
        expected: u64,
    },
    /// Bytes follow the end of a file's content.
    FileJunk {
        /// The file.
        file: String,
        /// Where they begin.
        from_byte: u64,
    },
    /// A file that does not belong to the log.
    FileForeign {
        /// The file.
        file: String,
    },
    /// A checkpoint cannot be read or is not validly signed.
    CheckpointInvalid {
        /// The file.
        file: String,
        /// Position in the file, from 0.
        position: u64,
        /// What is wrong.
        why: String,
    },
    /// Checkpoints are missing from the history.
    CheckpointsMissing {
        /// Number of the first one.
        from: u64,
        /// Number after the last one.
        to: u64,
    },
    /// The published checkpoint and the history do not name the same newest checkpoint.
    CheckpointStale {
        /// Size in `checkpoint`.
        published: u64,
        /// Largest size in the history.
        history: u64,
    },
    /// Two valid signatures contradict each other.
    CheckpointsContradict {
        /// The size at which they do.
        size: u64,
    },
    /// The log is smaller than it was.
    Shrunk {
        /// Size seen before.
        known: u64,
        /// Size signed here.
        size: u64,
    },
    /// The log is not a continuation of what was seen before.
    Forked {
        /// Size of the checkpoint seen before.
        known: u64,
    },
    /// No valid checkpoint: nothing here is vouched for.
    NothingSigned,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EntriesChanged { span } => write!(f, "{span} changed after it was signed"),
            Self::EntriesRemoved { span } => write!(f, "{span} removed"),
            Self::EntriesInserted { before, count } => {
                write!(f, "{count} entries that were never signed were inserted before entry {before}")
            }
            Self::EntriesSwapped { first, second } => write!(f, "entries {first} and {second} were swapped"),
            Self::EntriesTruncated { span } => write!(f, "the end of the log is missing: {span} cut off"),
            Self::EntriesUnsigned { size, count } => {
                write!(f, "{count} entries follow the signed end at {size}; no checkpoint covers them")
            }
            Self::EntriesUnreadable { file, span } => {
                write!(f, "{span} damaged and cannot be read from {file}")
            }
            Self::RangeChanged { span, suspects } => {
                write!(f, "between the signed sizes around it, {span} rewritten in whole or in part: ")?;
                match suspects.as_slice() {
                    [] => f.write_str("the stored hashes were rewritten to match"),
                    [one] => write!(f, "both entry {one} and its stored hash differ from what was signed"),
                    many => write!(f, "entries {many:?} and their stored hashes differ from what was signed"),
                }
            }
            Self::HashChanged { file, position } => {
                write!(f, "hash {position} in {file} was changed; the entries below it tell")
            }
            Self::FileMissing { file } => write!(f, "{file} is missing"),
            Self::FileLength { file, found, expected } => {
                write!(f, "{file} has {found} bytes instead of {expected}")
            }
            Self::FileJunk { file, from_byte } => write!(f, "{file} has bytes after its end, from byte {from_byte} on"),
            Self::FileForeign { file } => write!(f, "{file} does not belong to the log"),
            Self::CheckpointInvalid { file, position, why } => {
                write!(f, "checkpoint {position} in {file} is not valid: {why}")
            }
            Self::CheckpointsMissing { from, to } => {
                write!(f, "the history lacks the checkpoints with numbers {from} to {}", to.saturating_sub(1))
            }
            Self::CheckpointStale { published, history } => write!(
                f,
                "the published checkpoint is of size {published}, but the newest in the history is of size {history}"
            ),
            Self::CheckpointsContradict { size } => {
                write!(f, "two checkpoints of size {size} are validly signed with different roots")
            }
            Self::Shrunk { known, size } => {
                write!(f, "the log shrank: {known} entries were verified before, {size} are signed here")
            }
            Self::Forked { known } => {
                write!(f, "the log is not a continuation of the {known} entries that were verified before")
            }
            Self::NothingSigned => f.write_str("no valid checkpoint was found, so nothing here is vouched for"),
        }
    }
}

/// A problem with its sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong.
    #[serde(flatten)]
    pub problem: Problem,
    /// The same in words.
    pub sentence: String,
}

/// What a verification found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Whether everything holds.
    pub valid: bool,
    /// The log.
    pub origin: String,
    /// The public key that was trusted.
    pub key: String,
    /// Entries covered by the newest valid checkpoint.
    pub size: u64,
    /// Root of the newest valid checkpoint, in hexadecimal.
    pub root: String,
    /// Time of the newest valid checkpoint, by the signer's clock.
    pub signed_at: Option<String>,
    /// Validly signed checkpoints.
    pub checkpoints: u64,
    /// What is wrong, most telling first.
    pub findings: Vec<Finding>,
    /// Findings beyond the ones listed.
    pub more_findings: u64,
    /// The newest valid checkpoint, to be remembered by whoever asked.
    #[serde(skip)]
    pub newest: Option<Checkpoint>,
    /// Remarks that do not make the log invalid.
    pub notes: Vec<String>,
}

impl Report {
    /// The exit status of a command that shows this report: 0 valid, 1 not valid.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.valid)
    }

    pub(crate) fn add(&mut self, problem: Problem) {
        self.valid = false;
        if self.findings.iter().any(|f| f.problem == problem) {
            return;
        }
        if self.findings.len() == MAX_FINDINGS {
            self.more_findings += 1;
        } else {
            self.findings.push(Finding { sentence: problem.to_string(), problem });
        }
    }
}

/// The report in words, one sentence per line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, signed) = (self.size, self.checkpoints);
        if self.valid {
            writeln!(f, "valid: {size} entries of {}, {signed} signed checkpoints, all hold", self.origin)?;
        } else {
            writeln!(f, "NOT VALID: {} ({size} entries signed)", self.origin)?;
        }
        for finding in &self.findings {
            writeln!(f, "  - {}", finding.sentence)?;
        }
        if self.more_findings > 0 {
            writeln!(f, "  - and {} more", self.more_findings)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}
