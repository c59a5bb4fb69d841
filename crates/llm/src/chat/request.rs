//! A view of a request: the few fields that matter, borrowed from its bytes.

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, ops::Range};

/// A request that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("the body is not a chat completion request: {0}")]
pub struct RequestError(#[from] serde_json::Error);

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
pub struct ChatRequest<'a> {
    /// The model that is asked for.
    pub model: Cow<'a, str>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether a streamed answer is to end with token counts.
    pub include_usage: bool,
    /// Names of the tools on offer.
    pub tools: Vec<Cow<'a, str>>,
    /// Results of tool calls, oldest first.
    pub tool_results: Vec<ToolResult<'a>>,
    splice: Splice,
}

/// Where a request is rewritten for its upstream.
#[derive(Debug, Clone)]
pub struct Splice {
    model_at: Range<usize>,
    stream_options_at: Option<Range<usize>>,
    lacks_usage: bool,
}

impl<'a> ChatRequest<'a> {
    /// Reads a request. A field that matters may stand there once: what is checked is what the upstream sees.
    pub fn parse(body: &'a [u8]) -> Result<Self, RequestError> {
        let text = std::str::from_utf8(body).map_err(serde_json::Error::custom)?;
        let top: Top<'a> = serde_json::from_str(text)?;
        let model: Text<'a> = serde_json::from_str(top.model.get())?;
        if model.0.is_empty() {
            return Err(serde_json::Error::custom("`model` is empty").into());
        }
        let usage: Option<StreamOptions> =
            top.stream_options.map(|o| serde_json::from_str(o.get())).transpose()?.flatten();
        let include_usage = usage.is_some_and(|o| o.include_usage);
        Ok(Self {
            model: model.0,
            stream: top.stream,
            include_usage,
            tools: top.tools.into_iter().filter_map(|t| t.function.map(|f| f.name.0)).collect(),
            tool_results: top.messages.into_iter().filter_map(|m| m.tool_result(body)).collect(),
            splice: Splice {
                model_at: span(body, top.model),
                stream_options_at: top.stream_options.map(|o| span(body, o)),
                lacks_usage: top.stream && !include_usage,
            },
        })
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
        let mut edits: Vec<(Range<usize>, Vec<u8>)> = vec![(self.model_at.clone(), json_string(model))];
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

/// A string, borrowed where it holds no escape.
#[derive(Debug, Default)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, s: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(s)))
            }
            fn visit_str<E>(self, s: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(s.to_owned())))
            }
        }
        d.deserialize_str(V)
    }
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    tool_call_id: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    fn tool_result(self, body: &[u8]) -> Option<ToolResult<'a>> {
        (self.role.0 == "tool").then_some(())?;
        Some(ToolResult {
            tool_call_id: self.tool_call_id?.0,
            content_at: self.content.map_or(0..0, |c| span(body, c)),
        })
    }
}

struct Top<'a> {
    model: &'a RawValue,
    stream: bool,
    stream_options: Option<&'a RawValue>,
    messages: Vec<Message<'a>>,
    tools: Vec<Tool<'a>>,
}

enum Field {
    Model,
    Stream,
    StreamOptions,
    Messages,
    Tools,
    Other,
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Field;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_str<E: serde::de::Error>(self, s: &str) -> Result<Field, E> {
                const KNOWN: [(&str, Field); 5] = [
                    ("model", Field::Model),
                    ("stream", Field::Stream),
                    ("stream_options", Field::StreamOptions),
                    ("messages", Field::Messages),
                    ("tools", Field::Tools),
                ];
                for (name, field) in KNOWN {
                    if s == name {
                        return Ok(field);
                    }
                    // Some upstreams take a field in any case, and the last one wins there.
                    if s.to_lowercase().replace('\u{17f}', "s") == name {
                        return Err(E::custom(format_args!("the field {s:?} must be spelled `{name}`")));
                    }
                }
                Ok(Field::Other)
            }
        }
        d.deserialize_identifier(V)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de>, A::Error> {
        let mut model = None;
        let mut stream: Option<Option<bool>> = None;
        let mut stream_options: Option<&'de RawValue> = None;
        let mut messages: Option<Vec<Message<'de>>> = None;
        let mut tools: Option<Option<Vec<Tool<'de>>>> = None;
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Model => once(&mut model, "model", map.next_value()?)?,
                Field::Stream => once(&mut stream, "stream", map.next_value()?)?,
                Field::StreamOptions => once(&mut stream_options, "stream_options", map.next_value()?)?,
                Field::Messages => once(&mut messages, "messages", map.next_value()?)?,
                Field::Tools => once(&mut tools, "tools", map.next_value()?)?,
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Top {
            model: model.ok_or_else(|| A::Error::missing_field("model"))?,
            stream: stream.flatten().unwrap_or(false),
            stream_options,
            messages: messages.ok_or_else(|| A::Error::missing_field("messages"))?,
            tools: tools.flatten().unwrap_or_default(),
        })
    }
}

fn once<T, E: serde::de::Error>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#" { "zeta": 1e2, "model" : "up/m\u0031", "messages":[{"role":"user","content":"hi"},
        {"role":"tool","tool_call_id":"c\n1","content":[{"type":"text","text":"r"}]}],"stream":true,
        "tools":[{"type":"function","function":{"name":"exec","x":1}},{"type":"custom"}], "grüße":"東京" }"#;

    #[test]
    fn the_fields_that_matter_are_seen() {
        let r = ChatRequest::parse(BODY.as_bytes()).unwrap();
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
        let r = ChatRequest::parse(BODY.as_bytes()).unwrap();
        let out = String::from_utf8(r.splice().rewrite(BODY.as_bytes(), "a\"b", false)).unwrap();
        assert_eq!(out, BODY.replace(r#""up/m\u0031""#, r#""a\"b""#));
        let out = String::from_utf8(r.splice().rewrite(BODY.as_bytes(), "m", true)).unwrap();
        assert_eq!(out, BODY.replace(r#""up/m\u0031""#, r#""m","stream_options":{"include_usage":true}"#));
        assert!(ChatRequest::parse(out.as_bytes()).unwrap().include_usage);
        for options in [r#"{"include_usage":false}"#, "null", "{}"] {
            let body = format!(r#"{{"stream_options":{options},"stream":true,"model":"a","messages":[]}}"#);
            let out = ChatRequest::parse(body.as_bytes()).unwrap().splice().rewrite(body.as_bytes(), "b", true);
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
            assert!(ChatRequest::parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(ChatRequest::parse(b"{\"model\":\"a\",\"messages\":[],\"x\":\"\xff\"}").is_err(), "not UTF-8");
    }
}
