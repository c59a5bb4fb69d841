//! Properties that hold for every stream fixture: any split gives the same bytes, and a cut is reported.

use crate::{
    cells::{CLIENTS, meta},
    files::fixtures,
};
use llm::{Answer, Format, StreamReader, StreamTranslator};

fn translate(from: Format, to: Format, pieces: &[&[u8]]) -> (String, Answer) {
    let mut out = Vec::new();
    let mut translator = StreamTranslator::new(from, to, meta()).unwrap();
    for piece in pieces {
        translator.feed(piece, &mut out);
    }
    translator.finish(&mut out);
    (String::from_utf8(out).unwrap(), translator.into_answer())
}

/// Cuts `bytes` into pieces of pseudo-random lengths.
fn pieces(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (piece, more) = rest.split_at(((state >> 33) as usize % 40).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

#[test]
fn every_split_gives_the_same_stream() {
    for fixture in fixtures("streams") {
        for to in CLIENTS.iter().filter(|to| **to != fixture.format) {
            let whole = translate(fixture.format, *to, &[&fixture.body]);
            let bytes: Vec<&[u8]> = fixture.body.chunks(1).collect();
            assert_eq!(translate(fixture.format, *to, &bytes), whole, "{}: byte by byte", fixture.name);
            for at in (0..=fixture.body.len()).step_by(7) {
                let (a, b) = fixture.body.split_at(at);
                assert_eq!(translate(fixture.format, *to, &[a, b]), whole, "{}: split at {at}", fixture.name);
            }
            for seed in 1..30 {
                let split = pieces(&fixture.body, seed);
                assert_eq!(translate(fixture.format, *to, &split), whole, "{}: seed {seed}", fixture.name);
            }
        }
    }
}

#[test]
fn line_ends_and_comments_make_no_difference() {
    for fixture in fixtures("streams") {
        let text = String::from_utf8(fixture.body.clone()).unwrap();
        if !text.starts_with("data:") && !text.starts_with("event:") {
            continue;
        }
        let plain = text.replace("\r\n", "\n");
        for to in CLIENTS.iter().filter(|to| **to != fixture.format) {
            let expected = translate(fixture.format, *to, &[plain.as_bytes()]);
            let crlf = plain.replace('\n', "\r\n");
            assert_eq!(translate(fixture.format, *to, &[crlf.as_bytes()]), expected, "{}: CRLF", fixture.name);
            let commented = plain.replace("data:", ": still here\ndata:");
            assert_eq!(translate(fixture.format, *to, &[commented.as_bytes()]), expected, "{}", fixture.name);
            let unended = plain.trim_end();
            assert_eq!(translate(fixture.format, *to, &[unended.as_bytes()]), expected, "{}: unended", fixture.name);
        }
    }
}

#[test]
fn a_cut_ends_with_an_error_and_never_as_if_complete() {
    for fixture in fixtures("streams") {
        for to in CLIENTS.iter().filter(|to| **to != fixture.format) {
            let (_, whole) = translate(fixture.format, *to, &[&fixture.body]);
            for at in (0..fixture.body.len()).step_by(5) {
                let (out, answer) = translate(fixture.format, *to, &[&fixture.body[..at]]);
                assert!(whole.text.starts_with(&answer.text), "{}: cut at {at}", fixture.name);
                if answer.finish_reason.is_none() {
                    assert!(answer.error.is_some(), "{}: cut at {at}", fixture.name);
                    assert!(out.contains("error"), "{}: cut at {at}: {out}", fixture.name);
                    for end in ["[DONE]", "message_stop", "finishReason", "response.completed"] {
                        assert!(!out.contains(end), "{}: cut at {at} has {end}", fixture.name);
                    }
                }
            }
        }
    }
}

#[test]
fn a_reader_sees_what_a_translator_sees() {
    for fixture in fixtures("streams") {
        for to in CLIENTS.iter().filter(|to| **to != fixture.format) {
            let (_, translated) = translate(fixture.format, *to, &[&fixture.body]);
            let mut reader = StreamReader::new(fixture.format).unwrap();
            reader.feed(&fixture.body);
            let read = reader.finish();
            assert_eq!((&read.text, &read.reasoning), (&translated.text, &translated.reasoning), "{}", fixture.name);
            assert_eq!((&read.usage, &read.finish_reason), (&translated.usage, &translated.finish_reason));
        }
    }
}
