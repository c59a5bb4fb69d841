//! Cleaning a data directory away, with everything in Docker that belongs to it.

use super::lock;
use anyhow::{Context, Result, bail};
use image::{Images, ImagesConfig, Keep};
use sandbox::{Docker, Sandboxes};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use store::Store;

/// Removes everything that this installation owns, its data directory included.
pub(crate) async fn clean(data_dir: &Path, docker_host: Option<&str>) -> Result<()> {
    if !data_dir.join("state.db").exists() {
        bail!("{} is not a data directory of TaskForge; nothing was removed", data_dir.display());
    }
    let _lock = lock::take(data_dir, lock::Role::Command).await?;
    let store = Store::open(data_dir).await?;
    let removed = if ran_agents(data_dir) { empty_docker(data_dir, docker_host, &store).await? } else { (0, 0) };
    store.close().await;
    let kept = remove_own(data_dir).with_context(|| format!("{} cannot be removed", data_dir.display()))?;
    eprintln!("removed {} containers and volumes, {} images, and {}", removed.0, removed.1, data_dir.display());
    for other in kept {
        eprintln!("kept {}: it is an installation of its own", other.display());
    }
    Ok(())
}

/// Whether a whole server ever ran on a data directory. A gateway by itself leaves nothing in Docker, which it does not
/// need, and which may not be there.
pub(super) fn ran_agents(data_dir: &Path) -> bool {
    data_dir.join("engine.db").exists()
}

/// Removes what the installation has in Docker; returns how many containers and volumes, and how many images.
async fn empty_docker(data_dir: &Path, docker_host: Option<&str>, store: &Store) -> Result<(usize, usize)> {
    let docker = Docker::connect(docker_host, store.installation())?;
    let sandboxes = Sandboxes::new(docker.clone(), data_dir);
    let reaped = sandboxes.reap(&BTreeSet::new()).await.context("Docker must answer, so that nothing is left in it")?;
    if let Some((object, why)) = reaped.failed.first() {
        bail!("{} cannot be removed ({why}); the data directory stays, try again", object.name);
    }
    let images = Images::new(docker, ImagesConfig::new(data_dir))?;
    let pruned = images.prune(&Keep { drop_bases: true, ..Keep::default() }).await?;
    Ok((reaped.removed.len(), pruned.images.len()))
}

/// Whether a folder below a data directory is another installation's data directory, as the demonstration's is.
pub(super) fn is_other_installation(folder: &Path) -> bool {
    folder.join("state.db").exists()
}

/// Removes a data directory but for other installations in it; returns those.
fn remove_own(data_dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        let path = entry?.path();
        if fs::symlink_metadata(&path)?.is_dir() {
            if is_other_installation(&path) { kept.push(path) } else { fs::remove_dir_all(path)? }
        } else {
            fs::remove_file(path)?;
        }
    }
    if kept.is_empty() {
        fs::remove_dir(data_dir)?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_spares_another_installation() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir_all(data.join("demo/audit")).unwrap();
        fs::create_dir_all(data.join("audit/tile")).unwrap();
        for file in ["state.db", "token", "demo/state.db"] {
            fs::write(data.join(file), "").unwrap();
        }
        assert_eq!(remove_own(&data).unwrap(), [data.join("demo")]);
        let left: Vec<_> = fs::read_dir(&data).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["demo"]);
        fs::remove_file(data.join("demo/state.db")).unwrap();
        assert!(remove_own(&data).unwrap().is_empty() && !data.exists());
    }
}
