//! Commands that run and keep the server itself.

use super::{
    Context, Exit, Failure, Outcome, decide, doctor, greet,
    running::{self, announced, is_gateway, is_held},
};
use crate::{
    client::Events,
    output::{self, event},
    server::{local::Local, lock::Mode},
};
use api::wire::{Health, Page, Task};
use clap::Args;
use futures::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::OpenOptions,
    io::{IsTerminal, Read, Seek, SeekFrom},
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// What the server does, given by `main`.
pub(crate) type Work<A> = Box<dyn Fn(A) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// The server's side of these commands.
pub(crate) struct Hooks {
    /// Runs the server on a data directory and an address until it is told to stop.
    pub(crate) up: Work<(PathBuf, String)>,
    /// Runs the gateway by itself: data directory, address, configuration file.
    pub(crate) gateway: Work<(PathBuf, String, Option<PathBuf>)>,
    /// Serves a data directory on which nothing runs, for one command.
    pub(crate) local: Box<dyn Fn(PathBuf) -> BoxFuture<'static, anyhow::Result<Local>> + Send + Sync>,
    /// Removes all that the installation owns.
    pub(crate) clean: Work<PathBuf>,
    /// Writes a consistent copy of a data directory to a file.
    pub(crate) backup: Work<(PathBuf, PathBuf, bool)>,
    /// Fills a data directory from a file.
    pub(crate) restore: Work<(PathBuf, PathBuf)>,
}

/// Where the server listens unless told otherwise.
const LISTEN: &str = "127.0.0.1:8000";
/// How long a server may take to answer first: it may have to recover.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How long a server may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a log that are shown before it is followed.
const LOG_TAIL: u64 = 16 << 10;

/// Arguments of `up`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  taskforge up\n  taskforge up --detach --listen 127.0.0.1:8000")]
pub(super) struct Up {
    /// Run in the background, and come back when it answers.
    #[arg(long)]
    detach: bool,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", env = "TASKFORGE_LISTEN", default_value = LISTEN)]
    listen: String,
}

