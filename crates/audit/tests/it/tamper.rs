//! Tampering with files: every byte, every file, checkpoints, rollbacks and forks are found and named.

use crate::{
    common::{Made, ORIGIN, at, files, fill, key, problems, vkey},
    known::fork,
};
use audit::{AuditError, Log, LogKey, Problem, Report, Span, VerifyOptions, verify};
use std::{fs, path::Path};

/// Whether the findings name what a changed byte of this file means.
fn names(report: &Report, name: &str, at: usize, entry_of_byte: &[u64]) -> bool {
    problems(report).iter().any(|p| match p {
        Problem::EntriesChanged { span } | Problem::EntriesUnreadable { span, .. } => {
            name.starts_with("tile/entries") && (span.from..span.to).contains(&entry_of_byte[at])
        }
        Problem::HashChanged { file, position } => file == name && *position == (at / 32) as u64,
        Problem::CheckpointInvalid { file, .. } | Problem::FileJunk { file, .. } => {
            file == name && name.starts_with("checkpoint")
        }
        _ => false,
    })
}

/// The entry to which each byte of a bundle belongs.
fn entries_of_bytes(bundle: &[u8], first: u64) -> Vec<u64> {
    let (mut of, mut at) = (Vec::new(), 0);
    for index in first.. {
        if at >= bundle.len() {
            break;
        }
        let len = 2 + usize::from(u16::from_be_bytes([bundle[at], bundle[at + 1]]));
        of.extend(vec![index; len]);
        at += len;
    }
    of
}

fn flip_everywhere(sizes: &[u64], step: usize, masks: &[u8]) {
    let made = Made::new(sizes);
    assert!(made.verify().valid);
    for name in files(made.path()) {
        let bytes = fs::read(made.file(&name)).unwrap();
        let first = if name.contains("/001") { 256 } else { 0 };
        let entry_of_byte = if name.contains("entries") { entries_of_bytes(&bytes, first) } else { Vec::new() };
        for at in (0..bytes.len()).step_by(step) {
            for mask in masks {
                let mut changed = bytes.clone();
                changed[at] ^= mask;
                fs::write(made.file(&name), &changed).unwrap();
                let report = made.verify();
                assert!(!report.valid, "{name} byte {at}");
                assert!(names(&report, &name, at, &entry_of_byte), "{name} byte {at} mask {mask}: {report}");
            }
        }
        fs::write(made.file(&name), bytes).unwrap();
    }
    assert!(made.verify().valid);
}

#[test]
fn every_changed_byte_is_found_and_named() {
    flip_everywhere(&[2, 5], 1, &[0x01, 0xa0]);
}

#[test]
fn changed_bytes_in_full_tiles_are_found_and_named() {
    flip_everywhere(&[200, 300], 379, &[0x01]);
}

#[test]
fn every_missing_file_is_named() {
    let whole = Made::new(&[100, 300]);
    for name in files(whole.path()) {
        let made = whole.copy();
        fs::remove_file(made.file(&name)).unwrap();
        let report = made.verify();
        assert_eq!(problems(&report)[0], Problem::FileMissing { file: name.clone() }, "{report}");
    }
}

#[test]
fn junk_after_the_end_of_every_file_is_named() {
    let whole = Made::new(&[100, 300]);
    for name in files(whole.path()) {
        let made = whole.copy();
        let mut bytes = fs::read(made.file(&name)).unwrap();
        let end = bytes.len() as u64;
        bytes.extend_from_slice(b"!");
        fs::write(made.file(&name), bytes).unwrap();
        let expected = match name.as_str() {
            "checkpoint" => None,
            _ => Some(Problem::FileJunk { file: name.clone(), from_byte: end }),
        };
        let report = made.verify();
        assert!(!report.valid, "{name}");
        assert!(expected.is_none_or(|e| problems(&report).contains(&e)), "{name}: {report}");
    }
}

#[test]
fn files_cut_at_any_length_are_named() {
    let whole = Made::new(&[3, 9]);
    for name in files(whole.path()) {
        let bytes = fs::read(whole.file(&name)).unwrap();
        let made = whole.copy();
        for cut in 0..bytes.len() {
            fs::write(made.file(&name), &bytes[..cut]).unwrap();
            let report = made.verify();
            assert!(!report.valid, "{name} cut at {cut}");
            let named = problems(&report).iter().any(|p| match p {
                Problem::FileLength { file, .. }
                | Problem::FileJunk { file, .. }
                | Problem::CheckpointInvalid { file, .. } => *file == name,
                Problem::EntriesUnreadable { span, .. } | Problem::EntriesTruncated { span } => {
                    name.contains("entries") && span.to == 9
                }
                Problem::CheckpointStale { published: 9, .. } => name == "checkpoints",
                _ => false,
            });
            assert!(named, "{name} cut at {cut}: {report}");
        }
    }
}

#[test]
fn foreign_files_and_unsigned_entries_are_named() {
    let made = Made::new(&[3]);
    fs::write(made.file("tile/0/extra"), b"?").unwrap();
    std::os::unix::fs::symlink("checkpoint", made.file("link")).unwrap();
    let report = made.verify();
    let foreign = |file: &str| Problem::FileForeign { file: file.to_owned() };
    assert_eq!(problems(&report), [foreign("link"), foreign("tile/0/extra")]);

    let made = Made::new(&[3]);
    let mut log = Log::open(made.path(), key(), ORIGIN).unwrap();
    fill(&mut log, 300);
    let report = made.verify();
    assert_eq!(problems(&report), [Problem::EntriesUnsigned { size: 3, count: 253 }], "{report}");
}

