//! `taskforge key`: keys of callers, which use the gateway and nothing else.

use super::{
    Context, Exit, Outcome,
    served::{Missing, Served},
};
use crate::{client, output};
use api::wire::{CreatedKey, Key as Row, NewKey, Page};
use clap::Subcommand;

const EXAMPLES: &str = "\
Examples:
  taskforge key create anna
  taskforge key create ci --models 'openai/*,fast' --budget '5 USD/month' --expires 90d --json
  taskforge key list
  taskforge key revoke ci

A key is shown once. It works with a running gateway at once, and where none runs it is written into the data
directory.";

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Key {
    /// Make a key and print it; it cannot be shown again.
    #[command(
        after_help = "Examples:\n  taskforge key create anna\n  taskforge key create ci --models 'openai/*,fast' --budget '5 USD/month' --expires 90d"
    )]
    Create {
        /// Its name, which stands in the record of its calls.
        name: String,
        /// What it may call: `provider/model`, aliases, beginnings such as `openai/*`; without it every model.
        #[arg(long, value_name = "MODELS", value_delimiter = ',')]
        models: Option<Vec<String>>,
        /// How much it may use, such as `5 USD/month`, `200000 tokens/day`, `1000 calls`.
        #[arg(long, value_name = "BUDGET")]
        budget: Option<String>,
        /// When it ends: a span such as `30d`, or a time as RFC 3339.
        #[arg(long, value_name = "END")]
        expires: Option<String>,
    },
    /// List keys.
    #[command(after_help = "Examples:\n  taskforge key list")]
    List,
    /// Show a key with what it has used.
    #[command(after_help = "Examples:\n  taskforge key show ci")]
    Show {
        /// Its name or id.
        name: String,
    },
    /// Revoke a key: it works for nobody from now on.
    #[command(after_help = "Examples:\n  taskforge key revoke ci")]
    Revoke {
        /// Its name or id.
        name: String,
    },
}

pub(super) async fn run(c: &Context, command: Key) -> Outcome {
    let missing = if matches!(command, Key::Create { .. }) { Missing::Make } else { Missing::Refuse };
    let served = c.served(missing).await?;
    let result = with(c, &served, command).await;
    served.end().await?;
    result
}

async fn with(c: &Context, served: &Served, command: Key) -> Outcome {
    let client = &served.client;
    match command {
        Key::Create { name, models, budget, expires } => {
            let made: CreatedKey = client.send_json("/api/keys", &NewKey { name, models, budget, expires }).await?;
            if c.out.json {
                c.out.document(&made)?;
            } else {
                eprintln!("key {:?}, shown this once:", made.info.name);
                c.out.line(&made.key);
            }
        }
        Key::List => {
            let page: Page<Row> = client.get("/api/keys").await?;
            if c.out.json {
                c.out.document(&page)?;
            } else {
                let now = jiff::Timestamp::now();
                let rows: Vec<_> = page.items.iter().map(|k| row(k, now)).collect();
                c.out.table(&["NAME", "KEY", "MODELS", "BUDGET", "AGE", "MADE BY", "STATE"], &rows);
            }
        }
        Key::Show { name } => {
            let key: api::wire::KeyDetail = client.get(&path(&name)).await?;
            if c.out.json {
                c.out.document(&key)?;
            } else {
                show(c, &key);
            }
        }
        Key::Revoke { name } => {
            let gone: Row = client.delete(&path(&name)).await?;
            if c.out.json {
                c.out.document(&gone)?;
            } else {
                c.out.line(&format!("{} is revoked", gone.name));
            }
        }
    }
    Ok(Exit::Ok)
}

fn path(name: &str) -> String {
    format!("/api/keys/{}", client::encode_value(name))
}

fn models(key: &Row) -> String {
    key.models.as_ref().map_or("every model".to_owned(), |m| m.join(", "))
}

fn state(key: &Row) -> String {
    match (&key.revoked_at, &key.expires_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) if key.state == "expired" => format!("expired {at}"),
        (None, Some(at)) => format!("in force until {at}"),
        (None, None) => "in force".to_owned(),
    }
}

fn row(key: &Row, now: jiff::Timestamp) -> Vec<String> {
    let budget = key.budget.clone().unwrap_or_else(|| "none".to_owned());
    let age = output::age(now, &key.created_at);
    vec![key.name.clone(), key.prefix.clone(), models(key), budget, age, key.created_by.clone(), state(key)]
}

fn show(c: &Context, detail: &api::wire::KeyDetail) {
    let (key, u) = (&detail.key, &detail.usage);
    for (name, value) in [
        ("name", key.name.clone()),
        ("id", key.id.clone()),
        ("key", format!("{}…", key.prefix)),
        ("models", models(key)),
        ("budget", key.budget.clone().unwrap_or_else(|| "none".to_owned())),
        ("state", state(key)),
        ("made", format!("{} by {}", key.created_at, key.created_by)),
        ("calls", format!("{} let out, {} refused", u.calls, u.refused)),
        ("tokens", format!("{} in, {} out, as far as known", u.prompt_tokens, u.completion_tokens)),
    ] {
        c.out.line(&format!("{name:<8} {value}"));
    }
}
