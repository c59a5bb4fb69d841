//! Items and parts of the conversation, as requests and answers have them.

use crate::{
    Format, Losses, TranslateError,
    ir::{Content, Json, Opaque, Part, Reasoning, Seal, Source, ToolCallPart},
    openai,
    read::{Object, items, text_of},
};

type Result<T> = std::result::Result<T, TranslateError>;

/// Before the seal of reasoning that is nothing but its seal, and before the seal of a tool call, in
/// `encrypted_content`: the format has no other place for either.
const REDACTED: &str = "redacted#";
const CALL: &str = "call#";

/// `encrypted_content` for a seal.
pub(super) fn encrypted(seal: &Seal, redacted: bool) -> String {
    let text = seal.text_for(Format::Responses);
    if redacted { format!("{REDACTED}{text}") } else { text }
}

/// `encrypted_content` for the seal of the tool call that follows.
pub(super) fn encrypted_call(seal: &Seal) -> String {
    format!("{CALL}{}", seal.text_for(Format::Responses))
}

/// What an item of reasoning holds.
pub(super) enum Thought {
    Block(Reasoning),
    /// The seal of the tool call that follows.
    OfCall(Seal),
}

/// Reads an item of reasoning.
pub(super) fn thought(o: &mut Object<'_>) -> Result<Thought> {
    let sealed = o.string("encrypted_content")?.unwrap_or_default();
    if let Some(seal) = sealed.strip_prefix(CALL).and_then(|s| Seal::read(Format::Responses, s)) {
        return Ok(Thought::OfCall(seal));
    }
    let (sealed, redacted) = match sealed.strip_prefix(REDACTED) {
        Some(rest) => (rest, true),
        None => (sealed.as_str(), false),
    };
    let mut texts = Vec::new();
    // The summary is what is shown; servers that show all have `content` instead.
    for key in ["summary", "content"] {
        let parts = o.objects(key)?.unwrap_or_default();
        if texts.is_empty() {
            for mut part in parts {
                texts.extend(part.string("text")?);
            }
        }
    }
    let id = o.string("id")?;
    Ok(Thought::Block(Reasoning { texts, id, seal: Seal::read(Format::Responses, sealed), redacted }))
}

/// Reads a tool call.
pub(super) fn tool_call(o: &mut Object<'_>, custom: bool, seal: Option<Seal>) -> Result<ToolCallPart> {
    o.ignore(&["id", "status"]);
    Ok(ToolCallPart {
        id: o.need("call_id")?,
        name: o.need("name")?,
        arguments: o.need(if custom { "input" } else { "arguments" })?,
        custom,
        seal,
    })
}

/// Reads content: a text, or parts.
pub(super) fn content(o: &mut Object<'_>, key: &str, losses: &mut Losses) -> Result<Vec<Part>> {
    let Some(raw) = o.take(key) else { return Ok(Vec::new()) };
    if let Some(text) = text_of(raw) {
        return Ok(vec![Part::text(text)]);
    }
    items(Format::Responses, &o.at(key), raw)?.into_iter().map(|item| part(item.object()?, losses)).collect()
}

/// Reads a part.
pub(super) fn part(mut o: Object<'_>, losses: &mut Losses) -> Result<Part> {
    let kind: String = o.need("type")?;
    let content = match kind.as_str() {
        "input_text" | "text" | "summary_text" => Content::Text { text: o.need("text")?, annotations: Vec::new() },
        "output_text" => {
            o.ignore(&["logprobs"]);
            let annotations = o.array("annotations")?.unwrap_or_default();
            let annotations = annotations.into_iter().map(|a| annotation(Json::from(a.raw))).collect();
            Content::Text { text: o.need("text")?, annotations }
        }
        "refusal" => Content::Refusal(o.need("refusal")?),
        "input_image" => {
            let source = match (o.string("image_url")?, o.string("file_id")?) {
                (Some(url), _) => openai::source_of_url(url),
                (None, Some(id)) => Source::Id { origin: Format::Responses, id },
                (None, None) => return Err(o.bad("image_url", "it is missing")),
            };
            Content::Image { source, detail: o.get("detail")? }
        }
        "input_file" => file(&mut o)?,
        "input_audio" => {
            let mut audio = o.object("input_audio")?.ok_or_else(|| o.bad("input_audio", "it is missing"))?;
            let media_type = openai::audio_type(&audio.need::<String>("format")?);
            Content::Audio { source: Source::Base64 { media_type, data: audio.need("data")? } }
        }
        other => return Err(o.unsupported("type", format!("parts of type `{other}` are not known"))),
    };
    let part = Part { content, cache: crate::chat::cache_mark(&mut o)? };
    o.rest(losses);
    Ok(part)
}

fn file(o: &mut Object<'_>) -> Result<Content> {
    let name = o.get("filename")?;
    let (data, url, id) = (o.string("file_data")?, o.string("file_url")?, o.string("file_id")?);
    let source = match (data, url, id) {
        (Some(data), ..) if data.starts_with("data:") => openai::source_of_url(data),
        (Some(data), ..) => Source::Base64 { media_type: "application/pdf".into(), data },
        (None, Some(url), _) => Source::Url { url, media_type: None },
        (None, None, Some(id)) => Source::Id { origin: Format::Responses, id },
        (None, None, None) => return Err(o.bad("file_data", "it is missing")),
    };
    Ok(Content::File { source, name })
}

/// An annotation.
pub(super) fn annotation(value: Json) -> Opaque {
    Opaque { format: Format::Responses, kind: "annotation".into(), value }
}
