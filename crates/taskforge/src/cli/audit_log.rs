//! `taskforge audit`: reading and verifying the log. Verification runs here, on the log's files, not on the server.

use super::{Context, Exit, Failure, Outcome, served::Missing};
use crate::{
    client::{Client, Events, encode},
    output::{Style, event},
};
use api::wire::{Checkpoint as CheckpointText, Event, LogFiles, Page};
use audit::{Checkpoint, KnownFolder, Report, VerifierKey, VerifyOptions};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  taskforge audit tail --follow
  taskforge audit show 42
  taskforge audit verify
  taskforge audit verify --dir ./copy-of-the-log --key taskforge/inst_...+1a2b3c4d+...
  taskforge audit checkpoint > checkpoint.txt
  taskforge audit verify --against checkpoint.txt

`verify` downloads the log, recomputes everything and compares it with what was verified before on this
machine; a log that shrank or forked is refused. It exits with 1 if anything is wrong.";

/// Downloads that may fall between two seals before the server is to blame.
const ATTEMPTS: u32 = 4;
/// Files of a log, at the most.
const MAX_FILES: usize = 1_000_000;

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Audit {
    /// Print the newest entries.
    #[command(after_help = "Examples:\n  taskforge audit tail -n 50\n  taskforge audit tail --follow")]
    Tail {
        /// How many.
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
        lines: u32,
        /// Only this task's.
        #[arg(long)]
        task: Option<String>,
        /// Go on as entries are added.
        #[arg(short, long)]
        follow: bool,
    },
    /// Print one entry.
    #[command(after_help = "Examples:\n  taskforge audit show 42")]
    Show {
        /// Its place in the log.
        index: u64,
        /// Print this content of it whole instead.
        #[arg(long, value_name = "NAME")]
        body: Option<String>,
    },
    /// Verify the log.
    #[command(after_help = "Examples:\n  taskforge audit verify\n  taskforge audit verify --against checkpoint.txt")]
    Verify(Verify),
    /// Seal the log up to now and print the signed checkpoint.
    #[command(after_help = "Examples:\n  taskforge audit checkpoint > checkpoint.txt")]
    Checkpoint,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A copy of the log on this machine, instead of the server's.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The public key, or a file that holds it; otherwise the one that was trusted before.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A checkpoint from elsewhere: the log must contain it.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

pub(super) async fn run(c: &Context, command: Audit) -> Outcome {
    if let Audit::Verify(Verify { dir: Some(_), .. }) = command {
        // A copy of the log needs no server and no data directory.
        return with(c, None, command).await;
    }
    let served = c.served(Missing::Refuse).await?;
    let result = with(c, Some(&served.client), command).await;
    served.end().await?;
    result
}

async fn with(c: &Context, client: Option<&Client>, command: Audit) -> Outcome {
    let client = || client.ok_or_else(|| Failure::failed("this command needs a server"));
    match command {
        Audit::Tail { lines, task, follow } => tail(c, client()?, lines, task.as_deref(), follow).await,
        Audit::Show { index, body } => show(c, client()?, index, body.as_deref()).await,
        Audit::Verify(args) => match &args.dir {
            Some(_) => verify(c, None, args).await,
            None => verify(c, Some(client()?), args).await,
        },
        Audit::Checkpoint => {
            let made: CheckpointText = client()?.post("/api/audit/checkpoint").await?;
            if c.out.json {
                c.out.document(&made)?;
            } else {
                c.out.line(made.checkpoint.trim_end_matches('\n'));
            }
            Ok(Exit::Ok)
        }
    }
}

async fn tail(c: &Context, client: &Client, lines: u32, task: Option<&str>, follow: bool) -> Outcome {
    let mut query = format!("/api/audit/entries?tail=true&limit={lines}");
    let mut stream = "/api/events".to_owned();
    if let Some(task) = task {
        let task = crate::client::encode_value(task);
        query.push_str(&format!("&task={task}"));
        stream = format!("/api/tasks/{task}/events");
    }
    let page: Page<Event> = client.get(&query).await?;
    let print = |e: &Event| -> Outcome<()> {
        if c.out.json {
            return c.out.item(e).map_err(Failure::from);
        }
        c.out.line(&event::log_line(c.out, e));
        Ok(())
    };
    page.items.iter().try_for_each(print)?;
    if follow {
        let mut events = Events::new(client, stream, page.items.last().map(|e| e.index));
        loop {
            print(&events.next().await?)?;
        }
    }
    Ok(Exit::Ok)
}

async fn show(c: &Context, client: &Client, index: u64, body: Option<&str>) -> Outcome {
    use std::io::Write;
    if let Some(name) = body {
        let name = crate::client::encode_value(name);
        let bytes = client.bytes(&format!("/api/audit/entries/{index}/bodies/{name}")).await?;
        std::io::stdout().write_all(&bytes)?;
        return Ok(Exit::Ok);
    }
    let entry: Event = client.get(&format!("/api/audit/entries/{index}")).await?;
    if c.out.json {
        c.out.document(&entry)?;
        return Ok(Exit::Ok);
    }
    c.out.line(&event::log_line(c.out, &entry));
    c.out.line(&domain::text::visible(&serde_json::to_string_pretty(&entry.data)?));
    for (name, body) in &entry.bodies {
        c.out.line(&format!("{name}  {} bytes, commitment {}", body.size, body.commitment));
        if let Some(text) = &body.text {
            text.lines().for_each(|l| c.out.line(&format!("  │ {}", domain::text::visible(l))));
        }
        if body.truncated {
            c.out.line(&format!("  whole: taskforge audit show {index} --body {name}"));
        }
    }
    Ok(Exit::Ok)
}

async fn verify(c: &Context, client: Option<&Client>, args: Verify) -> Outcome {
    let known = KnownFolder::new(&c.global.data_dir().join("known-logs"));
    let given = args.key.as_deref().map(read_key).transpose()?;
    let report = match (&args.dir, client) {
        (Some(dir), _) => {
            let key = match given {
                Some(key) => key,
                None => trusted(&known, &origin_of(dir)?)?,
            };
            check(dir, &key, &known, args.against.as_deref())?
        }
        (None, Some(client)) => from_server(client, given, &known, args.against.as_deref()).await?,
        (None, None) => return Err(Failure::failed("there is neither a server nor a copy of the log")),
    };
    if c.out.json {
        c.out.document(&report)?;
    } else {
        let style = if report.valid { Style::Good } else { Style::Bad };
        let text = domain::text::visible(report.to_string().trim_end());
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        c.out.line(&c.out.paint(style, first));
        rest.lines().for_each(|l| c.out.line(l));
        c.out.line(&format!("key   {}\nroot  {} at size {}", report.key, report.root, report.size));
    }
    Ok(if report.valid { Exit::Ok } else { Exit::Failed })
}

/// Verifies a folder, also against what was verified before and a checkpoint from elsewhere; remembers what is sound.
fn check(dir: &Path, key: &VerifierKey, known: &KnownFolder, against: Option<&Path>) -> Outcome<Report> {
    let before = known.load(key.name())?;
    if let Some(before) = &before
        && before.key != *key
    {
        let message = format!("the log of {} is signed with another key than before", key.name());
        return Err(Failure::new(Exit::Failed, "key_changed", message)
            .hint(format!("trusted: {}; offered: {key}; find out why before you trust it", before.key)));
    }
    let verified_before = before.map(|k| k.checkpoint);
    let mut report = audit::verify(dir, key, &VerifyOptions { known: verified_before, live: false })?;
    if let (true, Some(file)) = (report.valid, against) {
        let note = std::fs::read_to_string(file)
            .map_err(|e| Failure::failed(format!("cannot read {}: {e}", file.display())))?;
        let other = Checkpoint::open(&note, key)?;
        report = audit::verify(dir, key, &VerifyOptions { known: Some(other), live: false })?;
    }
    if let (true, Some(newest)) = (report.valid, &report.newest) {
        known.remember(key, newest, jiff::Timestamp::now())?;
    }
    Ok(report)
}

async fn from_server(
    client: &Client,
    given: Option<VerifierKey>,
    known: &KnownFolder,
    against: Option<&Path>,
) -> Outcome<Report> {
    let _: CheckpointText = client.post("/api/audit/checkpoint").await?;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let list: LogFiles = client.get("/api/audit/files").await?;
        let key: VerifierKey = match &given {
            Some(key) => key.clone(),
            None => list.key.parse()?,
        };
        let copy = tempfile::tempdir()?;
        // A seal between the listing and the last download gives a copy of two moments; a sound log is sound soon.
        if !copy_log(client, &list, copy.path()).await? {
            continue;
        }
        let report = check(copy.path(), &key, known, against)?;
        if report.valid {
            return Ok(report);
        }
        last = Some(report);
    }
    last.ok_or_else(|| Failure::failed("the log changed during every download").hint("try again"))
}

