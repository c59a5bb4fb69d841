//! The static supervisor that is PID 1 in every sandbox: embedded in this binary, or found beside it.

use crate::config::Config;
use anyhow::{Context, Result, bail};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Empty where the binary was built without one.
const EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/supervisor"));
const NAME: &str = "taskforge-supervisor";

/// Makes sure that the supervisor lies on disk and returns where.
pub(crate) fn place(config: &Config) -> Result<PathBuf> {
    if let Some(path) = &config.supervisor {
        return existing(path.clone());
    }
    if !EMBEDDED.is_empty() {
        let path = config.data_dir.join(NAME);
        if fs::read(&path).is_ok_and(|found| found == EMBEDDED) {
            return Ok(path);
        }
        let temp = config.data_dir.join(format!("{NAME}.new"));
        fs::write(&temp, EMBEDDED)?;
        fs::set_permissions(&temp, fs::Permissions::from_mode(0o555))?;
        fs::rename(&temp, &path)?;
        return Ok(path);
    }
    let own = std::env::current_exe().context("this binary does not know where it is")?;
    existing(own.with_file_name(NAME))
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if !Path::is_file(&path) {
        bail!(
            "the supervisor is not at {}: build it with scripts/build-supervisor and set TASKFORGE_SUPERVISOR",
            path.display()
        );
    }
    Ok(path)
}
