//! The package store: files by their SHA-256, written once, checked while they are written.
//!
//! Layout: `packages/sha256/ab/<hex>`; `packages/by-sha512/ab/<hex>` holds the SHA-256 of a file that a registry names by
//! SHA-512. A file appears under its name only when it is complete, correct and on disk.

use crate::error::ImageError;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256, Sha512};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use tokio::{fs, io::AsyncWriteExt};

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// SHA-256 in hexadecimal.
    Sha256(String),
    /// SHA-512 in hexadecimal.
    Sha512(String),
}

/// Why a file was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The bytes are not those that were promised.
    #[error("the file does not have the hash that the registry names")]
    Hash,
    /// It is larger than allowed.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The transfer broke.
    #[error("{0}")]
    Transfer(String),
    /// The disk.
    #[error(transparent)]
    Store(#[from] ImageError),
}

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Its size.
    pub size_bytes: u64,
}

/// A folder of package files.
#[derive(Debug, Clone)]
pub struct PackageStore {
    root: PathBuf,
}

impl PackageStore {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where the file with this hash is, or would be.
    pub fn path(&self, sha256: &str) -> PathBuf {
        self.root.join("sha256").join(sha256.get(..2).unwrap_or("00")).join(sha256)
    }

    fn alias(&self, sha512: &str) -> PathBuf {
        self.root.join("by-sha512").join(sha512.get(..2).unwrap_or("00")).join(sha512)
    }

    /// The stored file that was promised, if it is here.
    pub async fn find(&self, expected: &Expected) -> Option<Stored> {
        let sha256 = match expected {
            Expected::Sha256(hex) => hex.clone(),
            Expected::Sha512(hex) => fs::read_to_string(self.alias(hex)).await.ok()?.trim().to_owned(),
        };
        let meta = fs::metadata(self.path(&sha256)).await.ok()?;
        Some(Stored { sha256, size_bytes: meta.len() })
    }

    /// Stores a stream of bytes if they are what was promised.
    pub async fn put<E: std::fmt::Display>(
        &self,
        expected: &Expected,
        limit: u64,
        mut bytes: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Stored, PutError> {
        if let Some(stored) = self.find(expected).await {
            return Ok(stored);
        }
        let incoming = self.root.join("incoming");
        fs::create_dir_all(&incoming).await.map_err(|e| io(&incoming, e))?;
        let temporary = tempfile::NamedTempFile::new_in(&incoming).map_err(|e| io(&incoming, e))?;
        let mut file = fs::File::from_std(temporary.reopen().map_err(|e| io(temporary.path(), e))?);
        let (mut sha256, mut sha512, mut size) = (Sha256::new(), Sha512::new(), 0_u64);
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk.map_err(|e| PutError::Transfer(e.to_string()))?;
            size += chunk.len() as u64;
            if size > limit {
                return Err(PutError::TooLarge { limit });
            }
            sha256.update(&chunk);
            sha512.update(&chunk);
            file.write_all(&chunk).await.map_err(|e| io(temporary.path(), e))?;
        }
        let (sha256, sha512) = (hex::encode(sha256.finalize()), hex::encode(sha512.finalize()));
        let right = match expected {
            Expected::Sha256(hex) => *hex == sha256,
            Expected::Sha512(hex) => *hex == sha512,
        };
        if !right {
            return Err(PutError::Hash);
        }
        file.flush().await.map_err(|e| io(temporary.path(), e))?;
        file.sync_all().await.map_err(|e| io(temporary.path(), e))?;
        crash_point!("image.package_store.before");
        self.publish(temporary, &self.path(&sha256)).await?;
        if matches!(expected, Expected::Sha512(_)) {
            let mut pointer = tempfile::NamedTempFile::new_in(&incoming).map_err(|e| io(&incoming, e))?;
            std::io::Write::write_all(&mut pointer, sha256.as_bytes()).map_err(|e| io(pointer.path(), e))?;
            self.publish(pointer, &self.alias(&sha512)).await?;
        }
        crash_point!("image.package_store.after");
        Ok(Stored { sha256, size_bytes: size })
    }

