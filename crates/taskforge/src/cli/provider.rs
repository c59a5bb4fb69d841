//! `taskforge provider`: where models are. Keys are read from the environment or stdin, never from the command line.

use super::{
    Context, Exit, Failure, Outcome,
    served::{Missing, Served},
};
use crate::client;
use api::wire::{Page, Provider as Row, ProviderTest, SaveProvider};
use clap::{Args, Subcommand};
use std::{collections::BTreeMap, io::Read};

/// The longest key that is read from stdin.
const MAX_KEY_BYTES: u64 = 64 << 10;

const EXAMPLES: &str = "\
Examples:
  taskforge provider add anthropic --kind anthropic --key-env ANTHROPIC_API_KEY
  taskforge provider add lab --kind openai-compatible --url http://10.0.0.5:8000/v1 --key-stdin < key.txt
  taskforge provider test anthropic
  taskforge provider list

A key is stored encrypted and cannot be read back; listings show a fingerprint. A change takes effect at once.";

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Provider {
    /// Save a provider.
    #[command(
        after_help = "Examples:\n  taskforge provider add anthropic --kind anthropic --key-env ANTHROPIC_API_KEY\n  taskforge provider add lab --kind openai-compatible --url http://10.0.0.5:8000/v1"
    )]
    Add(Add),
    /// List providers, wherever they are configured.
    #[command(after_help = "Examples:\n  taskforge provider list")]
    List,
    /// Show a provider.
    #[command(after_help = "Examples:\n  taskforge provider show lab")]
    Show {
        /// Its name.
        name: String,
    },
    /// Ask a provider for its models.
    #[command(after_help = "Examples:\n  taskforge provider test lab")]
    Test {
        /// Its name.
        name: String,
    },
    /// Remove a saved provider with its key.
    #[command(after_help = "Examples:\n  taskforge provider remove lab")]
    Remove {
        /// Its name.
        name: String,
    },
}

/// Arguments of `add`.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// Its name: the part of a model's name before the slash.
    name: String,
    /// What it speaks: openai, anthropic, gemini, ollama or openai-compatible.
    #[arg(long, value_name = "KIND")]
    kind: String,
    /// Where it is; otherwise the provider's own service.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The environment variable that holds its key.
    #[arg(long, value_name = "VARIABLE", conflicts_with = "key_stdin")]
    key_env: Option<String>,
    /// Read its key from stdin.
    #[arg(long)]
    key_stdin: bool,
    /// A further header; the value is stored as secretly as the key.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// A further header whose value is in an environment variable.
    #[arg(long = "header-env", value_name = "NAME=VARIABLE")]
    header_envs: Vec<String>,
    /// Calls that may be under way at once.
    #[arg(long, value_name = "N")]
    max_concurrency: Option<u32>,
    /// Allow a link-local or metadata address.
    #[arg(long)]
    allow_link_local: bool,
    /// Replace the saved provider of that name; credentials that are not given stay.
    #[arg(long)]
    replace: bool,
}

pub(super) async fn run(c: &Context, command: Provider) -> Outcome {
    let missing = if matches!(command, Provider::Add(_)) { Missing::Make } else { Missing::Refuse };
    let served = c.served(missing).await?;
    let result = with(c, &served, command).await;
    served.end().await?;
    result
}

