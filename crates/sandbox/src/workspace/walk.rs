//! Collecting from a folder that this process can read.

use super::{Bounds, Collected, Entry, EntryKind, Keep, shown};
use crate::{error::Error, tree};
use sha2::{Digest, Sha256};
use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

struct Walk<'a> {
    bounds: Bounds,
    keep: &'a Keep,
    found: Collected,
    buffer: Vec<u8>,
}

struct Level {
    folder: OwnedFd,
    path: Vec<u8>,
    names: std::vec::IntoIter<CString>,
}

/// Lists `root` and reads its regular files.
pub(super) fn collect(root: &Path, bounds: Bounds, keep: &Keep) -> Result<Collected, Error> {
    let mut walk = Walk { bounds, keep, found: Collected::default(), buffer: vec![0; CHUNK] };
    let root = tree::open_root(root)?;
    let (names, more) = walk.names(root.as_fd()).map_err(|e| Error::io("cannot list the workspace", e.into()))?;
    if more {
        walk.found.incomplete = Some(format!("more than {} entries", bounds.entries));
    }
    let mut stack = vec![Level { folder: root, path: Vec::new(), names }];
    loop {
        let depth = stack.len();
        let Some(level) = stack.last_mut() else { break };
        let Some(name) = level.names.next() else {
            stack.pop();
            continue;
        };
        if walk.found.entries.len() >= bounds.entries {
            walk.found.incomplete = Some(format!("more than {} entries", bounds.entries));
            break;
        }
        let mut path = level.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let below = walk.visit(level.folder.as_fd(), &name, path, depth)?;
        stack.extend(below);
    }
    walk.found.entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(walk.found)
}

impl Walk<'_> {
    fn names(&self, folder: BorrowedFd<'_>) -> Result<(std::vec::IntoIter<CString>, bool), rustix::io::Errno> {
        let room = self.bounds.entries.min(tree::MAX_NAMES).saturating_sub(self.found.entries.len());
        tree::names(folder, room).map(|(names, more)| (names.into_iter(), more))
    }

    /// Notes one entry; for a folder that is to be walked, the level below.
    fn visit(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CString,
        path: Vec<u8>,
        depth: usize,
    ) -> Result<Option<Level>, Error> {
        // It may be gone by now.
        let Ok(stat) = tree::look(folder, name) else { return Ok(None) };
        let (text, plain) = shown(&path);
        let kind = tree::kind_of(stat.st_mode);
        let mut entry = Entry {
            path: text,
            plain,
            kind,
            size: if kind == EntryKind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
            mode: stat.st_mode & 0o7777,
            mtime_s: stat.st_mtime,
            sha256: None,
            skipped: None,
        };
        let mut below = None;
        if path.len() > self.bounds.path_bytes {
            entry.skipped = Some(format!("path longer than {} bytes", self.bounds.path_bytes));
            entry.path = entry.path.chars().take(self.bounds.path_bytes).collect();
            entry.plain = false;
        } else if kind == EntryKind::Dir {
            match self.descend(folder, name, path, depth) {
                Ok(level) => below = Some(level),
                Err(why) => entry.skipped = Some(why),
            }
        } else if kind == EntryKind::File && *self.keep != Keep::List {
            self.read(folder, name, &mut entry)?;
        }
        self.found.entries.push(entry);
        Ok(below)
    }

    fn descend(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CString,
        path: Vec<u8>,
        depth: usize,
    ) -> Result<Level, String> {
        let deepest = self.bounds.depth.min(tree::MAX_DEPTH);
        if depth >= deepest {
            return Err(format!("more than {deepest} folders deep"));
        }
        let folder = tree::open_folder(folder, name).map_err(|e| io::Error::from(e).to_string())?;
        let (names, more) = self.names(folder.as_fd()).map_err(|e| io::Error::from(e).to_string())?;
        if more {
            self.found.incomplete = Some(format!("more than {} entries", self.bounds.entries));
        }
        Ok(Level { folder, path, names })
    }

    /// Hashes and keeps a regular file. A failure of the sandbox's file is noted; one of our own storage is an error.
    fn read(&mut self, folder: BorrowedFd<'_>, name: &CString, entry: &mut Entry) -> Result<(), Error> {
        let (file, stat) = match tree::open_regular(folder, name) {
            Ok(opened) => opened,
            Err(errno) => {
                entry.skipped = Some(format!("cannot be opened: {}", io::Error::from(errno)));
                return Ok(());
            }
        };
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        let left = self.bounds.total_bytes.saturating_sub(self.found.bytes);
        match take(file, &self.bounds, left, self.keep, &mut self.buffer)? {
            Taken::Whole { size, sha256 } => {
                self.found.bytes += size;
                entry.size = size;
                entry.sha256 = Some(sha256);
            }
            Taken::Skipped(why) => entry.skipped = Some(why),
        }
        Ok(())
    }
}

/// What became of a file's content.
pub(super) enum Taken {
    /// Read to its end.
    Whole { size: u64, sha256: String },
    /// Not kept.
    Skipped(String),
}

/// Reads a content within the bounds, hashes it and stores it under its hash.
pub(super) fn take(
    mut from: impl Read,
    bounds: &Bounds,
    left: u64,
    keep: &Keep,
    buffer: &mut [u8],
) -> Result<Taken, Error> {
    let mut store = match keep {
        Keep::Store(folder) => Some(Staged::new(folder)?),
        Keep::List | Keep::Hash => None,
    };
    let mut hash = Sha256::new();
    let mut size = 0_u64;
    loop {
        let count = match from.read(buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Ok(Taken::Skipped(format!("cannot be read: {e}"))),
        };
        size += count as u64;
        if size > bounds.file_bytes {
            return Ok(Taken::Skipped(format!("larger than {} bytes", bounds.file_bytes)));
        }
        if size > left {
            return Ok(Taken::Skipped(format!("all files together are larger than {} bytes", bounds.total_bytes)));
        }
        hash.update(&buffer[..count]);
        if let Some(store) = &mut store {
            store.write(&buffer[..count])?;
        }
    }
    let sha256 = hex::encode(hash.finalize());
    if let Some(store) = store {
        store.keep(&sha256)?;
    }
    Ok(Taken::Whole { size, sha256 })
}

/// A content on its way into the store's folder; removed unless it is kept.
struct Staged<'a> {
    folder: &'a Path,
    path: std::path::PathBuf,
    file: File,
}

impl<'a> Staged<'a> {
    fn new(folder: &'a Path) -> Result<Self, Error> {
        let number = super::HELPER_NUMBER.fetch_add(1, super::Ordering::Relaxed);
        let path = folder.join(format!(".incoming-{}-{number}", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::io(format!("cannot write into {}", folder.display()), e))?;
        Ok(Self { folder, path, file })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let folder = self.folder;
        self.file.write_all(bytes).map_err(|e| Error::io(format!("cannot write into {}", folder.display()), e))
    }

    fn keep(self, sha256: &str) -> Result<(), Error> {
        fs::rename(&self.path, self.folder.join(sha256))
            .map_err(|e| Error::io(format!("cannot keep a file in {}", self.folder.display()), e))
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // After `keep` it is not there any more.
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), error = %error, "a temporary file could not be removed");
        }
    }
}
