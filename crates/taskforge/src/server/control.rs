//! What is done to a data directory while no server runs on it: cleaned away, backed up, restored.

use super::lock;
use anyhow::{Context, Result, bail};
use image::{Images, ImagesConfig, Keep};
use sandbox::{Docker, Sandboxes};
use std::{collections::BTreeSet, fs, path::Path};
use store::Store;

/// Removes everything that this installation owns, its data directory included.
pub(crate) async fn clean(data_dir: &Path, docker_host: Option<&str>) -> Result<()> {
    if !data_dir.join("state.db").exists() {
        bail!("{} is not a data directory of TaskForge; nothing was removed", data_dir.display());
    }
    let _lock = lock::take(data_dir)?;
    let store = Store::open(data_dir).await?;
    let docker = Docker::connect(docker_host, store.installation())?;
    let sandboxes = Sandboxes::new(docker.clone(), data_dir);
    let reaped = sandboxes.reap(&BTreeSet::new()).await.context("Docker must answer, so that nothing is left in it")?;
    if let Some((object, why)) = reaped.failed.first() {
        bail!("{} cannot be removed ({why}); the data directory stays, try again", object.name);
    }
    let images = Images::new(docker, ImagesConfig::new(data_dir))?;
    let pruned = images.prune(&Keep { drop_bases: true, ..Keep::default() }).await?;
    drop(store);
    fs::remove_dir_all(data_dir).with_context(|| format!("{} cannot be removed", data_dir.display()))?;
    eprintln!(
        "removed {} containers and volumes, {} images, and {}",
        reaped.removed.len(),
        pruned.images.len(),
        data_dir.display()
    );
    Ok(())
}

/// What a backup does not hold: sockets, logs, the lock, and what is made again.
const NOT_IN_BACKUP: [&str; 6] = ["lock", "run", "server.json", "reserve", "logs", "backup"];

/// Writes a consistent archive of everything: database, engine, log, keys, packages, files, and each task's volumes.
/// The server must be stopped; agents that still run are frozen meanwhile.
pub(crate) async fn backup(data_dir: &Path, docker_host: Option<&str>, file: &Path) -> Result<()> {
    let _lock = lock::take(data_dir)
        .context("a backup is consistent only while no server runs: `make backup` stops and starts it")?;
    let store = Store::open(data_dir).await?;
    let sandboxes = Sandboxes::new(Docker::connect(docker_host, store.installation())?, data_dir);
    let stage = data_dir.join("backup");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    sandboxes.freeze(true).await?;
    let volumes = export_volumes(&store, &sandboxes, &stage).await;
    let thawed = sandboxes.freeze(false).await;
    volumes?;
    thawed?;
    drop(store);
    let (from, to) = (data_dir.to_owned(), file.to_owned());
    let size = tokio::task::spawn_blocking(move || pack(&from, &to)).await??;
    fs::remove_dir_all(&stage).context("the stage of the backup cannot be removed")?;
    eprintln!("{}: {} MiB; it holds keys, keep it as safe as the data directory", file.display(), size >> 20);
    Ok(())
}

async fn export_volumes(store: &Store, sandboxes: &Sandboxes, stage: &Path) -> Result<()> {
    for id in store.task_ids().await? {
        let Some(image) = store.task_get(id).await?.image else { continue };
        let folder = stage.join("volumes").join(id.to_string());
        fs::create_dir_all(&folder)?;
        sandboxes.export_volumes(&id, &image, &folder).await?;
    }
    Ok(())
}

fn pack(data_dir: &Path, file: &Path) -> Result<u64> {
    let temp = file.with_extension("partial");
    let out = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&temp)
        .with_context(|| format!("cannot write {}", temp.display()))?;
    // Keys are in it: the archive is as secret as the data directory.
    out.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut archive = tar::Builder::new(out);
    archive.follow_symlinks(false);
    for entry in fs::read_dir(data_dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if NOT_IN_BACKUP.iter().any(|n| name == *n) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            archive.append_dir_all(&name, entry.path())?;
        } else {
            archive.append_path_with_name(entry.path(), &name)?;
        }
    }
    let volumes = data_dir.join("backup/volumes");
    if volumes.is_dir() {
        archive.append_dir_all("volumes", volumes)?;
    }
    let out = archive.into_inner()?;
    out.sync_all()?;
    let size = out.metadata()?.len();
    fs::rename(&temp, file)?;
    Ok(size)
}

/// Restores an archive into an empty (or missing) data directory, and the tasks' volumes into Docker.
pub(crate) async fn restore(data_dir: &Path, docker_host: Option<&str>, file: &Path) -> Result<()> {
    if data_dir.exists() && fs::read_dir(data_dir)?.next().is_some() {
        bail!("{} is not empty: restore into a new folder, or `taskforge clean` it first", data_dir.display());
    }
    super::make_private(data_dir)?;
    let (from, to) = (file.to_owned(), data_dir.to_owned());
    tokio::task::spawn_blocking(move || -> Result<()> {
        let input = fs::File::open(&from).with_context(|| format!("cannot read {}", from.display()))?;
        let mut archive = tar::Archive::new(input);
        archive.set_preserve_permissions(true);
        archive
            .unpack(&to)
            .with_context(|| format!("{} is not a backup of TaskForge, or it is damaged", from.display()))
    })
    .await??;
    let _lock = lock::take(data_dir)?;
    let store = Store::open(data_dir).await.context("the backup holds no usable database")?;
    let sandboxes = Sandboxes::new(Docker::connect(docker_host, store.installation())?, data_dir);
    let mut restored = 0;
    for id in store.task_ids().await? {
        let folder = data_dir.join("volumes").join(id.to_string());
        let task = store.task_get(id).await?;
        if let (Some(image), true) = (&task.image, folder.is_dir()) {
            sandboxes.import_volumes(&id, image, &task.limits, &folder).await.with_context(|| {
                format!("the workspace of {id} cannot be restored; its image {image} must be in Docker (see docs/operations.md)")
            })?;
            restored += 1;
        }
    }
    let volumes = data_dir.join("volumes");
    if volumes.is_dir() {
        fs::remove_dir_all(volumes)?;
    }
    eprintln!("restored {} with {restored} workspaces", data_dir.display());
    Ok(())
}
