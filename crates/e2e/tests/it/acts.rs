//! What the next start must say of the acts that a crash left open.

use anyhow::{Result, ensure};
use api::wire::Event;
use e2e::{World, docker};
use serde_json::json;

/// Points inside an act whose outcome follows from the point alone: the act and how it is closed. A point before the
/// effect leaves it not done; one after it, done; one between two parts of it, not done.
const KNOWN: [(&str, &str, &str); 20] = [
    ("sandbox.volume_create.before", "workspace.prepare", "not_done"),
    ("sandbox.volume_create.after", "workspace.prepare", "not_done"),
    ("sandbox.put_files.before", "workspace.prepare", "not_done"),
    ("sandbox.put_files.after", "workspace.prepare", "done"),
    ("sandbox.helper_create.before", "workspace.prepare", "not_done"),
    ("sandbox.helper_create.after", "workspace.prepare", "not_done"),
    ("sandbox.stop.before", "sandbox.stop", "not_done"),
    ("sandbox.stop.after", "sandbox.stop", "done"),
    ("sandbox.reap.before", "sandbox.reap", "not_done"),
    ("sandbox.reap.after", "sandbox.reap", "done"),
    ("sandbox.collect.before", "files.collect", "not_done"),
    ("sandbox.collect.after", "files.collect", "not_done"),
    ("image.resolver.before", "request.resolve", "not_done"),
    ("image.resolver.after", "request.resolve", "not_done"),
    ("image.package_store.before", "request.resolve", "not_done"),
    ("image.package_store.after", "request.resolve", "not_done"),
    ("image.build.before", "image.build", "not_done"),
    ("image.build.after", "image.build", "done"),
    ("image.remove.before", "image.prune", "not_done"),
    ("gateway.mcp.before_ended", "mcp.call", "done"),
];

/// Makes what an act needs to happen at all: a reaping is one only where there is something that no task owns.
pub(crate) async fn provoke(w: &World, point: &str) -> Result<()> {
    if point.starts_with("sandbox.reap.") {
        let owner = format!("{}={}", docker::INSTALLATION, w.installation);
        let name = format!("taskforge-nobodys-{}", point.replace('.', "-"));
        docker::docker(&["volume", "create", "--label", &owner, &name]).await?;
    }
    Ok(())
}

/// Checks what was closed since entry `seen`, which becomes the next one.
pub(crate) async fn closed_rightly(w: &World, point: &str, seen: &mut u64) -> Result<()> {
    let all = w.client.entries().await?;
    let since = std::mem::replace(seen, all.iter().map(|e| e.index + 1).max().unwrap_or_default());
    let recovered: Vec<&Event> =
        all.iter().filter(|e| e.index >= since && e.data["recovered"] == json!(true)).collect();
    for e in &recovered {
        // Docker answers in this suite, so that nothing but a call to a provider is beyond sight.
        ensure!(e.outcome != Some(json!("unknown")), "{point}: {} was closed as unknown: {}", e.kind, e.data);
    }
    for (_, kind, outcome) in KNOWN.iter().filter(|(at, ..)| *at == point) {
        let outcomes: Vec<_> = recovered.iter().filter(|e| e.kind == *kind).map(|e| &e.outcome).collect();
        let right = !outcomes.is_empty() && outcomes.iter().all(|o| **o == Some(json!(outcome)));
        ensure!(right, "{point}: {kind} was closed as {outcomes:?}, not as {outcome}");
    }
    Ok(())
}

/// Points that [`KNOWN`] names and that the code no longer has.
pub(crate) fn stale(points: &[String]) -> Vec<&'static str> {
    KNOWN.iter().map(|(p, ..)| *p).filter(|p| !points.iter().any(|n| n == p)).collect()
}
