//! Requests and whole answers of each format in every other.

use crate::world::{CLIENTS, PROVIDERS, Snapshots, fixtures, pretty};
use llm::{Loss, StreamMeta, TranslateError, translate_request, translate_response};
use std::fmt::Write;

/// What a call gives to its answer.
pub(crate) fn meta() -> StreamMeta {
    StreamMeta {
        id: "test".into(),
        model: "asked-model".into(),
        created: 1_700_000_000,
        include_usage: true,
        ..StreamMeta::default()
    }
}

fn losses(out: &mut String, losses: &[Loss]) {
    for Loss { field, note } in losses {
        writeln!(out, "lost: {field}: {note}").unwrap();
    }
}

fn refused(error: &TranslateError) -> String {
    format!("refused: {error}\n")
}

#[test]
fn requests() {
    let mut snapshots = Snapshots::new("requests");
    for fixture in fixtures("requests") {
        for target in PROVIDERS.iter().filter(|p| **p != fixture.format) {
            // OpenAI's own models take fields that others do not.
            let model = if fixture.name.starts_with("own_") { "gpt-5.2" } else { "target-model" };
            let text = match translate_request(fixture.format, *target, &fixture.body, model, &|_| None) {
                Ok(done) => {
                    let mut text = pretty(&done.body) + "\n";
                    losses(&mut text, &done.losses);
                    text
                }
                Err(error) => refused(&error),
            };
            snapshots.check(&fixture, target.as_str(), &text);
        }
    }
    snapshots.finish();
}

#[test]
fn answers() {
    let mut snapshots = Snapshots::new("answers");
    for fixture in fixtures("answers") {
        for target in CLIENTS.iter().filter(|c| **c != fixture.format) {
            let text = match translate_response(fixture.format, *target, &fixture.body, &meta()) {
                Ok(done) => {
                    let mut text = pretty(&done.body) + "\n";
                    losses(&mut text, &done.losses);
                    for (id, kept) in &done.carries {
                        writeln!(text, "carried: {id}: {}", String::from_utf8_lossy(kept)).unwrap();
                    }
                    text
                }
                Err(error) => refused(&error),
            };
            snapshots.check(&fixture, target.as_str(), &text);
        }
    }
    snapshots.finish();
}
