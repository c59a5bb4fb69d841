//! Content blocks: read from requests and answers, and written into both.

use super::thinking;
use crate::{
    Format, Losses, TranslateError,
    ir::{CacheMark, Content, Json, Opaque, Part, Reasoning, Seal, Source, ToolCallPart, ToolResultPart},
    read::{Item, Object, items, text_of},
};
use serde_json::value::RawValue;

type Result<T> = std::result::Result<T, TranslateError>;

/// How deep blocks may stand in blocks: a tool result in a message, a text in the tool result.
const MAX_DEPTH: u8 = 3;

/// Reads a content that is a text or an array of blocks.
pub(super) fn parse_content(path: &str, raw: &RawValue, losses: &mut Losses) -> Result<Vec<Part>> {
    parse_nested(path, raw, losses, MAX_DEPTH)
}

fn parse_nested(path: &str, raw: &RawValue, losses: &mut Losses, depth: u8) -> Result<Vec<Part>> {
    if let Some(text) = text_of(raw) {
        return Ok(vec![Part::text(text)]);
    }
    let depth = depth.checked_sub(1).ok_or_else(|| TranslateError::Malformed {
        format: Format::Messages,
        what: format!("`{path}`"),
        why: "blocks are nested too deeply".into(),
    })?;
    items(Format::Messages, path, raw)?.into_iter().map(|item| parse_block(item, losses, depth)).collect()
}

fn parse_block(item: Item<'_>, losses: &mut Losses, depth: u8) -> Result<Part> {
    let raw = item.raw;
    let mut block = item.object()?;
    let kind: String = block.need("type")?;
    let content = match kind.as_str() {
        "text" => Content::Text { text: block.need("text")?, annotations: parse_citations(&mut block)? },
        "image" => Content::Image { source: parse_source(&mut block, losses)?, detail: None },
        "document" => parse_document(&mut block, raw, losses)?,
        "thinking" => {
            let text: String = block.need("thinking")?;
            let seal = block.string("signature")?.and_then(|s| Seal::read(Format::Messages, &s));
            let texts = Some(text).filter(|t| !t.is_empty()).into_iter().collect();
            Content::Reasoning(Reasoning { texts, id: None, seal, redacted: false })
        }
        "redacted_thinking" => {
            let seal = Seal::read(Format::Messages, &block.need::<String>("data")?);
            Content::Reasoning(Reasoning { texts: Vec::new(), id: None, seal, redacted: true })
        }
        "tool_use" => Content::ToolCall(ToolCallPart {
            id: block.need("id")?,
            name: block.need("name")?,
            arguments: block.take("input").map_or_else(|| "{}".into(), |i| Json::from(i).compact()),
            custom: false,
            seal: None,
        }),
        "tool_result" => Content::ToolResult(ToolResultPart {
            call_id: block.need("tool_use_id")?,
            name: None,
            parts: match block.take("content") {
                Some(content) => parse_nested(&block.at("content"), content, losses, depth)?,
                None => Vec::new(),
            },
            is_error: block.get("is_error")?.unwrap_or(false),
            custom: false,
        }),
        _ => {
            let cache = parse_cache(&mut block, losses)?;
            let value = Json::from(raw);
            return Ok(Part { content: Content::Opaque(Opaque { format: Format::Messages, kind, value }), cache });
        }
    };
    let cache = parse_cache(&mut block, losses)?;
    block.rest(losses);
    Ok(Part { content, cache })
}

fn parse_citations(block: &mut Object<'_>) -> Result<Vec<Opaque>> {
    let citations = block.array("citations")?.unwrap_or_default();
    Ok(citations
        .into_iter()
        .map(|c| Opaque { format: Format::Messages, kind: "citation".into(), value: Json::from(c.raw) })
        .collect())
}

/// The cache marker of a block, tool or request.
pub(super) fn parse_cache(block: &mut Object<'_>, losses: &mut Losses) -> Result<Option<CacheMark>> {
    let Some(mut mark) = block.object("cache_control")? else { return Ok(None) };
    mark.ignore(&["type"]);
    let ttl = mark.string("ttl")?;
    mark.rest(losses);
    Ok(Some(CacheMark { ttl }))
}

