//! `taskforge llm chat`: one question, one answer, printed as it comes.

use super::super::{Context, Exit, Failure, Outcome};
use crate::client::Client;
use api::wire::Models;
use clap::Args;
use serde_json::{Value, json};
use std::io::{Read, Write};

/// The longest line of a stream.
const MAX_LINE_BYTES: usize = 16 << 20;
/// The longest text that is read from stdin.
const MAX_TEXT_BYTES: u64 = 16 << 20;
/// Models that an error lists.
const MAX_LISTED: usize = 10;

/// Arguments of `chat`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Chat {
    /// The model, unless there is only one, and the text; `-` reads the text from stdin.
    #[arg(required = true, num_args = 1..=2, value_names = ["MODEL", "TEXT"])]
    words: Vec<String>,
    /// Instructions that stand before the text.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Tokens of the answer, at the most.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
}

pub(super) async fn run(c: &Context, args: Chat) -> Outcome {
    let client = c.client().await?;
    let mut words = args.words.into_iter();
    let (model, text) = match (words.next(), words.next()) {
        (Some(model), Some(text)) => (model, text),
        (Some(text), None) => (only_model(&client).await?, text),
        (None, _) => return Err(Failure::usage("there is no text")),
    };
    let text = if text == "-" { stdin()? } else { text };
    let mut messages = Vec::new();
    if let Some(system) = args.system {
        messages.push(json!({"role": "system", "content": system}));
    }
    messages.push(json!({"role": "user", "content": text}));
    let mut body = json!({"model": model, "messages": messages, "stream": !c.out.json});
    if let Some(max) = args.max_tokens {
        body["max_completion_tokens"] = json!(max);
    }
    if c.out.json {
        let answer: Value = client.send_json("/api/llm/playground", &body).await?;
        c.out.document(&answer)?;
        return Ok(Exit::Ok);
    }
    stream(&client, &body).await
}

fn stdin() -> Outcome<String> {
    let mut text = String::new();
    std::io::stdin().take(MAX_TEXT_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The model that is meant where none is named: only where there is no choice.
async fn only_model(client: &Client) -> Outcome<String> {
    let all: Models = client.get("/api/llm/models").await?;
    match all.models.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::usage("no provider lists a model").hint("`taskforge doctor` says why; or name one")),
        many => {
            let listed = many.iter().take(MAX_LISTED).cloned().collect::<Vec<_>>().join(", ");
            let more = if many.len() > MAX_LISTED { ", …" } else { "" };
            Err(Failure::usage("name a model before the text").hint(format!("there are {listed}{more}")))
        }
    }
}

/// Prints an answer as it comes. Control characters of the model are made visible.
async fn stream(client: &Client, body: &Value) -> Outcome {
    let mut response = client.open_stream("/api/llm/playground", body).await?;
    let broken = |e: &dyn std::fmt::Display| Failure::failed(format!("the answer broke off: {e}"));
    let mut buffer = Vec::new();
    let mut done = false;
    while let Some(piece) = response.chunk().await.map_err(|e| broken(&e))? {
        buffer.extend_from_slice(&piece);
        while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            done |= event(String::from_utf8_lossy(&line).trim_end())?;
        }
        if buffer.len() > MAX_LINE_BYTES {
            return Err(Failure::failed(format!("a line of the answer has more than {MAX_LINE_BYTES} bytes")));
        }
    }
    println!();
    if done { Ok(Exit::Ok) } else { Err(broken(&"it has no end")) }
}

/// Prints what an event brings; true at the end.
fn event(line: &str) -> Outcome<bool> {
    let Some(data) = line.strip_prefix("data:").map(str::trim_start) else { return Ok(false) };
    if data == "[DONE]" {
        return Ok(true);
    }
    let value: Value = serde_json::from_str(data)?;
    if let Some(message) = value["error"]["message"].as_str() {
        let code = value["error"]["code"].as_str().unwrap_or("model_error");
        return Err(Failure::new(Exit::Failed, code, message));
    }
    if let Some(text) = value["choices"][0]["delta"]["content"].as_str() {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(domain::text::visible(text).as_bytes())?;
        stdout.flush()?;
    }
    Ok(false)
}
