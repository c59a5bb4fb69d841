//! Crashes at any point: files cut at any length, steps not reached, leaves supplied again.

use crate::common::{Made, ORIGIN, at, bundle, files, fill, key, leaf};
use audit::{AuditError, Log};
use std::fs;

/// Reopens after a crash, supplies the leaves again and seals; the root is the one without a crash.
fn recover(made: &Made, size: u64) -> Log {
    let mut log = Log::open(made.path(), key(), ORIGIN).unwrap();
    assert!(log.size() <= size);
    fill(&mut log, size);
    log.checkpoint(at(1000)).unwrap();
    let newest = log.newest().unwrap();
    assert_eq!((newest.size(), newest.root()), (size, made.last().root()));
    log
}

/// Cuts every file at lengths `step` apart.
fn cut_everywhere(sizes: &[u64], step: usize) {
    let whole = Made::new(sizes);
    let size = whole.last().size();
    for name in files(whole.path()) {
        let bytes = fs::read(whole.file(&name)).unwrap();
        for cut in (0..bytes.len()).step_by(step) {
            let made = whole.copy();
            fs::write(made.file(&name), &bytes[..cut]).unwrap();
            recover(&made, size);
            let report = made.verify();
            // Checkpoints lost from the middle of the history cannot come back; verification says so.
            assert!(report.valid || name == "checkpoints", "{name} cut at {cut}: {report}");
            assert_eq!(report.size, size);
            let mut again = Log::open(made.path(), key(), ORIGIN).unwrap();
            assert!(again.checkpoint(at(1001)).unwrap().is_none());
        }
    }
}

#[test]
fn a_small_log_recovers_from_a_cut_at_any_byte() {
    cut_everywhere(&[1, 3], 1);
}

#[test]
fn a_larger_log_recovers_from_cuts_in_full_and_partial_tiles() {
    cut_everywhere(&[250, 256, 520], 997);
}

#[test]
fn a_history_torn_in_its_last_record_loses_nothing() {
    let whole = Made::new(&[2, 5]);
    let bytes = fs::read(whole.file("checkpoints")).unwrap();
    let first = whole.checkpoints[0].note().len() + 1;
    for cut in first..bytes.len() {
        let made = whole.copy();
        fs::write(made.file("checkpoints"), &bytes[..cut]).unwrap();
        drop(Log::open(made.path(), key(), ORIGIN).unwrap());
        assert_eq!(fs::read(made.file("checkpoints")).unwrap()[..bytes.len()], bytes);
        assert!(made.verify().valid);
    }
}

#[test]
fn a_removed_file_is_written_again() {
    let whole = Made::new(&[100, 256, 300]);
    for name in files(whole.path()) {
        let made = whole.copy();
        fs::remove_file(made.file(&name)).unwrap();
        recover(&made, 300);
        assert!(made.verify().valid || name == "checkpoints", "{name}");
    }
}

#[test]
fn a_crash_between_history_and_publication_publishes_on_opening() {
    let made = Made::new(&[2, 5]);
    fs::write(made.file("checkpoint"), made.checkpoints[0].note()).unwrap();
    let mut log = Log::open(made.path(), key(), ORIGIN).unwrap();
    assert_eq!((log.size(), log.newest()), (5, Some(made.last())));
    assert!(log.checkpoint(at(9)).unwrap().is_none());
    assert!(made.verify().valid);
}

#[test]
fn what_was_appended_but_not_sealed_is_gone_and_leaves_no_file() {
    let made = Made::new(&[3]);
    let sealed = files(made.path());
    let mut log = Log::open(made.path(), key(), ORIGIN).unwrap();
    fill(&mut log, 1000);
    drop(log);
    assert!(files(made.path()).len() > sealed.len(), "full tiles are written before the seal");
    fs::write(made.file("tile/0/000.p/200.tmp"), b"torn").unwrap();
    fs::write(made.file("checkpoint.tmp"), b"torn").unwrap();
    let log = Log::open(made.path(), key(), ORIGIN).unwrap();
    assert_eq!(log.size(), 3);
    assert_eq!(files(made.path()), sealed);
    assert!(made.verify().valid);
}

#[test]
fn sealing_with_unflushed_tiles_in_any_state_of_the_disk_gives_the_same_root() {
    // The tiles of the next seal may or may not have reached the disk when the crash came.
    let before = Made::new(&[250, 300]);
    let after = Made::new(&[250, 300, 600]);
    for name in files(after.path()) {
        let made = before.copy();
        fs::create_dir_all(made.file(&name).parent().unwrap()).unwrap();
        fs::copy(after.file(&name), made.file(&name)).unwrap();
        let mut log = Log::open(made.path(), key(), ORIGIN).unwrap();
        fill(&mut log, 600);
        log.checkpoint(at(2)).unwrap();
        assert_eq!(log.newest().unwrap().root(), after.last().root(), "{name}");
        assert!(made.verify().valid, "{name}: {}", made.verify());
    }
}

#[test]
fn leaves_that_differ_from_what_was_signed_are_never_signed_over() {
    let made = Made::new(&[2, 5]);
    let history = fs::read(made.file("checkpoints")).unwrap();
    fs::remove_file(made.file("tile/entries/000.p/5")).unwrap();
    let mut log = Log::open(made.path(), key(), ORIGIN).unwrap();
    assert_eq!(log.size(), 0);
    assert!(matches!(log.checkpoint(at(9)), Err(AuditError::Behind { size: 0, signed: 5 })));
    let error = log.append(&[b"not", b"what was signed"]).unwrap_err();
    assert!(matches!(error, AuditError::Forked { size: 2 }), "{error}");
    assert!(matches!(log.append(&[b"more"]), Err(AuditError::Forked { .. })));
    assert!(matches!(log.checkpoint(at(9)), Err(AuditError::Forked { .. })));
    assert_eq!(fs::read(made.file("checkpoints")).unwrap(), history);
    recover(&made, 5);
}

#[test]
fn a_damaged_bundle_is_written_again_but_altered_hashes_stop_the_log() {
    let whole = Made::new(&[10, 300]);
    let made = whole.copy();
    let entries: Vec<Vec<u8>> = (0..256).map(|n| if n == 7 { b"altered".to_vec() } else { leaf(n) }).collect();
    fs::write(made.file("tile/entries/000"), bundle(&entries)).unwrap();
    assert_eq!(Log::open(made.path(), key(), ORIGIN).unwrap().size(), 0);
    recover(&made, 300);
    assert!(made.verify().valid);

    let made = whole.copy();
    let mut hashes = fs::read(made.file("tile/0/001.p/44")).unwrap();
    hashes[0] ^= 1;
    fs::write(made.file("tile/0/001.p/44"), hashes).unwrap();
    let mut log = Log::open(made.path(), key(), ORIGIN).unwrap();
    assert_eq!(log.size(), 256, "entries and hashes differ, so both are written again");
    fill(&mut log, 300);
    assert!(log.checkpoint(at(9)).unwrap().is_none());
    assert!(made.verify().valid);

    let made = whole.copy();
    let mut hashes = fs::read(made.file("tile/1/000.p/1")).unwrap();
    hashes[0] ^= 1;
    fs::write(made.file("tile/1/000.p/1"), hashes).unwrap();
    let error = Log::open(made.path(), key(), ORIGIN).unwrap_err().to_string();
    assert!(error.contains("do not lead to the root signed at size 300"), "{error}");
    fs::remove_file(made.file("tile/1/000.p/1")).unwrap();
    recover(&made, 300);
    assert!(made.verify().valid, "moving the file away is enough");
}
