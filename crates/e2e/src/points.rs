//! The crash points, listed from the code itself: every failpoint next to a durable write or an outside effect.

use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// How a failpoint is written in the crates.
const FORMS: [&str; 4] = ["fail_point!(", "crash_point!(", "injected(", "persist!("];
/// Crates that have failpoints; a name begins with its part: the engine lives in `workflow`.
const CRATES: [&str; 5] = ["gateway", "image", "sandbox", "store", "workflow"];
const PARTS: [&str; 6] = ["engine.", "gateway.", "image.", "sandbox.", "store.", "workflow."];

/// Every failpoint's name.
pub fn all() -> Result<Vec<String>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this crate has no parent folder")?;
    let mut names = BTreeSet::new();
    for name in CRATES {
        for file in sources(&crates.join(name).join("src"))? {
            let text = fs::read_to_string(&file)?;
            for form in FORMS {
                names.extend(text.split(form).skip(1).filter_map(first_name));
            }
        }
    }
    ensure!(!names.is_empty(), "no failpoint was found below {}", crates.display());
    Ok(names.into_iter().collect())
}

/// The first text in the arguments, where it is a failpoint's name.
fn first_name(arguments: &str) -> Option<String> {
    let end = arguments.find([';', '{', '}']).unwrap_or(arguments.len());
    let texts = arguments[..end].split('"').skip(1).step_by(2);
    texts.filter(|t| PARTS.iter().any(|p| t.starts_with(p))).map(str::to_owned).next()
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_found_as_they_are_written() {
        assert_eq!(first_name("\"store.begin\", |_| Err(StoreError::DiskFull));"), Some("store.begin".to_owned()));
        assert_eq!(first_name("self, PATIENCE, \"engine.turn.ack\", f())"), Some("engine.turn.ack".to_owned()));
        assert_eq!(first_name("point, |_| Err(x)); let a = \"store.x\";"), None);
        let all = all().unwrap();
        for known in ["store.begin", "sandbox.create.before", "gateway.call.after_begun", "workflow.apply.after"] {
            assert!(all.iter().any(|n| n == known), "{known} is not in {all:?}");
        }
    }
}
