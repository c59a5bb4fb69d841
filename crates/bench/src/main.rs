//! Benchmarks: what TaskForge costs on top of what it stands on, measured in turns with that baseline in one run.
//!
//! `taskforge-bench PAGE [NAME...]` runs all benchmarks or those named, prints their rows, writes `bench.json` into the
//! target folder and fills the page. docs/benchmarks.md says what each one measures. No test asserts a time.

mod agents;
mod engine;
mod facts;
mod gateway;
mod load;
mod log;
mod place;
mod plain;
mod report;
mod sandbox;
mod socket;
mod stats;
mod upstream;
mod waiting;

use anyhow::{Result, bail};
use report::Record;
use std::{env, path::PathBuf, process::ExitCode, time::Instant};

/// The benchmarks, in the order in which they run and are shown.
pub(crate) const NAMES: [&str; 9] =
    ["sandbox", "openclaw", "approval", "socket", "gateway", "engine", "waiting", "audit", "idle"];

async fn run(name: &str) -> Result<Vec<Record>> {
    match name {
        "sandbox" => sandbox::bench().await,
        "openclaw" => agents::openclaw().await,
        "approval" => agents::approval().await,
        "socket" => socket::bench().await,
        "gateway" => gateway::bench().await,
        "engine" => engine::bench().await,
        "waiting" => waiting::bench().await,
        "audit" => log::bench().await,
        "idle" => agents::idle().await,
        other => bail!("there is no benchmark {other:?}; there are: {}", NAMES.join(", ")),
    }
}

async fn all(page: PathBuf, names: &[String]) -> Result<ExitCode> {
    if let Some(unknown) = names.iter().find(|n| !NAMES.contains(&n.as_str())) {
        bail!("there is no benchmark {unknown:?}; there are: {}", NAMES.join(", "));
    }
    let chosen: Vec<&str> =
        NAMES.into_iter().filter(|name| names.is_empty() || names.iter().any(|n| n == name)).collect();
    let mut rows = Vec::new();
    let (mut ran, mut failed) = (Vec::new(), Vec::new());
    for name in chosen {
        let begun = Instant::now();
        eprintln!("==> {name}");
        match run(name).await {
            Ok(fresh) => {
                for row in &fresh {
                    println!("{}", row.line());
                }
                eprintln!("    {name} took {:.0} s", begun.elapsed().as_secs_f64());
                rows.extend(fresh);
                ran.push(name);
            }
            Err(e) => {
                eprintln!("error: {name}: {e:#}");
                failed.push(name);
            }
        }
    }
    report::write(&place::target()?.join("bench.json"), &page, &ran, rows)?;
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What this program is for another one of its processes, or for a script.
async fn child(role: &str, arguments: &[String]) -> Option<Result<()>> {
    Some(match role {
        waiting::CHILD => waiting::child(arguments.concat().into()).await,
        gateway::proxy::CHILD => gateway::proxy::child(arguments).await,
        gateway::peer::MOCK => gateway::peer::mock(arguments).await,
        gateway::peer::LOAD => gateway::peer::load(arguments).await,
        _ => return None,
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let Some(page) = arguments.next() else {
        eprintln!("usage: taskforge-bench PAGE [NAME...]\nbenchmarks: {}", NAMES.join(", "));
        return ExitCode::from(2);
    };
    let names: Vec<String> = arguments.collect();
    if let Some(child) = child(&page, &names).await {
        return match child {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("error: {e:#}");
                ExitCode::FAILURE
            }
        };
    }
    match all(page.into(), &names).await {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}
