//! Writing files so that a crash at any point leaves the old or the new content, never a mixture.

use crate::AuditError;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// Suffix of files that are not finished; a crash can leave one behind.
pub(crate) const TEMP_SUFFIX: &str = ".tmp";
/// Files written but not yet synced. A bound on open file descriptors, not on correctness.
const MAX_UNSYNCED: usize = 64;

/// Makes a folder's entries durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), AuditError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(AuditError::io("sync", dir))
}

/// Files whose bytes the system holds but the disk may not.
///
/// The handles stay open until they are synced: a handle opened later might not be told of a failed write.
#[derive(Debug, Default)]
pub(crate) struct Unsynced {
    files: Vec<(PathBuf, File)>,
    dirs: BTreeSet<PathBuf>,
}

impl Unsynced {
    /// Replaces a file below `root` at once by a rename; its bytes are durable only after [`Unsynced::sync`].
    pub(crate) fn write(&mut self, root: &Path, name: &str, bytes: &[u8]) -> Result<(), AuditError> {
        let path = root.join(name);
        let dir = path.parent().unwrap_or(root);
        if !dir.is_dir() {
            self.make_dirs(root, dir)?;
        }
        let mut temp = path.clone().into_os_string();
        temp.push(TEMP_SUFFIX);
        let temp = PathBuf::from(temp);
        let mut file = File::create(&temp).map_err(AuditError::io("create", &temp))?;
        file.write_all(bytes).map_err(AuditError::io("write", &temp))?;
        fs::rename(&temp, &path).map_err(AuditError::io("rename to", &path))?;
        self.dirs.insert(dir.to_path_buf());
        self.files.push((path, file));
        if self.files.len() >= MAX_UNSYNCED { self.sync() } else { Ok(()) }
    }

    /// Makes everything written so far durable. After an error the same files are tried again.
    pub(crate) fn sync(&mut self) -> Result<(), AuditError> {
        for (path, file) in &self.files {
            file.sync_data().map_err(AuditError::io("sync", path))?;
        }
        for dir in &self.dirs {
            sync_dir(dir)?;
        }
        self.files.clear();
        self.dirs.clear();
        Ok(())
    }

    fn make_dirs(&mut self, root: &Path, dir: &Path) -> Result<(), AuditError> {
        fs::create_dir_all(dir).map_err(AuditError::io("create", dir))?;
        // Each new folder is an entry of its parent.
        for parent in dir.ancestors().skip(1).take_while(|p| p.starts_with(root)) {
            self.dirs.insert(parent.to_path_buf());
        }
        Ok(())
    }
}

/// Replaces a file durably: content first, then the name.
pub(crate) fn replace_durably(root: &Path, name: &str, bytes: &[u8]) -> Result<(), AuditError> {
    let temp = root.join(format!("{name}{TEMP_SUFFIX}"));
    let path = root.join(name);
    let mut file = File::create(&temp).map_err(AuditError::io("create", &temp))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(AuditError::io("write", &temp))?;
    fs::rename(&temp, &path).map_err(AuditError::io("rename to", &path))?;
    sync_dir(root)
}

/// Reads a file; `None` if there is none.
pub(crate) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, AuditError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(AuditError::io("read", path)(e)),
    }
}

/// Removes a file; one that is gone already is fine.
pub(crate) fn remove_optional(path: &Path) -> Result<(), AuditError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(AuditError::io("remove", path)(e)),
        _ => Ok(()),
    }
}
