//! `taskforge doctor`: looks for what is wrong, and says what to do.

use super::{Context, Exit, Outcome};
use crate::{client::Client, output::Style};
use api::wire::{Health, HealthCheck, Models, SystemInfo};
use std::{os::unix::fs::PermissionsExt, path::Path};

/// Seconds by which two clocks may differ.
const MAX_SKEW_S: i64 = 5;
/// Models that are listed.
const MAX_MODELS: usize = 20;

pub(super) async fn run(c: &Context) -> Outcome {
    let mut checks = local(c);
    match c.client().await {
        Ok(client) => match remote(&client).await {
            Ok(more) => checks.extend(more),
            Err(f) => checks.push(check("server", false, f.message, f.hint)),
        },
        Err(f) => checks.push(check("server", false, f.message, f.hint)),
    }
    if !checks.iter().any(|c| c.name == "docker") && !super::running::is_gateway(&c.global.data_dir()) {
        checks.push(docker());
    }
    let ok = checks.iter().all(|c| c.ok || !c.required);
    if c.out.json {
        c.out.document(&Health { ok, checks })?;
    } else {
        print(c, &checks);
        c.out.line(if ok { "\nall is well" } else { "\nsomething needs a look" });
    }
    Ok(if ok { Exit::Ok } else { Exit::Failed })
}

/// Prints checks with what to do.
pub(super) fn print(c: &Context, checks: &[HealthCheck]) {
    for check in checks {
        let (style, word) = match (check.ok, check.required) {
            (true, _) => (Style::Good, "ok  "),
            (false, true) => (Style::Bad, "BAD "),
            (false, false) => (Style::Warn, "look"),
        };
        c.out.line(&format!(
            "{}  {:<18}  {}",
            c.out.paint(style, word),
            check.name,
            domain::text::visible_line(&check.detail)
        ));
        if let (false, Some(hint)) = (check.ok, &check.hint) {
            c.out.line(&format!("      {:<18}  {}", "", domain::text::visible_line(hint)));
        }
    }
}

fn check(name: &str, ok: bool, detail: impl Into<String>, hint: Option<String>) -> HealthCheck {
    HealthCheck { name: name.to_owned(), ok, required: true, detail: detail.into(), hint }
}

fn local(c: &Context) -> Vec<HealthCheck> {
    let dir = c.global.data_dir();
    let mut checks = vec![match std::fs::metadata(&dir) {
        Ok(m) if m.permissions().mode() & 0o077 != 0 => {
            let hint = format!("chmod 700 {}", dir.display());
            check("data directory", false, format!("others can enter {}", dir.display()), Some(hint))
        }
        Ok(_) => check("data directory", true, dir.display().to_string(), None),
        Err(e) => check(
            "data directory",
            false,
            format!("{}: {e}", dir.display()),
            Some("it is made by `taskforge up`".into()),
        ),
    }];
    let token = dir.join("token");
    if let Ok(m) = std::fs::metadata(&token) {
        let private = m.permissions().mode() & 0o077 == 0;
        let hint = (!private).then(|| format!("chmod 600 {}", token.display()));
        checks.push(check("token file", private, token.display().to_string(), hint));
    }
    checks
}

/// Without a server: whether the Engine's socket takes connections.
fn docker() -> HealthCheck {
    let host = std::env::var("TASKFORGE_DOCKER_HOST").or_else(|_| std::env::var("DOCKER_HOST")).unwrap_or_default();
    let path = host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned();
    if !host.is_empty() && !host.starts_with("unix://") {
        return check("docker", true, format!("{host} is not looked at without the server"), None);
    }
    match std::os::unix::net::UnixStream::connect(Path::new(&path)) {
        Ok(_) => check("docker", true, format!("{path} takes connections"), None),
        Err(e) => check("docker", false, format!("{path}: {e}"), Some("start Docker, or set DOCKER_HOST".into())),
    }
}

async fn remote(client: &Client) -> Outcome<Vec<HealthCheck>> {
    let info: SystemInfo = client.get("/api/system/info").await?;
    let mut checks = vec![check("server", true, format!("version {} at {}", info.version, client.base()), None)];
    let own = env!("CARGO_PKG_VERSION");
    if info.version != own {
        checks.push(check(
            "version",
            false,
            format!("this program is {own}, the server {}", info.version),
            Some("use the same".into()),
        ));
    }
    checks.push(clock(&info.time));
    let health: Health = client.get("/api/system/health").await?;
    // A gateway by itself has providers and nothing else: without a model it is not well.
    let gateway = !health.checks.iter().any(|c| c.name == "docker");
    checks.extend(health.checks);
    if let Ok(models) = client.get::<Models>("/api/llm/models").await {
        let count = models.models.len();
        let mut text = models.models.into_iter().take(MAX_MODELS).collect::<Vec<_>>().join(", ");
        if count > MAX_MODELS {
            text.push_str(&format!(" and {} more", count - MAX_MODELS));
        }
        let hint = (count == 0).then(|| {
            if gateway {
                "make a provider answer, or add one with `taskforge provider add`".to_owned()
            } else {
                "configure a provider in .env and restart".to_owned()
            }
        });
        let detail = if count == 0 { "no provider lists any".to_owned() } else { text };
        checks.push(HealthCheck { required: gateway, ..check("models", count > 0, detail, hint) });
    }
    Ok(checks)
}

fn clock(server: &str) -> HealthCheck {
    let skew = server.parse::<jiff::Timestamp>().map(|t| t.as_second() - jiff::Timestamp::now().as_second());
    match skew {
        Ok(s) if s.abs() <= MAX_SKEW_S => check("clock", true, "the server's clock agrees with this one", None),
        Ok(s) => check("clock", false, format!("the server's clock is {s} s off"), Some("set both by NTP".into())),
        Err(e) => check("clock", false, format!("the server's time cannot be read: {e}"), None),
    }
}
