//! What lies in a log's folder.

use crate::{AuditError, history::HISTORY_FILE, log::CHECKPOINT_FILE, tiles::Tile, writer::TEMP_SUFFIX};
use std::{collections::BTreeMap, fs, path::Path};

/// Depth of folders below the log's (a 64-bit index has at most seven groups, then `.p`).
const MAX_DEPTH: usize = 11;

/// The files of a log, by what they are.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Tiles with their length in bytes.
    pub(crate) tiles: BTreeMap<Tile, u64>,
    /// Unfinished files of an interrupted write.
    pub(crate) temporary: Vec<String>,
    /// Everything else that is not part of the format, links included.
    pub(crate) foreign: Vec<String>,
}

impl Files {
    /// Lists the folder; changes nothing and follows no link.
    pub(crate) fn list(dir: &Path) -> Result<Self, AuditError> {
        let mut files = Self::default();
        let mut folders = vec![(dir.to_path_buf(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let listing = match fs::read_dir(&folder) {
                // A running server replaces partial tiles at any time.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && folder != dir => continue,
                listing => listing.map_err(AuditError::io("list", &folder))?,
            };
            for item in listing {
                let item = item.map_err(AuditError::io("list", &folder))?;
                let path = item.path();
                let meta = match item.metadata() {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    meta => meta.map_err(AuditError::io("inspect", &path))?,
                };
                let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
                if meta.is_dir() && depth < MAX_DEPTH {
                    folders.push((path, depth + 1));
                } else {
                    files.add(name, meta.is_file(), meta.len());
                }
            }
        }
        files.temporary.sort();
        files.foreign.sort();
        Ok(files)
    }

    fn add(&mut self, name: String, regular: bool, len: u64) {
        if let Some(tile) = name.parse().ok().filter(|_| regular) {
            self.tiles.insert(tile, len);
        } else if regular && name.ends_with(TEMP_SUFFIX) {
            self.temporary.push(name);
        } else if !regular || !(name == CHECKPOINT_FILE || name == HISTORY_FILE) {
            self.foreign.push(name);
        }
    }
}
