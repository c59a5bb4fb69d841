//! The `taskforge` program: a command line, and the server behind `taskforge up`.

mod cli;
mod client;
mod config;
#[cfg(feature = "failpoints")]
mod failpoints;
mod output;
mod server;

use clap::Parser;
use cli::{Cli, Hooks};
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::EnvFilter;

fn hooks() -> Hooks {
    let docker_host = || std::env::var("TASKFORGE_DOCKER_HOST").ok();
    Hooks {
        up: Box::new(|(dir, listen)| {
            Box::pin(async move {
                log_to_stderr();
                server::up(config::Config::from_env(dir, &listen)?).await
            })
        }),
        gateway: Box::new(|(data_dir, listen, config)| {
            Box::pin(async move {
                log_to_stderr();
                server::standalone::run(server::standalone::Options { data_dir, listen, config }).await
            })
        }),
        local: Box::new(|dir| Box::pin(async move { server::local::open(&dir).await })),
        clean: Box::new(move |dir| {
            Box::pin(async move { server::control::clean(&dir, docker_host().as_deref()).await })
        }),
        backup: Box::new(move |(dir, file, with_images)| {
            Box::pin(async move { server::backup::backup(&dir, docker_host().as_deref(), &file, with_images).await })
        }),
        restore: Box::new(move |(dir, file)| {
            Box::pin(async move { server::backup::restore(&dir, docker_host().as_deref(), &file).await })
        }),
    }
}

/// The server's log: plumbing only, never prompts, bodies or secrets. `TASKFORGE_LOG` filters it.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("TASKFORGE_LOG").unwrap_or_else(|_| EnvFilter::new("info,duroxide=warn"));
    let colour = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr);
    // A log on a full disk loses lines; telling so on the same stream would panic in the middle of a request.
    let log = log.log_internal_errors(false);
    if std::env::var_os("TASKFORGE_LOG_JSON").is_some() { log.json().init() } else { log.init() }
}

#[tokio::main]
async fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    failpoints::arm();
    let mut cli = Cli::parse();
    if cli.starts_server() {
        // Settings in `.env` of the folder that the server starts in; the environment wins. No other command reads it:
        // in a folder of somebody else it could send the token of this machine to another server.
        match dotenvy::from_path(".env") {
            Ok(()) => cli = Cli::parse(),
            Err(e) if e.not_found() => {}
            Err(e) => {
                eprintln!("error: .env cannot be read: {e}\nhint:  each line is NAME=VALUE; see .env.example");
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::from(cli::run(cli, hooks()).await as u8)
}
