//! Streams of each provider to each client: files, every split, cuts, and reading back what was written.

use crate::{
    snapshots::meta,
    world::{CLIENTS, Fixture, Snapshots, fixtures},
};
use llm::{Answer, ApiError, Format, StreamReader, StreamTranslator};
use std::fmt::Write;

struct Seen {
    out: String,
    answer: Answer,
    losses: Vec<llm::Loss>,
    carries: Vec<(String, Vec<u8>)>,
}

fn run<'a>(from: Format, to: Format, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut translator = StreamTranslator::new(from, to, meta()).unwrap();
    let mut out = Vec::new();
    pieces.into_iter().for_each(|p| translator.feed(p, &mut out));
    translator.finish(&mut out);
    assert!(translator.is_done());
    let (losses, carries) = (translator.losses(), translator.carries());
    Seen { out: String::from_utf8(out).unwrap(), answer: translator.into_answer(), losses, carries }
}

fn cells() -> impl Iterator<Item = (Fixture, Format)> {
    let others = |f: &Fixture| CLIENTS.iter().copied().filter(|c| *c != f.format).collect::<Vec<_>>();
    fixtures("streams").into_iter().flat_map(move |f| {
        let targets = others(&f);
        targets.into_iter().map(move |t| (Fixture { format: f.format, name: f.name.clone(), body: f.body.clone() }, t))
    })
}

#[test]
fn files() {
    let mut snapshots = Snapshots::new("streams");
    for (fixture, target) in cells() {
        let seen = run(fixture.format, target, [fixture.body.as_slice()]);
        let mut text = seen.out;
        writeln!(text, "=== {}", serde_json::to_string(&seen.answer).unwrap()).unwrap();
        for loss in &seen.losses {
            writeln!(text, "lost: {}: {}", loss.field, loss.note).unwrap();
        }
        for (id, kept) in &seen.carries {
            writeln!(text, "carried: {id}: {}", String::from_utf8_lossy(kept)).unwrap();
        }
        snapshots.check(&fixture, target.as_str(), &text);
    }
    snapshots.finish();
}

#[test]
fn every_split_gives_the_same_stream() {
    for (fixture, target) in cells() {
        let body = fixture.body.as_slice();
        let whole = run(fixture.format, target, [body]).out;
        let bytes = run(fixture.format, target, body.chunks(1)).out;
        assert_eq!(bytes, whole, "{} to {target} byte by byte", fixture.name);
        // Two pieces at every place of a short stream, and at some of a long one.
        for at in (0..body.len()).step_by(1 + body.len() / 150) {
            let split = run(fixture.format, target, [&body[..at], &body[at..]]).out;
            assert_eq!(split, whole, "{} to {target} split at {at}", fixture.name);
        }
    }
}

#[test]
fn a_cut_ends_with_an_error_and_never_with_a_false_end() {
    for (fixture, target) in cells() {
        let body = fixture.body.as_slice();
        for at in (0..body.len()).step_by(1 + body.len() / 150) {
            let mut translator = StreamTranslator::new(fixture.format, target, meta()).unwrap();
            let mut out = Vec::new();
            translator.feed(&body[..at], &mut out);
            if translator.is_done() {
                break;
            }
            let before = out.len();
            translator.interrupt(&ApiError::interrupted(), &mut out);
            let end = String::from_utf8(out[before..].to_vec()).unwrap();
            let name = &fixture.name;
            assert!(end.contains("the provider's stream ended"), "{name} to {target} cut at {at}: {end}");
            assert!(!end.contains("[DONE]") && !end.contains("response.completed"), "{name} to {target} cut at {at}");
            assert!(translator.is_done());
            let answer = reread(target, &out);
            assert!(answer.error.is_some() && !answer.is_complete(), "{name} to {target} cut at {at}");
        }
    }
}

fn reread(format: Format, out: &[u8]) -> Answer {
    let mut reader = StreamReader::new(format).unwrap();
    reader.feed(out);
    reader.finish()
}

