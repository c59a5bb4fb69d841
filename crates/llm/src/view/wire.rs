//! The fields of each format that a view reads.

use super::{
    Splice, ToolResult, View, span,
    top::{Names, Top, read_top},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// A Chat Completions request.
pub(super) fn chat(text: &str) -> serde_json::Result<View<'_>> {
    const NAMES: Names = Names { messages: "messages", max_tokens: &["max_completion_tokens", "max_tokens"] };
    let top: Top<'_, Vec<ChatMessage<'_>>> = read_top(&NAMES, text)?;
    let results = top.messages.iter().flatten().filter_map(|m| m.tool_result(text)).collect();
    if top.messages.is_none() {
        return Err(serde_json::Error::missing_field("messages"));
    }
    let usage: Option<StreamOptions> = top.stream_options.map(|o| serde_json::from_str(o.get())).transpose()?.flatten();
    let include_usage = usage.is_some_and(|o| o.include_usage);
    let mut view = of_top(text, top, results)?;
    view.include_usage = include_usage;
    view.splice.lacks_usage = view.stream && !include_usage;
    Ok(view)
}

/// A Responses request.
pub(super) fn responses(text: &str) -> serde_json::Result<View<'_>> {
    const NAMES: Names = Names { messages: "input", max_tokens: &["max_output_tokens"] };
    let top: Top<'_, Input<'_>> = read_top(&NAMES, text)?;
    let results = top.messages.iter().flat_map(|i| &i.0).filter_map(|i| i.tool_result(text)).collect();
    of_top(text, top, results)
}

pub(super) fn of_top<'a, M>(
    text: &'a str,
    top: Top<'a, M>,
    tool_results: Vec<ToolResult<'a>>,
) -> serde_json::Result<View<'a>> {
    let raw = top.model.ok_or_else(|| serde_json::Error::missing_field("model"))?;
    let model: Text<'a> = serde_json::from_str(raw.get())?;
    if model.0.is_empty() {
        return Err(serde_json::Error::custom("`model` is empty"));
    }
    let body = text.as_bytes();
    Ok(View {
        model: model.0,
        stream: top.stream,
        include_usage: true,
        tools: top.tools.into_iter().filter_map(Tool::name).collect(),
        tool_results,
        max_output_tokens: top.max_tokens.map(|m| m.saturating_mul(top.n.unwrap_or(1).max(1))),
        splice: Splice {
            model_at: span(body, raw),
            stream_options_at: top.stream_options.map(|o| span(body, o)),
            lacks_usage: false,
        },
    })
}

/// A string, borrowed where it holds no escape.
#[derive(Debug, Default)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

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

/// A tool: its name stands beside its type, or under it.
#[derive(Deserialize)]
pub(super) struct Tool<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<Named<'a>>,
    #[serde(borrow)]
    custom: Option<Named<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

impl<'a> Tool<'a> {
    fn name(self) -> Option<Cow<'a, str>> {
        let under = self.function.or(self.custom).map(|f| f.name);
        under.or(self.name).map(|n| n.0)
    }
}

#[derive(Deserialize)]
struct ChatMessage<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    tool_call_id: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

impl<'a> ChatMessage<'a> {
    fn tool_result(&self, text: &'a str) -> Option<ToolResult<'a>> {
        (self.role.0 == "tool").then_some(())?;
        Some(ToolResult {
            tool_call_id: self.tool_call_id.as_ref()?.0.clone(),
            content_at: self.content.map_or(0..0, |c| span(text.as_bytes(), c)),
        })
    }
}

/// The input of a Responses request: a text, or items.
struct Input<'a>(Vec<InputItem<'a>>);

#[derive(Deserialize)]
struct InputItem<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    call_id: Option<Text<'a>>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
}

impl<'a> InputItem<'a> {
    fn tool_result(&self, text: &'a str) -> Option<ToolResult<'a>> {
        self.kind.as_ref()?.0.ends_with("_call_output").then_some(())?;
        Some(ToolResult {
            tool_call_id: self.call_id.as_ref()?.0.clone(),
            content_at: self.output.map_or(0..0, |c| span(text.as_bytes(), c)),
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Input<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Input<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of items")
            }
            fn visit_str<E>(self, _: &str) -> Result<Input<'de>, E> {
                Ok(Input(Vec::new()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Input<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Input(items))
            }
        }
        d.deserialize_any(V)
    }
}
