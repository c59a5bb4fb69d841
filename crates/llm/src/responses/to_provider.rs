//! Requests to OpenAI's Responses.

use super::items;
use crate::{
    Format, Losses, TranslateError,
    ir::{
        CacheHint, Content, Effort, Identity, Logprobs, Message, Part, ReasoningConfig, Request, ResponseFormat, Role,
        Sampling, Source, Tool, ToolCallPart, ToolChoice, ToolResultPart,
    },
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
        n: _,
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
    let mut out = Vec::new();
    let mut o = write::Object::new(&mut out);
    o.put("model", model);
    write_input(&mut o, messages, losses)?;
    write_tools(&mut o, tools, losses)?;
    if let Some(choice) = tool_choice.as_ref().filter(|_| !tools.is_empty()) {
        write_choice(&mut o, choice);
    }
    losses.add_if(tool_choice.is_some() && tools.is_empty(), "tool_choice", "there are no tools to choose from");
    o.some("parallel_tool_calls", &parallel_tool_calls.filter(|_| !tools.is_empty()));
    write_text(&mut o, response_format.as_ref(), verbosity.as_deref());
    write_sampling(&mut o, sampling, losses)?;
    o.some("max_output_tokens", max_output_tokens);
    write_include(&mut o, model, *logprobs);
    if let Some(config) = reasoning {
        write_reasoning(&mut o, config, losses);
    }
    let Identity { user, safety_identifier, metadata } = identity;
    o.some("user", user);
    o.some("safety_identifier", safety_identifier);
    o.some("metadata", metadata);
    let CacheHint { key, retention, content } = cache;
    o.some("prompt_cache_key", key);
    o.some("prompt_cache_retention", retention);
    losses.add_if(content.is_some(), "cachedContent", "a cache that is kept at another provider means nothing here");
    o.some("service_tier", service_tier);
    o.put("store", &store.unwrap_or(false));
    if *stream {
        o.put("stream", &true);
    }
    drop(o);
    Ok(out)
}

