//! The conversation as Ollama takes it: messages with one text, images beside it, and thinking and tool calls apart.

use crate::{
    Losses, TranslateError,
    ir::{Content, Json, Part, Request, Role, Source, ToolCallPart, ToolResultPart},
    write,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

type Result<T> = std::result::Result<T, TranslateError>;

/// Puts `messages`.
pub(super) fn put(top: &mut write::Object<'_>, request: &Request, losses: &mut Losses) -> Result<()> {
    let mut array = top.array("messages");
    for message in &request.messages {
        losses.add_if(message.name.is_some(), "messages.name", "Ollama's messages have no name of a speaker");
        let role = match message.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        // Each result of a tool is a message of its own, and everything else of a message is one.
        for part in &message.parts {
            if let Content::ToolResult(result) = &part.content {
                let name = result.name.as_deref().or_else(|| request.tool_of(&result.call_id));
                lose_cache(part, losses);
                put_result(&mut array.object(), result, name, losses)?;
            }
        }
        let rest: Vec<&Part> = message.parts.iter().filter(|p| !matches!(p.content, Content::ToolResult(_))).collect();
        if !rest.is_empty() {
            let collected = Collected::of(&rest, losses)?;
            let mut object = array.object();
            object.put("role", role);
            collected.put(&mut object, losses);
        }
    }
    Ok(())
}

/// What the parts of a message come to.
#[derive(Default)]
struct Collected<'r> {
    texts: Vec<String>,
    images: Vec<&'r str>,
    thinking: Vec<&'r str>,
    calls: Vec<&'r ToolCallPart>,
}

impl<'r> Collected<'r> {
    fn of(parts: &[&'r Part], losses: &mut Losses) -> Result<Self> {
        let mut all = Self::default();
        for part in parts {
            lose_cache(part, losses);
            match &part.content {
                Content::Text { text, annotations } => {
                    losses.add_if(!annotations.is_empty(), "annotations", "they belong to another provider's answer");
                    all.texts.push(text.clone());
                }
                Content::Refusal(text) => all.texts.push(text.clone()),
                Content::Image { source, detail } => {
                    let detail = detail.as_deref().is_some_and(|d| d != "auto");
                    losses.add_if(detail, "image detail", "Ollama has none");
                    all.images.push(image(source)?);
                }
                Content::File { source, name } => {
                    losses.add_if(name.is_some(), "file name", "Ollama takes the text of a file alone");
                    all.texts.push(file(source)?);
                }
                Content::Audio { .. } => return Err(TranslateError::unsupported("audio", "Ollama takes no sound")),
                Content::Reasoning(reasoning) => {
                    losses.add_if(
                        reasoning.redacted,
                        "reasoning",
                        "redacted reasoning can be read by its provider alone",
                    );
                    all.thinking.extend(reasoning.texts.iter().map(String::as_str).filter(|t| !t.is_empty()));
                }
                Content::ToolCall(call) => all.calls.push(call),
                Content::Opaque(opaque) => {
                    let why =
                        format!("a part of the kind `{}` is known to {} alone", opaque.kind, opaque.format.title());
                    return Err(TranslateError::unsupported("messages.content", why));
                }
                Content::ToolResult(_) => {}
            }
        }
        Ok(all)
    }

    fn put(&self, message: &mut write::Object<'_>, losses: &mut Losses) {
        message.put("content", &self.texts.join("\n"));
        if !self.images.is_empty() {
            message.put("images", &self.images);
        }
        if !self.thinking.is_empty() {
            message.put("thinking", &self.thinking.join("\n\n"));
        }
        if self.calls.is_empty() {
            return;
        }
        let mut calls = message.array("tool_calls");
        for ToolCallPart { id, name, arguments, custom, seal: _ } in self.calls.iter().copied() {
            let (arguments, is_wrapped) = object_of(arguments, *custom);
            let note = "they were no JSON object, and stand as a text inside one";
            losses.add_if(is_wrapped, "tool call arguments", note);
            let mut call = calls.object();
            call.put("id", id);
            let mut function = call.object("function");
            function.put("name", name);
            function.put("arguments", &arguments);
        }
    }
}

fn put_result(
    message: &mut write::Object<'_>,
    result: &ToolResultPart,
    name: Option<&str>,
    losses: &mut Losses,
) -> Result<()> {
    let ToolResultPart { call_id, name: _, parts, is_error, custom: _ } = result;
    losses.add_if(*is_error, "is_error", "Ollama's results have no mark of a failure; their text has to tell it");
    message.put("role", "tool");
    Collected::of(&parts.iter().collect::<Vec<_>>(), losses)?.put(message, losses);
    message.some("tool_name", &name);
    message.put("tool_call_id", call_id);
    Ok(())
}

fn lose_cache(part: &Part, losses: &mut Losses) {
    losses.add_if(part.cache.is_some(), "cache_control", "Ollama caches by itself");
}

fn image(source: &Source) -> Result<&str> {
    match source {
        Source::Base64 { data, .. } => Ok(data),
        Source::Url { .. } => Err(TranslateError::unsupported("image", "Ollama fetches no addresses; send the bytes")),
        Source::Text(_) => Err(TranslateError::unsupported("image", "it holds text and no image")),
        Source::Id { .. } => Err(kept_elsewhere()),
    }
}

fn file(source: &Source) -> Result<String> {
    match source {
        Source::Text(text) => Ok(text.clone()),
        Source::Base64 { media_type, data } if media_type.starts_with("text/") => {
            let text = STANDARD.decode(data).ok().and_then(|t| String::from_utf8(t).ok());
            text.ok_or_else(|| TranslateError::unsupported("file", "it is no text in UTF-8"))
        }
        Source::Base64 { media_type, .. } => {
            Err(TranslateError::unsupported("file", format!("Ollama takes text and images, not {media_type}")))
        }
        Source::Url { .. } => Err(TranslateError::unsupported("file", "Ollama fetches no addresses; send the text")),
        Source::Id { .. } => Err(kept_elsewhere()),
    }
}

fn kept_elsewhere() -> TranslateError {
    let why = "the file is kept at another provider; send its bytes";
    TranslateError::unsupported("file_id", why)
}

/// Arguments as the object that Ollama requires, and whether they were none.
fn object_of(text: &str, custom: bool) -> (Json, bool) {
    let trimmed = text.trim();
    match Json::parse(trimmed).filter(|_| trimmed.starts_with('{') && !custom) {
        Some(json) => (json, false),
        None if trimmed.is_empty() && !custom => (Json::of(&serde_json::Map::new()), false),
        None => {
            let key = if custom { "input" } else { "arguments" };
            (Json::of(&std::collections::BTreeMap::from([(key, text)])), true)
        }
    }
}
