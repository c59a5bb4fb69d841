//! The fixtures of `crates/llm` that fit a target.

use crate::targets::{Kind, Target};
use anyhow::Context;
use std::{fs, path::PathBuf};

/// The inputs to begin with, in the order of their names.
pub(crate) fn of(target: &Target) -> anyhow::Result<Vec<Vec<u8>>> {
    let kind = match target.kind {
        Kind::Stream => "streams",
        Kind::Request => "requests",
        Kind::Answer => "answers",
        Kind::Error => "errors",
    };
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../llm/tests/fixtures");
    let dir = fixtures.join(kind).join(target.format.as_str());
    let mut files = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("no corpus at {}", dir.display()))? {
        files.push(entry?.path());
    }
    files.sort();
    files.iter().map(|f| fs::read(f).with_context(|| format!("cannot read {}", f.display()))).collect()
}
