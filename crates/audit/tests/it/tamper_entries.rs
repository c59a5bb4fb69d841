//! Tampering with entries by someone who knows the format: files rewritten well-formed, with or without their hashes.

use crate::common::{Made, ORIGIN, at, bundle, files, key, leaf, problems};
use audit::{Log, LogKey, Problem, Span};
use std::fs;

/// Rewrites all entry bundles from changed entries, as a well-formed log of that many entries; hashes stay.
fn rewrite(whole: &Made, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> (Made, Vec<Problem>) {
    let made = whole.copy();
    let mut entries: Vec<Vec<u8>> = (0..whole.last().size()).map(leaf).collect();
    change(&mut entries);
    fs::remove_dir_all(made.file("tile/entries")).unwrap();
    for (n, chunk) in entries.chunks(256).enumerate() {
        let name = if chunk.len() == 256 { format!("{n:03}") } else { format!("{n:03}.p/{}", chunk.len()) };
        let path = made.file("tile/entries").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bundle(chunk)).unwrap();
    }
    let report = made.verify();
    assert!(!report.valid);
    (made, problems(&report))
}

fn sizes() -> [&'static [u64]; 2] {
    [&[4, 9], &[256, 600]]
}

#[test]
fn changed_entries_are_named() {
    for sizes in sizes() {
        let whole = Made::new(sizes);
        for index in [0, 3, whole.last().size() - 1] {
            let (_, found) = rewrite(&whole, |e| e[index as usize] = b"changed".to_vec());
            assert_eq!(found, [Problem::EntriesChanged { span: Span::one(index) }]);
        }
        let (_, found) = rewrite(&whole, |e| e[2..5].fill(b"changed".to_vec()));
        assert_eq!(found, [Problem::EntriesChanged { span: Span { from: 2, to: 5 } }]);
        let (_, found) = rewrite(&whole, |e| e[1] = leaf(5));
        assert_eq!(found, [Problem::EntriesChanged { span: Span::one(1) }], "a copy of another entry");
    }
}

#[test]
fn removed_entries_are_named() {
    for sizes in sizes() {
        let whole = Made::new(sizes);
        for index in [0, 3] {
            let (_, found) = rewrite(&whole, |e| drop(e.remove(index as usize)));
            assert!(found.contains(&Problem::EntriesRemoved { span: Span::one(index) }), "{found:?}");
        }
        let (_, found) = rewrite(&whole, |e| drop(e.drain(2..5)));
        assert!(found.contains(&Problem::EntriesRemoved { span: Span { from: 2, to: 5 } }), "{found:?}");
    }
}

#[test]
fn truncated_entries_are_named() {
    for sizes in sizes() {
        let whole = Made::new(sizes);
        let size = whole.last().size();
        for kept in [size - 1, size - 3, 2] {
            let (_, found) = rewrite(&whole, |e| e.truncate(kept as usize));
            // With whole bundles gone, the missing files say it.
            let expected = if size - kept < 256 {
                Problem::EntriesTruncated { span: Span { from: kept, to: size } }
            } else {
                Problem::FileMissing { file: "tile/entries/001".to_owned() }
            };
            assert!(found.contains(&expected), "{found:?}");
        }
    }
}

#[test]
fn inserted_entries_are_named() {
    for sizes in sizes() {
        let whole = Made::new(sizes);
        let size = whole.last().size();
        for index in [0, 3] {
            let (_, found) = rewrite(&whole, |e| e.insert(index as usize, b"new".to_vec()));
            assert!(found.contains(&Problem::EntriesInserted { before: index, count: 1 }), "{found:?}");
        }
        let (_, found) = rewrite(&whole, |e| e.push(b"new".to_vec()));
        assert!(found.contains(&Problem::EntriesUnsigned { size, count: 1 }), "{found:?}");
    }
}

#[test]
fn swapped_entries_are_named() {
    for sizes in sizes() {
        let whole = Made::new(sizes);
        let last = whole.last().size() - 1;
        for (first, second) in [(0, 1), (2, 7), (0, last)] {
            let (_, found) = rewrite(&whole, |e| e.swap(first as usize, second as usize));
            assert_eq!(found, [Problem::EntriesSwapped { first, second }]);
        }
    }
}

