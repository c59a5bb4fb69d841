//! The history of checkpoints: every one that was signed, one after another, in the file `checkpoints`.
//!
//! A record is a signed note and an empty line. Since a note has exactly one empty line inside, the file can be cut
//! into records by counting empty lines, by eye too.

use crate::{AuditError, Checkpoint, VerifierKey, checkpoint::MAX_NOTE_BYTES, writer::sync_dir};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Name of the history below the log's folder.
pub(crate) const HISTORY_FILE: &str = "checkpoints";
/// A record that the log itself writes is far below this; so a larger unreadable rest is not a torn write.
const MAX_TORN_BYTES: usize = 4 * 1024;
/// How much of the end is read when the log is opened: thousands of checkpoints.
const TAIL_BYTES: u64 = 1 << 20;

/// One record as it lies in the file.
pub(crate) struct Record<'a> {
    /// Position of its first byte.
    pub(crate) offset: usize,
    /// The note, without the empty line after it.
    pub(crate) note: &'a str,
}

/// Cuts a history into records; returns them and the number of bytes that they take.
pub(crate) fn records(bytes: &[u8]) -> (Vec<Record<'_>>, usize) {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(len) = record_len(&bytes[at..]) {
        let Ok(note) = std::str::from_utf8(&bytes[at..at + len - 1]) else { break };
        found.push(Record { offset: at, note });
        at += len;
    }
    (found, at)
}

/// Length of the record at the start, with the empty line that closes it.
fn record_len(bytes: &[u8]) -> Option<usize> {
    let text = find_empty_line(bytes)?;
    Some(text + find_empty_line(&bytes[text..])?)
}

fn find_empty_line(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).take(MAX_NOTE_BYTES).position(|w| w == b"\n\n").map(|at| at + 2)
}

/// The history file, open for appending.
#[derive(Debug)]
pub(crate) struct History {
    path: PathBuf,
    file: File,
    /// Bytes of complete records. What lies behind them is a torn write and is overwritten.
    len: u64,
}

impl History {
    /// Opens the history and reads its newest checkpoints, oldest first. A torn last record is dropped; a record that
    /// is complete but not validly signed is not what a crash leaves, and is refused.
    pub(crate) fn open(dir: &Path, key: &VerifierKey) -> Result<(Self, Vec<Checkpoint>), AuditError> {
        let path = dir.join(HISTORY_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(AuditError::io("open", &path))?;
        let (start, bytes) = read_tail(&mut file, key.name()).map_err(AuditError::io("read", &path))?;
        let (found, used) = records(&bytes);
        let altered = |why: String| AuditError::Altered { path: path.clone(), why };
        if bytes.len() - used > MAX_TORN_BYTES {
            return Err(altered(format!("the checkpoints from byte {} on cannot be read", start + used as u64)));
        }
        let mut checkpoints = Vec::with_capacity(found.len());
        for record in found {
            let at = start + record.offset as u64;
            checkpoints.push(Checkpoint::open(record.note, key).map_err(|e| altered(format!("at byte {at}: {e}")))?);
        }
        if let Some(pair) = checkpoints.windows(2).find(|p| p[0].size() >= p[1].size()) {
            return Err(altered(format!("size {} does not come after size {}", pair[1].size(), pair[0].size())));
        }
        let len = start + used as u64;
        Ok((Self { path, file, len }, checkpoints))
    }

    /// Appends a checkpoint durably. A failed attempt leaves nothing that a later one would not overwrite.
    pub(crate) fn append(&mut self, checkpoint: &Checkpoint) -> Result<(), AuditError> {
        let record = format!("{}\n", checkpoint.note());
        let new = self.len == 0;
        self.file
            .set_len(self.len)
            .and_then(|()| self.file.write_all_at(record.as_bytes(), self.len))
            .and_then(|()| self.file.sync_all())
            .map_err(AuditError::io("append to", &self.path))?;
        if new && let Some(dir) = self.path.parent() {
            sync_dir(dir)?;
        }
        self.len += record.len() as u64;
        Ok(())
    }
}

/// The end of the file from the start of a record on, and its position.
fn read_tail(file: &mut File, origin: &str) -> std::io::Result<(u64, Vec<u8>)> {
    let len = file.metadata()?.len();
    let start = len.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if start == 0 {
        return Ok((0, bytes));
    }
    // Only the first line of a record is the origin, and it follows an empty line.
    let mark = format!("\n\n{origin}\n");
    let skip = bytes.windows(mark.len()).position(|w| w == mark.as_bytes()).map_or(0, |at| at + 2);
    bytes.drain(..skip);
    Ok((start + skip as u64, bytes))
}
