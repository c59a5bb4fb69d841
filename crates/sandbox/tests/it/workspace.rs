//! Files in and out; hostile trees.

use crate::fixture::with_fixture;
use sandbox::{
    Sandboxes,
    workspace::{Bounds, Collected, Entry, EntryKind, Keep},
};
use sha2::{Digest, Sha256};

fn entry<'a>(found: &'a Collected, path: &str) -> &'a Entry {
    let hit = found.entries.iter().find(|e| e.path == path);
    hit.unwrap_or_else(|| panic!("{path} is not among {:?}", found.entries.iter().map(|e| &e.path).collect::<Vec<_>>()))
}

#[test]
fn files_go_in_and_come_out_by_both_ways() {
    with_fixture(|f| async move {
        f.sandboxes.ensure_volumes(&f.task, &f.image, &f.limits).await.expect("volumes");
        let data: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let files = vec![("sales.csv".to_owned(), b"a,b\n".to_vec()), ("in/deep/data.bin".to_owned(), data.clone())];
        f.sandboxes.put_files(&f.task, &f.image, files).await.expect("put");
        let spec = f.spec(1, "cat sales.csv > copy && stat -c %u:%U sales.csv in/deep && rm sales.csv").await;
        let _gateway = f.gateway();
        f.sandboxes.ensure(&spec).await.expect("started");
        assert_eq!(f.sandboxes.wait(&f.task).await.expect("an end").code, 0, "the agent owns its files");
        let store = tempfile::tempdir().expect("a folder");
        let keep = Keep::Store(store.path().to_owned());
        let local = f.sandboxes.collect(&f.task, &f.image, Bounds::default(), keep.clone()).await.expect("local");
        let remote = f.sandboxes.collect_by_archive(&f.task, &f.image, Bounds::default(), keep).await.expect("archive");
        assert_eq!(local.entries.len(), 4, "{local:?}");
        assert_eq!(local, remote, "both ways see the same");
        let hash = hex::encode(Sha256::digest(&data));
        assert_eq!(entry(&local, "in/deep/data.bin").sha256.as_ref(), Some(&hash));
        assert_eq!(std::fs::read(store.path().join(&hash)).expect("stored"), data);
        assert_eq!(std::fs::read_dir(store.path()).expect("listed").count(), 2, "each content once, nothing half-made");
    });
}

#[test]
fn names_that_leave_the_workspace_are_refused_before_anything_happens() {
    with_fixture(|f| async move {
        for bad in ["../x", "/etc/x", "a/../../x", "a\nb", ""] {
            let put = f.sandboxes.put_files(&f.task, &f.image, vec![(bad.to_owned(), vec![])]).await;
            assert_eq!(put.expect_err("refused").code(), "sandbox_invalid", "{bad:?}");
        }
    });
}

#[test]
fn put_replaces_links_instead_of_following_them() {
    with_fixture(|f| async move {
        let (exit, said) =
            f.run_to_end("mkdir real; ln -s real in; ln -s real/target file; echo x > real/target").await;
        assert_eq!(exit.code, 0, "{said}");
        let files = vec![("in/a".to_owned(), b"1".to_vec()), ("file".to_owned(), b"2".to_vec())];
        f.sandboxes.put_files(&f.task, &f.image, files).await.expect("put");
        let found = f.sandboxes.collect(&f.task, &f.image, Bounds::default(), Keep::Hash).await.expect("collected");
        assert_eq!(entry(&found, "in").kind, EntryKind::Dir);
        assert_eq!(entry(&found, "file").kind, EntryKind::File);
        assert_eq!(entry(&found, "real/target").size, 2, "what the link pointed at is untouched");
        assert!(!found.entries.iter().any(|e| e.path == "real/a"));
    });
}

const HOSTILE: &str = "set -e; echo secret > /state/secret; mkfifo pipe; ln -s /etc/passwd abs; \
    ln -s ../state/secret up; ln -s loop loop; ln -s . self; echo hi > plain; ln plain hard; mkdir d; echo in > d/f; \
    echo ctl > \"$(echo 'a\\033[31mb')\"; echo bad > \"$(echo 'x\\0377y')\"; echo nl > 'two\nlines'; \
    truncate -s 100M sparse; mkdir deep; cd deep; i=0; while [ $i -lt 80 ]; do mkdir d; cd d; i=$((i+1)); done";

async fn collect_hostile(sandboxes: &Sandboxes, f: &crate::fixture::Fixture, local: bool) -> Collected {
    let bounds = Bounds { file_bytes: 1 << 20, ..Bounds::default() };
    match local {
        true => sandboxes.collect(&f.task, &f.image, bounds, Keep::Hash).await,
        false => sandboxes.collect_by_archive(&f.task, &f.image, bounds, Keep::Hash).await,
    }
    .expect("collected")
}

