//! Backup and restore of a data directory, while no server runs on it.
//!
//! An archive holds the data directory and each task's volumes; images only where asked for. It is restored into an empty
//! data directory and an Engine that has nothing of that installation yet: two servers must never share volumes.

use super::{
    control::{is_other_installation, ran_agents},
    lock,
};
use anyhow::{Context, Result, bail};
use image::Images;
use sandbox::{Class, Docker, Sandboxes};
use std::{collections::BTreeSet, ffi::OsString, fs, path::Path};
use store::Store;

/// The volumes in an archive: a folder per task.
const VOLUMES: &str = "volumes";
/// The images in an archive, if they are in it.
const IMAGES: &str = "images.tar";
/// What a backup does not hold: sockets, the lock, what is made again, and what the scripts leave beside it.
const NOT_IN_BACKUP: [&str; 10] = [
    "lock",
    "run",
    "server.json",
    "reserve",
    "backup",
    "engine.pid",
    "dockerd.log",
    "apt.log",
    "rustup.log",
    "rustup.sh",
];

/// Writes a consistent archive of everything: database, engine, log, keys, packages, files, and each task's volumes.
/// The server must be stopped; agents that still run are frozen meanwhile.
pub(crate) async fn backup(data_dir: &Path, docker_host: Option<&str>, file: &Path, with_images: bool) -> Result<()> {
    if !data_dir.join("state.db").exists() {
        bail!("{} is not a data directory of TaskForge; there is nothing to back up", data_dir.display());
    }
    let file = std::path::absolute(file)?;
    if file.starts_with(data_dir) {
        bail!("{} lies in the data directory, which the backup is of; write it elsewhere", file.display());
    }
    let _lock = lock::take(data_dir, lock::Role::Command).await?;
    let store = Store::open(data_dir).await?;
    let stage = data_dir.join("backup");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    fs::create_dir(&stage)?;
    if ran_agents(data_dir) {
        stage_docker(data_dir, docker_host, &store, &stage, with_images).await?;
    }
    store.close().await;
    let (from, to) = (data_dir.to_owned(), file.clone());
    let size = tokio::task::spawn_blocking(move || pack(&from, &to)).await??;
    fs::remove_dir_all(&stage).context("the stage of the backup cannot be removed")?;
    eprintln!("{}: {} MiB; it holds keys, keep it as safe as the data directory", file.display(), size >> 20);
    Ok(())
}

/// Takes what the archive holds of Docker: volumes, and images where asked for.
async fn stage_docker(
    data_dir: &Path,
    docker_host: Option<&str>,
    store: &Store,
    stage: &Path,
    with_images: bool,
) -> Result<()> {
    let docker = Docker::connect(docker_host, store.installation())?;
    let sandboxes = Sandboxes::new(docker.clone(), data_dir);
    if with_images {
        let images = Images::new(docker, crate::config::images(data_dir))?;
        let saved = images.save(&wanted_images(store, &images).await?, &stage.join(IMAGES)).await?;
        eprintln!("{saved} images are in it");
    }
    sandboxes.freeze(true).await?;
    let volumes = export_volumes(store, &sandboxes, stage).await;
    let thawed = sandboxes.freeze(false).await;
    volumes?;
    thawed?;
    Ok(())
}

/// The images of tasks, the bases that they were built on, and what the next builds need.
async fn wanted_images(store: &Store, images: &Images) -> Result<BTreeSet<String>> {
    let mut wanted: BTreeSet<String> = store.images_in_use().await?.into_iter().collect();
    for image in store.image_list().await? {
        if wanted.contains(&image.id) {
            wanted.extend(image.base);
        }
    }
    if let Some(bases) = images.bases().await? {
        wanted.extend([bases.agent.id, bases.resolver.id]);
    }
    Ok(wanted)
}

async fn export_volumes(store: &Store, sandboxes: &Sandboxes, stage: &Path) -> Result<()> {
    for id in store.task_ids().await? {
        let Some(image) = store.task_get(id).await?.image else { continue };
        let folder = stage.join(VOLUMES).join(id.to_string());
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
        if NOT_IN_BACKUP.iter().any(|n| name == *n) || is_other_installation(&entry.path()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            archive.append_dir_all(&name, entry.path())?;
        } else {
            archive.append_path_with_name(entry.path(), &name)?;
        }
    }
    for name in [VOLUMES, IMAGES] {
        let staged = data_dir.join("backup").join(name);
        if staged.is_dir() {
            archive.append_dir_all(name, staged)?;
        } else if staged.exists() {
            archive.append_path_with_name(staged, name)?;
        }
    }
    let out = archive.into_inner()?;
    out.sync_all()?;
    let size = out.metadata()?.len();
    fs::rename(&temp, file)?;
    Ok(size)
}