#[test]
fn a_checkpoint_removed_from_the_history_is_missed() {
    let made = Made::new(&[2, 4, 6, 8]);
    let write = |keep: &[usize]| {
        let text: String = keep.iter().map(|n| format!("{}\n", made.checkpoints[*n].note())).collect();
        fs::write(made.file("checkpoints"), text).unwrap();
        problems(&made.verify())
    };
    assert_eq!(write(&[0, 2, 3]), [Problem::CheckpointsMissing { from: 1, to: 2 }]);
    assert_eq!(write(&[3]), [Problem::CheckpointsMissing { from: 0, to: 3 }]);
    assert_eq!(write(&[0, 1, 2]), [Problem::CheckpointStale { published: 8, history: 6 }]);
    assert!(matches!(
        write(&[0, 2, 1, 3])[..],
        [Problem::CheckpointsMissing { from: 1, to: 2 }, Problem::CheckpointInvalid { position: 2, .. }]
    ));
    assert!(matches!(write(&[0, 1, 1, 2, 3])[..], [Problem::CheckpointInvalid { position: 2, .. }]));
    assert_eq!(write(&[0, 1, 2, 3]), []);
}

#[test]
fn an_older_published_checkpoint_is_stale() {
    let made = Made::new(&[2, 5]);
    fs::write(made.file("checkpoint"), made.checkpoints[0].note()).unwrap();
    assert_eq!(problems(&made.verify()), [Problem::CheckpointStale { published: 2, history: 5 }]);
}

#[test]
fn a_complete_rollback_is_found_by_whoever_remembers() {
    let (old, new) = (Made::new(&[2, 5]), Made::new(&[2, 5, 9]));
    assert!(old.verify().valid, "alone, an older state of the log cannot be told from a young log");
    let report = old.verify_against(new.last());
    assert_eq!(problems(&report), [Problem::Shrunk { known: 9, size: 5 }]);
    assert_eq!(report.exit_code(), 1);
    for known in &new.checkpoints {
        assert!(new.verify_against(known).valid);
    }
}

#[test]
fn a_fork_is_found_by_whoever_remembers() {
    let made = Made::new(&[2, 5, 300]);
    for size in [5, 6, 300, 400] {
        let other = fork(size);
        assert!(other.verify().valid, "alone, a fork by the holder of the key is consistent");
        let report = other.verify_against(&made.checkpoints[1]);
        assert_eq!(problems(&report), [Problem::Forked { known: 5 }], "size {size}: {report}");
    }
}

#[test]
fn signed_forks_in_one_history_contradict_each_other() {
    let (made, other) = (Made::new(&[2, 5]), fork(5));
    fs::write(made.file("checkpoint"), other.last().note()).unwrap();
    assert!(problems(&made.verify()).contains(&Problem::CheckpointsContradict { size: 5 }));
}

#[test]
fn another_key_or_origin_vouches_for_nothing() {
    let made = Made::new(&[3]);
    let options = VerifyOptions::default();
    let stranger = LogKey::from_seed(&[1; 32]).verifier(ORIGIN).unwrap();
    let renamed = key().verifier("other.example/log").unwrap();
    for key in [stranger, renamed] {
        let report = verify(made.path(), &key, &options).unwrap();
        assert!(problems(&report).contains(&Problem::NothingSigned), "{report}");
        assert_eq!((report.size, report.checkpoints), (0, 0));
    }
    let other = Made::new(&[2]);
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), key(), "other.example/log").unwrap();
    fill(&mut log, 1);
    let foreign = log.checkpoint(at(0)).unwrap().unwrap();
    assert!(!other.verify_against(&foreign).valid, "a checkpoint of another log is no yardstick");
}

#[test]
fn a_log_that_cannot_be_read_is_an_error_and_an_empty_one_is_not_valid() {
    let missing = verify(Path::new("/nonexistent/log"), &vkey(), &VerifyOptions::default());
    assert!(matches!(missing, Err(AuditError::Io { .. })));
    let empty = tempfile::tempdir().unwrap();
    let report = verify(empty.path(), &vkey(), &VerifyOptions::default()).unwrap();
    assert!(problems(&report).contains(&Problem::NothingSigned));
}

#[test]
fn a_report_reads_as_plain_sentences_and_as_json() {
    let made = Made::new(&[3]);
    assert_eq!(
        made.verify().to_string(),
        "valid: 3 entries of taskforge.example/log, 1 signed checkpoints, all hold\n"
    );
    let mut hashes = fs::read(made.file("tile/entries/000.p/3")).unwrap();
    hashes[5] ^= 1;
    fs::write(made.file("tile/entries/000.p/3"), hashes).unwrap();
    let report = made.verify();
    assert_eq!(
        report.to_string(),
        "NOT VALID: taskforge.example/log (3 entries signed)\n  - entry 0 was changed after it was signed\n"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(
        json["findings"][0],
        serde_json::json!({
            "kind": "entries_changed",
            "span": Span::one(0),
            "sentence": "entry 0 was changed after it was signed"
        })
    );
}
