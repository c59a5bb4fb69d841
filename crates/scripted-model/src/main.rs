//! Serves the scripted model.

use anyhow::Context;
use clap::Parser;
use scripted_model::{Options, scripts, serve};
use std::{net::SocketAddr, path::PathBuf};
use tokio::net::TcpListener;

/// A stateless LLM provider that follows scripts, for demonstrations and tests.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Example: scripted-model --listen 127.0.0.1:9999\n         curl 127.0.0.1:9999/v1/models"
)]
struct Args {
    /// Where to listen; port 0 takes a free one, and the address is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Wait this long before each answer's first byte.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Wait this long between two events of a stream.
    #[arg(long, default_value_t = 0)]
    chunk_delay_ms: u64,
    /// Write each request and the turn that answered it here.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// The key that callers must bring.
    #[arg(long, env = "SCRIPTED_MODEL_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// List the models and what they do, and exit.
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.list {
        for (name, summary, _) in scripts::TABLE {
            println!("{name:16} {summary}");
        }
        return Ok(());
    }
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    println!("listening on http://{}", listener.local_addr()?);
    let Args { delay_ms, chunk_delay_ms, record, api_key, .. } = args;
    serve(listener, Options { delay_ms, chunk_delay_ms, record, api_key }).await.context("the server stopped")
}
