//! Segment files: naming, reading frames back, cutting what a crash tore.

use super::{
    Position,
    frame::{HEADER, Header, Kind},
};
use crate::StoreError;
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Bytes read at once.
const READ: usize = 256 << 10;

pub(crate) fn path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{segment:06}.seg"))
}

/// The numbers of the segments that are there, in order.
pub(crate) fn list(dir: &Path) -> Result<Vec<u32>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|n| n.strip_suffix(".seg")).and_then(|n| n.parse::<u32>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

pub(crate) fn create(dir: &Path, segment: u32) -> Result<File, StoreError> {
    Ok(OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(path(dir, segment))?)
}

/// A record as it lies in the journal.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) at: Position,
    pub(crate) time_ms: i64,
    /// Where its bytes are in [`Batch::metas`].
    pub(crate) meta: std::ops::Range<usize>,
}

/// Records that were read together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) metas: Vec<u8>,
    pub(crate) records: Vec<Found>,
    /// Frames of any kind.
    pub(crate) frames: u64,
}

/// Reads frames of one segment in order.
pub(crate) struct Reader {
    file: File,
    segment: u32,
    /// Where the next frame begins.
    pub(crate) offset: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
    /// Whether the checksums of bodies are compared too.
    careful: bool,
}

impl Reader {
    /// Frames of `segment` between `offset` and `end`; `careful` where a crash may have torn something.
    pub(crate) fn open(
        dir: &Path,
        segment: u32,
        offset: u64,
        end: Option<u64>,
        careful: bool,
    ) -> Result<Self, StoreError> {
        let file = File::open(path(dir, segment))?;
        let len = file.metadata()?.len();
        let end = end.unwrap_or(len).min(len);
        Ok(Self { file, segment, offset, end, window: Vec::new(), window_at: 0, careful })
    }

    /// Bytes up to the end that were not read as frames.
    pub(crate) fn left(&self) -> u64 {
        self.end.saturating_sub(self.offset)
    }

    /// Adds the next frame to `batch`; false where there is no further whole one.
    pub(crate) fn next(&mut self, batch: &mut Batch) -> Result<bool, StoreError> {
        if self.left() < HEADER as u64 {
            return Ok(false);
        }
        let (at, start) = (Position { segment: self.segment, offset: self.offset }, self.offset);
        let Some(header) = Header::read(self.bytes(start, HEADER)?) else { return Ok(false) };
        if header.len() > self.left() {
            return Ok(false);
        }
        let data_at = start + HEADER as u64;
        if self.careful {
            let crc = crc32fast::hash(self.bytes(data_at, header.data)?);
            if crc != header.data_crc {
                return Ok(false);
            }
        }
        let meta = self.bytes(data_at + header.data as u64, header.meta)?;
        if crc32fast::hash(meta) != header.meta_crc {
            return Ok(false);
        }
        if header.kind == Kind::Record {
            let from = batch.metas.len();
            batch.metas.extend_from_slice(meta);
            batch.records.push(Found { at, time_ms: header.time_ms, meta: from..batch.metas.len() });
        }
        batch.frames += 1;
        self.offset = start + header.len();
        Ok(true)
    }

    /// `len` bytes at `at`, which lie before the end.
    fn bytes(&mut self, at: u64, len: usize) -> Result<&[u8], StoreError> {
        let inside = at >= self.window_at && at + len as u64 <= self.window_at + self.window.len() as u64;
        if !inside {
            let want = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX).min(READ.max(len));
            self.window.resize(want, 0);
            self.file.read_exact_at(&mut self.window, at)?;
            self.window_at = at;
        }
        let from = usize::try_from(at - self.window_at).map_err(StoreError::corrupt)?;
        self.window.get(from..from + len).ok_or_else(|| StoreError::corrupt("a frame is longer than its segment"))
    }
}

/// One frame, read for the bodies in it.
pub(crate) fn read_frame(dir: &Path, at: Position) -> Result<(Header, Vec<u8>, Vec<u8>), StoreError> {
    let file = File::open(path(dir, at.segment))?;
    let mut head = [0; HEADER];
    file.read_exact_at(&mut head, at.offset)?;
    let header = Header::read(&head).ok_or_else(|| StoreError::corrupt(format!("there is no frame at {at:?}")))?;
    let (mut data, mut meta) = (vec![0; header.data], vec![0; header.meta]);
    file.read_exact_at(&mut data, at.offset + HEADER as u64)?;
    file.read_exact_at(&mut meta, at.offset + (HEADER + header.data) as u64)?;
    if crc32fast::hash(&data) != header.data_crc || crc32fast::hash(&meta) != header.meta_crc {
        return Err(StoreError::corrupt(format!("the frame at {at:?} is damaged")));
    }
    Ok((header, data, meta))
}

/// Cuts a segment where its last whole frame ends.
pub(crate) fn cut(dir: &Path, segment: u32, len: u64) -> Result<(), StoreError> {
    let file = OpenOptions::new().write(true).open(path(dir, segment))?;
    file.set_len(len)?;
    file.sync_all()?;
    Ok(())
}
