//! Requests to providers that speak Chat Completions.

use super::settings::{write_choice, write_format, write_reasoning, write_sampling, write_tools};
use crate::{
    Format, Losses, TranslateError,
    ir::{CacheHint, Content, Identity, Message, Part, Request, Role, Source, ToolCallPart, ToolResultPart},
    openai, write,
};

type Result<T> = std::result::Result<T, TranslateError>;

/// Writes a request.
pub(crate) fn render_request(request: &Request, model: &str, losses: &mut Losses) -> Result<Vec<u8>> {
    let Request {
        model: _,
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        response_format,
        sampling,
        max_output_tokens,
        n,
        logprobs,
        reasoning,
        verbosity,
        stream,
        include_usage: _,
        identity,
        cache,
        service_tier,
        store,
    } = request;
    let own = openai::is_openai_model(model);
    let mut out = Vec::new();
    let mut o = write::Object::new(&mut out);
    o.put("model", model);
    write_messages(&mut o, messages, own, losses)?;
    write_tools(&mut o, tools, losses)?;
    if let Some(choice) = tool_choice.as_ref().filter(|_| !tools.is_empty()) {
        write_choice(&mut o, choice);
    }
    losses.add_if(tool_choice.is_some() && tools.is_empty(), "tool_choice", "there are no tools to choose from");
    o.some("parallel_tool_calls", &parallel_tool_calls.filter(|_| !tools.is_empty()));
    if let Some(format) = response_format {
        write_format(&mut o, format);
    }
    write_sampling(&mut o, sampling, losses);
    // OpenAI's reasoning models refuse the old name, and compatible servers know no other.
    o.some(if own { "max_completion_tokens" } else { "max_tokens" }, max_output_tokens);
    o.some("n", &n.filter(|n| *n != 1));
    if let Some(logprobs) = logprobs {
        o.put("logprobs", &true);
        o.some("top_logprobs", &logprobs.top);
    }
    if let Some(config) = reasoning {
        write_reasoning(&mut o, config, losses);
    }
    let Identity { user, safety_identifier, metadata } = identity;
    o.some("user", user);
    let CacheHint { key, retention, content } = cache;
    losses.add_if(content.is_some(), "cachedContent", "a cache that is kept at another provider means nothing here");
    let words = [
        ("verbosity", verbosity),
        ("safety_identifier", safety_identifier),
        ("prompt_cache_key", key),
        ("prompt_cache_retention", retention),
        ("service_tier", service_tier),
    ];
    for (field, value) in words {
        // Compatible servers refuse what they do not know.
        o.some(field, &value.as_ref().filter(|_| own));
        losses.add_if(!own && value.is_some(), field, "only OpenAI's own models take it");
    }
    o.some("metadata", &metadata.as_ref().filter(|_| own));
    losses.add_if(!own && metadata.is_some(), "metadata", "only OpenAI's own models take it");
    o.some("store", &store.filter(|_| own));
    if *stream {
        o.put("stream", &true);
        o.object("stream_options").put("include_usage", &true);
    }
    drop(o);
    Ok(out)
}

fn write_messages(o: &mut write::Object<'_>, messages: &[Message], own: bool, losses: &mut Losses) -> Result<()> {
    let mut list = o.array("messages");
    // Pictures of tool results wait until the run of results ends: nothing may stand between them.
    let mut pictures = Vec::new();
    for message in messages {
        if message.role != Role::Tool {
            write_pictures(&mut list, &mut pictures, losses)?;
        }
        match message.role {
            Role::System => plain(&mut list, "system", message, losses)?,
            // Compatible servers' templates know no developer.
            Role::Developer => plain(&mut list, if own { "developer" } else { "system" }, message, losses)?,
            Role::User => plain(&mut list, "user", message, losses)?,
            Role::Assistant => assistant(&mut list, message, losses)?,
            Role::Tool => {
                for part in &message.parts {
                    lose_cache(part, losses);
                    let Content::ToolResult(result) = &part.content else { continue };
                    tool_result(&mut list, result, &mut pictures, losses)?;
                }
            }
        }
    }
    write_pictures(&mut list, &mut pictures, losses)
}