    /// Removes files that were being received when the process died. Nothing may be receiving.
    pub(crate) async fn discard_incoming(&self) -> Result<(), ImageError> {
        let incoming = self.root.join("incoming");
        match fs::remove_dir_all(&incoming).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io(&incoming, e)),
            Err(_) | Ok(()) => Ok(()),
        }
    }

    /// Gives a complete file its name; the name and the bytes are on disk afterwards.
    async fn publish(&self, file: tempfile::NamedTempFile, target: &Path) -> Result<(), ImageError> {
        let folder = target.parent().unwrap_or(&self.root).to_owned();
        let target = target.to_owned();
        let done = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&folder)?;
            file.as_file().sync_all()?;
            file.persist(&target).map_err(|e| e.error)?;
            std::fs::File::open(&folder)?.sync_all()
        });
        match done.await {
            Ok(result) => result.map_err(|e| io(&self.root, e)),
            Err(join) => Err(ImageError::protocol(format!("writing a package file was interrupted: {join}"))),
        }
    }

    /// Checks a stored file against its name and returns its path.
    pub async fn verified(&self, sha256: &str) -> Result<PathBuf, ImageError> {
        let (path, wanted) = (self.path(sha256), sha256.to_owned());
        let checked = path.clone();
        let digest = tokio::task::spawn_blocking(move || {
            let mut hasher = Sha256::new();
            std::io::copy(&mut std::fs::File::open(&checked)?, &mut hasher)?;
            Ok::<_, std::io::Error>(hex::encode(hasher.finalize()))
        });
        let digest = digest
            .await
            .map_err(|e| ImageError::protocol(format!("reading a package file was interrupted: {e}")))?
            .map_err(|e| io(&path, e))?;
        if digest != wanted {
            return Err(ImageError::protocol(format!("package file {} was changed on disk", path.display())));
        }
        Ok(path)
    }

    /// How many files `keep` does not name.
    pub async fn unneeded(&self, keep: &BTreeSet<String>) -> Result<u64, ImageError> {
        let (folder, keep) = (self.root.join("sha256"), keep.clone());
        let done = tokio::task::spawn_blocking(move || {
            let files = files_below(&folder)?;
            let gone = files.iter().filter(|f| !keep.contains(f.file_name().to_string_lossy().as_ref()));
            Ok::<_, std::io::Error>(gone.count() as u64)
        });
        match done.await {
            Ok(result) => result.map_err(|e| io(&self.root, e)),
            Err(join) => Err(ImageError::protocol(format!("counting package files was interrupted: {join}"))),
        }
    }

    /// Removes files that `keep` does not name; returns how many, and their bytes.
    pub async fn prune(&self, keep: &BTreeSet<String>) -> Result<(u64, u64), ImageError> {
        let (root, keep) = (self.root.clone(), keep.clone());
        let done = tokio::task::spawn_blocking(move || prune_blocking(&root, &keep));
        match done.await {
            Ok(result) => result.map_err(|e| io(&self.root, e)),
            Err(join) => Err(ImageError::protocol(format!("pruning was interrupted: {join}"))),
        }
    }
}

fn prune_blocking(root: &Path, keep: &BTreeSet<String>) -> std::io::Result<(u64, u64)> {
    let (mut count, mut bytes) = (0, 0);
    for entry in files_below(&root.join("sha256"))? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !keep.contains(&name) {
            bytes += entry.metadata()?.len();
            count += 1;
            std::fs::remove_file(entry.path())?;
        }
    }
    for entry in files_below(&root.join("by-sha512"))? {
        if !keep.contains(std::fs::read_to_string(entry.path())?.trim()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok((count, bytes))
}

fn files_below(folder: &Path) -> std::io::Result<Vec<std::fs::DirEntry>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for shard in std::fs::read_dir(folder)? {
        for entry in std::fs::read_dir(shard?.path())? {
            found.push(entry?);
        }
    }
    Ok(found)
}

fn io(path: &Path, source: std::io::Error) -> ImageError {
    ImageError::io(format!("the package store cannot use {}", path.display()), source)
}
