//! The folder `<data>/run/<task>/` that a sandbox sees read-only at `/run/taskforge`.
//!
//! It holds the gateway's socket, the supervisor and the agent's configuration, all written by trusted code. The
//! parent is 0700, so that no other account of the host reaches a socket; the folder itself is 0755 and its files
//! 0444 (0555 for programs), because the sandbox's user has to read them. Nothing in it is ever read back.

use crate::{error::Error, lifecycle::Sandboxes, lifecycle::blocking};
use domain::ids::TaskId;
use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

/// The gateway's socket in the folder.
pub const SOCKET: &str = "gateway.sock";
/// The supervisor in the folder.
pub const SUPERVISOR: &str = "taskforge-supervisor";
/// The agent's instructions in the folder.
pub const PROMPT: &str = "prompt.md";
/// Largest file that is written into it.
const MAX_FILE_BYTES: usize = 16 << 20;

/// A file for the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFile {
    /// Relative path.
    pub path: String,
    /// Content; never a secret, the sandbox can read it.
    pub bytes: Vec<u8>,
}

impl RunFile {
    /// A file.
    pub fn new(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), bytes: bytes.into() }
    }
}

impl Sandboxes {
    /// The task's folder.
    pub fn run_dir(&self, task: &TaskId) -> PathBuf {
        self.run_root.join(task.to_string())
    }

    /// Where the gateway has to listen for this task.
    pub fn socket_path(&self, task: &TaskId) -> PathBuf {
        self.run_dir(task).join(SOCKET)
    }

    /// Removes the task's folder with its socket; done when it is not there.
    pub async fn remove_run_dir(&self, task: &TaskId) -> Result<(), Error> {
        remove(&self.run_root, task).await
    }

    /// Makes or renews the task's folder: the supervisor from `supervisor` on this host, and `files`. A socket that is
    /// already there stays. Each file is replaced in one step.
    pub async fn prepare_run_dir(
        &self,
        task: &TaskId,
        supervisor: &Path,
        files: Vec<RunFile>,
    ) -> Result<PathBuf, Error> {
        let (root, folder, supervisor) = (self.run_root.clone(), self.run_dir(task), supervisor.to_owned());
        crash_point!("sandbox.run_dir.before");
        let made = folder.clone();
        blocking("prepare the run folder", move || {
            make_folder(&root, 0o700)?;
            make_folder(&folder, 0o755)?;
            let program = fs::read(&supervisor)
                .map_err(|e| Error::io(format!("cannot read the supervisor at {}", supervisor.display()), e))?;
            if !program.starts_with(b"\x7fELF") {
                return Err(Error::invalid(format!("{} is not a program", supervisor.display())));
            }
            write_atomically(&folder, SUPERVISOR, &program, 0o555)?;
            for file in &files {
                write_file(&folder, file)?;
            }
            Ok(())
        })
        .await?;
        crash_point!("sandbox.run_dir.after");
        Ok(made)
    }
}

fn write_file(folder: &Path, file: &RunFile) -> Result<(), Error> {
    let path = Path::new(&file.path);
    let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
    let name = path.file_name().and_then(|n| n.to_str());
    let (true, Some(name)) = (plain, name) else {
        return Err(Error::invalid(format!("{:?} is not a path for the run folder", file.path)));
    };
    if [SOCKET, SUPERVISOR].contains(&file.path.as_str()) || file.bytes.len() > MAX_FILE_BYTES {
        return Err(Error::invalid(format!("{:?} cannot be written into the run folder", file.path)));
    }
    let mut parent = folder.to_owned();
    for part in path.parent().into_iter().flat_map(Path::components) {
        parent.push(part);
        make_folder(&parent, 0o755)?;
    }
    write_atomically(&parent, name, &file.bytes, 0o444)
}

fn make_folder(path: &Path, mode: u32) -> Result<(), Error> {
    let fail = |e| Error::io(format!("cannot make the folder {}", path.display()), e);
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(fail(e)),
    }
    let meta = fs::symlink_metadata(path).map_err(fail)?;
    if !meta.is_dir() {
        return Err(Error::invalid(format!("{} is not a folder", path.display())));
    }
    // The mask of the process may have taken bits away, or an older version made it otherwise.
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(fail)
}

/// Writes beside the target and renames, so that a reader sees the old or the new content. Not synced: the folder is
/// made again before every start.
fn write_atomically(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let target = folder.join(name);
    let fail = |e| Error::io(format!("cannot write {}", target.display()), e);
    let temporary = folder.join(format!(".{name}.new"));
    match fs::remove_file(&temporary) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(fail(e)),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.set_permissions(Permissions::from_mode(mode)).map_err(fail)?;
    drop(file);
    fs::rename(&temporary, &target).map_err(fail)
}

/// Removes a task's folder; done when it is not there.
pub(crate) async fn remove(root: &Path, task: &TaskId) -> Result<(), Error> {
    let folder = root.join(task.to_string());
    match tokio::fs::remove_dir_all(&folder).await {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("cannot remove the folder {}", folder.display()), e))
        }
        _ => Ok(()),
    }
}

/// The tasks that have a folder.
pub(crate) async fn list(root: &Path) -> Result<Vec<TaskId>, Error> {
    let fail = |e| Error::io(format!("cannot list {}", root.display()), e);
    let mut folders = match tokio::fs::read_dir(root).await {
        Ok(folders) => folders,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut tasks = Vec::new();
    while let Some(folder) = folders.next_entry().await.map_err(fail)? {
        tasks.extend(folder.file_name().to_str().and_then(|n| n.parse::<TaskId>().ok()));
    }
    tasks.sort();
    Ok(tasks)
}
