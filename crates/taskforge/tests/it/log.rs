//! The log from the command line.

use crate::server::{Server, copy_folder};

#[tokio::test(flavor = "multi_thread")]
async fn the_log_verifies_and_what_was_verified_is_remembered() {
    let s = Server::start().await;
    s.task().await;
    let first = s.json(&["audit", "verify"]).await;
    assert_eq!(first["valid"], true, "{first}");
    let audit = s.dir.path().join("audit");
    let old = s.dir.path().join("old");
    copy_folder(&audit, &old);
    let checkpoint = s.dir.path().join("checkpoint.txt");
    std::fs::write(&checkpoint, s.run(&["audit", "checkpoint"]).await.stdout).unwrap();
    s.task().await;
    let second = s.json(&["audit", "verify", "--against", checkpoint.to_str().unwrap()]).await;
    assert!(second["size"].as_u64() > first["size"].as_u64(), "{second}");

    let shrunk = s.run(&["audit", "verify", "--dir", old.to_str().unwrap()]).await;
    assert!(shrunk.code == 1 && shrunk.stdout.contains("shrank"), "{shrunk:?}");
    let offline = s.run(&["audit", "verify", "--dir", audit.to_str().unwrap()]).await;
    assert_eq!(offline.code, 0, "{offline:?}");

    let copy = s.dir.path().join("copy");
    copy_folder(&audit, &copy);
    let bundle = copy.join("tile/entries/000.p").join(second["size"].to_string());
    let mut bytes = std::fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let flipped = s.run(&["audit", "verify", "--dir", copy.to_str().unwrap()]).await;
    assert!(flipped.code == 1 && flipped.stdout.contains("entry"), "{flipped:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_shown_with_their_contents() {
    let s = Server::start().await;
    let task = s.task().await.to_string();
    let tail = s.run(&["audit", "tail", "--task", &task, "-n", "50"]).await;
    assert!(tail.stdout.contains("task.created") && tail.stdout.contains("[owner]"), "{tail:?}");
    let entries = s.run(&["audit", "tail", "--task", &task, "--json"]).await;
    let first: serde_json::Value = serde_json::from_str(entries.stdout.lines().next().unwrap()).unwrap();
    let body = s.run(&["audit", "show", &first["index"].to_string(), "--body", "description"]).await;
    assert_eq!(body.stdout, "Do it");
    let unknown = s.run(&["audit", "verify", "--dir", s.dir.path().join("audit").to_str().unwrap()]).await;
    assert_eq!(unknown.code, 1, "there is no checkpoint yet: {unknown:?}");
}
