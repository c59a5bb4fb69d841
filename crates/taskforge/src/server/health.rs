//! How each part is, for `/healthz`, `taskforge health` and `taskforge doctor`.

use super::{Parts, core::Core};
use crate::config::GatewayConfig;
use api::wire::HealthCheck;
use rustix::fs::statvfs;
use serde_json::{Value, json};
use std::path::Path;

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
        check("disk", true, disk(&parts.config.data_dir)),
        check("sockets", true, sockets(parts)),
    ];
    all.extend(providers(&parts.core).await);
    all
}

/// All checks of a gateway by itself.
pub(crate) async fn gateway_checks(core: &Core) -> Vec<HealthCheck> {
    let store = core.store.event_tail(None, 1).await;
    let store =
        store.map(|_| "answers".to_owned()).map_err(|e| (e.to_string(), "look at the gateway's log".to_owned()));
    let mut all = vec![check("store", true, store), check("disk", true, disk(&core.dir))];
    all.extend(providers(core).await);
    all
}

async fn providers(core: &Core) -> Vec<HealthCheck> {
    let health = core.providers.registry().health().await;
    if health.is_empty() {
        let hint = "set OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY or OLLAMA_URL, or `taskforge provider add`";
        let none = ("no model provider is configured".to_owned(), hint.to_owned());
        return vec![check("providers", false, Err(none))];
    }
    let one = |p: gateway::ProviderHealth| {
        let result = match p.error {
            None => Ok(format!("{} lists {} models in {} ms", p.base_url, p.models.unwrap_or(0), p.latency_ms)),
            Some(error) => Err((error, p.hint.unwrap_or_default())),
        };
        check(&format!("provider:{}", p.name), false, result)
    };
    health.into_iter().map(one).collect()
}

fn disk(dir: &Path) -> Result<String, (String, String)> {
    let hint = || "free space where the data directory lies; stopping tasks still works".to_owned();
    let space = statvfs(dir).map_err(|e| (e.to_string(), hint()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let text = format!("{} MiB free at {}", free >> 20, dir.display());
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
        "durability": durability(&parts.config.gateway),
        "request_ttl_s": parts.config.request_ttl.as_secs(),
        "max_agents": parts.config.max_agents,
        "providers": parts.core.providers.list().await.unwrap_or_default(),
        "default_limits": domain::task::Limits::default(),
    })
}

fn durability(config: &GatewayConfig) -> Value {
    json!({"decisions": "power", "model_calls": format!("{:?}", config.call_durability).to_lowercase()})
}

/// Facts of a gateway by itself.
pub(crate) async fn gateway_facts(core: &Core, config: &GatewayConfig) -> Value {
    json!({
        "mode": "gateway",
        "data_dir": core.dir,
        "config": config.file(),
        "durability": durability(config),
        "providers": core.providers.list().await.unwrap_or_default(),
        "aliases": core.providers.aliases(),
        "keys_in_force": core.store.keys().len(),
    })
}
