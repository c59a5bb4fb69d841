//! Every fixture from its format to every other.

use crate::files::{Fixture, check, fixtures, settle};
use llm::{
    ApiError, Format, Loss, StreamMeta, StreamTranslator, parse_error, render_error, render_stream_error,
    translate_request, translate_response,
};
use serde_json::Value;
use std::fmt::Write as _;

/// Formats that providers speak.
pub(crate) const PROVIDERS: &[Format] = &[Format::Chat, Format::Messages, Format::Gemini, Format::Ollama];
/// Formats that clients speak.
pub(crate) const CLIENTS: &[Format] = &[Format::Chat, Format::Messages, Format::Gemini];

fn model(format: Format) -> &'static str {
    match format {
        Format::Chat | Format::Responses => "gpt-5",
        Format::Messages => "claude-sonnet-4-5",
        Format::Gemini => "gemini-2.5-flash",
        Format::Ollama => "qwen3:8b",
    }
}

/// What a response takes from its call, the same in every run.
pub(crate) fn meta() -> StreamMeta {
    StreamMeta {
        id: "0190abcd".into(),
        model: "asked/model".into(),
        created: 1_754_000_000,
        include_usage: true,
        estimated_prompt: Some(21),
    }
}

fn pretty(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).expect("the body is JSON");
    serde_json::to_string_pretty(&value).unwrap()
}

fn losses(losses: &[Loss]) -> String {
    losses.iter().fold(String::new(), |mut text, loss| {
        writeln!(text, "lost: {}: {}", loss.field, loss.note).unwrap();
        text
    })
}

#[test]
fn requests() {
    let mut differing = Vec::new();
    for fixture in fixtures("requests") {
        let mut text = String::new();
        for to in PROVIDERS.iter().filter(|to| **to != fixture.format) {
            writeln!(text, "=== to {to}").unwrap();
            match translate_request(fixture.format, *to, &fixture.body, model(*to), &|_| None) {
                Ok(t) => writeln!(text, "{}{}", losses(&t.losses), pretty(&t.body)).unwrap(),
                Err(e) => writeln!(text, "refused: {e}").unwrap(),
            }
        }
        check("requests", &fixture, &text, &mut differing);
    }
    settle(&differing);
}

#[test]
fn responses() {
    let mut differing = Vec::new();
    for fixture in fixtures("responses") {
        let mut text = String::new();
        for to in CLIENTS.iter().filter(|to| **to != fixture.format) {
            writeln!(text, "=== to {to}").unwrap();
            let t = translate_response(fixture.format, *to, &fixture.body, &meta()).unwrap();
            writeln!(text, "{}{}", losses(&t.losses), pretty(&t.body)).unwrap();
            for (id, kept) in &t.carries {
                writeln!(text, "carries {id}: {}", String::from_utf8_lossy(kept)).unwrap();
            }
        }
        check("responses", &fixture, &text, &mut differing);
    }
    settle(&differing);
}

/// A stream to a client, whole, as text.
fn stream(fixture: &Fixture, to: Format) -> String {
    let mut out = Vec::new();
    let mut translator = StreamTranslator::new(fixture.format, to, meta()).unwrap();
    translator.feed(&fixture.body, &mut out);
    translator.finish(&mut out);
    let mut text = String::from_utf8(out).expect("the stream is UTF-8");
    text += &losses(&translator.losses());
    for (id, kept) in translator.carries() {
        writeln!(text, "carries {id}: {}", String::from_utf8_lossy(&kept)).unwrap();
    }
    writeln!(text, "answer: {}", serde_json::to_string(translator.answer()).unwrap()).unwrap();
    text
}

#[test]
fn streams() {
    let mut differing = Vec::new();
    for fixture in fixtures("streams") {
        let mut text = String::new();
        for to in CLIENTS.iter().filter(|to| **to != fixture.format) {
            writeln!(text, "=== to {to}\n{}", stream(&fixture, *to)).unwrap();
        }
        check("streams", &fixture, &text, &mut differing);
    }
    settle(&differing);
}

#[test]
fn errors() {
    #[derive(serde::Deserialize)]
    struct Answer {
        status: u16,
        body: Value,
    }
    let mut differing = Vec::new();
    for fixture in fixtures("errors") {
        let answer: Answer = serde_json::from_slice(&fixture.body).unwrap();
        let error: ApiError = parse_error(fixture.format, answer.status, answer.body.to_string().as_bytes());
        let mut text = serde_json::to_string(&error).unwrap() + "\n";
        for to in CLIENTS {
            writeln!(text, "=== to {to}, status {}", error.status).unwrap();
            writeln!(text, "{}", String::from_utf8(render_error(*to, &error)).unwrap()).unwrap();
            writeln!(text, "{}", String::from_utf8(render_stream_error(*to, &error)).unwrap().trim_end()).unwrap();
        }
        check("errors", &fixture, &text, &mut differing);
    }
    settle(&differing);
}
