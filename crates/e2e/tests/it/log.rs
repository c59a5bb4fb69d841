//! The log as the command line verifies it: sound, and with one byte flipped.

use anyhow::Result;
use e2e::{Settings, World, agents::program, client::deny, server::taskforge, world};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Runs `taskforge ARGS` on the world's data directory; returns the exit code and what it printed.
pub(crate) async fn cli(w: &World, args: &[&str]) -> Result<(Option<i32>, String)> {
    let out = taskforge(w.dir())?.args(args).output().await?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    Ok((out.status.code(), text))
}

fn entry_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut open = vec![dir.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().contains("entries") {
                found.push(path);
            }
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_verifies_and_one_flipped_byte_does_not() -> Result<()> {
    world(Settings::default(), async |w| {
        let task = w.run(&program(&["packages", "six"])).await?;
        let shown = w.pending(&task, 1).await?.remove(0);
        let denial = deny(shown.request.digest.as_deref().unwrap_or_default(), "no");
        assert_eq!(w.client.review(&shown.request.id, &denial).await?.status, 200);
        w.completed(&task).await?;
        let (code, said) = cli(w, &["audit", "verify"]).await?;
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = cli(w, &["--json", "audit", "verify"]).await?;
        let report: Value = serde_json::from_str(&said)?;
        assert_eq!((code, report["valid"].as_bool()), (Some(0), Some(true)), "{said}");
        let checkpoint = cli(w, &["audit", "checkpoint"]).await?.1;
        fs::write(w.dir().join("checkpoint.txt"), &checkpoint)?;
        let (code, said) = cli(w, &["audit", "verify", "--against", "checkpoint.txt"]).await?;
        assert_eq!(code, Some(0), "{said}");

        let log = w.data().join("audit");
        let file = entry_files(&log)?.into_iter().max_by_key(|f| f.metadata().map_or(0, |m| m.len()));
        let file = file.ok_or_else(|| anyhow::anyhow!("there is no entry file in {}", log.display()))?;
        let sound = fs::read(&file)?;
        let mut bytes = sound.clone();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(&file, &bytes)?;
        let (code, said) = cli(w, &["audit", "verify"]).await?;
        assert_eq!(code, Some(1), "{said}");
        assert!(!w.client.verify().await?.ok, "the server sees it too");
        fs::write(&file, sound)?;
        let (code, said) = cli(w, &["audit", "verify"]).await?;
        assert_eq!(code, Some(0), "put back, it is sound: {said}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_ends_with_what_happened() -> Result<()> {
    world(Settings::default(), async |w| {
        for (args, code) in [
            (&["health"][..], 0),
            (&["task", "show", "task_00000000000000000000000000000000"][..], 1),
            (&["task", "fly"][..], 2),
            (&["--server", "http://127.0.0.1:1", "task", "list"][..], 3),
        ] {
            let (got, said) = cli(w, args).await?;
            assert_eq!(got, Some(code), "{args:?}: {said}");
        }
        let task = w.run(&program(&["again"])).await?;
        w.pending(&task, 1).await?;
        w.client.command(&task, "cancel").await?.ok::<Value>()?;
        w.ended(&task).await?;
        let (got, said) = cli(w, &["task", "resume", &task]).await?;
        assert_eq!(got, Some(5), "{said}");
        Ok(())
    })
    .await
}
