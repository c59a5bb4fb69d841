//! What must not be left over, looked at before anything is cleaned; and the cleaning.

use crate::docker::{Object, docker, objects};
use anyhow::{Result, ensure};
use std::{collections::BTreeSet, fs, path::Path};

/// Kinds of Docker objects that exist only while something is done.
const TRANSIENT: [&str; 4] = ["agent", "helper", "resolver", "builder"];

/// What is there although nothing that exists owns it. `tasks` exist; `used` are the images that they or the record
/// name.
pub async fn found(
    installation: &str,
    data: &Path,
    tasks: &BTreeSet<String>,
    used: &BTreeSet<String>,
) -> Result<Vec<String>> {
    let mut leaks = Vec::new();
    for o in objects(installation).await? {
        let is_leak = match o.class {
            "image" => o.kind == "builder" || (o.kind == "task-image" && !used.contains(&o.name)),
            _ => TRANSIENT.contains(&o.kind.as_str()) || !tasks.contains(&o.task),
        };
        if is_leak {
            leaks.push(format!("{} {} (kind {:?}, task {:?})", o.class, o.name, o.kind, o.task));
        }
    }
    for entry in fs::read_dir(data.join("run")).into_iter().flatten() {
        leaks.push(format!("run folder {}", entry?.path().display()));
    }
    leaks.extend(unfinished(data)?);
    Ok(leaks)
}

/// What lies in the folder for temporary files.
pub fn temporaries(dir: &Path) -> Result<Vec<String>> {
    fs::read_dir(dir)?.map(|entry| Ok(format!("temporary {}", entry?.path().display()))).collect()
}

/// Files and folders with the names of things that are being made.
fn unfinished(data: &Path) -> Result<Vec<String>> {
    let mut open = vec![data.to_owned()];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_temporary =
                [".new", ".tmp", ".part"].iter().any(|end| name.ends_with(end)) || name.starts_with(".tmp");
            if is_temporary {
                found.push(format!("unfinished {}", entry.path().display()));
            } else if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if entry.file_type()?.is_symlink() {
                found.push(format!("link {}", entry.path().display()));
            }
        }
    }
    Ok(found)
}

/// Removes every object of the installation; afterwards there is none. The base and resolver images stay for the next
/// world: they carry the label of whoever made them and are found by what they are made from.
pub async fn clean(installation: &str) -> Result<()> {
    for class in ["container", "volume", "image"] {
        for o in objects(installation).await?.iter().filter(|o| o.class == class && !is_shared(o)) {
            let args: &[&str] = match class {
                "container" => &["rm", "--force", "--volumes"],
                "volume" => &["volume", "rm", "--force"],
                _ => &["image", "rm", "--force"],
            };
            // A parent of another image goes with it.
            drop(docker(&[args, &[o.name.as_str()]].concat()).await);
        }
    }
    let left: Vec<_> = objects(installation).await?.into_iter().filter(|o| !is_shared(o)).collect();
    ensure!(left.is_empty(), "cannot be removed: {left:?}");
    Ok(())
}

fn is_shared(o: &Object) -> bool {
    o.class == "image" && matches!(o.kind.as_str(), "base" | "resolver")
}