#[test]
fn what_was_written_reads_as_what_was_read() {
    for (fixture, target) in cells() {
        let seen = run(fixture.format, target, [fixture.body.as_slice()]);
        let back = reread(target, seen.out.as_bytes());
        let what = format!("{} of {} to {target}", fixture.name, fixture.format);
        assert_eq!(back.malformed, 0, "{what}");
        if matches!(target, Format::Messages | Format::Gemini) {
            // There a refusal is a text.
            assert_eq!(back.text, seen.answer.text.clone() + &seen.answer.refusal, "{what}");
        } else {
            assert_eq!(back.text, seen.answer.text, "{what}");
            assert_eq!(back.refusal, seen.answer.refusal, "{what}");
        }
        assert_eq!(back.reasoning, seen.answer.reasoning, "{what}");
        // Formats that take an object write it without blanks, and a text that is none inside one.
        let calls = |answer: &Answer| {
            let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text));
            let call = |c: &llm::ToolCall| match value(&c.arguments) {
                serde_json::Value::Object(o) if o.len() == 1 => {
                    o.get("arguments").or(o.get("input")).cloned().unwrap_or(serde_json::Value::Object(o))
                }
                serde_json::Value::String(text) if text.is_empty() => serde_json::json!({}),
                other => other,
            };
            answer.tool_calls.iter().map(|c| (c.id.clone(), c.name.clone(), call(c))).collect::<Vec<_>>()
        };
        if matches!(target, Format::Messages | Format::Gemini) {
            assert_eq!(calls(&back), calls(&seen.answer), "{what}");
        } else {
            assert_eq!(back.tool_calls, seen.answer.tool_calls, "{what}");
        }
        assert_eq!(back.error.is_some(), seen.answer.error.is_some() || !seen.answer.is_complete(), "{what}");
        if back.error.is_none() {
            let counted = |u: llm::Usage| {
                // Anthropic's counts do not tell reasoning from the rest.
                let reasoning = u.reasoning.filter(|_| target != Format::Messages).unwrap_or(0);
                (u.prompt.unwrap_or(0), u.completion.unwrap_or(0), u.cached.unwrap_or(0), reasoning)
            };
            assert_eq!(counted(back.usage), counted(seen.answer.usage), "{what}");
        }
    }
}

#[test]
fn a_long_stream_takes_no_more_memory_than_a_short_one() {
    let mut translator = StreamTranslator::new(Format::Chat, Format::Chat, meta()).unwrap();
    let text = "x".repeat(1000);
    let chunk = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let mut out = Vec::new();
    for _ in 0..12_000 {
        out.clear();
        translator.feed(chunk.as_bytes(), &mut out);
    }
    assert!(translator.answer().truncated);
    assert!(translator.answer().text.len() <= llm::MAX_KEPT_BYTES);
    assert!((4096..16_384).contains(&translator.answer().beyond.len()));
    translator.feed(b"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", &mut out);
    translator.finish(&mut out);
    assert!(translator.answer().is_complete());
}

#[test]
fn line_ends_and_comments_make_no_difference() {
    for (fixture, target) in cells() {
        let text = String::from_utf8_lossy(&fixture.body).into_owned();
        let is_sse = text.starts_with("data:") || text.starts_with("event:");
        // A stream that was cut inside a line is another one with another line end.
        if !is_sse || fixture.name.starts_with("cut") || text.contains('\r') && !text.contains("\r\n") {
            continue;
        }
        let plain = text.replace("\r\n", "\n");
        let expected = run(fixture.format, target, [plain.as_bytes()]).out;
        let same = |text: &str, what: &str| {
            let out = run(fixture.format, target, [text.as_bytes()]).out;
            assert_eq!(out, expected, "{} of {} to {target}: {what}", fixture.name, fixture.format);
        };
        same(&plain.replace('\n', "\r\n"), "CRLF");
        same(&plain.replace('\n', "\r"), "CR");
        same(&plain.replace("\ndata:", "\n: still here\nid: 7\ndata:"), "comments and ids");
        same(plain.trim_end(), "the last line is not ended");
    }
}
