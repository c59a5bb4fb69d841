//! Listing, showing and exporting model calls.

use super::super::{Context, Exit, Failure, Outcome};
use super::{Calls, Filter};
use crate::{
    client::{Client, encode_value},
    output::{self, Style},
};
use api::wire::{Call, CallCount, CallDetail, Page};
use domain::budget::dollars;
use std::{fs::File, io::Write, path::Path};

/// Calls that are listed unless told otherwise.
const LISTED: u64 = 20;
/// Characters of an error in a list.
const MAX_ERROR_CHARS: usize = 60;

/// The filter as a query.
fn query(f: &Filter) -> Outcome<String> {
    let now = jiff::Timestamp::now();
    let since = f.since.as_deref().map(|t| moment(t, now)).transpose()?;
    let until = f.until.as_deref().map(|t| moment(t, now)).transpose()?;
    let mut query = String::new();
    for (name, value) in [
        ("task", f.task.as_ref()),
        ("key", f.key.as_ref()),
        ("token", f.token.as_ref()),
        ("model", f.model.as_ref()),
        ("provider", f.provider.as_ref()),
        ("status", f.status.as_ref()),
        ("since", since.as_ref()),
        ("until", until.as_ref()),
        ("text", f.text.as_ref()),
    ] {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", encode_value(value)));
        }
    }
    Ok(query)
}

/// A time as RFC 3339, or a span back from now such as `90m`, `2h`, `7d`.
fn moment(text: &str, now: jiff::Timestamp) -> Outcome<String> {
    if text.parse::<jiff::Timestamp>().is_ok() {
        return Ok(text.to_owned());
    }
    let wrong = || Failure::usage(format!("{text:?} is no time: write RFC 3339, or a span back from now such as `2h`"));
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds: i64 = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let span = digits.parse::<i64>().ok().and_then(|n| n.checked_mul(seconds)).ok_or_else(wrong)?;
    let at = now.as_second().checked_sub(span).and_then(|s| jiff::Timestamp::from_second(s).ok());
    at.map(|t| t.to_string()).ok_or_else(wrong)
}

