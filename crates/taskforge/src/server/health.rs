//! How each part is, for `/healthz`, `taskforge health` and `taskforge doctor`.

use super::Parts;
use api::wire::HealthCheck;
use rustix::fs::statvfs;
use serde_json::{Value, json};

/// Free space below which the disk counts as full, in bytes.
const LOW_DISK_BYTES: u64 = 1 << 30;

fn check(name: &str, required: bool, result: Result<String, (String, String)>) -> HealthCheck {
    let (ok, detail, hint) = match result {
        Ok(detail) => (true, detail, None),
        Err((detail, hint)) => (false, detail, Some(hint)),
    };
    HealthCheck { name: name.to_owned(), ok, required, detail, hint }
}

/// All checks.
pub(crate) async fn checks(parts: &Parts) -> Vec<HealthCheck> {
    let docker = match parts.docker.ping().await {
        Ok(()) => Ok(format!("answers at {}", parts.docker.endpoint())),
        Err(e) => Err((e.to_string(), e.hint().to_owned())),
    };
    let store = parts.store.intents().await.map(|w| format!("{} intents wait", w.len()));
    let store = store.map_err(|e| (e.to_string(), "look at the server's log".to_owned()));
    let engine = parts.engine.running().await.map(|r| format!("{} runs under way", r.len()));
    let engine = engine.map_err(|e| (e.to_string(), "look at the server's log".to_owned()));
    let mut all = vec![
        check("docker", true, docker),
        check("store", true, store),
        check("engine", true, engine),
        check("disk", true, disk(parts)),
        check("sockets", true, sockets(parts)),
    ];
    let upstreams = parts.services.gateway.upstreams().health().await;
    if upstreams.is_empty() {
        let hint = "set OLLAMA_URL, OPENAI_API_KEY or OPENAI_BASE_URL in .env and restart".to_owned();
        all.push(check("providers", false, Err(("no model provider is configured".to_owned(), hint))));
    }
    all.extend(upstreams.into_iter().map(|u| {
        let result = match u.error {
            None => Ok(format!("{} lists {} models in {} ms", u.base_url, u.models.unwrap_or(0), u.latency_ms)),
            Some(error) => Err((error, u.hint.unwrap_or_default())),
        };
        check(&format!("provider:{}", u.name), false, result)
    }));
    all
}

fn disk(parts: &Parts) -> Result<String, (String, String)> {
    let hint = || "free space where the data directory lies; stopping tasks still works".to_owned();
    let space = statvfs(&parts.config.data_dir).map_err(|e| (e.to_string(), hint()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let text = format!("{} MiB free at {}", free >> 20, parts.config.data_dir.display());
    if free < LOW_DISK_BYTES { Err((text, hint())) } else { Ok(text) }
}

/// The folder of the sandboxes' sockets must be ours alone.
fn sockets(parts: &Parts) -> Result<String, (String, String)> {
    use std::os::unix::fs::PermissionsExt;
    let dir = parts.config.data_dir.join("run");
    match std::fs::metadata(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok("no sandbox yet".to_owned()),
        Err(e) => Err((e.to_string(), format!("check the permissions of {}", dir.display()))),
        Ok(m) if m.permissions().mode() & 0o077 != 0 => {
            Err((format!("others can enter {}", dir.display()), format!("chmod 700 {}", dir.display())))
        }
        Ok(_) => Ok(format!("{} is private", dir.display())),
    }
}

/// Facts for `/api/system/info`.
pub(crate) async fn facts(parts: &Parts) -> Value {
    let engine = parts.docker.info().await.map_or_else(|e| json!({"error": e.to_string()}), |i| json!(i));
    json!({
        "docker": engine,
        "data_dir": parts.config.data_dir,
        "durability": {"decisions": "power", "model_calls": format!("{:?}", parts.config.call_durability).to_lowercase()},
        "request_ttl_s": parts.config.request_ttl.as_secs(),
        "max_agents": parts.config.max_agents,
        "providers": parts.config.upstreams.iter().map(|u| json!({"name": u.name, "kind": u.kind, "base_url": u.base_url,
            "has_key": u.api_key.is_some()})).collect::<Vec<_>>(),
        "default_limits": domain::task::Limits::default(),
    })
}
