//! A view of a request: the few fields that matter on the way, borrowed from its bytes.
//!
//! A call in the format of its provider passes through byte by byte: a rewrite is a splice at the place of a field, so
//! that unknown fields survive as they were sent. One pass over the body, no tree.

mod gemini;
mod messages;
mod top;
mod wire;

use crate::Format;
use serde::de::Error as _;
use serde_json::value::RawValue;
use std::{borrow::Cow, ops::Range};

/// A request that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("the body is not a request in the format of {}: {source}", format.title())]
pub struct RequestError {
    format: Format,
    source: serde_json::Error,
}

/// The result of a tool call as the request carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult<'a> {
    /// The id of the tool call.
    pub tool_call_id: Cow<'a, str>,
    /// Where its content stands in the body, a JSON string or an array of parts; empty if there is none.
    pub content_at: Range<usize>,
}

/// A view of a request.
#[derive(Debug)]
pub struct View<'a> {
    /// The model that is asked for.
    pub model: Cow<'a, str>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether a streamed answer is to end with token counts; of formats other than Chat always.
    pub include_usage: bool,
    /// Names of the tools on offer.
    pub tools: Vec<Cow<'a, str>>,
    /// Results of tool calls, oldest first.
    pub tool_results: Vec<ToolResult<'a>>,
    /// The most tokens that the answer may have, all choices together.
    pub max_output_tokens: Option<u64>,
    splice: Splice,
}

/// Where a request is rewritten for its upstream.
#[derive(Debug, Clone)]
pub struct Splice {
    /// Empty where the model is not in the body.
    model_at: Range<usize>,
    stream_options_at: Option<Range<usize>>,
    lacks_usage: bool,
}

/// Reads a request. A field that matters may stand there once: what is checked is what the provider sees. `path` is
/// where formats that name the model in the path have it (Gemini).
pub fn view<'a>(format: Format, path: Option<&'a str>, body: &'a [u8]) -> Result<View<'a>, RequestError> {
    let read = || -> serde_json::Result<View<'a>> {
        let text = std::str::from_utf8(body).map_err(serde_json::Error::custom)?;
        match format {
            Format::Chat => wire::chat(text),
            Format::Responses => wire::responses(text),
            Format::Messages => messages::messages(text),
            Format::Gemini => gemini::gemini(path, text),
            Format::Ollama => Err(serde_json::Error::custom("requests in this format are not taken")),
        }
    };
    read().map_err(|source| RequestError { format, source })
}

impl<'a> View<'a> {
    /// Reads a Chat Completions request.
    pub fn parse(body: &'a [u8]) -> Result<Self, RequestError> {
        view(Format::Chat, None, body)
    }

    /// Where the request is rewritten.
    pub fn splice(&self) -> &Splice {
        &self.splice
    }
}

impl Splice {
    /// The request `body`, from which this was read, with another model name; `include_usage` also asks for token
    /// counts at the end of a stream. All else stays as it was sent.
    pub fn rewrite(&self, body: &[u8], model: &str, include_usage: bool) -> Vec<u8> {
        const USAGE: &[u8] = br#"{"include_usage":true}"#;
        let mut out = Vec::with_capacity(body.len() + model.len() + 64);
        let mut edits: Vec<(Range<usize>, Vec<u8>)> = Vec::with_capacity(2);
        if !self.model_at.is_empty() {
            edits.push((self.model_at.clone(), json_string(model)));
        }
        if include_usage && self.lacks_usage {
            match &self.stream_options_at {
                Some(at) => edits.push((at.clone(), USAGE.to_vec())),
                None => {
                    let end = self.model_at.end;
                    edits.push((end..end, [b",\"stream_options\":", USAGE].concat()));
                }
            }
        }
        edits.sort_by_key(|(at, _)| (at.start, at.end));
        let mut from = 0;
        for (at, text) in edits {
            out.extend_from_slice(&body[from..at.start]);
            out.extend_from_slice(&text);
            from = at.end;
        }
        out.extend_from_slice(&body[from..]);
        out
    }
}

fn json_string(text: &str) -> Vec<u8> {
    serde_json::Value::from(text).to_string().into_bytes()
}

/// Where a value that was borrowed from `body` stands in it.
fn span(body: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - body.as_ptr().addr();
    start..start + value.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#" { "zeta": 1e2, "model" : "up/m\u0031", "messages":[{"role":"user","content":"hi"},
        {"role":"tool","tool_call_id":"c\n1","content":[{"type":"text","text":"r"}]}],"stream":true,
        "tools":[{"type":"function","function":{"name":"exec","x":1}},{"type":"custom"}], "grüße":"東京" }"#;

    #[test]
    fn the_fields_that_matter_are_seen() {
        let r = View::parse(BODY.as_bytes()).unwrap();
        assert_eq!((r.model.as_ref(), r.stream, r.include_usage), ("up/m1", true, false));
        assert_eq!(r.tools, ["exec"]);
        let [result] = r.tool_results.as_slice() else { panic!("one result") };
        assert_eq!(
            (&*result.tool_call_id, &BODY[result.content_at.clone()]),
            ("c\n1", r#"[{"type":"text","text":"r"}]"#)
        );
    }

    #[test]
    fn a_rewrite_touches_only_its_fields() {
        let r = View::parse(BODY.as_bytes()).unwrap();
        let out = String::from_utf8(r.splice().rewrite(BODY.as_bytes(), "a\"b", false)).unwrap();
        assert_eq!(out, BODY.replace(r#""up/m\u0031""#, r#""a\"b""#));
        let out = String::from_utf8(r.splice().rewrite(BODY.as_bytes(), "m", true)).unwrap();
        assert_eq!(out, BODY.replace(r#""up/m\u0031""#, r#""m","stream_options":{"include_usage":true}"#));
        assert!(View::parse(out.as_bytes()).unwrap().include_usage);
        for options in [r#"{"include_usage":false}"#, "null", "{}"] {
            let body = format!(r#"{{"stream_options":{options},"stream":true,"model":"a","messages":[]}}"#);
            let out = View::parse(body.as_bytes()).unwrap().splice().rewrite(body.as_bytes(), "b", true);
            let again = r#"{"stream_options":{"include_usage":true},"stream":true,"model":"b","messages":[]}"#;
            assert_eq!(String::from_utf8(out).unwrap(), again);
        }
    }

    #[test]
    fn what_an_upstream_could_read_otherwise_is_refused() {
        let bad = [
            r#"{"model":"a","model":"b","messages":[]}"#,
            r#"{"model":"a","Model":"b","messages":[]}"#,
            r#"{"model":"a","mode\u006c":"b","messages":[]}"#,
            r#"{"model":"a","me\u017f\u017fages":[],"messages":[]}"#,
            r#"{"model":"a","stream":false,"STREAM":true,"messages":[]}"#,
            r#"{"model":"a"}"#,
            r#"{"model":"","messages":[]}"#,
            r#"{"model":7,"messages":[]}"#,
            r#"{"messages":[]}"#,
            r#"[]"#,
            "",
            r#"{"model":"a","messages":[]} x"#,
        ];
        for body in bad {
            assert!(View::parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(View::parse(b"{\"model\":\"a\",\"messages\":[],\"x\":\"\xff\"}").is_err(), "not UTF-8");
    }
}
