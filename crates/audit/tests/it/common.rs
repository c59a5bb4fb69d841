//! A small log to try things on.

use audit::{Checkpoint, Log, LogKey, Problem, Report, VerifierKey, VerifyOptions, verify};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

pub(crate) const ORIGIN: &str = "taskforge.example/log";

pub(crate) fn key() -> LogKey {
    LogKey::from_seed(&[7; 32])
}

pub(crate) fn vkey() -> VerifierKey {
    key().verifier(ORIGIN).unwrap()
}

/// The moment of the n-th checkpoint.
pub(crate) fn at(n: u64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + n.cast_signed()).unwrap()
}

/// A leaf of an index; lengths vary.
pub(crate) fn leaf(index: u64) -> Vec<u8> {
    format!(r#"{{"index":{index},"kind":"test","pad":"{}"}}"#, "x".repeat((index % 7) as usize)).into_bytes()
}

/// Appends the leaves up to `size` from wherever the log is.
pub(crate) fn fill(log: &mut Log, size: u64) {
    let leaves: Vec<Vec<u8>> = (log.size()..size).map(leaf).collect();
    log.append(&leaves.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
}

pub(crate) struct Made {
    pub(crate) dir: TempDir,
    pub(crate) checkpoints: Vec<Checkpoint>,
}

impl Made {
    /// A log with a checkpoint at each of these sizes.
    pub(crate) fn new(sizes: &[u64]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), key(), ORIGIN).unwrap();
        let mut checkpoints = Vec::new();
        for (n, size) in sizes.iter().enumerate() {
            fill(&mut log, *size);
            checkpoints.push(log.checkpoint(at(n as u64)).unwrap().unwrap());
        }
        Self { dir, checkpoints }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn last(&self) -> &Checkpoint {
        self.checkpoints.last().unwrap()
    }

    pub(crate) fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in files(self.path()) {
            let to = dir.path().join(&name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(self.file(&name), to).unwrap();
        }
        Self { dir, checkpoints: self.checkpoints.clone() }
    }

    pub(crate) fn verify(&self) -> Report {
        verify(self.path(), &vkey(), &VerifyOptions::default()).unwrap()
    }

    pub(crate) fn verify_against(&self, known: &Checkpoint) -> Report {
        let options = VerifyOptions { known: Some(known.clone()), live: false };
        verify(self.path(), &vkey(), &options).unwrap()
    }
}

/// All files below a folder, sorted.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn problems(report: &Report) -> Vec<Problem> {
    report.findings.iter().map(|f| f.problem.clone()).collect()
}

/// An entry bundle as it lies in its file.
pub(crate) fn bundle(entries: &[Vec<u8>]) -> Vec<u8> {
    entries.iter().flat_map(|e| [&(e.len() as u16).to_be_bytes()[..], e].concat()).collect()
}
