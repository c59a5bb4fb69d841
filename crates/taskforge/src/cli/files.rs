//! Downloads. The names are the agent's: nothing is written outside of the chosen folder, and no link is followed.

use crate::{
    cli::{Failure, Outcome},
    client::{Client, encode},
};
use api::wire::{File, FileList};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags, mkdirat, open, openat, renameat, unlinkat},
    io::Errno,
};
use sha2::{Digest, Sha256};
use std::{io::Write, path::Path};

/// Parts of a path, at the most.
const MAX_DEPTH: usize = 64;

/// Downloads files below `dir` and returns their paths as they were written.
pub(super) async fn download(client: &Client, task: &str, files: &[File], dir: &Path) -> Outcome<Vec<String>> {
    std::fs::create_dir_all(dir).map_err(|e| Failure::failed(format!("cannot make {}: {e}", dir.display())))?;
    let root =
        open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(std::io::Error::from)?;
    let mut written = Vec::new();
    for file in files.iter().filter(|f| f.kept) {
        written.push(one(client, task, file, &root).await?);
    }
    Ok(written)
}

/// The files that a person wants: those submitted, or all if nothing was.
pub(super) fn wanted(list: &FileList, all: bool) -> Vec<File> {
    let chosen = |f: &&File| all || f.deliverable;
    list.files.iter().filter(chosen).cloned().collect()
}

async fn one(client: &Client, task: &str, file: &File, root: &OwnedFd) -> Outcome<String> {
    let parts = safe_parts(&file.path)?;
    let (name, folders) = parts.split_last().ok_or_else(|| Failure::failed("a file has no name"))?;
    let failed = |e: Errno| Failure::failed(format!("cannot write {:?}: {e}", parts.join("/")));
    let mut dir = root.try_clone()?;
    for folder in folders {
        dir = enter(&dir, folder).map_err(failed)?;
    }
    let temp = format!(".{}.part", &name.chars().take(40).collect::<String>());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut target: std::fs::File = openat(&dir, &temp, flags, Mode::from_raw_mode(0o644)).map_err(failed)?.into();
    let outcome = fetch(client, task, file, &mut target).await;
    if outcome.is_err() {
        unlinkat(&dir, &temp, rustix::fs::AtFlags::empty()).map_err(failed)?;
    }
    outcome?;
    renameat(&dir, &temp, &dir, name).map_err(failed)?;
    Ok(parts.join("/"))
}

async fn fetch(client: &Client, task: &str, file: &File, target: &mut std::fs::File) -> Outcome<()> {
    let mut response = client.download(&format!("/api/tasks/{task}/files/{}", encode(&file.path))).await?;
    let mut digest = Sha256::new();
    let mut size = 0_u64;
    while let Some(part) =
        response.chunk().await.map_err(|e| Failure::failed(format!("the download broke off: {e}")))?
    {
        size += part.len() as u64;
        digest.update(&part);
        target.write_all(&part)?;
    }
    let found = hex::encode(digest.finalize());
    if size != file.size || file.sha256.as_ref().is_some_and(|want| *want != found) {
        let name = domain::text::visible_line(&file.path);
        return Err(Failure::failed(format!("{name:?} arrived with other bytes than were recorded")));
    }
    Ok(())
}

fn enter(dir: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    match mkdirat(dir.as_fd(), name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e),
    }
    openat(dir.as_fd(), name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// The parts of a path below a folder; hidden characters are written out.
fn safe_parts(path: &str) -> Outcome<Vec<String>> {
    let parts: Vec<String> = path.split('/').map(domain::text::visible_line).collect();
    let sound = |p: &String| !p.is_empty() && p != "." && p != ".." && p.len() <= 250;
    if parts.len() > MAX_DEPTH || !parts.iter().all(sound) {
        let shown = domain::text::visible_line(path);
        return Err(Failure::failed(format!("the server names a file {shown:?}, which is no path below a folder")));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_folder() {
        assert_eq!(safe_parts("a/b\u{1b}.csv").unwrap(), ["a", "b\\u{1b}.csv"]);
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/"] {
            assert!(safe_parts(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn links_in_the_folder_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).unwrap();
        let root = open(dir.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert!(enter(&root, "out").is_err());
        assert!(enter(&root, "fresh").is_ok());
    }
}