#[test]
fn changes_of_every_kind_at_once_are_named() {
    let whole = Made::new(&[100, 600]);
    let (_, found) = rewrite(&whole, |e| {
        e[10] = b"changed".to_vec();
        e.swap(20, 30);
        e.remove(40);
        e.insert(50, b"new".to_vec());
    });
    let expected = [
        Problem::EntriesChanged { span: Span::one(10) },
        Problem::EntriesSwapped { first: 20, second: 30 },
        Problem::EntriesRemoved { span: Span::one(40) },
        Problem::EntriesInserted { before: 51, count: 1 },
    ];
    assert_eq!(found, expected);
}

/// A log with other entries and all hashes right, but the signatures of the true one.
fn rehashed(whole: &Made, sizes: &[u64], index: u64) -> Made {
    let made = whole.copy();
    let forged = tempfile::tempdir().unwrap();
    let mut log = Log::open(forged.path(), LogKey::from_seed(&[1; 32]), ORIGIN).unwrap();
    let mut entries: Vec<Vec<u8>> = (0..whole.last().size()).map(leaf).collect();
    entries[index as usize] = b"forged".to_vec();
    for size in sizes {
        let from = log.size() as usize;
        log.append(&entries[from..*size as usize].iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        log.checkpoint(at(0)).unwrap();
    }
    for name in files(forged.path()).iter().filter(|n| n.starts_with("tile/")) {
        fs::copy(forged.path().join(name), made.file(name)).unwrap();
    }
    made
}

#[test]
fn a_rehash_without_the_key_is_narrowed_to_two_signed_checkpoints() {
    let sizes = [100, 150, 400, 1000];
    let whole = Made::new(&sizes);
    for (index, from, to) in [(0, 0, 100), (99, 0, 100), (120, 100, 150), (399, 150, 400), (999, 400, 1000)] {
        let report = rehashed(&whole, &sizes, index).verify();
        let expected = Problem::RangeChanged { span: Span { from, to }, suspects: Vec::new() };
        assert_eq!(problems(&report), [expected], "{index}: {report}");
    }
}

#[test]
fn a_rehash_of_one_tile_is_narrowed_to_it() {
    let whole = Made::new(&[1000]);
    let forged = rehashed(&whole, &[1000], 300);
    let made = whole.copy();
    for name in ["tile/entries/001", "tile/0/001"] {
        fs::copy(forged.file(name), made.file(name)).unwrap();
    }
    let expected = Problem::RangeChanged { span: Span { from: 256, to: 512 }, suspects: Vec::new() };
    assert_eq!(problems(&made.verify()), [expected]);
}

#[test]
fn an_entry_changed_together_with_its_hash_is_a_suspect() {
    let whole = Made::new(&[100, 1000]);
    let (made, _) = rewrite(&whole, |e| e[300] = b"changed".to_vec());
    let mut hashes = fs::read(made.file("tile/0/001")).unwrap();
    hashes[(300 - 256) * 32] ^= 1;
    fs::write(made.file("tile/0/001"), hashes).unwrap();
    let report = made.verify();
    let expected = Problem::RangeChanged { span: Span { from: 256, to: 512 }, suspects: vec![300] };
    assert_eq!(problems(&report), [expected]);
    assert_eq!(
        report.findings[0].sentence,
        "between the signed sizes around it, entries 256 to 511 were rewritten in whole or in part: both entry 300 and \
         its stored hash differ from what was signed"
    );
}

#[test]
fn a_changed_hash_does_not_accuse_the_entry() {
    let whole = Made::new(&[100, 70_000]);
    for (file, position) in [("tile/0/001", 5), ("tile/1/000", 7), ("tile/1/001.p/17", 3), ("tile/2/000.p/1", 0)] {
        let made = whole.copy();
        let mut hashes = fs::read(made.file(file)).unwrap();
        hashes[position * 32 + 9] ^= 0x40;
        fs::write(made.file(file), hashes).unwrap();
        let expected = Problem::HashChanged { file: file.to_owned(), position: position as u64 };
        assert_eq!(problems(&made.verify()), [expected]);
    }
}

#[test]
fn a_known_checkpoint_is_compared_even_in_a_damaged_log() {
    let whole = Made::new(&[100, 600]);
    let (made, _) = rewrite(&whole, |e| e[500] = b"changed".to_vec());
    let between = Made::new(&[300]);
    let report = made.verify_against(between.last());
    assert_eq!(problems(&report), [Problem::EntriesChanged { span: Span::one(500) }], "{report}");
    assert!(Log::open(made.path(), key(), ORIGIN).is_ok_and(|log| log.size() < 600));
}