fn plain(list: &mut write::Array<'_>, role: &str, message: &Message, losses: &mut Losses) -> Result<()> {
    let mut o = list.object();
    o.put("role", role);
    o.some("name", &message.name);
    write_content(&mut o, &message.parts.iter().collect::<Vec<_>>(), losses)
}

/// One text as it is, and anything more as parts.
fn write_content(o: &mut write::Object<'_>, parts: &[&Part], losses: &mut Losses) -> Result<()> {
    parts.iter().for_each(|p| lose_cache(p, losses));
    if let [Part { content: Content::Text { text, .. }, .. }] = parts {
        o.put("content", text);
        return Ok(());
    }
    if parts.is_empty() {
        o.put("content", "");
        return Ok(());
    }
    let mut list = o.array("content");
    for part in parts {
        write_part(&mut list.object(), &part.content, losses)?;
    }
    Ok(())
}

fn lose_cache(part: &Part, losses: &mut Losses) {
    losses.add_if(
        part.cache.is_some(),
        "cache_control",
        "OpenAI's format has no cache marker; providers cache by themselves",
    );
}

fn write_part(o: &mut write::Object<'_>, content: &Content, losses: &mut Losses) -> Result<()> {
    match content {
        Content::Text { text, annotations } => {
            losses.add_if(!annotations.is_empty(), "annotations", "citations on a text cannot be sent back");
            o.put("type", "text");
            o.put("text", text);
        }
        Content::Image { source, detail } => {
            o.put("type", "image_url");
            let mut image = o.object("image_url");
            match source {
                Source::Url { url, .. } => image.put("url", url),
                Source::Base64 { media_type, data } => image.put("url", &openai::data_url(media_type, data)),
                Source::Text(_) | Source::Id { .. } => return Err(openai::kept_elsewhere("image")),
            }
            image.some("detail", detail);
        }
        Content::File { source, name } => write_file(o, source, name.as_deref())?,
        Content::Audio { source: Source::Base64 { media_type, data } } => {
            o.put("type", "input_audio");
            let mut audio = o.object("input_audio");
            audio.put("data", data);
            audio.put("format", openai::audio_format(media_type));
        }
        Content::Audio { .. } => return Err(openai::kept_elsewhere("audio")),
        Content::Refusal(text) => {
            o.put("type", "refusal");
            o.put("refusal", text);
        }
        Content::Opaque(opaque) => return Err(openai::opaque_part(&opaque.kind)),
        Content::Reasoning(_) | Content::ToolCall(_) | Content::ToolResult(_) => {
            return Err(TranslateError::unsupported("content", "a part stands in a message of the wrong role"));
        }
    }
    Ok(())
}

fn write_file(o: &mut write::Object<'_>, source: &Source, name: Option<&str>) -> Result<()> {
    match source {
        Source::Text(text) => {
            o.put("type", "text");
            match name {
                Some(name) => o.put("text", &format!("{name}\n\n{text}")),
                None => o.put("text", text),
            }
        }
        Source::Base64 { media_type, data } => {
            o.put("type", "file");
            let mut file = o.object("file");
            file.put("filename", name.unwrap_or("document.pdf"));
            file.put("file_data", &openai::data_url(media_type, data));
        }
        Source::Id { origin: Format::Chat | Format::Responses, id } => {
            o.put("type", "file");
            o.object("file").put("file_id", id);
        }
        Source::Id { .. } => return Err(openai::kept_elsewhere("file")),
        Source::Url { .. } => {
            return Err(TranslateError::unsupported(
                "file",
                "Chat Completions takes no address of a file; send its data",
            ));
        }
    }
    Ok(())
}