async fn with(c: &Context, served: &Served, command: Provider) -> Outcome {
    let client = &served.client;
    let path = |name: &str| format!("/api/llm/providers/{}", client::encode_value(name));
    match command {
        Provider::Add(args) => {
            let (name, replace) = (args.name.clone(), args.replace);
            let body = body(args)?;
            let saved: Row = if replace {
                client.put_json(&path(&name), &body).await?
            } else {
                client.send_json("/api/llm/providers", &body).await?
            };
            told(c, &saved, "saved; `taskforge provider test` asks it for its models")
        }
        Provider::List => {
            let page: Page<Row> = client.get("/api/llm/providers").await?;
            if c.out.json {
                c.out.document(&page)?;
            } else {
                let rows: Vec<_> = page.items.iter().map(row).collect();
                c.out.table(&["NAME", "KIND", "ADDRESS", "KEY", "FROM"], &rows);
                for p in &page.items {
                    if let Some(problem) = &p.problem {
                        c.out.line(&format!("{} is not in use: {}", p.name, domain::text::visible_line(problem)));
                    }
                }
            }
            Ok(Exit::Ok)
        }
        Provider::Show { name } => {
            let row: Row = client.get(&path(&name)).await?;
            c.out.document(&row)?;
            Ok(Exit::Ok)
        }
        Provider::Test { name } => test(c, client.post(&format!("{}/test", path(&name))).await?),
        Provider::Remove { name } => {
            let gone: Row = client.delete(&path(&name)).await?;
            told(c, &gone, "removed")
        }
    }
}

fn body(args: Add) -> Outcome<SaveProvider> {
    let api_key = match (&args.key_env, args.key_stdin) {
        (Some(name), _) => Some(variable(name)?),
        (None, true) => {
            let mut text = String::new();
            std::io::stdin().take(MAX_KEY_BYTES).read_to_string(&mut text)?;
            let key = text.trim().to_owned();
            if key.is_empty() {
                return Err(Failure::usage("there is no key on stdin"));
            }
            Some(key)
        }
        (None, false) => None,
    };
    let mut headers = BTreeMap::new();
    for (pair, from_env) in args.headers.iter().map(|h| (h, false)).chain(args.header_envs.iter().map(|h| (h, true))) {
        let (name, value) = pair.split_once('=').ok_or_else(|| Failure::usage("a header is NAME=VALUE"))?;
        let value = if from_env { variable(value)? } else { value.to_owned() };
        headers.insert(name.trim().to_owned(), value);
    }
    Ok(SaveProvider {
        name: Some(args.name),
        kind: args.kind,
        base_url: args.url,
        api_key,
        headers: (!headers.is_empty()).then_some(headers),
        max_concurrency: args.max_concurrency,
        queue: None,
        connect_timeout_ms: None,
        first_byte_timeout_ms: None,
        idle_timeout_ms: None,
        allow_link_local: args.allow_link_local,
    })
}

fn variable(name: &str) -> Outcome<String> {
    let value = std::env::var(name).unwrap_or_default().trim().to_owned();
    if value.is_empty() {
        return Err(Failure::usage(format!("the environment variable {name} is not set")));
    }
    Ok(value)
}

fn row(p: &Row) -> Vec<String> {
    let key = p.fingerprint.clone().unwrap_or_else(|| "none".to_owned());
    vec![p.name.clone(), p.kind.clone(), p.base_url.clone(), key, p.source.clone()]
}

fn told(c: &Context, row: &Row, what: &str) -> Outcome {
    if c.out.json {
        c.out.document(row)?;
    } else {
        c.out.line(&format!("{} ({} at {}) is {what}", row.name, row.kind, row.base_url));
    }
    Ok(Exit::Ok)
}

fn test(c: &Context, answer: ProviderTest) -> Outcome {
    if c.out.json {
        c.out.document(&answer)?;
    } else if answer.ok {
        let models = answer.models.map_or("has no list of models".to_owned(), |n| format!("lists {n} models"));
        c.out.line(&format!("{} answers in {} ms and {models}", answer.name, answer.latency_ms));
    } else {
        let why = answer.error.as_deref().unwrap_or("it does not answer");
        c.out.line(&format!("{}: {}", answer.name, domain::text::visible_line(why)));
        if let Some(hint) = &answer.hint {
            c.out.line(&format!("      {}", domain::text::visible_line(hint)));
        }
    }
    Ok(if answer.ok { Exit::Ok } else { Exit::Failed })
}
