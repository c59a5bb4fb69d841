//! The conversation as Anthropic takes it: one system prompt, then turns of the user and of the model.

use super::{blocks, render::put_cache, thinking};
use crate::{
    Format, Losses, TranslateError,
    ir::{Content, Message, Part, Role, Source, ToolCallPart, ToolResultPart},
    write,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, TranslateError>;

/// The longest id that Anthropic takes for a tool call, by its published pattern.
const MAX_ID_CHARS: usize = 128;

/// Puts `system` and `messages`.
pub(super) fn put(top: &mut write::Object<'_>, messages: &[Message], losses: &mut Losses) -> Result<()> {
    put_system(top, messages, losses)?;
    let mut array = top.array("messages");
    let turns = messages.iter().filter(|m| !is_system(m)).collect::<Vec<_>>();
    // Results of tools and what the user says after them are one turn of the user.
    for run in turns.chunk_by(|a, b| speaker(a) == speaker(b)) {
        if !run.iter().flat_map(|m| &m.parts).any(has_content) {
            continue;
        }
        let mut message = array.object();
        message.put("role", run.first().map_or("user", |m| speaker(m)));
        let mut content = message.array("content");
        // Anthropic wants results before everything else of their turn.
        let parts = || run.iter().flat_map(|m| &m.parts);
        let is_result = |p: &&Part| matches!(p.content, Content::ToolResult(_));
        for part in parts().filter(is_result).chain(parts().filter(|p| !is_result(p))) {
            put_part(&mut content, part, losses)?;
        }
        drop(content);
        for m in run {
            losses.add_if(m.name.is_some(), "messages.name", "Anthropic's messages have no name of a speaker");
        }
    }
    Ok(())
}

/// Whether the turn goes on with results of calls that no thinking of Anthropic's stands before.
pub(super) fn has_unsigned_calls(messages: &[Message]) -> bool {
    let Some(at) = messages.iter().rposition(|m| m.role == Role::Assistant) else { return false };
    let (before, after) = messages.split_at(at + 1);
    if !after.iter().any(|m| m.role == Role::Tool) {
        return false;
    }
    let start = before.iter().rposition(|m| m.role != Role::Assistant).map_or(0, |i| i + 1);
    let first = before[start..].iter().flat_map(|m| &m.parts).find(|p| has_content(p));
    !matches!(first, Some(Part { content: Content::Reasoning(_), .. }))
}

fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

fn speaker(message: &Message) -> &'static str {
    match message.role {
        Role::Assistant => "assistant",
        Role::User | Role::Tool | Role::System | Role::Developer => "user",
    }
}

/// Anthropic refuses empty texts, and reasoning that it did not sign.
fn has_content(part: &Part) -> bool {
    match &part.content {
        Content::Text { text, .. } | Content::Refusal(text) => !text.is_empty(),
        Content::Reasoning(reasoning) => thinking::signature(reasoning).is_some(),
        _ => true,
    }
}

fn put_system(top: &mut write::Object<'_>, messages: &[Message], losses: &mut Losses) -> Result<()> {
    let first_turn = messages.iter().position(|m| !is_system(m)).unwrap_or(messages.len());
    losses.add_if(
        messages[first_turn..].iter().any(is_system),
        "messages",
        "a system message within the conversation was moved to its beginning, where Anthropic takes it",
    );
    let parts = messages.iter().filter(|m| is_system(m)).flat_map(|m| &m.parts);
    let parts: Vec<&Part> = parts.filter(|p| has_content(p)).collect();
    if parts.is_empty() {
        return Ok(());
    }
    let mut system = top.array("system");
    for part in parts {
        match &part.content {
            Content::Text { .. } => put_part(&mut system, part, losses)?,
            _ => return Err(TranslateError::unsupported("messages", "Anthropic's system prompt is text alone")),
        }
    }
    Ok(())
}