#[test]
fn a_hostile_tree_is_listed_and_not_followed() {
    with_fixture(|f| async move {
        let (exit, said) = f.run_to_end(HOSTILE).await;
        assert_eq!(exit.code, 0, "{said}");
        for local in [true, false] {
            let found = collect_hostile(&f.sandboxes, &f, local).await;
            assert_eq!(entry(&found, "pipe").kind, EntryKind::Fifo);
            for link in ["abs", "up", "loop", "self"] {
                let link = entry(&found, link);
                assert_eq!((link.kind, &link.sha256), (EntryKind::Symlink, &None), "{link:?}");
            }
            assert_eq!(entry(&found, "plain").sha256, entry(&found, "hard").sha256, "two names of one file");
            assert!(entry(&found, "d/f").sha256.is_some());
            assert!(entry(&found, "sparse").skipped.as_ref().is_some_and(|s| s.contains("larger")), "local: {local}");
            let odd: Vec<_> = found.entries.iter().filter(|e| !e.plain && e.skipped.is_none()).collect();
            assert_eq!(odd.len(), 3, "{odd:?}");
            assert!(odd.iter().all(|e| e.path.chars().all(|c| !c.is_control())), "{odd:?}");
            assert!(
                found.entries.iter().any(|e| e.path.starts_with("deep/") && e.skipped.is_some()),
                "depth is bounded"
            );
            assert!(found.bytes < 1000, "only the small regular files were read: {}", found.bytes);
        }
    });
}

#[test]
fn many_files_are_bounded_and_the_list_says_so() {
    with_fixture(|f| async move {
        let script = "i=0; while [ $i -lt 100000 ]; do : > f$i; i=$((i+1)); done";
        let (exit, said) = f.run_to_end(script).await;
        assert_eq!(exit.code, 0, "{said}");
        let bounds = Bounds { entries: 500, ..Bounds::default() };
        for local in [true, false] {
            let found = match local {
                true => f.sandboxes.collect(&f.task, &f.image, bounds, Keep::Hash).await,
                false => f.sandboxes.collect_by_archive(&f.task, &f.image, bounds, Keep::Hash).await,
            }
            .expect("collected");
            assert_eq!(found.entries.len(), 500);
            assert!(found.incomplete.is_some_and(|i| i.contains("500")));
        }
        let many = Bounds { entries: 200_000, ..Bounds::default() };
        let all = f.sandboxes.collect(&f.task, &f.image, many, Keep::List).await.expect("listed");
        assert_eq!((all.entries.len(), all.incomplete), (100_000, None));
    });
}

#[test]
fn totals_are_bounded() {
    with_fixture(|f| async move {
        let (exit, _) = f.run_to_end("for i in 1 2 3 4; do head -c 300000 /dev/zero > f$i; done").await;
        assert_eq!(exit.code, 0);
        let bounds = Bounds { total_bytes: 700_000, ..Bounds::default() };
        let store = tempfile::tempdir().expect("a folder");
        let keep = Keep::Store(store.path().to_owned());
        let found = f.sandboxes.collect(&f.task, &f.image, bounds, keep).await.expect("collected");
        let read = found.entries.iter().filter(|e| e.sha256.is_some()).count();
        assert_eq!((read, found.bytes), (2, 600_000));
        assert!(entry(&found, "f4").skipped.is_some());
        assert_eq!(std::fs::read_dir(store.path()).expect("listed").count(), 1, "one content, no half-made file");
    });
}

#[test]
fn devices_and_pipes_are_listed_and_never_opened() {
    with_fixture(|f| async move {
        let (exit, said) = f.run_to_end("echo x > file").await;
        assert_eq!(exit.code, 0, "{said}");
        // No sandbox can make a device; the Engine can, from an archive.
        let mut archive = tar::Builder::new(Vec::new());
        for (name, kind) in
            [("tty", tar::EntryType::Char), ("disk", tar::EntryType::Block), ("p", tar::EntryType::Fifo)]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mode(0o666);
            header.set_entry_type(kind);
            header.set_device_major(5).expect("a device");
            header.set_device_minor(0).expect("a device");
            archive.append_data(&mut header, name, std::io::empty()).expect("an entry");
        }
        let bytes = archive.into_inner().expect("an archive");
        let name = f.sandboxes.docker().container_name(&f.task);
        let options = bollard::query_parameters::UploadToContainerOptionsBuilder::default().path("/workspace").build();
        let client = f.sandboxes.docker().client().await.expect("a client");
        client.upload_to_container(&name, Some(options), bollard::body_full(bytes.into())).await.expect("uploaded");
        for local in [true, false] {
            let found = collect_hostile(&f.sandboxes, &f, local).await;
            let kinds: Vec<_> = found.entries.iter().map(|e| (e.path.as_str(), e.kind)).collect();
            let expect = [
                ("disk", EntryKind::Device),
                ("file", EntryKind::File),
                ("p", EntryKind::Fifo),
                ("tty", EntryKind::Device),
            ];
            assert_eq!(kinds, expect, "local: {local}");
            assert_eq!(found.entries.iter().filter(|e| e.sha256.is_some()).count(), 1);
        }
    });
}