pub(super) async fn calls(c: &Context, client: &Client, args: Calls) -> Outcome {
    let query = query(&args.filter)?;
    if args.count {
        let found: CallCount = client.get(&format!("/api/llm/calls/count?{}", query.trim_start_matches('&'))).await?;
        if c.out.json {
            c.out.document(&found)?;
        } else {
            c.out.line(&found.count.to_string());
        }
        return Ok(Exit::Ok);
    }
    let limit = args.limit.or((!c.out.json).then_some(LISTED));
    // The newest of them, shown in the order of their beginning; all of them are read from the front.
    let mut left = limit.unwrap_or(u64::MAX);
    let mut cursor = String::new();
    let mut newest = Vec::new();
    while left > 0 {
        let size = left.min(u64::from(api::MAX_PAGE));
        let order = if limit.is_some() { "&newest=true" } else { "" };
        let page: Page<Call> = client.get(&format!("/api/llm/calls?limit={size}{order}{query}{cursor}")).await?;
        left = left.saturating_sub(page.items.len() as u64);
        if limit.is_some() {
            newest.extend(page.items);
        } else {
            page.items.iter().try_for_each(|call| c.out.item(call))?;
        }
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    newest.reverse();
    if c.out.json {
        newest.iter().try_for_each(|call| c.out.item(call))?;
    } else if newest.is_empty() {
        c.out.line("no call was made");
    } else {
        let now = jiff::Timestamp::now();
        let rows: Vec<_> = newest.iter().map(|call| row(call, now)).collect();
        c.out.table(&["CALL", "AGE", "BY", "MODEL", "STATE", "TOKENS", "COST", "MS", "ERROR"], &rows);
    }
    Ok(Exit::Ok)
}

fn unknown(value: Option<impl ToString>) -> String {
    value.map_or("?".to_owned(), |v| v.to_string())
}

fn by(call: &Call) -> String {
    let of = [&call.task, &call.key_name, &call.key, &call.token].into_iter().flatten().next();
    of.map_or("nobody known".to_owned(), |id| domain::text::visible_line(id))
}

fn cost(call: &Call) -> String {
    match call.cost_micro_usd.and_then(|c| u64::try_from(c).ok()) {
        Some(micro) => format!("${}", dollars(micro)),
        None => "?".to_owned(),
    }
}

fn model(call: &Call) -> String {
    match (&call.provider, &call.model) {
        (Some(provider), Some(model)) => domain::text::visible_line(&format!("{provider}/{model}")),
        _ => domain::text::visible_line(&call.asked_model),
    }
}

fn row(call: &Call, now: jiff::Timestamp) -> Vec<String> {
    let error: String = call.error_code.as_deref().unwrap_or("").chars().take(MAX_ERROR_CHARS).collect();
    vec![
        call.id.clone(),
        output::age(now, &call.begun_at),
        by(call),
        model(call),
        call.state.clone(),
        format!("{}+{}", unknown(call.prompt_tokens), unknown(call.completion_tokens)),
        cost(call),
        unknown(call.total_ms),
        domain::text::visible_line(&error),
    ]
}

pub(super) async fn show(c: &Context, client: &Client, call: &str, body: Option<&str>) -> Outcome {
    let path = format!("/api/llm/calls/{}", encode_value(call));
    if let Some(name) = body {
        let bytes = client.bytes(&format!("{path}/bodies/{}", encode_value(name))).await?;
        std::io::stdout().write_all(&bytes)?;
        return Ok(Exit::Ok);
    }
    let detail: CallDetail = client.get(&path).await?;
    if c.out.json {
        c.out.document(&detail)?;
        return Ok(Exit::Ok);
    }
    print(c, &detail);
    Ok(Exit::Ok)
}

fn print(c: &Context, detail: &CallDetail) {
    let call = &detail.call;
    let tokens = format!(
        "{} in ({} cached), {} out ({} of reasoning)",
        unknown(call.prompt_tokens),
        unknown(call.cached_tokens),
        unknown(call.completion_tokens),
        unknown(call.reasoning_tokens)
    );
    let price = call.price.as_deref().map_or("no price is known".to_owned(), |p| format!("by {p}"));
    for (name, value) in [
        ("call", call.id.clone()),
        ("by", by(call)),
        ("asked", format!("{} ({})", domain::text::visible_line(&call.asked_model), call.ingress)),
        ("state", call.state.clone()),
        (
            "began",
            format!(
                "{}, {} ms to the first byte, {} ms in all",
                call.begun_at,
                unknown(call.first_byte_ms),
                unknown(call.total_ms)
            ),
        ),
        ("tokens", tokens),
        ("cost", format!("{} ({price})", cost(call))),
        ("finish", call.finish_reason.clone().unwrap_or_else(|| "?".to_owned())),
        ("error", call.error.clone().unwrap_or_else(|| "none".to_owned())),
    ] {
        c.out.line(&format!("{name:<7} {}", domain::text::visible_line(&value)));
    }
    for a in &detail.tries {
        let error = a.error.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
        let line = format!(
            "try {}   {} to {} as {}, HTTP {}{error}",
            a.number,
            a.state,
            a.url,
            a.format,
            unknown(a.http_status)
        );
        c.out.line(&domain::text::visible_line(&line));
        part(c, "as it left", a.sent.as_deref());
        part(c, "as it arrived", a.response.as_deref());
    }
    if detail.erased {
        c.out.line("bodies  erased; `taskforge audit tail` says when and why");
    }
    left_out(c, detail.normalised.as_ref());
    part(c, "request", detail.request.as_deref());
    part(c, "response", detail.response.as_deref());
}

/// What could not be carried between the formats of the caller and the provider.
fn left_out(c: &Context, normalised: Option<&serde_json::Value>) {
    let losses = normalised.and_then(|n| n.get("losses")?.as_array()).filter(|l| !l.is_empty());
    let Some(losses) = losses else { return };
    c.out.line(&c.out.paint(Style::Bold, "left out"));
    let text = |loss: &serde_json::Value, name: &str| {
        domain::text::visible_line(loss.get(name).and_then(serde_json::Value::as_str).unwrap_or("?"))
    };
    for loss in losses {
        c.out.line(&format!("  │ {}: {}", text(loss, "field"), text(loss, "note")));
    }
}

fn part(c: &Context, name: &str, text: Option<&str>) {
    let Some(text) = text else { return };
    c.out.line(&c.out.paint(Style::Bold, name));
    text.lines().for_each(|l| c.out.line(&format!("  │ {}", domain::text::visible(l))));
}

/// Copies the export, piece by piece.
pub(super) async fn export(client: &Client, filter: &Filter, output: Option<&Path>) -> Outcome {
    let query = query(filter)?;
    let mut response = client.download(&format!("/api/llm/export?{}", query.trim_start_matches('&'))).await?;
    let mut out: Box<dyn Write> = match output {
        Some(path) => {
            Box::new(File::create(path).map_err(|e| Failure::failed(format!("cannot write {}: {e}", path.display())))?)
        }
        None => Box::new(std::io::stdout()),
    };
    let broken = |e: &dyn std::fmt::Display| Failure::failed(format!("the export broke off: {e}"));
    while let Some(piece) = response.chunk().await.map_err(|e| broken(&e))? {
        out.write_all(&piece)?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_spans_back() {
        let now = "2026-11-25T10:00:00Z".parse().unwrap();
        assert_eq!(moment("2h", now).unwrap(), "2026-11-25T08:00:00Z");
        assert_eq!(moment("2026-01-01T00:00:00Z", now).unwrap(), "2026-01-01T00:00:00Z");
        for bad in ["", "2", "h", "2y", "yesterday", "99999999999999999999d"] {
            assert!(moment(bad, now).is_err(), "{bad}");
        }
    }
}