fn put_part(out: &mut write::Array<'_>, part: &Part, losses: &mut Losses) -> Result<()> {
    let Part { content, cache } = part;
    if !has_content(part) {
        let note = "reasoning that Anthropic did not sign cannot be given to it";
        losses.add_if(matches!(content, Content::Reasoning(_)), "reasoning", note);
        return Ok(());
    }
    if let Content::Opaque(opaque) = content {
        if opaque.format != Format::Messages {
            let why = format!("a part of the kind `{}` is known to {} alone", opaque.kind, opaque.format.title());
            return Err(TranslateError::unsupported("messages.content", why));
        }
        out.push(&opaque.value);
        return Ok(());
    }
    let mut block = out.object();
    match content {
        Content::Text { text, annotations } => {
            // Citations belong to documents that are not here.
            losses.add_if(!annotations.is_empty(), "annotations", "they belong to the answer of another provider");
            put_text(&mut block, text);
        }
        Content::Refusal(text) => put_text(&mut block, text),
        Content::Image { source, detail } => {
            let detail = detail.as_deref().is_some_and(|d| d != "auto");
            losses.add_if(detail, "image detail", "Anthropic chooses the detail itself");
            block.put("type", "image");
            put_image(&mut block.object("source"), source)?;
        }
        Content::File { source, name } => {
            block.put("type", "document");
            put_document(&mut block.object("source"), source)?;
            block.some("title", name);
        }
        Content::Audio { .. } => return Err(TranslateError::unsupported("audio", "Anthropic takes no sound")),
        Content::Reasoning(reasoning) => {
            let data = thinking::signature(reasoning).map_or("", |s| s.data.as_str());
            if reasoning.redacted {
                block.put("type", "redacted_thinking");
                block.put("data", data);
            } else {
                block.put("type", "thinking");
                block.put("thinking", &reasoning.texts.join("\n\n"));
                block.put("signature", data);
            }
        }
        Content::ToolCall(call) => put_call(&mut block, call, losses),
        Content::ToolResult(result) => put_result(&mut block, result, losses)?,
        Content::Opaque(_) => {}
    }
    put_cache(&mut block, cache.as_ref());
    Ok(())
}

fn put_text(block: &mut write::Object<'_>, text: &str) {
    block.put("type", "text");
    block.put("text", text);
}

fn put_call(block: &mut write::Object<'_>, call: &ToolCallPart, losses: &mut Losses) {
    let ToolCallPart { id, name, arguments, custom, seal: _ } = call;
    let (input, is_wrapped) = blocks::arguments(arguments, *custom);
    losses.add_if(is_wrapped, "tool call arguments", "they were no JSON object, and stand as a text inside one");
    block.put("type", "tool_use");
    block.put("id", &tool_id(id));
    block.put("name", name);
    block.put("input", &input);
}

fn put_result(block: &mut write::Object<'_>, result: &ToolResultPart, losses: &mut Losses) -> Result<()> {
    let ToolResultPart { call_id, name: _, parts, is_error, custom: _ } = result;
    block.put("type", "tool_result");
    block.put("tool_use_id", &tool_id(call_id));
    if parts.iter().any(has_content) {
        let mut content = block.array("content");
        for part in parts {
            put_part(&mut content, part, losses)?;
        }
    }
    if *is_error {
        block.put("is_error", &true);
    }
    Ok(())
}

/// The id as Anthropic's pattern (letters, digits, `_`, `-`) takes it; the same for a call and its result.
fn tool_id(id: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !id.is_empty() && id.len() <= MAX_ID_CHARS && id.chars().all(fits) {
        return id.to_owned();
    }
    let digest = Sha256::digest(id.as_bytes());
    let hash: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("toolu_{hash}")
}

fn put_image(out: &mut write::Object<'_>, source: &Source) -> Result<()> {
    match source {
        Source::Url { url, media_type: _ } => {
            out.put("type", "url");
            out.put("url", url);
        }
        Source::Base64 { media_type, data } => put_base64(out, media_type, data),
        Source::Id { origin: Format::Messages, id } => put_file_id(out, id),
        Source::Id { .. } => return Err(kept_elsewhere()),
        Source::Text(_) => return Err(TranslateError::unsupported("image", "it holds text and no image")),
    }
    Ok(())
}

fn put_document(out: &mut write::Object<'_>, source: &Source) -> Result<()> {
    match source {
        Source::Url { url, media_type: _ } => {
            out.put("type", "url");
            out.put("url", url);
        }
        Source::Base64 { media_type, data } if media_type == "application/pdf" => put_base64(out, media_type, data),
        Source::Base64 { media_type, data } => {
            let text = media_type.starts_with("text/").then(|| STANDARD.decode(data).ok()).flatten();
            let Some(text) = text.and_then(|t| String::from_utf8(t).ok()) else {
                let why = format!("Anthropic takes PDF and text in UTF-8, not {media_type}");
                return Err(TranslateError::unsupported("file", why));
            };
            put_plain(out, &text);
        }
        Source::Text(text) => put_plain(out, text),
        Source::Id { origin: Format::Messages, id } => put_file_id(out, id),
        Source::Id { .. } => return Err(kept_elsewhere()),
    }
    Ok(())
}

fn put_base64(out: &mut write::Object<'_>, media_type: &str, data: &str) {
    out.put("type", "base64");
    out.put("media_type", media_type);
    out.put("data", data);
}

fn put_plain(out: &mut write::Object<'_>, text: &str) {
    out.put("type", "text");
    out.put("media_type", "text/plain");
    out.put("data", text);
}

fn put_file_id(out: &mut write::Object<'_>, id: &str) {
    out.put("type", "file");
    out.put("file_id", id);
}

fn kept_elsewhere() -> TranslateError {
    let why = "the file is kept at another provider; send its bytes";
    TranslateError::unsupported("file_id", why)
}
