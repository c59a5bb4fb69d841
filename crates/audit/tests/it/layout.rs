//! What lies on disk, what is refused, and proofs from the files.

use crate::common::{Made, ORIGIN, at, files, fill, key, leaf, vkey};
use audit::{AuditError, Checkpoint, Log, LogKey, MAX_LEAF_BYTES, leaf_hash, verify_consistency, verify_inclusion};
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn a_log_of_70_000_entries_has_the_tiles_of_the_specification() {
    let made = Made::new(&[70_000]);
    let names = files(made.path());
    let count = |prefix: &str| names.iter().filter(|n| n.starts_with(prefix)).count();
    assert_eq!(count("tile/0/"), 274);
    assert_eq!(count("tile/entries/"), 274);
    for partial in ["tile/0/273.p/112", "tile/entries/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"] {
        assert!(names.iter().any(|n| n == partial), "{partial}");
    }
    assert_eq!(names.len(), 2 * 274 + 3 + 2);
    assert_eq!(fs::metadata(made.file("tile/0/000")).unwrap().len(), 8192);
    assert!(made.verify().valid);
}

#[test]
fn partial_tiles_are_replaced_and_full_ones_stay() {
    let made = Made::new(&[3, 5, 256, 257]);
    assert_eq!(
        files(made.path()),
        [
            "checkpoint",
            "checkpoints",
            "tile/0/000",
            "tile/0/001.p/1",
            "tile/1/000.p/1",
            "tile/entries/000",
            "tile/entries/001.p/1"
        ]
    );
    let report = made.verify();
    assert!(report.valid, "{report}");
    assert_eq!((report.size, report.checkpoints), (257, 4));
    assert!(report.notes.is_empty(), "{report}");
}

#[test]
fn a_checkpoint_is_signed_only_when_there_is_something_new() {
    let made = Made::new(&[2]);
    let mut log = Log::open(made.path(), key(), ORIGIN).unwrap();
    assert_eq!(log.size(), 2);
    assert!(log.checkpoint(at(9)).unwrap().is_none());
    fill(&mut log, 3);
    let checkpoint = log.checkpoint(at(9)).unwrap().unwrap();
    assert_eq!((checkpoint.size(), checkpoint.number(), checkpoint.time()), (3, Some(1), Some(at(9))));
    assert_eq!(Checkpoint::open(checkpoint.note(), &vkey()).unwrap(), checkpoint);
    let empty = tempfile::tempdir().unwrap();
    assert!(Log::open(empty.path(), key(), ORIGIN).unwrap().checkpoint(at(0)).unwrap().is_none());
}

#[test]
fn the_largest_leaf_fits_and_a_larger_one_is_refused_without_a_trace() {
    let made = Made::new(&[1]);
    let mut log = Log::open(made.path(), key(), ORIGIN).unwrap();
    let error = log.append(&[&vec![b'x'; MAX_LEAF_BYTES + 1]]).unwrap_err();
    assert_eq!(error.to_string(), "leaf 1 has 65536 bytes, more than the 65535 that an entry may have");
    assert_eq!(log.size(), 1);
    let largest = vec![b'y'; MAX_LEAF_BYTES];
    log.append(&[&largest, b""]).unwrap();
    log.checkpoint(at(5)).unwrap().unwrap();
    assert_eq!(log.entry(1).unwrap(), largest);
    assert_eq!(log.entry(2).unwrap(), b"");
    assert!(matches!(log.entry(3), Err(AuditError::OutOfRange { index: 3, size: 3 })));
    assert!(made.verify().valid);
}

#[test]
fn proofs_from_the_files_lead_to_the_signed_roots() {
    let made = Made::new(&[1, 100, 256, 300, 700]);
    let log = Log::open(made.path(), key(), ORIGIN).unwrap();
    let newest = made.last();
    for index in [0, 1, 99, 255, 256, 299, 511, 512, 699] {
        assert_eq!(log.entry(index).unwrap(), leaf(index));
        let proof = log.prove_inclusion(index).unwrap();
        verify_inclusion(&leaf_hash(&leaf(index)), index, newest.size(), &proof, newest.root()).unwrap();
    }
    for old in &made.checkpoints {
        let proof = log.prove_consistency(old.size()).unwrap();
        verify_consistency(old.size(), old.root(), newest.size(), newest.root(), &proof).unwrap();
    }
    assert!(log.prove_inclusion(700).is_err());
}

#[test]
fn the_key_is_made_once_and_read_by_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.key");
    let first = LogKey::open_or_create(&path).unwrap().verifier(ORIGIN).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(LogKey::open_or_create(&path).unwrap().verifier(ORIGIN).unwrap(), first);
    assert_eq!(files(dir.path()), ["log.key"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = LogKey::open_or_create(&path).unwrap_err().to_string();
    assert!(refused.contains("can be read by others (mode 640)"), "{refused}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "short").unwrap();
    assert!(matches!(LogKey::open_or_create(&path), Err(AuditError::Key(_))));
    assert_eq!(format!("{:?}", key()), "LogKey(secret)");
}

#[test]
fn a_log_is_not_opened_with_another_key_or_origin() {
    let made = Made::new(&[2]);
    let other = LogKey::from_seed(&[8; 32]);
    assert!(matches!(Log::open(made.path(), other, ORIGIN), Err(AuditError::Altered { .. })));
    assert!(matches!(Log::open(made.path(), key(), "other.example/log"), Err(AuditError::Altered { .. })));
    assert!(made.verify().valid, "a refused opening changes nothing");
}
