//! Answers in the shapes that upstreams really send, in every split.

use super::{StreamReader, read_answer};
use crate::{Answer, ToolCall, Usage};

const STREAM: &str = concat!(
    ": OPENROUTER PROCESSING\n\n",
    "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\r\n\r\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Grüße, \\u6771京 🚀\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"!\",\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":",
    "\"function\",\"function\":{\"name\":\"exec\",\"arguments\":\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"c\\\":\"}},",
    "{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"read\",\"arguments\":\"{}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"1}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}],\"usage\":null}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":7,\"prompt_tokens_details\":",
    "{\"cached_tokens\":8}}}\n\n",
    "data: [DONE]\n\n",
);

fn read(pieces: &[&[u8]]) -> Answer {
    let mut reader = StreamReader::default();
    pieces.iter().for_each(|p| reader.feed(p));
    reader.finish()
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }
}

fn chunk(tool_calls: &str) -> String {
    format!("data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{tool_calls}]}}}}]}}\n\n")
}

#[test]
fn a_stream_is_added_up() {
    let a = read(&[STREAM.as_bytes()]);
    assert_eq!((a.text.as_str(), a.reasoning.as_str()), ("Grüße, 東京 🚀!", "hm"));
    assert_eq!(a.tool_calls, [call("a", "exec", "{\"c\":1}"), call("b", "read", "{}")]);
    assert_eq!(a.usage, Usage { prompt: Some(25), completion: Some(7), cached: Some(8), ..Usage::default() });
    assert_eq!(a.finish_reason.as_deref(), Some("tool_calls"));
    assert!(a.done && a.is_complete() && a.error.is_none() && a.malformed == 0);
}

#[test]
fn every_split_gives_the_same_answer() {
    let bytes = STREAM.as_bytes();
    let whole = read(&[bytes]);
    for at in 0..=bytes.len() {
        assert_eq!(read(&[&bytes[..at], &bytes[at..]]), whole, "split at {at}");
    }
    // Pseudo-random pieces; the seed is in the message.
    for seed in 1..300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (piece, more) = rest.split_at(((state >> 33) as usize % 40).min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        assert_eq!(read(&pieces), whole, "seed {seed}");
    }
}

#[test]
fn a_cut_at_any_byte_yields_a_beginning_and_never_a_false_end() {
    let bytes = STREAM.as_bytes();
    let whole = read(&[bytes]);
    let finish = STREAM.find("\"finish_reason\"").unwrap();
    for at in 0..finish {
        let a = read(&[&bytes[..at]]);
        assert!(!a.is_complete(), "cut at {at}");
        assert_eq!(a.malformed, 0, "cut at {at}");
        assert!(whole.text.starts_with(&a.text), "cut at {at}");
        assert!(a.tool_calls.len() <= whole.tool_calls.len(), "cut at {at}");
    }
}

#[test]
fn a_missing_end_mark_is_seen() {
    let a = read(&[STREAM.replace("data: [DONE]\n\n", "").as_bytes()]);
    assert!(!a.done && a.is_complete());
    let last = STREAM.trim_end();
    assert!(read(&[last.as_bytes()]).done, "the closing blank line may be missing");
}

#[test]
fn odd_tool_deltas_are_told_apart() {
    let same_index = [
        chunk(r#"{"index":0,"id":"a","function":{"name":"x","arguments":"{}"}}"#),
        chunk(r#"{"index":0,"id":"b","function":{"name":"y","arguments":"{}"}}"#),
    ]
    .concat();
    assert_eq!(read(&[same_index.as_bytes()]).tool_calls, [call("a", "x", "{}"), call("b", "y", "{}")]);
    let no_index = [
        chunk(r#"{"id":"a","function":{"name":"x","arguments":"{"}}"#),
        chunk(r#"{"function":{"arguments":"}"}}"#),
        chunk(r#"{"id":"b","function":{"name":"y","arguments":{"k":[1]}}}"#),
    ]
    .concat();
    assert_eq!(read(&[no_index.as_bytes()]).tool_calls, [call("a", "x", "{}"), call("b", "y", "{\"k\":[1]}")]);
    let repeated_id = [
        chunk(r#"{"index":0,"id":"a","function":{"name":"x","arguments":"{"}}"#),
        chunk(r#"{"index":0,"id":"a","function":{"name":"x","arguments":"}"}}"#),
    ]
    .concat();
    assert_eq!(read(&[repeated_id.as_bytes()]).tool_calls, [call("a", "x", "{}")]);
}

#[test]
fn errors_and_other_texts_are_reported() {
    let a = read(&[b"data: {\"error\":{\"message\":\"overloaded\",\"type\":\"x\"}}\n\n"]);
    assert_eq!((a.error.as_deref(), a.is_complete()), (Some("overloaded"), false));
    assert_eq!(read_answer(br#"{"error":"model not found"}"#).error.as_deref(), Some("model not found"));
    assert_eq!(read(&[b"data: <html>\n\n"]).malformed, 1);
    assert_eq!(read_answer(b"<html>bad gateway</html>").malformed, 1);
}

#[test]
fn a_whole_answer_is_read() {
    let a = read_answer(
        br#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi","tool_calls":[{"id":"a","type":"function",
        "function":{"name":"exec","arguments":"{\"x\":1}"}},{"id":"b","function":{"name":"exec","arguments":"{}"}}]},
        "finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#,
    );
    assert_eq!((a.text.as_str(), a.finish_reason.as_deref()), ("hi", Some("stop")));
    assert_eq!(a.tool_calls, [call("a", "exec", "{\"x\":1}"), call("b", "exec", "{}")]);
    assert_eq!(a.usage, Usage { prompt: Some(3), completion: Some(4), ..Usage::default() });
}
