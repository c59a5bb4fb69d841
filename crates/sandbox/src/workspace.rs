//! Files into and out of a task's workspace.
//!
//! In: through the Engine's archive API into a container that is made for it and never started. Out: where the server
//! can read the volume's folder, with openat2 beneath it; otherwise as an archive of such a helper container. Either
//! way nothing of the sandbox runs, no link is followed, only regular files are read, and names of the sandbox never
//! become paths of the host: contents are kept under their hash.

use crate::{
    docker::{CALL_TIMEOUT, Kind, SLOW_CALL_TIMEOUT},
    error::Error,
    lifecycle::{Sandboxes, blocking},
    spec::{UID, WORKSPACE, volume},
};
use bollard::{
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{CreateContainerOptionsBuilder, UploadToContainerOptionsBuilder},
};
use domain::ids::TaskId;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

mod archive;
mod walk;

/// The most bytes that one [`Sandboxes::put_files`] takes.
pub const MAX_PUT_BYTES: usize = 256 << 20;

/// What an entry of the workspace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link; listed, not followed.
    Symlink,
    /// A named pipe; listed, not opened.
    Fifo,
    /// A device; listed, not opened.
    Device,
    /// A socket; listed, not opened.
    Socket,
}

/// One entry of the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path below the workspace; bytes that are not UTF-8 and control, escape and bidi characters are escaped.
    pub path: String,
    /// Whether `path` is the name itself and not an escaped form of it.
    pub plain: bool,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a regular file.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Modification time, seconds since 1970, as the sandbox set it.
    pub mtime_s: i64,
    /// SHA-256 of the content, in hex, of a regular file that was read.
    pub sha256: Option<String>,
    /// Why a regular file or folder was not read.
    pub skipped: Option<String>,
}

/// What was found in the workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Entries by path.
    pub entries: Vec<Entry>,
    /// Why the list is not whole, if it is not.
    pub incomplete: Option<String>,
    /// Bytes of all regular files that were read.
    pub bytes: u64,
}

/// What to do with regular files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// List them.
    List,
    /// List and hash them.
    Hash,
    /// Hash them and keep each content as `<folder>/<sha256>`; the folder exists and is trusted.
    Store(PathBuf),
}

/// Bounds of a collection. What is beyond them is listed with the reason, or named in [`Collected::incomplete`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Entries of all kinds.
    pub entries: usize,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Bytes of a path.
    pub path_bytes: usize,
    /// Folders in a path.
    pub depth: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { entries: 50_000, file_bytes: 1 << 30, total_bytes: 4 << 30, path_bytes: 1024, depth: 64 }
    }
}

/// Helper containers in use by this process, so that a reaping spares them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Helpers {
    names: Arc<Mutex<BTreeSet<String>>>,
}