fn assistant(list: &mut write::Array<'_>, message: &Message, losses: &mut Losses) -> Result<()> {
    let (mut said, mut calls, mut refusal, mut thoughts) = (Vec::new(), Vec::new(), None, String::new());
    for part in &message.parts {
        match &part.content {
            Content::ToolCall(call) => {
                lose_cache(part, losses);
                calls.push(call);
            }
            Content::Refusal(text) => refusal = Some(text),
            Content::Reasoning(r) => {
                // Servers that show reasoning want its text back; a signature is another provider's.
                let ours = r.seal.as_ref().is_none_or(|s| s.origin == Format::Chat);
                losses.add_if(!ours, "reasoning", "signed reasoning of another provider cannot be sent to this one");
                if ours {
                    thoughts.push_str(&r.texts.join("\n\n"));
                }
            }
            _ => said.push(part),
        }
    }
    let mut o = list.object();
    o.put("role", "assistant");
    o.some("name", &message.name);
    if said.is_empty() {
        o.null("content");
    } else {
        write_content(&mut o, &said, losses)?;
    }
    o.some("refusal", &refusal);
    if !thoughts.is_empty() {
        o.put("reasoning_content", &thoughts);
    }
    if !calls.is_empty() {
        let mut list = o.array("tool_calls");
        calls.into_iter().for_each(|call| write_call(&mut list.object(), call));
    }
    Ok(())
}

fn write_call(o: &mut write::Object<'_>, call: &ToolCallPart) {
    let ToolCallPart { id, name, arguments, custom, seal } = call;
    o.put("id", id);
    let (kind, key) = if *custom { ("custom", "input") } else { ("function", "arguments") };
    o.put("type", kind);
    {
        let mut of = o.object(kind);
        of.put("name", name);
        of.put(key, if arguments.is_empty() && !custom { "{}" } else { arguments });
    }
    // Gemini's own endpoint in this format takes it; others have none to send.
    if let Some(seal) = seal.as_ref().filter(|s| s.origin == Format::Gemini) {
        o.object("extra_content").object("google").put("thought_signature", &seal.data);
    }
}

fn tool_result<'a>(
    list: &mut write::Array<'_>,
    result: &'a ToolResultPart,
    pictures: &mut Vec<(&'a str, Vec<&'a Part>)>,
    losses: &mut Losses,
) -> Result<()> {
    let ToolResultPart { call_id, name: _, parts, is_error, custom: _ } = result;
    losses.add_if(*is_error, "is_error", "a result has no such flag here; its text says what went wrong");
    let (texts, others): (Vec<&Part>, Vec<&Part>) =
        parts.iter().partition(|p| matches!(p.content, Content::Text { .. }));
    let note = Part::text("The tool returned no text; what it returned follows.");
    let mut o = list.object();
    o.put("role", "tool");
    o.put("tool_call_id", call_id);
    if texts.is_empty() && !others.is_empty() {
        write_content(&mut o, &[&note], losses)?;
    } else {
        write_content(&mut o, &texts, losses)?;
    }
    if !others.is_empty() {
        pictures.push((call_id, others));
    }
    Ok(())
}

/// A tool's message takes text alone, so that what else it returned follows as a message of the user.
fn write_pictures(
    list: &mut write::Array<'_>,
    pictures: &mut Vec<(&str, Vec<&Part>)>,
    losses: &mut Losses,
) -> Result<()> {
    if pictures.is_empty() {
        return Ok(());
    }
    let mut o = list.object();
    o.put("role", "user");
    let mut content = o.array("content");
    for (call_id, parts) in pictures.drain(..) {
        let text = format!("Returned by the tool call {call_id}:");
        write_part(&mut content.object(), &Part::text(text).content, losses)?;
        for part in parts {
            lose_cache(part, losses);
            write_part(&mut content.object(), &part.content, losses)?;
        }
    }
    Ok(())
}