/// Operators' text at the beginning stands in `instructions`, all else in `input`.
fn write_input(o: &mut write::Object<'_>, messages: &[Message], losses: &mut Losses) -> Result<()> {
    let mut rest = messages;
    if let [Message { role: Role::System, parts, .. }, more @ ..] = messages
        && let [Part { content: Content::Text { text, .. }, cache }] = parts.as_slice()
    {
        lose_cache(cache.is_some(), losses);
        o.put("instructions", text);
        rest = more;
    }
    let mut list = o.array("input");
    for message in rest {
        losses.add_if(message.name.is_some(), "messages.name", "a message has no name of its speaker here");
        match message.role {
            Role::System => plain(&mut list, "system", message, losses)?,
            Role::Developer => plain(&mut list, "developer", message, losses)?,
            Role::User => plain(&mut list, "user", message, losses)?,
            Role::Assistant => assistant(&mut list, message, losses)?,
            Role::Tool => {
                for part in &message.parts {
                    lose_cache(part.cache.is_some(), losses);
                    if let Content::ToolResult(result) = &part.content {
                        tool_result(&mut list.object(), result, losses)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn lose_cache(lost: bool, losses: &mut Losses) {
    losses.add_if(lost, "cache_control", "OpenAI's format has no cache marker; providers cache by themselves");
}

fn plain(list: &mut write::Array<'_>, role: &str, message: &Message, losses: &mut Losses) -> Result<()> {
    let mut o = list.object();
    o.put("type", "message");
    o.put("role", role);
    write_parts(&mut o, "content", &message.parts, losses)
}

fn write_parts(o: &mut write::Object<'_>, key: &str, parts: &[Part], losses: &mut Losses) -> Result<()> {
    let mut list = o.array(key);
    for part in parts {
        lose_cache(part.cache.is_some(), losses);
        write_part(&mut list.object(), &part.content, losses)?;
    }
    Ok(())
}

fn write_part(o: &mut write::Object<'_>, content: &Content, losses: &mut Losses) -> Result<()> {
    match content {
        Content::Text { text, annotations } => {
            losses.add_if(!annotations.is_empty(), "annotations", "citations on a text cannot be sent back");
            o.put("type", "input_text");
            o.put("text", text);
        }
        Content::Image { source, detail } => {
            o.put("type", "input_image");
            match source {
                Source::Url { url, .. } => o.put("image_url", url),
                Source::Base64 { media_type, data } => o.put("image_url", &openai::data_url(media_type, data)),
                Source::Id { origin: Format::Responses | Format::Chat, id } => o.put("file_id", id),
                Source::Id { .. } | Source::Text(_) => return Err(openai::kept_elsewhere("image")),
            }
            o.put("detail", detail.as_deref().unwrap_or("auto"));
        }
        Content::File { source: Source::Text(text), name } => {
            o.put("type", "input_text");
            match name {
                Some(name) => o.put("text", &format!("{name}\n\n{text}")),
                None => o.put("text", text),
            }
        }
        Content::File { source, name } => {
            o.put("type", "input_file");
            match source {
                Source::Base64 { media_type, data } => {
                    o.put("filename", name.as_deref().unwrap_or("document.pdf"));
                    o.put("file_data", &openai::data_url(media_type, data));
                }
                Source::Url { url, .. } => o.put("file_url", url),
                Source::Id { origin: Format::Responses | Format::Chat, id } => o.put("file_id", id),
                Source::Id { .. } | Source::Text(_) => return Err(openai::kept_elsewhere("file")),
            }
        }
        Content::Audio { .. } => {
            let why = "OpenAI Responses takes no sound; ask a model by Chat Completions";
            return Err(TranslateError::unsupported("input_audio", why));
        }
        Content::Opaque(opaque) => return Err(openai::opaque_part(&opaque.kind)),
        Content::Refusal(_) | Content::Reasoning(_) | Content::ToolCall(_) | Content::ToolResult(_) => {
            return Err(TranslateError::unsupported("content", "a part stands in a message of the wrong role"));
        }
    }
    Ok(())
}

/// What the model emitted: items in their order, texts that follow each other in one message.
fn assistant(list: &mut write::Array<'_>, message: &Message, losses: &mut Losses) -> Result<()> {
    let mut said: Vec<&Content> = Vec::new();
    for part in &message.parts {
        lose_cache(part.cache.is_some(), losses);
        match &part.content {
            text @ (Content::Text { .. } | Content::Refusal(_)) => {
                said.push(text);
                continue;
            }
            _ => write_said(list, &mut said, losses),
        }
        match &part.content {
            Content::Reasoning(r) => match r.seal.as_ref().filter(|s| s.origin == Format::Responses) {
                Some(seal) => {
                    let mut o = list.object();
                    o.put("type", "reasoning");
                    o.some("id", &r.id);
                    let mut summary = o.array("summary");
                    for text in &r.texts {
                        let mut part = summary.object();
                        part.put("type", "summary_text");
                        part.put("text", text);
                    }
                    drop(summary);
                    o.put("encrypted_content", &items::encrypted(seal, false));
                }
                None => losses.add("reasoning", "reasoning that OpenAI did not encrypt cannot be sent to it"),
            },
            Content::ToolCall(call) => write_call(&mut list.object(), call),
            Content::Opaque(opaque) if opaque.format == Format::Responses => list.push(&opaque.value),
            other => write_part(&mut list.object(), other, losses)?,
        }
    }
    write_said(list, &mut said, losses);
    Ok(())
}

fn write_said(list: &mut write::Array<'_>, said: &mut Vec<&Content>, losses: &mut Losses) {
    if said.is_empty() {
        return;
    }
    let mut o = list.object();
    o.put("type", "message");
    o.put("role", "assistant");
    let mut parts = o.array("content");
    for content in said.drain(..) {
        let mut part = parts.object();
        match content {
            Content::Text { text, annotations } => {
                losses.add_if(!annotations.is_empty(), "annotations", "citations on a text cannot be sent back");
                part.put("type", "output_text");
                part.put("text", text);
                part.put("annotations", &[(); 0]);
            }
            Content::Refusal(text) => {
                part.put("type", "refusal");
                part.put("refusal", text);
            }
            _ => {}
        }
    }
}

fn write_call(o: &mut write::Object<'_>, call: &ToolCallPart) {
    let ToolCallPart { id, name, arguments, custom, seal: _ } = call;
    o.put("type", if *custom { "custom_tool_call" } else { "function_call" });
    o.put("call_id", id);
    o.put("name", name);
    if *custom {
        o.put("input", arguments);
    } else {
        o.put("arguments", if arguments.is_empty() { "{}" } else { arguments });
    }
}

fn tool_result(o: &mut write::Object<'_>, result: &ToolResultPart, losses: &mut Losses) -> Result<()> {
    let ToolResultPart { call_id, name: _, parts, is_error, custom } = result;
    losses.add_if(*is_error, "is_error", "a result has no such flag here; its text says what went wrong");
    o.put("type", if *custom { "custom_tool_call_output" } else { "function_call_output" });
    o.put("call_id", call_id);
    match parts.as_slice() {
        [] => o.put("output", ""),
        [Part { content: Content::Text { text, .. }, cache }] => {
            lose_cache(cache.is_some(), losses);
            o.put("output", text);
        }
        parts => write_parts(o, "output", parts, losses)?,
    }
    Ok(())
}

fn write_tools(o: &mut write::Object<'_>, tools: &[Tool], losses: &mut Losses) -> Result<()> {
    if tools.is_empty() {
        return Ok(());
    }
    let mut list = o.array("tools");
    for tool in tools {
        match tool {
            Tool::Function(f) => {
                lose_cache(f.cache.is_some(), losses);
                let mut t = list.object();
                t.put("type", "function");
                t.put("name", &f.name);
                t.some("description", &f.description);
                t.put("parameters", &f.parameters);
                // Here the schema is forced unless one says otherwise, and most schemas do not allow for that.
                t.put("strict", &f.strict.unwrap_or(false));
            }
            Tool::Custom { name, description, format } => {
                let mut t = list.object();
                t.put("type", "custom");
                t.put("name", name);
                t.some("description", description);
                t.some("format", format);
            }
            Tool::Opaque(opaque) if opaque.format == Format::Responses => list.push(&opaque.value),
            Tool::Opaque(opaque) => return Err(openai::opaque_tool(&opaque.kind)),
        }
    }
    Ok(())
}

fn write_choice(o: &mut write::Object<'_>, choice: &ToolChoice) {
    match choice {
        ToolChoice::Auto => o.put("tool_choice", "auto"),
        ToolChoice::None => o.put("tool_choice", "none"),
        ToolChoice::Required => o.put("tool_choice", "required"),
        ToolChoice::Named { name, custom } => {
            let mut c = o.object("tool_choice");
            c.put("type", if *custom { "custom" } else { "function" });
            c.put("name", name);
        }
        ToolChoice::Allowed { required, names } => {
            let mut c = o.object("tool_choice");
            c.put("type", "allowed_tools");
            c.put("mode", if *required { "required" } else { "auto" });
            let mut list = c.array("tools");
            for name in names {
                let mut t = list.object();
                t.put("type", "function");
                t.put("name", name);
            }
        }
    }
}

fn write_text(o: &mut write::Object<'_>, format: Option<&ResponseFormat>, verbosity: Option<&str>) {
    if format.is_none() && verbosity.is_none() {
        return;
    }
    let mut text = o.object("text");
    if let Some(format) = format {
        let mut f = text.object("format");
        match format {
            ResponseFormat::Text => f.put("type", "text"),
            ResponseFormat::JsonObject => f.put("type", "json_object"),
            ResponseFormat::JsonSchema { name, description, schema, strict } => {
                f.put("type", "json_schema");
                f.put("name", name);
                f.some("description", description);
                f.put("schema", schema);
                f.some("strict", strict);
            }
        }
    }
    text.some("verbosity", &verbosity);
}

fn write_sampling(o: &mut write::Object<'_>, sampling: &Sampling, losses: &mut Losses) -> Result<()> {
    let Sampling { temperature, top_p, top_k, frequency_penalty, presence_penalty, seed, logit_bias, stop } = sampling;
    o.some("temperature", temperature);
    o.some("top_p", top_p);
    for (lost, field) in [
        (top_k.is_some(), "top_k"),
        (frequency_penalty.is_some(), "frequency_penalty"),
        (presence_penalty.is_some(), "presence_penalty"),
        (seed.is_some(), "seed"),
    ] {
        losses.add_if(lost, field, "OpenAI Responses has no such field");
    }
    if !stop.is_empty() {
        return Err(TranslateError::unsupported("stop", "OpenAI Responses has no stop sequences"));
    }
    if logit_bias.is_some() {
        return Err(TranslateError::unsupported("logit_bias", "OpenAI Responses has none"));
    }
    Ok(())
}

fn write_include(o: &mut write::Object<'_>, model: &str, logprobs: Option<Logprobs>) {
    let mut include = Vec::new();
    if openai::is_reasoning_model(model) {
        include.push("reasoning.encrypted_content");
    }
    if let Some(logprobs) = logprobs {
        include.push("message.output_text.logprobs");
        o.some("top_logprobs", &logprobs.top);
    }
    if !include.is_empty() {
        o.put("include", &include);
    }
}

fn write_reasoning(o: &mut write::Object<'_>, config: &ReasoningConfig, losses: &mut Losses) {
    let ReasoningConfig { enabled: _, effort, budget_tokens, summary, visible } = config;
    if config.is_off() && *effort != Some(Effort::None) {
        return losses
            .add("thinking", "reasoning cannot be switched off for every model here; it is left as the model does");
    }
    losses.add_if(
        effort.is_none() && budget_tokens.is_some(),
        "budget_tokens",
        "the budget is sent as the nearest effort",
    );
    let effort = config.effort().map(|e| if e == Effort::Max { Effort::Xhigh } else { e });
    let shown = *visible == Some(true) || (*visible != Some(false) && config.enabled == Some(true));
    let summary = summary.as_deref().or(shown.then_some("auto"));
    if effort.is_none() && summary.is_none() {
        return;
    }
    let mut r = o.object("reasoning");
    r.some("effort", &effort.map(Effort::as_str));
    r.some("summary", &summary);
}
