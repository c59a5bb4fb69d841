//! The memory of whoever verifies.

use crate::common::{Made, ORIGIN, at, fill, key, vkey};
use audit::{AuditError, KnownFolder, Log, LogKey};
use std::fs;

#[test]
fn a_remembered_log_may_grow_but_neither_shrink_nor_fork_nor_change_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let folder = KnownFolder::new(&dir.path().join("known"));
    assert!(folder.load(ORIGIN).unwrap().is_none());
    let made = Made::new(&[2, 5, 9]);
    let [small, middle, large] = made.checkpoints.as_slice() else { unreachable!() };
    folder.remember(&vkey(), middle, at(50)).unwrap();
    let known = folder.load(ORIGIN).unwrap().unwrap();
    assert_eq!((known.key, known.checkpoint, known.verified_at), (vkey(), middle.clone(), at(50)));
    folder.remember(&vkey(), middle, at(51)).unwrap();
    let shrunk = folder.remember(&vkey(), small, at(52)).unwrap_err().to_string();
    assert_eq!(shrunk, "refused: the log shrank: 5 entries were verified before, 2 are signed now");
    let fork = fork(5);
    let forked = folder.remember(&vkey(), fork.last(), at(53)).unwrap_err().to_string();
    assert_eq!(forked, "refused: the log forked: its root at size 5 is not the one verified before");
    let other = LogKey::from_seed(&[9; 32]).verifier(ORIGIN).unwrap();
    assert!(matches!(folder.remember(&other, large, at(54)), Err(AuditError::Rollback(_))));
    folder.remember(&vkey(), large, at(55)).unwrap();
    assert_eq!(folder.load(ORIGIN).unwrap().unwrap().checkpoint, *large);
}

#[test]
fn a_damaged_memory_is_an_error_and_not_a_fresh_start() {
    let dir = tempfile::tempdir().unwrap();
    let folder = KnownFolder::new(dir.path());
    folder.remember(&vkey(), Made::new(&[3]).last(), at(1)).unwrap();
    let file = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    for cut in 0..whole.len() - 1 {
        fs::write(&file, &whole[..cut]).unwrap();
        assert!(matches!(folder.load(ORIGIN), Err(AuditError::Altered { .. })), "cut at {cut}");
    }
    fs::write(&file, whole).unwrap();
    assert!(folder.load(ORIGIN).unwrap().is_some());
}

/// Another log under the same key and name, whose entry 0 differs.
pub(crate) fn fork(size: u64) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), key(), ORIGIN).unwrap();
    log.append(&[b"another beginning"]).unwrap();
    fill(&mut log, size);
    let checkpoint = log.checkpoint(at(90)).unwrap().unwrap();
    Made { dir, checkpoints: vec![checkpoint] }
}