fn parse_source(block: &mut Object<'_>, losses: &mut Losses) -> Result<Source> {
    let mut source = block.object("source")?.ok_or_else(|| block.bad("source", "it is missing"))?;
    let kind: String = source.need("type")?;
    let parsed = match kind.as_str() {
        "base64" => Source::Base64 { media_type: source.need("media_type")?, data: source.need("data")? },
        "url" => parse_url(source.need("url")?),
        "text" => {
            source.ignore(&["media_type"]);
            Source::Text(source.need("data")?)
        }
        "file" => Source::Id { origin: Format::Messages, id: source.need("file_id")? },
        _ => return Err(source.bad("type", "it is none of `base64`, `url`, `text`, `file`")),
    };
    source.rest(losses);
    Ok(parsed)
}

/// An address; one that holds its data is taken apart.
fn parse_url(url: String) -> Source {
    let data = url.strip_prefix("data:").and_then(|d| d.split_once(";base64,"));
    match data {
        Some((media_type, data)) => Source::Base64 { media_type: media_type.into(), data: data.into() },
        None => Source::Url { url, media_type: None },
    }
}

/// A document; one whose source is a list of blocks is known to Anthropic alone.
fn parse_document(block: &mut Object<'_>, raw: &RawValue, losses: &mut Losses) -> Result<Content> {
    #[derive(serde::Deserialize)]
    struct Kind {
        source: Inner,
    }
    #[derive(serde::Deserialize)]
    struct Inner {
        #[serde(rename = "type")]
        kind: String,
    }
    if serde_json::from_str::<Kind>(raw.get()).is_ok_and(|k| k.source.kind == "content") {
        block.ignore(&["source", "title", "context", "citations"]);
        let value = Json::from(raw);
        return Ok(Content::Opaque(Opaque { format: Format::Messages, kind: "document".into(), value }));
    }
    if let Some(mut citations) = block.object("citations")? {
        if citations.get("enabled")?.unwrap_or(false) {
            return Err(block.unsupported("citations", "only Anthropic's models cite documents; leave it out"));
        }
        citations.rest(losses);
    }
    Ok(Content::File { source: parse_source(block, losses)?, name: block.string("title")? })
}

/// Reads the blocks of an answer.
pub(super) fn parse_answer(top: &mut Object<'_>, losses: &mut Losses) -> Result<Vec<Part>> {
    match top.take("content") {
        Some(content) => parse_content(&top.at("content"), content, losses),
        None => Ok(Vec::new()),
    }
}

/// The blocks of an answer for a client: reasoning of every provider becomes thinking.
pub(super) fn render_answer(parts: &[Part], out: &mut crate::write::Array<'_>, losses: &mut Losses) {
    for Part { content, cache: _ } in parts {
        match content {
            Content::Text { text, annotations } => {
                losses.add_if(!annotations.is_empty(), "annotations", "the client's format has none of this kind");
                if !text.is_empty() {
                    text_block(out, text);
                }
            }
            Content::Refusal(text) => text_block(out, text),
            Content::Reasoning(reasoning) => thinking::render(reasoning, out),
            Content::ToolCall(call) => {
                let mut block = out.object();
                block.put("type", "tool_use");
                block.put("id", &call.id);
                block.put("name", &call.name);
                block.put("input", &arguments(&call.arguments, call.custom).0);
            }
            Content::Image { .. } | Content::File { .. } | Content::Audio { .. } => {
                losses.add("content", "images and files in an answer have no place in the client's format");
            }
            Content::ToolResult(_) | Content::Opaque(_) => {
                losses.add("content", "a trace of a tool at the provider has no place in the client's format");
            }
        }
    }
}

fn text_block(out: &mut crate::write::Array<'_>, text: &str) {
    let mut block = out.object();
    block.put("type", "text");
    block.put("text", text);
}

/// Arguments as the object that Anthropic requires, and whether they were not one: a text that is none is kept inside
/// an object.
pub(super) fn arguments(text: &str, custom: bool) -> (Json, bool) {
    let trimmed = text.trim();
    if trimmed.is_empty() && !custom {
        return (Json::of(&serde_json::Map::new()), false);
    }
    match Json::parse(trimmed).filter(|_| trimmed.starts_with('{') && !custom) {
        Some(json) => (json, false),
        None => {
            let key = if custom { "input" } else { "arguments" };
            (Json::of(&std::collections::BTreeMap::from([(key, text)])), true)
        }
    }
}
