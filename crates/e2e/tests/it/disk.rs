//! A full disk: nothing leaves without its record, and stopping still works.

use anyhow::{Context, Result, ensure};
use e2e::{
    Settings,
    agents::program,
    wait::{LONG, until},
    world,
};
use rustix::{fs::statvfs, process::geteuid};
use serde_json::Value;
use std::{fs, io::Write, path::Path};
use tokio::process::Command;

/// A mounted file system of a fixed size, unmounted when dropped.
struct Mounted(std::path::PathBuf);

pub(crate) async fn root(program: &str, args: &[&str]) -> Result<()> {
    let mut command = if geteuid().is_root() { Command::new(program) } else { Command::new("sudo") };
    if !geteuid().is_root() {
        command.args(["--non-interactive", program]);
    }
    let out = command.args(args).output().await?;
    ensure!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}

impl Mounted {
    async fn new(at: &Path, mebibytes: u32) -> Result<Self> {
        let (uid, gid) = (geteuid().as_raw(), rustix::process::getegid().as_raw());
        let options = format!("size={mebibytes}m,mode=0700,uid={uid},gid={gid}");
        let at_text = at.to_string_lossy();
        root("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", &at_text])
            .await
            .context("a small file system is needed")?;
        Ok(Self(at.to_owned()))
    }

    async fn end(self) -> Result<()> {
        root("umount", &["--lazy", &self.0.to_string_lossy()]).await
    }

    /// Takes all that is left; returns the file that holds it.
    fn fill(&self) -> Result<std::path::PathBuf> {
        let path = self.0.join("ballast");
        let mut file = fs::File::create(&path)?;
        let mut size = 1 << 20;
        while size > 0 {
            // Smaller and smaller pieces, until not even one byte fits.
            if file.write_all(&vec![0; size]).is_err() {
                size /= 2;
            }
        }
        let left = statvfs(&self.0)?;
        ensure!(left.f_bavail == 0, "{} blocks are still free", left.f_bavail);
        Ok(path)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_nothing_leaves_and_a_cancel_is_recorded() -> Result<()> {
    let place = tempfile::Builder::new().prefix("tf-e2e-disk-").tempdir()?;
    let disk = Mounted::new(place.path(), 160).await?;
    let done = world(Settings::default().at(place.path()), async |w| {
        let task = w.run(&program(&["hammer"])).await?;
        let posted =
            async || -> Result<u64> { Ok(w.seen().await?["paths"]["/v1/chat/completions"].as_u64().unwrap_or(0)) };
        until("the agent's first calls", LONG, async || Ok((posted().await? > 3).then_some(()))).await?;
        let ballast = disk.fill()?;
        // The agent calls and calls; what it is told from the moment on that a record cannot be written is a refusal.
        let gateway = w.data().join("run").join(&task).join("gateway.sock");
        let call = r#"{"model":"openai/echo","messages":[{"role":"user","content":"full?"}]}"#;
        let (status, body) = until("a refusal", LONG, async || {
            let answer = e2e::socket::send(
                &gateway,
                "POST",
                "/v1/chat/completions",
                &[("content-type", "application/json")],
                call,
            )
            .await?;
            Ok((answer.0 != 200).then_some(answer))
        })
        .await?;
        assert!(status == 503 && body.contains("log_unwritable"), "{status} {body}");
        let before = posted().await?;
        for _ in 0..20 {
            let (status, _) = e2e::socket::send(
                &gateway,
                "POST",
                "/v1/chat/completions",
                &[("content-type", "application/json")],
                call,
            )
            .await?;
            assert_eq!(status, 503);
        }
        assert_eq!(posted().await?, before, "nothing left without its record");
        let made = w.client.try_post("/api/tasks", &program(&["silent"])).await?;
        assert!(matches!((made.status, made.code()), (507, "disk_full") | (503, "log_unavailable")), "{made:?}");

        let cancelled = w.client.command(&task, "cancel").await?;
        assert_eq!(cancelled.status, 200, "{cancelled:?}");
        assert_eq!(w.ended(&task).await?.task.status, "cancelled");
        assert!(e2e::docker::agent_of(&task).await?.is_none(), "its container was stopped");
        fs::remove_file(ballast)?;
        let events = w.client.events(&task).await?;
        for kind in ["task.cancel_requested", "run.finished"] {
            assert!(events.iter().any(|e| e.kind == kind), "{kind} is recorded");
        }
        w.kill().await?;
        w.up().await?;
        assert_eq!(w.client.task(&task).await?.task.status, "cancelled");
        let report = w.client.verify().await?;
        assert!(report.ok, "{:?}", report.findings);
        let tasks: Value = w.client.get("/api/tasks").await?;
        assert_eq!(tasks["items"].as_array().map(Vec::len), Some(1), "no half-made task");
        Ok(())
    })
    .await;
    disk.end().await?;
    done
}
