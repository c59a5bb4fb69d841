//! What a view reads of an Anthropic Messages request.

use super::{
    ToolResult, View, span,
    top::{Names, Top, read_top},
    wire::{Text, of_top},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// A Messages or `count_tokens` request.
pub(super) fn messages(text: &str) -> serde_json::Result<View<'_>> {
    const NAMES: Names = Names { messages: "messages", max_tokens: &["max_tokens"] };
    let top: Top<'_, Vec<Message<'_>>> = read_top(&NAMES, text)?;
    let blocks = top.messages.as_ref().ok_or_else(|| serde_json::Error::missing_field("messages"))?.iter();
    let results = blocks.flat_map(|m| &m.content.0).filter_map(|b| b.tool_result(text)).collect();
    of_top(text, top, results)
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Content<'a>,
}

/// A content: a text, or blocks.
#[derive(Default)]
struct Content<'a>(Vec<Block<'a>>);

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    tool_use_id: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

impl<'a> Block<'a> {
    fn tool_result(&self, text: &'a str) -> Option<ToolResult<'a>> {
        (self.kind.as_ref()?.0 == "tool_result").then_some(())?;
        Some(ToolResult {
            tool_call_id: self.tool_use_id.as_ref()?.0.clone(),
            content_at: self.content.map_or(0..0, |c| span(text.as_bytes(), c)),
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Content<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of blocks")
            }
            fn visit_str<E>(self, _: &str) -> Result<Content<'de>, E> {
                Ok(Content::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content<'de>, A::Error> {
                let mut blocks = Vec::new();
                while let Some(block) = seq.next_element()? {
                    blocks.push(block);
                }
                Ok(Content(blocks))
            }
        }
        d.deserialize_any(V)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Format, view};

    const BODY: &str = r#"{"max_tokens":64,"model":"a","system":[{"type":"text","text":"s"}],"messages":[
        {"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"x","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"r"},{"type":"text","text":"y"},
        {"type":"tool_result","tool_use_id":"t2"}]}],"tools":[{"name":"x","input_schema":{}},{"type":"bash_20250124","name":"bash"}]}"#;

    #[test]
    fn the_fields_that_matter_are_seen() {
        let v = view(Format::Messages, None, BODY.as_bytes()).unwrap();
        assert_eq!((v.model.as_ref(), v.stream, v.max_output_tokens), ("a", false, Some(64)));
        assert_eq!(v.tools, ["x", "bash"]);
        let results: Vec<_> = v.tool_results.iter().map(|r| (&*r.tool_call_id, &BODY[r.content_at.clone()])).collect();
        assert_eq!(results, [("t1", "\"r\""), ("t2", "")]);
        let again = v.splice().rewrite(BODY.as_bytes(), "b", true);
        assert_eq!(String::from_utf8(again).unwrap(), BODY.replace(r#""model":"a""#, r#""model":"b""#));
        assert!(view(Format::Messages, None, br#"{"model":"a","MAX_TOKENS":1,"messages":[]}"#).is_err());
        assert!(view(Format::Messages, None, br#"{"model":"a"}"#).is_err());
    }
}