/// Copies the log; false if a file was gone by the time it was asked for.
async fn copy_log(client: &Client, list: &LogFiles, dir: &Path) -> Outcome<bool> {
    if list.files.len() > MAX_FILES {
        return Err(Failure::failed(format!("the log has more than {MAX_FILES} files")));
    }
    for file in &list.files {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        if !file.path.split('/').all(|p| !p.is_empty() && !p.starts_with('.') && p.chars().all(plain)) {
            return Err(Failure::failed(format!(
                "the server names a log file {:?}",
                domain::text::visible_line(&file.path)
            )));
        }
        let bytes = match client.bytes(&format!("/api/audit/files/{}", encode(&file.path))).await {
            Ok(bytes) => bytes,
            Err(f) if f.code == "not_found" => return Ok(false),
            Err(f) => return Err(f),
        };
        let target = dir.join(&file.path);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(target, bytes)?;
    }
    Ok(true)
}

fn read_key(text: &str) -> Outcome<VerifierKey> {
    let text = if Path::new(text).is_file() { std::fs::read_to_string(text)? } else { text.to_owned() };
    text.trim().parse().map_err(|e: audit::AuditError| Failure::usage(format!("--key is not a public key: {e}")))
}

/// The name of the log in a folder, as its checkpoint says.
fn origin_of(dir: &Path) -> Outcome<String> {
    let path = dir.join("checkpoint");
    let note = std::fs::read_to_string(&path).map_err(|e| {
        Failure::failed(format!("cannot read {}: {e}", path.display()))
            .hint("--dir names a folder that holds a log, such as <data>/audit")
    })?;
    Ok(note.lines().next().unwrap_or_default().to_owned())
}

fn trusted(known: &KnownFolder, origin: &str) -> Outcome<VerifierKey> {
    known.load(origin)?.map(|k| k.key).ok_or_else(|| {
        Failure::usage(format!("no key of {:?} is trusted yet", domain::text::visible_line(origin)))
            .hint("give --key; `taskforge audit verify` against the server prints it")
    })
}