/// Restores an archive into a data directory without an installation, and the tasks' volumes into Docker. What does not
/// work leaves both as they were.
pub(crate) async fn restore(data_dir: &Path, docker_host: Option<&str>, file: &Path) -> Result<()> {
    if ["state.db", "engine.db", "audit", "keys"].iter().any(|n| data_dir.join(n).exists()) {
        bail!(
            "{} holds an installation: restore into another folder, or `taskforge clean` it first",
            data_dir.display()
        );
    }
    super::make_private(data_dir)?;
    let before = names(data_dir)?;
    let restored = match unpack(data_dir, file).await {
        Ok(()) => fill(data_dir, docker_host).await,
        Err(e) => Err(e),
    };
    if restored.is_err() {
        for name in names(data_dir)?.difference(&before) {
            let path = data_dir.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("{} came from the archive and cannot be removed", path.display()))?;
        }
    }
    let (workspaces, missing) = restored?;
    eprintln!("restored {} with {workspaces} workspaces", data_dir.display());
    if missing > 0 {
        eprintln!(
            "Docker does not have the image of {missing} tasks, so that they cannot go on as they were; a backup with \
             --with-images brings images along (docs/operations.md)"
        );
    }
    Ok(())
}

fn names(folder: &Path) -> std::io::Result<BTreeSet<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

async fn unpack(data_dir: &Path, file: &Path) -> Result<()> {
    let (from, to) = (file.to_owned(), data_dir.to_owned());
    let work = move || -> Result<()> {
        let input = fs::File::open(&from).with_context(|| format!("cannot read {}", from.display()))?;
        let mut archive = tar::Archive::new(input);
        archive.set_preserve_permissions(true);
        let damaged = || format!("{} is not a backup of TaskForge, or it is damaged", from.display());
        archive.unpack(&to).with_context(damaged)?;
        if !to.join("state.db").exists() {
            bail!(damaged());
        }
        Ok(())
    };
    tokio::task::spawn_blocking(work).await?
}

/// Gives Docker what the unpacked archive holds for it; returns how many workspaces came back, and how many tasks lack
/// their image.
async fn fill(data_dir: &Path, docker_host: Option<&str>) -> Result<(usize, usize)> {
    let _lock = lock::take(data_dir, lock::Role::Command).await?;
    let store = Store::open(data_dir).await.context("the backup holds no usable database")?;
    let filled = if ran_agents(data_dir) { fill_empty_docker(data_dir, docker_host, &store).await } else { Ok((0, 0)) };
    // At rest before anything is removed again.
    store.close().await;
    filled
}

async fn fill_empty_docker(data_dir: &Path, docker_host: Option<&str>, store: &Store) -> Result<(usize, usize)> {
    let docker = Docker::connect(docker_host, store.installation())?;
    let sandboxes = Sandboxes::new(docker.clone(), data_dir);
    let there = |o: &sandbox::Object| matches!(o.class, Class::Container | Class::Volume);
    if sandboxes.leftovers().await?.iter().any(there) {
        bail!(
            "Docker holds workspaces of this installation already (label {}={}): `taskforge clean` the data directory \
             that they belong to, or remove them, and restore again",
            sandbox::docker::LABEL_INSTALLATION,
            store.installation()
        );
    }
    let filled = fill_docker(data_dir, store, &docker, &sandboxes).await;
    if filled.is_err() {
        sandboxes.reap(&BTreeSet::new()).await.context("what was restored into Docker could not be removed again")?;
    }
    filled
}

async fn fill_docker(data_dir: &Path, store: &Store, docker: &Docker, sandboxes: &Sandboxes) -> Result<(usize, usize)> {
    let images = Images::new(docker.clone(), crate::config::images(data_dir))?;
    let saved = data_dir.join(IMAGES);
    if saved.exists() {
        images.load(&saved).await?;
        fs::remove_file(&saved)?;
    }
    let (mut workspaces, mut missing) = (0, 0);
    for id in store.task_ids().await? {
        let folder = data_dir.join(VOLUMES).join(id.to_string());
        let task = store.task_get(id).await?;
        let Some(image) = task.image.filter(|_| folder.is_dir()) else { continue };
        // Any image will do to fill a volume.
        let helper = if images.has(&image).await? {
            image
        } else {
            missing += 1;
            images.bootstrap(&|line| eprintln!("base image: {line}")).await?.agent.id
        };
        let import = sandboxes.import_volumes(&id, &helper, &task.limits, &folder);
        import.await.with_context(|| format!("the workspace of {id} cannot be restored"))?;
        workspaces += 1;
    }
    let volumes = data_dir.join(VOLUMES);
    if volumes.is_dir() {
        fs::remove_dir_all(volumes)?;
    }
    Ok((workspaces, missing))
}
