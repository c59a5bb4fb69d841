//! `taskforge token`: who may use the API, and under which name.

use super::{Context, Exit, Outcome};
use crate::{client, output};
use api::wire::{CreatedToken, NewToken, Page, SignInCode, Token as Row};
use clap::Subcommand;

const EXAMPLES: &str = "\
Examples:
  curl -H \"Authorization: Bearer $(taskforge token show)\" http://localhost:8000/api/tasks
  taskforge token create anna
  taskforge token link";

/// What can be done.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Token {
    /// Make a token and print it; it cannot be shown again.
    #[command(after_help = "Examples:\n  taskforge token create anna")]
    Create {
        /// Its name: what decisions are signed with.
        name: String,
    },
    /// List tokens.
    #[command(after_help = "Examples:\n  taskforge token list")]
    List,
    /// Revoke a token, with its sessions.
    #[command(after_help = "Examples:\n  taskforge token revoke anna")]
    Revoke {
        /// Its name.
        name: String,
    },
    /// Print the token that this program uses.
    #[command(after_help = "Examples:\n  taskforge token show")]
    Show,
    /// Print a link that signs a browser in, once, within ten minutes.
    #[command(after_help = "Examples:\n  taskforge token link")]
    Link,
}

pub(super) async fn run(c: &Context, command: Token) -> Outcome {
    match command {
        Token::Show => {
            let token = client::token(&c.global.data_dir())?;
            if c.out.json {
                c.out.document(&serde_json::json!({"token": token}))?;
            } else {
                c.out.line(&token);
            }
        }
        Token::Create { name } => {
            let made: CreatedToken = c.client().await?.send_json("/api/tokens", &NewToken { name }).await?;
            if c.out.json {
                c.out.document(&made)?;
            } else {
                eprintln!("token {:?}, shown this once:", made.token.name);
                c.out.line(&made.secret);
            }
        }
        Token::Revoke { name } => {
            let gone: Row = c.client().await?.delete(&format!("/api/tokens/{}", client::encode_value(&name))).await?;
            if c.out.json {
                c.out.document(&gone)?;
            } else {
                c.out.line(&format!("{} is revoked", gone.name));
            }
        }
        Token::List => {
            let page: Page<Row> = c.client().await?.get("/api/tokens").await?;
            if c.out.json {
                c.out.document(&page)?;
            } else {
                let now = jiff::Timestamp::now();
                let state = |t: &Row| t.revoked_at.as_ref().map_or("in force".to_owned(), |at| format!("revoked {at}"));
                let row = |t: &Row| {
                    vec![t.name.clone(), t.key.clone(), output::age(now, &t.created_at), t.created_by.clone(), state(t)]
                };
                c.out.table(
                    &["NAME", "KEY", "AGE", "MADE BY", "STATE"],
                    &page.items.iter().map(row).collect::<Vec<_>>(),
                );
            }
        }
        Token::Link => {
            let client = c.client().await?;
            let code: SignInCode = client.post("/api/sign-in/codes").await?;
            if c.out.json {
                c.out.document(&code)?;
            } else {
                c.out.line(&format!("{}{}#{}", client.base(), code.path, code.code));
            }
        }
    }
    Ok(Exit::Ok)
}