impl Helpers {
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    fn add(&self, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    fn drop(&self, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// Distinguishes helpers of one process.
static HELPER_NUMBER: AtomicU64 = AtomicU64::new(0);

impl Sandboxes {
    /// Puts regular files into the workspace, before a start. Folders on the way are made; what is in the way (a link
    /// too) is replaced. The volumes must exist.
    pub async fn put_files(&self, task: &TaskId, image: &str, files: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        let total: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        if total > MAX_PUT_BYTES {
            return Err(Error::invalid(format!("{total} bytes of files are more than {MAX_PUT_BYTES}")));
        }
        let archive = blocking("pack files", move || archive_of(&files)).await?;
        let name = self.docker.workspace_volume(task);
        crash_point!("sandbox.put_files.before");
        self.with_helper(task, image, &name, |id| self.upload(id, WORKSPACE, archive)).await?;
        crash_point!("sandbox.put_files.after");
        Ok(())
    }

    /// Hands a new volume's root to the sandbox's user.
    pub(crate) async fn own_volume(&self, task: &TaskId, image: &str, name: &str) -> Result<(), Error> {
        let mut archive = tar::Builder::new(Vec::new());
        folder_entry(&mut archive, "workspace/")?;
        let bytes = archive.into_inner().map_err(|e| Error::io("cannot make an archive", e))?;
        self.with_helper(task, image, name, |id| self.upload(id, "/", bytes)).await
    }

    /// What is in the workspace, and the contents of its regular files as `keep` says.
    pub async fn collect(&self, task: &TaskId, image: &str, bounds: Bounds, keep: Keep) -> Result<Collected, Error> {
        let name = self.docker.workspace_volume(task);
        crash_point!("sandbox.collect.before");
        let collected = match crate::usage::local_folder(&self.docker, &name).await? {
            Some(folder) => blocking("collect files", move || walk::collect(&folder, bounds, &keep)).await?,
            None => self.with_helper(task, image, &name, |id| archive::collect(&self.docker, id, bounds, keep)).await?,
        };
        crash_point!("sandbox.collect.after");
        Ok(collected)
    }

    /// The same through the Engine's archive API, whether or not the volume's folder can be read here.
    pub async fn collect_by_archive(
        &self,
        task: &TaskId,
        image: &str,
        bounds: Bounds,
        keep: Keep,
    ) -> Result<Collected, Error> {
        let name = self.docker.workspace_volume(task);
        self.with_helper(task, image, &name, |id| archive::collect(&self.docker, id, bounds, keep)).await
    }

    async fn upload(&self, id: String, path: &str, archive: Vec<u8>) -> Result<(), Error> {
        let client = self.docker.client().await?;
        let options = UploadToContainerOptionsBuilder::default().path(path).build();
        let upload = client.upload_to_container(&id, Some(options), bollard::body_full(archive.into()));
        self.docker.call("upload files", SLOW_CALL_TIMEOUT, upload).await
    }

    /// Runs `work` with a container that has the volume at [`WORKSPACE`] and is never started, and removes it.
    pub(crate) async fn with_helper<T, W>(
        &self,
        task: &TaskId,
        image: &str,
        volume_name: &str,
        work: impl FnOnce(String) -> W,
    ) -> Result<T, Error>
    where
        W: Future<Output = Result<T, Error>>,
    {
        let client = self.docker.client().await?;
        let number = HELPER_NUMBER.fetch_add(1, Ordering::Relaxed);
        let now = jiff::Timestamp::now().as_microsecond();
        let name = format!("{}-helper-{now:x}-{number:x}", self.docker.container_name(task));
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec!["/never-started".to_owned()]),
            cmd: Some(Vec::new()),
            user: Some(format!("{UID}:{UID}")),
            labels: Some(self.docker.labels(Kind::Helper, Some(task))),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                mounts: Some(vec![volume(volume_name.to_owned(), WORKSPACE)]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        self.helpers.add(&name);
        crash_point!("sandbox.helper_create.before");
        let create = client.create_container(Some(options), body);
        let result = match self.docker.call("create helper", CALL_TIMEOUT, create).await {
            Ok(made) => {
                crash_point!("sandbox.helper_create.after");
                work(made.id).await
            }
            Err(error) => Err(error),
        };
        let removed = self.discard(&name).await;
        self.helpers.drop(&name);
        let value = result?;
        removed.map(|()| value)
    }
}

/// An archive of `files` for the workspace, with an entry for each folder on the way so that links there are replaced.
fn archive_of(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Error> {
    let fail = |e| Error::io("cannot make an archive", e);
    let mut archive = tar::Builder::new(Vec::new());
    let mut folders = BTreeSet::new();
    for (path, _) in files {
        let path = relative(path)?;
        folders.extend(path.ancestors().skip(1).filter(|a| !a.as_os_str().is_empty()).map(Path::to_owned));
    }
    for folder in folders {
        folder_entry(&mut archive, &format!("{}/", folder.display()))?;
    }
    for (path, bytes) in files {
        let mut header = header(bytes.len() as u64, 0o644, tar::EntryType::Regular);
        archive.append_data(&mut header, relative(path)?, bytes.as_slice()).map_err(fail)?;
    }
    archive.into_inner().map_err(fail)
}

fn folder_entry(archive: &mut tar::Builder<Vec<u8>>, path: &str) -> Result<(), Error> {
    let mut header = header(0, 0o755, tar::EntryType::Directory);
    archive.append_data(&mut header, path, std::io::empty()).map_err(|e| Error::io("cannot make an archive", e))
}

fn header(size: u64, mode: u32, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(u64::from(UID));
    header.set_gid(u64::from(UID));
    header.set_mtime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0));
    header.set_entry_type(kind);
    header
}

/// A relative path of plain parts, or the reason why `path` is none.
fn relative(path: &str) -> Result<PathBuf, Error> {
    let refuse = |why| Err(Error::invalid(format!("{:?} is not a path in the workspace: {why}", clip(path))));
    if path.is_empty() || path.len() > Bounds::default().path_bytes {
        return refuse("it is empty or too long");
    }
    if domain::text::visible_line(path) != path {
        return refuse("it has control or invisible characters");
    }
    if path.ends_with('/') || !Path::new(path).components().all(|c| matches!(c, Component::Normal(_))) {
        return refuse("it must be relative, name a file and have no `..`");
    }
    Ok(Path::new(path).components().collect())
}

fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}

/// Where a download of `path` goes below `folder`: the name never leaves it. Refuses absolute names, `..`, control and
/// invisible characters. The caller makes `folder` and must not have links of others in it.
pub fn safe_join(folder: &Path, path: &str) -> Result<PathBuf, Error> {
    relative(path).map(|r| folder.join(r))
}

/// The path of an entry as text, and whether it is the name itself.
pub(crate) fn shown(raw: &[u8]) -> (String, bool) {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        text.push_str(&domain::text::visible_line(chunk.valid()));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    let plain = text.as_bytes() == raw;
    (text, plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_never_leave_their_folder() {
        let folder = Path::new("/home/me/out");
        assert_eq!(safe_join(folder, "a/b.txt").expect("plain"), Path::new("/home/me/out/a/b.txt"));
        assert_eq!(safe_join(folder, "a//./b").expect("odd but inside"), Path::new("/home/me/out/a/b"));
        for bad in ["", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a\nb", "a\u{202e}b", "x/", "a\0b", "."] {
            assert!(safe_join(folder, bad).is_err(), "{bad:?}");
        }
        assert!(safe_join(folder, &"a/".repeat(2000)).is_err());
    }

    #[test]
    fn names_that_are_not_text_are_shown_escaped() {
        assert_eq!(shown(b"plain.txt"), ("plain.txt".to_owned(), true));
        let (text, plain) = shown(b"a\xffb\x1b[0m");
        assert!(!plain && text.starts_with("a\\xffb") && !text.contains('\x1b'), "{text}");
    }
}
