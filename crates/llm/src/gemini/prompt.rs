//! The conversation as Gemini takes it: one system instruction, then contents of the user and of the model.

use super::render::version;
use crate::{
    Format, Losses, TranslateError,
    ir::{Content, Json, Message, Part, Reasoning, Request, Role, Seal, Source, ToolCallPart, ToolResultPart},
    write,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

type Result<T> = std::result::Result<T, TranslateError>;

/// From this version on the model refuses a call of a function in the current turn that has no signature.
const SIGNED_SINCE: u32 = 3;
/// What Google documents for calls that another model made, and that nobody signed.
pub(super) const UNSIGNED: &str = "skip_thought_signature_validator";

/// Puts `systemInstruction` and `contents`.
pub(super) fn put(top: &mut write::Object<'_>, request: &Request, model: &str, losses: &mut Losses) -> Result<()> {
    let writer = Writer { request, by_version: version(model).is_some_and(|v| v >= SIGNED_SINCE) };
    writer.put_system(top, losses)?;
    let turns: Vec<&Message> = request.messages.iter().filter(|m| !is_system(m)).collect();
    let mut contents = top.array("contents");
    for run in turns.chunk_by(|a, b| speaker(a) == speaker(b)) {
        if !run.iter().flat_map(|m| &m.parts).any(has_content) {
            continue;
        }
        let mut content = contents.object();
        content.put("role", run.first().map_or("user", |m| speaker(m)));
        let mut parts = content.array("parts");
        let mut turn = Turn::default();
        for message in run {
            losses.add_if(message.name.is_some(), "messages.name", "Gemini's contents have no name of a speaker");
            for part in &message.parts {
                if !matches!(part.content, Content::ToolResult(_)) {
                    writer.put_attachments(&mut parts, &mut turn, losses)?;
                }
                writer.put_part(&mut parts, part, &mut turn, losses)?;
            }
        }
        writer.put_attachments(&mut parts, &mut turn, losses)?;
    }
    Ok(())
}

struct Writer<'r> {
    request: &'r Request,
    /// The model wants signatures, and reads images within results.
    by_version: bool,
}

/// What is known of the content that is being written.
#[derive(Default)]
struct Turn<'r> {
    has_call: bool,
    /// What results hold beside text, with the call that it answers.
    attachments: Vec<(&'r str, &'r Part)>,
}

fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

fn speaker(message: &Message) -> &'static str {
    match message.role {
        Role::Assistant => "model",
        Role::User | Role::Tool | Role::System | Role::Developer => "user",
    }
}

fn has_content(part: &Part) -> bool {
    match &part.content {
        Content::Text { text, .. } | Content::Refusal(text) => !text.is_empty(),
        Content::Reasoning(reasoning) => signature(reasoning).is_some(),
        _ => true,
    }
}

fn signature(reasoning: &Reasoning) -> Option<&Seal> {
    reasoning.seal.as_ref().filter(|s| s.origin == Format::Gemini)
}

impl<'r> Writer<'r> {
    fn put_system(&self, top: &mut write::Object<'_>, losses: &mut Losses) -> Result<()> {
        let messages = &self.request.messages;
        let first_turn = messages.iter().position(|m| !is_system(m)).unwrap_or(messages.len());
        losses.add_if(
            messages[first_turn..].iter().any(is_system),
            "messages",
            "a system message within the conversation was moved to its beginning, where Gemini takes it",
        );
        let parts = messages.iter().filter(|m| is_system(m)).flat_map(|m| &m.parts);
        let parts: Vec<&Part> = parts.filter(|p| has_content(p)).collect();
        if parts.is_empty() {
            return Ok(());
        }
        let mut system = top.object("systemInstruction");
        let mut array = system.array("parts");
        for part in parts {
            let Content::Text { text, .. } = &part.content else {
                return Err(TranslateError::unsupported("messages", "Gemini's system instruction is text alone"));
            };
            losses.add_if(part.cache.is_some(), "cache_control", "Gemini caches by itself");
            array.object().put("text", text);
        }
        Ok(())
    }

    fn put_part(
        &self,
        out: &mut write::Array<'_>,
        part: &'r Part,
        turn: &mut Turn<'r>,
        losses: &mut Losses,
    ) -> Result<()> {
        let Part { content, cache } = part;
        losses.add_if(cache.is_some(), "cache_control", "Gemini caches by itself");
        if !has_content(part) {
            let note = "reasoning that Gemini did not sign cannot be given to it";
            losses.add_if(matches!(content, Content::Reasoning(_)), "reasoning", note);
            return Ok(());
        }
        match content {
            Content::Text { text, annotations } => {
                losses.add_if(!annotations.is_empty(), "annotations", "they belong to the answer of another provider");
                out.object().put("text", text);
            }
            Content::Refusal(text) => out.object().put("text", text),
            Content::Image { source, detail } => {
                let detail = detail.as_deref().is_some_and(|d| d != "auto");
                losses.add_if(detail, "image detail", "Gemini chooses the detail of each image itself");
                put_source(&mut out.object(), source)?;
            }
            Content::File { source, name } => {
                losses.add_if(name.is_some(), "file name", "Gemini's parts have no name");
                put_source(&mut out.object(), source)?;
            }
            Content::Audio { source } => put_source(&mut out.object(), source)?,
            Content::Reasoning(reasoning) => {
                let mut object = out.object();
                object.put("text", &reasoning.texts.join("\n\n"));
                if !reasoning.texts.is_empty() {
                    object.put("thought", &true);
                }
                object.some("thoughtSignature", &signature(reasoning).map(|s| &s.data));
            }
            Content::ToolCall(call) => self.put_call(&mut out.object(), call, turn, losses),
            Content::ToolResult(result) => self.put_result(&mut out.object(), result, turn, losses)?,
            Content::Opaque(opaque) if opaque.format == Format::Gemini => out.push(&opaque.value),
            Content::Opaque(opaque) => {
                let why = format!("a part of the kind `{}` is known to {} alone", opaque.kind, opaque.format.title());
                return Err(TranslateError::unsupported("messages.content", why));
            }
        }
        Ok(())
    }

