//! What comes out of a workspace, however hostile its tree is.

use anyhow::{Context, Result};
use api::wire::File;
use e2e::{Client, Settings, agents::program, world};
use reqwest::Method;
use std::{fs, path::Path};

fn named<'a>(files: &'a [File], path: &str) -> Result<&'a File> {
    files.iter().find(|f| f.path == path).with_context(|| format!("{path} is not listed"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_tree_is_listed_and_never_followed() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["hostile"])).await?;
        w.completed(&task).await?;
        let files = w.client.files(&task).await?;
        for (path, kind) in [
            ("pipe", "fifo"),
            ("shadow", "symlink"),
            ("etc", "symlink"),
            ("loop", "symlink"),
            ("deep/up", "symlink"),
            ("socket", "socket"),
        ] {
            let file = named(&files, path)?;
            assert_eq!((file.kind.as_str(), file.kept, file.sha256.is_none()), (kind, false, true), "{file:?}");
            let reply = w.client.send(Method::GET, &format!("/api/tasks/{task}/files/{path}"), None).await?;
            assert_eq!((reply.status, reply.code()), (409, "file_not_kept"), "{path}: {reply:?}");
        }
        assert!(
            files.iter().all(|f| !f.path.starts_with("etc/") && !f.path.starts_with("deep/up/")),
            "no link was followed"
        );
        let sparse = named(&files, "sparse")?;
        assert!(!sparse.kept && sparse.skipped.is_some(), "{sparse:?}");
        assert!(named(&files, "good.txt")?.kept);
        assert!(w.delivered(&task, "good.txt").await?.contains("device refused"));
        assert!(
            files.iter().all(|f| !f.path.chars().any(char::is_control) && !f.path.contains('\u{202e}')),
            "{files:?}"
        );
        leaves_no_folder(&w.client, &task, &files).await?;
        // Nothing of the tree has become a path of the host.
        let mut open = vec![w.data()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                assert!(kind.is_dir() || kind.is_file(), "{} is neither file nor folder", entry.path().display());
                assert!(entry.metadata()?.len() < 1 << 30, "{} is large", entry.path().display());
                if kind.is_dir() {
                    open.push(entry.path());
                }
            }
        }
        Ok(())
    })
    .await
}

/// Paths that no listing names do not exist, however they are spelled.
async fn leaves_no_folder(client: &Client, task: &str, files: &[File]) -> Result<()> {
    for path in [
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/token",
        "/etc/passwd",
        "good.txt/../../../token",
    ] {
        let reply = client.send(Method::GET, &format!("/api/tasks/{task}/files/{path}"), None).await?;
        assert!(matches!(reply.status, 400 | 404), "{path}: {reply:?}");
    }
    assert!(
        files
            .iter()
            .filter(|f| f.kept)
            .all(|f| Path::new(&f.path).components().all(|c| matches!(c, std::path::Component::Normal(_))))
    );
    Ok(())
}
