//! The Docker command line, for what only an observer or an attacker would do.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;

/// The label that names an object's installation.
pub const INSTALLATION: &str = "dev.taskforge.installation";
/// The label that says what an object is.
pub const KIND: &str = "dev.taskforge.kind";
/// The label that names the task which an object serves.
pub const TASK: &str = "dev.taskforge.task";

/// Runs `docker ARGS` and returns what it printed.
pub async fn docker(args: &[&str]) -> Result<String> {
    let out = Command::new("docker").args(args).output().await.context("docker could not be run")?;
    if !out.status.success() {
        bail!("docker {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// A container, volume or image with our label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// `container`, `volume` or `image`.
    pub class: &'static str,
    /// Its name, or its id where it has none.
    pub name: String,
    /// What it is, by label.
    pub kind: String,
    /// The task that it serves, by label.
    pub task: String,
}

/// Everything with the installation's label.
pub async fn objects(installation: &str) -> Result<Vec<Object>> {
    let filter = format!("label={INSTALLATION}={installation}");
    let labels = format!("{{{{.Label \"{KIND}\"}}}}\t{{{{.Label \"{TASK}\"}}}}");
    let mut all = Vec::new();
    let format = format!("{{{{.Names}}}}\t{labels}");
    let list = docker(&["ps", "--all", "--no-trunc", "--filter", &filter, "--format", &format]).await?;
    all.extend(list.lines().map(|l| object("container", l)));
    let format = format!("{{{{.Name}}}}\t{labels}");
    let list = docker(&["volume", "ls", "--filter", &filter, "--format", &format]).await?;
    all.extend(list.lines().map(|l| object("volume", l)));
    let list = docker(&["image", "ls", "--no-trunc", "--quiet", "--filter", &filter]).await?;
    let mut ids: Vec<&str> = list.lines().collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let format =
            format!("{{{{.Id}}}}\t{{{{index .Config.Labels \"{KIND}\"}}}}\t{{{{index .Config.Labels \"{TASK}\"}}}}");
        // It may go between the list and the look.
        if let Ok(line) = docker(&["image", "inspect", id, "--format", &format]).await {
            all.push(object("image", &line));
        }
    }
    Ok(all)
}

fn object(class: &'static str, line: &str) -> Object {
    let mut parts = line.split('\t').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Object { class, name: next(), kind: next(), task: next() }
}

/// The agent's container of a task, if it is there.
pub async fn agent_of(task: &str) -> Result<Option<String>> {
    let (of, kind) = (format!("label={TASK}={task}"), format!("label={KIND}=agent"));
    let list = docker(&["ps", "--quiet", "--no-trunc", "--filter", &of, "--filter", &kind]).await?;
    Ok(list.lines().next().map(str::to_owned))
}

/// What the Engine tells of an object.
pub async fn inspect(id: &str) -> Result<Value> {
    let all: Value = serde_json::from_str(&docker(&["inspect", id]).await?)?;
    all.get(0).cloned().with_context(|| format!("docker tells nothing of {id}"))
}