/// Arguments of `restart`.
#[derive(Debug, Args)]
pub(super) struct Restart {
    /// The address to listen on; otherwise the one before.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  taskforge logs\n  taskforge logs server --no-follow\n  taskforge logs events")]
pub(super) struct Logs {
    /// `server`, `events`, or a task's id; otherwise server and events.
    service: Option<String>,
    /// Print what there is, and end.
    #[arg(long)]
    no_follow: bool,
}

/// Arguments of `clean`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  taskforge clean\n  taskforge --data-dir .taskforge/demo clean --yes")]
pub(super) struct Clean {
    /// Do not ask; without a terminal, where nobody can be asked, it is needed.
    #[arg(long)]
    yes: bool,
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  taskforge down && taskforge backup all.tar\n  taskforge backup --with-images all.tar"
)]
pub(super) struct Backup {
    /// The file to write.
    file: PathBuf,
    /// With the images that tasks use, to restore it where they are not in Docker: half a gigabyte and more.
    #[arg(long)]
    with_images: bool,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  taskforge --data-dir .taskforge restore all.tar")]
pub(super) struct Restore {
    /// The file that `backup` wrote.
    file: PathBuf,
}

pub(super) async fn up(c: &Context, args: Up) -> Outcome {
    let dir = c.global.data_dir();
    if args.detach {
        return detached(c, &dir, &args.listen).await;
    }
    (c.hooks.up)((dir, args.listen)).await?;
    Ok(Exit::Ok)
}

async fn detached(c: &Context, dir: &Path, listen: &str) -> Outcome {
    if let Some(server) = running::server(dir).await? {
        let what = format!("a server runs on {} already at http://{}", dir.display(), server.address);
        return Err(Failure::new(Exit::Conflict, "already_running", what));
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let log = dir.join("server.log");
    let mut child = spawn(dir, listen, &log)?;
    let deadline = Instant::now() + START_PATIENCE;
    let server = loop {
        if let Some(status) = child.try_wait()? {
            return Err(Failure::failed(format!("the server ended at once ({status}): {}", last_words(&log))));
        }
        if let Some(server) = announced(dir).filter(|s| s.pid == child.id()) {
            break server;
        }
        if Instant::now() > deadline {
            return Err(Failure::failed(format!("the server does not answer after {} s", START_PATIENCE.as_secs()))
                .hint(format!("look at {}", log.display())));
        }
        tokio::time::sleep(PAUSE).await;
    };
    greet::greet(c, server.address, server.pid).await
}

fn spawn(dir: &Path, listen: &str, log: &Path) -> Outcome<Child> {
    let output = OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--data-dir").arg(dir).args(["up", "--listen", listen]);
    // Its own process group: a Ctrl-C at this terminal is not for the server.
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
    Ok(command.spawn()?)
}

/// The last error line of a log, or its last line.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let last = lines.iter().rev().take(5).rev().copied().collect::<Vec<_>>().join("\n");
    if last.is_empty() { format!("{} is empty", log.display()) } else { last }
}

pub(super) async fn down(c: &Context) -> Outcome {
    let dir = c.global.data_dir();
    let gateway = is_gateway(&dir);
    let stopped = stop(&dir).await?;
    if c.out.json {
        c.out.document(&serde_json::json!({"stopped": stopped}))?;
    } else {
        c.out.line(match (stopped, gateway) {
            (true, true) => "the gateway is stopped; `taskforge gateway` starts it again",
            (true, false) => "the server is stopped; tasks go on after the next `taskforge up`",
            (false, _) => "no server runs",
        });
    }
    Ok(Exit::Ok)
}

/// Stops the server, if one runs, and waits for its end.
async fn stop(dir: &Path) -> Outcome<bool> {
    let Some(server) = running::server(dir).await? else { return Ok(false) };
    let pid = i32::try_from(server.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::failed(format!("server.json of {} is damaged", dir.display())))?;
    kill_process(pid, Signal::TERM).map_err(|e| {
        Failure::failed(format!("the server (process {}) cannot be stopped: {e}", pid.as_raw_nonzero()))
    })?;
    let deadline = Instant::now() + STOP_PATIENCE;
    while is_held(dir) {
        if Instant::now() > deadline {
            return Err(Failure::failed(format!(
                "the server (process {}) has not ended after {} s",
                pid.as_raw_nonzero(),
                STOP_PATIENCE.as_secs()
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(true)
}

pub(super) async fn restart(c: &Context, args: Restart) -> Outcome {
    let dir = c.global.data_dir();
    let before = announced(&dir);
    if before.as_ref().is_some_and(|s| s.mode == Mode::Gateway) && is_held(&dir) {
        return Err(Failure::new(Exit::Conflict, "gateway_runs", "a gateway by itself runs here, in the foreground")
            .hint("`taskforge gateway reload` reads its configuration again; to restart it, end it and start it as before"));
    }
    let before = before.map(|s| s.address.to_string());
    stop(&dir).await?;
    let listen = args.listen.or(before).unwrap_or_else(|| LISTEN.to_owned());
    detached(c, &dir, &listen).await
}

pub(super) async fn ps(c: &Context) -> Outcome {
    let client = c.client().await?;
    let health: Health = client.get("/api/system/health").await?;
    if is_gateway(&c.global.data_dir()) {
        return gateway_ps(c, client.base(), health.ok);
    }
    let mut going: Vec<Task> = Vec::new();
    for status in ["starting", "running", "waiting", "building", "paused"] {
        let mut cursor = String::new();
        loop {
            let page: Page<Task> =
                client.get(&format!("/api/tasks?status={status}&limit={}{cursor}", api::MAX_PAGE)).await?;
            going.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
    }
    if c.out.json {
        c.out.document(&serde_json::json!({"server": client.base(), "ok": health.ok, "tasks": going}))?;
        return Ok(Exit::Ok);
    }
    c.out.line(&format!(
        "server  {}  {}",
        client.base(),
        if health.ok { "ok" } else { "needs a look: taskforge health" }
    ));
    if going.is_empty() {
        c.out.line("no task goes on");
    } else {
        output::task::list(c.out, &going, jiff::Timestamp::now());
    }
    Ok(Exit::Ok)
}

/// A gateway by itself has no tasks.
fn gateway_ps(c: &Context, base: &str, ok: bool) -> Outcome {
    if c.out.json {
        c.out.document(&serde_json::json!({"gateway": base, "ok": ok}))?;
    } else {
        c.out.line(&format!("gateway  {base}  {}", if ok { "ok" } else { "needs a look: taskforge health" }));
    }
    Ok(Exit::Ok)
}

pub(super) async fn health(c: &Context) -> Outcome {
    let health: Health = c.client().await?.get("/api/system/health").await?;
    if c.out.json {
        c.out.document(&health)?;
    } else {
        doctor::print(c, &health.checks);
    }
    Ok(if health.ok { Exit::Ok } else { Exit::Failed })
}

pub(super) async fn logs(c: &Context, args: Logs) -> Outcome {
    let path = c.global.data_dir().join("server.log");
    match args.service.as_deref() {
        Some("server") => server_log(c, &path, !args.no_follow).await,
        Some("events") => events(c, !args.no_follow).await,
        Some(task) if task.starts_with("task_") => super::task::run(c, super::task::Task::logs(task)).await,
        Some(other) => {
            Err(Failure::usage(format!("there is no service {other:?}")).hint("server, events, or a task's id"))
        }
        None if args.no_follow => server_log(c, &path, false).await,
        None => {
            tokio::select! {
                end = server_log(c, &path, true) => end,
                end = events(c, true) => end,
            }
        }
    }
}

async fn events(c: &Context, follow: bool) -> Outcome {
    let client = c.client().await?;
    let page: Page<api::wire::Event> = client.get("/api/audit/entries?tail=true&limit=20").await?;
    for e in &page.items {
        if c.out.json { c.out.item(e)? } else { c.out.line(&event::log_line(c.out, e)) }
    }
    let mut stream = Events::new(&client, "/api/events".to_owned(), page.items.last().map(|e| e.index));
    if !follow {
        return Ok(Exit::Ok);
    }
    loop {
        let e = stream.next().await?;
        if c.out.json { c.out.item(&e)? } else { c.out.line(&event::log_line(c.out, &e)) }
    }
}

/// Prints the end of the server's log and what is added to it.
async fn server_log(c: &Context, path: &Path, follow: bool) -> Outcome {
    let mut file = std::fs::File::open(path).map_err(|e| {
        Failure::failed(format!("cannot read {}: {e}", path.display()))
            .hint("a server in the foreground logs to its own terminal")
    })?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut rest = String::new();
    loop {
        let mut bytes = Vec::new();
        file.by_ref().take(LOG_TAIL * 64).read_to_end(&mut bytes)?;
        rest.push_str(&String::from_utf8_lossy(&bytes));
        while let Some(end) = rest.find('\n') {
            let line: String = rest.drain(..=end).collect();
            let line = domain::text::visible(line.trim_end());
            if c.out.json { c.out.item(&serde_json::json!({"server": line}))? } else { c.out.line(&line) }
        }
        if bytes.is_empty() {
            if !follow {
                return Ok(Exit::Ok);
            }
            tokio::time::sleep(PAUSE * 3).await;
        }
    }
}

pub(super) async fn clean(c: &Context, args: Clean) -> Outcome {
    let dir = c.global.data_dir();
    if !args.yes {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage(format!(
                "{} is removed with all its tasks, keys and the audit log",
                dir.display()
            ))
            .hint("nobody can be asked here: say --yes (`make clean YES=1`) if that is wanted"));
        }
        let question = format!("remove {} with all tasks, images, keys and the audit log? [y/N] > ", dir.display());
        let answer = decide::read_line(&question).await?;
        if !matches!(answer.as_deref().map(str::trim), Some("y" | "yes")) {
            return Err(Failure::failed("nothing was removed"));
        }
    }
    stop(&dir).await?;
    (c.hooks.clean)(dir.clone()).await?;
    said(c, "removed", &dir)
}

pub(super) async fn backup(c: &Context, args: Backup) -> Outcome {
    let dir = c.global.data_dir();
    if running::server(&dir).await?.is_some() {
        return Err(Failure::new(Exit::Conflict, "already_running", format!("a server runs on {}", dir.display()))
            .hint("a backup is consistent only while none does: `taskforge down` first, or `make backup` for both"));
    }
    (c.hooks.backup)((dir, args.file.clone(), args.with_images)).await?;
    said(c, "written", &args.file)
}

pub(super) async fn restore(c: &Context, args: Restore) -> Outcome {
    let dir = c.global.data_dir();
    if running::server(&dir).await?.is_some() {
        return Err(Failure::new(Exit::Conflict, "already_running", format!("a server runs on {}", dir.display()))
            .hint("stop it with `taskforge down` first"));
    }
    (c.hooks.restore)((dir.clone(), args.file)).await?;
    said(c, "restored", &dir)
}

fn said(c: &Context, what: &str, path: &Path) -> Outcome {
    if c.out.json {
        c.out.document(&serde_json::json!({what: path}))?;
    } else {
        c.out.line(&format!("{what}: {}", path.display()));
    }
    Ok(Exit::Ok)
}
