//! `taskforge gateway`: the model gateway by itself.

use super::{Context, Exit, Outcome};
use api::wire::Reloaded;
use clap::{Args, Subcommand};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  taskforge key create anna --json
  taskforge gateway --config gateway.toml --listen 127.0.0.1:4000
  taskforge gateway reload

A gateway needs no Docker. Clients set their base URL to http://127.0.0.1:4000/v1 (OpenAI) or
http://127.0.0.1:4000 (Anthropic) and their API key to one of `taskforge key create`.
Without --config, providers are those of the environment (OPENAI_API_KEY, ...) and those of `taskforge provider add`.
SIGHUP reads the file again, as `reload` does.";

/// Arguments of `gateway`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Gateway {
    #[command(subcommand)]
    command: Option<Command>,
    /// Providers and aliases, as TOML; docs/gateway.md describes it.
    #[arg(long, value_name = "FILE", env = "TASKFORGE_CONFIG")]
    config: Option<PathBuf>,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", env = "TASKFORGE_LISTEN", default_value = "127.0.0.1:4000")]
    listen: String,
}

impl Gateway {
    /// Whether it starts one.
    pub(super) const fn starts(&self) -> bool {
        self.command.is_none()
    }
}

/// What can be done with a running one.
#[derive(Debug, Subcommand)]
enum Command {
    /// Read the configuration again, without a restart; a wrong one changes nothing.
    #[command(after_help = "Examples:\n  taskforge gateway reload")]
    Reload,
}

pub(super) async fn run(c: &Context, args: Gateway) -> Outcome {
    if let Some(Command::Reload) = args.command {
        return reload(c).await;
    }
    (c.hooks.gateway)((c.global.data_dir(), args.listen, args.config)).await?;
    Ok(Exit::Ok)
}

async fn reload(c: &Context) -> Outcome {
    let now: Reloaded = c.client().await?.post("/api/llm/reload").await?;
    if c.out.json {
        c.out.document(&now)?;
        return Ok(Exit::Ok);
    }
    c.out.line(&format!("read {}", now.file.as_deref().unwrap_or("the environment")));
    c.out.line(&format!("providers  {}", now.providers.join(", ")));
    for alias in &now.aliases {
        c.out.line(&format!("{}  {}", alias.name, alias.targets.join(", then ")));
    }
    Ok(Exit::Ok)
}