    /// What results hold beside text stands after them, where every version reads it.
    fn put_attachments(&self, out: &mut write::Array<'_>, turn: &mut Turn<'r>, losses: &mut Losses) -> Result<()> {
        for (call_id, part) in std::mem::take(&mut turn.attachments) {
            out.object().put("text", &format!("Returned by the tool call {call_id}:"));
            self.put_part(out, part, turn, losses)?;
        }
        Ok(())
    }

    fn put_call(&self, part: &mut write::Object<'_>, call: &ToolCallPart, turn: &mut Turn<'r>, losses: &mut Losses) {
        let ToolCallPart { id, name, arguments, custom, seal } = call;
        let (args, is_wrapped) = object_of(arguments, if *custom { "input" } else { "arguments" });
        losses.add_if(is_wrapped, "tool call arguments", "they were no JSON object, and stand as a text inside one");
        let mut out = part.object("functionCall");
        out.put("id", id);
        out.put("name", name);
        out.put("args", &args);
        drop(out);
        let seal = seal.as_ref().filter(|s| s.origin == Format::Gemini);
        // Of calls that were made at once only the first is signed.
        let is_first = !std::mem::replace(&mut turn.has_call, true);
        match seal {
            Some(seal) => part.put("thoughtSignature", &seal.data),
            None if is_first && self.by_version => {
                losses.add(
                    "thoughtSignature",
                    "a call that Gemini did not sign goes with the mark that Google gives for it",
                );
                part.put("thoughtSignature", UNSIGNED);
            }
            None => {}
        }
    }

    fn put_result(
        &self,
        part: &mut write::Object<'_>,
        result: &'r ToolResultPart,
        turn: &mut Turn<'r>,
        losses: &mut Losses,
    ) -> Result<()> {
        let ToolResultPart { call_id, name, parts, is_error, custom: _ } = result;
        let Some(name) = name.as_deref().or_else(|| self.request.tool_of(call_id)) else {
            let why =
                format!("the result of {call_id:?} belongs to no call in this conversation, and Gemini needs its name");
            return Err(TranslateError::unsupported("messages.tool_call_id", why));
        };
        let mut texts = Vec::new();
        let mut attachments = Vec::new();
        for part in parts {
            losses.add_if(part.cache.is_some(), "cache_control", "Gemini caches by itself");
            match &part.content {
                Content::Text { text, .. } => texts.push(text.as_str()),
                _ => attachments.push(part),
            }
        }
        let text = texts.join("\n");
        let response = match is_error {
            true => Json::of(&std::collections::BTreeMap::from([("error", &text)])),
            false => object_of(&text, "output").0,
        };
        let mut out = part.object("functionResponse");
        out.put("id", call_id);
        out.put("name", name);
        out.put("response", &response);
        if self.by_version && !attachments.is_empty() {
            let mut array = out.array("parts");
            for part in attachments {
                self.put_part(&mut array, part, turn, losses)?;
            }
        } else {
            turn.attachments.extend(attachments.into_iter().map(|part| (call_id.as_str(), part)));
        }
        Ok(())
    }
}

/// A text as the object that Gemini requires: itself if it is one, and under `key` otherwise, which is then reported.
fn object_of(text: &str, key: &str) -> (Json, bool) {
    let trimmed = text.trim();
    if let Some(json) = Json::parse(trimmed).filter(|_| trimmed.starts_with('{')) {
        return (json, false);
    }
    if trimmed.is_empty() && key == "arguments" {
        return (Json::of(&serde_json::Map::new()), false);
    }
    (Json::of(&std::collections::BTreeMap::from([(key, text)])), true)
}

fn put_source(part: &mut write::Object<'_>, source: &Source) -> Result<()> {
    match source {
        Source::Base64 { media_type, data } => {
            let mut out = part.object("inlineData");
            out.put("mimeType", media_type);
            out.put("data", data);
        }
        Source::Text(text) => {
            let mut out = part.object("inlineData");
            out.put("mimeType", "text/plain");
            out.put("data", &STANDARD.encode(text));
        }
        Source::Url { url, media_type } => {
            let mut out = part.object("fileData");
            out.some("mimeType", &media_type.as_deref().or_else(|| media_type_of(url)));
            out.put("fileUri", url);
        }
        Source::Id { origin: Format::Gemini, id } => part.object("fileData").put("fileUri", id),
        Source::Id { .. } => {
            let why = "the file is kept at another provider; send its bytes";
            return Err(TranslateError::unsupported("file_id", why));
        }
    }
    Ok(())
}

/// The type that an address tells by its ending.
fn media_type_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        _ => return None,
    })
}
