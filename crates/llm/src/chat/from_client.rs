//! Requests of Chat Completions clients.

use crate::{
    Format, Losses, TranslateError,
    ir::{
        CacheHint, CacheMark, Content, Effort, Function, Identity, Logprobs, Message, Part, Reasoning, ReasoningConfig,
        Request, ResponseFormat, Role, Sampling, Seal, Source, Tool, ToolCallPart, ToolChoice, ToolResultPart,
    },
    openai,
    read::{Item, Object, items, text_of},
};

type Result<T> = std::result::Result<T, TranslateError>;

/// Reads a request.
pub(crate) fn parse_request(body: &[u8], losses: &mut Losses) -> Result<Request> {
    let mut o = Object::of_body(Format::Chat, body)?;
    refuse(&o)?;
    let mut messages = Vec::new();
    for m in o.objects("messages")?.ok_or_else(|| o.bad("messages", "it is missing"))? {
        messages.push(message(m, losses)?);
    }
    mark_custom_results(&mut messages);
    let options = o.object("stream_options")?;
    let mut include_usage = false;
    if let Some(mut options) = options {
        include_usage = options.get("include_usage")?.unwrap_or(false);
        options.ignore(&["include_obfuscation"]);
        options.rest(losses);
    }
    let max_tokens = o.get("max_tokens")?;
    let request = Request {
        model: o.need("model")?,
        messages,
        tools: tools(&mut o, losses)?,
        tool_choice: tool_choice(&mut o, losses)?,
        parallel_tool_calls: o.get("parallel_tool_calls")?,
        response_format: response_format(&mut o, losses)?,
        max_output_tokens: o.get("max_completion_tokens")?.or(max_tokens),
        n: o.get("n")?,
        logprobs: logprobs(&mut o)?,
        reasoning: reasoning(&mut o, losses)?,
        verbosity: o.get("verbosity")?,
        stream: o.get("stream")?.unwrap_or(false),
        include_usage,
        service_tier: o.get("service_tier")?,
        store: o.get("store")?,
        cache: CacheHint {
            key: o.get("prompt_cache_key")?,
            retention: o.get("prompt_cache_retention")?,
            content: None,
        },
        identity: Identity {
            user: o.get("user")?,
            safety_identifier: o.get("safety_identifier")?,
            metadata: o.json("metadata"),
        },
        sampling: Sampling {
            temperature: o.number("temperature")?,
            top_p: o.number("top_p")?,
            top_k: o.get("top_k")?,
            frequency_penalty: o.number("frequency_penalty")?,
            presence_penalty: o.number("presence_penalty")?,
            seed: o.get("seed")?,
            logit_bias: o.json("logit_bias"),
            stop: stop(&mut o)?,
        },
    };
    if o.get::<Vec<String>>("modalities")?.is_some_and(|m| m.iter().any(|m| m != "text")) {
        return Err(o.unsupported("modalities", "answers in other forms than text exist at OpenAI only"));
    }
    o.rest(losses);
    Ok(request)
}

/// Fields that change what is asked for and that no other format can say.
fn refuse(o: &Object<'_>) -> Result<()> {
    for (field, why) in [
        ("functions", "it is deprecated; use `tools`"),
        ("function_call", "it is deprecated; use `tool_choice`"),
        ("audio", "answers in sound exist at OpenAI only"),
        ("web_search_options", "the search runs at OpenAI only; ask a model there"),
    ] {
        if o.has(field) {
            return Err(o.unsupported(field, why));
        }
    }
    Ok(())
}

fn message(mut o: Object<'_>, losses: &mut Losses) -> Result<Message> {
    let role: String = o.need("role")?;
    let name = o.string("name")?;
    let (role, parts) = match role.as_str() {
        "system" => (Role::System, content(&mut o, losses)?),
        "developer" => (Role::Developer, content(&mut o, losses)?),
        "user" => (Role::User, content(&mut o, losses)?),
        "assistant" => (Role::Assistant, assistant(&mut o, losses)?),
        "tool" => {
            let result = ToolResultPart {
                call_id: o.need("tool_call_id")?,
                name: None,
                parts: content(&mut o, losses)?,
                is_error: o.get("is_error")?.unwrap_or(false),
                custom: false,
            };
            (Role::Tool, vec![Content::ToolResult(result).into()])
        }
        other => {
            return Err(o.bad("role", format_args!("`{other}` is none of system, developer, user, assistant, tool")));
        }
    };
    let mut message = Message { role, name, parts };
    if let Some(mark) = cache_mark(&mut o)?
        && let Some(last) = message.parts.last_mut()
    {
        last.cache = Some(mark);
    }
    o.rest(losses);
    Ok(message)
}

/// A result does not say of which kind its tool is; the call does.
fn mark_custom_results(messages: &mut [Message]) {
    let mut custom = Vec::new();
    for part in messages.iter_mut().flat_map(|m| &mut m.parts) {
        match &mut part.content {
            Content::ToolCall(call) if call.custom => custom.push(call.id.clone()),
            Content::ToolResult(result) => result.custom = custom.contains(&result.call_id),
            _ => {}
        }
    }
}

fn content(o: &mut Object<'_>, losses: &mut Losses) -> Result<Vec<Part>> {
    let Some(raw) = o.take("content") else { return Ok(Vec::new()) };
    if let Some(text) = text_of(raw) {
        return Ok(vec![Part::text(text)]);
    }
    items(Format::Chat, &o.at("content"), raw)?.into_iter().map(|item| part(item, losses)).collect()
}

fn part(item: Item<'_>, losses: &mut Losses) -> Result<Part> {
    let mut o = item.object()?;
    let kind: String = o.need("type")?;
    let content = match kind.as_str() {
        "text" => Content::Text { text: o.need("text")?, annotations: Vec::new() },
        "refusal" => Content::Refusal(o.need("refusal")?),
        "image_url" => {
            let mut image = o.object("image_url")?.ok_or_else(|| o.bad("image_url", "it is missing"))?;
            let content =
                Content::Image { source: openai::source_of_url(image.need("url")?), detail: image.get("detail")? };
            image.rest(losses);
            content
        }
        "input_audio" => {
            let mut audio = o.object("input_audio")?.ok_or_else(|| o.bad("input_audio", "it is missing"))?;
            let media_type = openai::audio_type(&audio.need::<String>("format")?);
            Content::Audio { source: Source::Base64 { media_type, data: audio.need("data")? } }
        }
        "file" => file(&mut o, losses)?,
        other => return Err(o.unsupported("type", format!("parts of type `{other}` are not known"))),
    };
    let part = Part { content, cache: cache_mark(&mut o)? };
    o.rest(losses);
    Ok(part)
}

fn file(o: &mut Object<'_>, losses: &mut Losses) -> Result<Content> {
    let mut file = o.object("file")?.ok_or_else(|| o.bad("file", "it is missing"))?;
    let name = file.get("filename")?;
    let source = match (file.string("file_data")?, file.string("file_id")?) {
        (Some(data), _) if data.starts_with("data:") => openai::source_of_url(data),
        (Some(data), _) => Source::Base64 { media_type: "application/pdf".into(), data },
        (None, Some(id)) => Source::Id { origin: Format::Chat, id },
        (None, None) => return Err(file.bad("file_data", "it is missing")),
    };
    file.rest(losses);
    Ok(Content::File { source, name })
}

/// Anthropic's marker, which compatible servers and clients also use in this format.
pub(crate) fn cache_mark(o: &mut Object<'_>) -> Result<Option<CacheMark>> {
    let Some(mut mark) = o.object("cache_control")? else { return Ok(None) };
    Ok(Some(CacheMark { ttl: mark.get("ttl")? }))
}

/// Reasoning, text, refusal, tool calls: in the order in which models emit them.
fn assistant(o: &mut Object<'_>, losses: &mut Losses) -> Result<Vec<Part>> {
    if o.has("audio") {
        return Err(o.unsupported("audio", "sound that is kept at OpenAI can be read there only"));
    }
    if o.has("function_call") {
        return Err(o.unsupported("function_call", "it is deprecated; use `tool_calls`"));
    }
    let mut parts = reasoning_parts(o)?;
    parts.extend(content(o, losses)?);
    if let Some(refusal) = o.string("refusal")? {
        parts.push(Content::Refusal(refusal).into());
    }
    for mut call in o.objects("tool_calls")?.unwrap_or_default() {
        parts.push(Content::ToolCall(tool_call(&mut call, losses)?).into());
        call.rest(losses);
    }
    let cited = o.take("annotations").is_some_and(|a| a.get() != "[]");
    losses.add_if(cited, "annotations", "citations on an answer cannot be sent back");
    Ok(parts)
}

fn tool_call(call: &mut Object<'_>, losses: &mut Losses) -> Result<ToolCallPart> {
    let id = call.need("id")?;
    let kind = call.string("type")?;
    call.ignore(&["index"]);
    let seal = match call.object("extra_content")?.map(|mut e| e.object("google")).transpose()?.flatten() {
        Some(mut google) => google.string("thought_signature")?.and_then(|s| Seal::read(Format::Gemini, &s)),
        None => None,
    };
    let custom = kind.as_deref() == Some("custom");
    let (key, text) = if custom { ("custom", "input") } else { ("function", "arguments") };
    let mut of = call.object(key)?.ok_or_else(|| call.bad(key, "it is missing"))?;
    let part = ToolCallPart { id, name: of.need("name")?, arguments: of.get(text)?.unwrap_or_default(), custom, seal };
    of.rest(losses);
    Ok(part)
}

/// `thinking_blocks` with their signatures, or else the readable text alone.
fn reasoning_parts(o: &mut Object<'_>) -> Result<Vec<Part>> {
    let text = o.string("reasoning_content")?;
    let text = match o.take("reasoning") {
        Some(raw) => text.or(text_of(raw)),
        None => text,
    };
    let blocks = super::thinking::read(o.objects("thinking_blocks")?.unwrap_or_default())?;
    if blocks.is_empty() {
        let texts = text.into_iter().filter(|t| !t.is_empty());
        return Ok(texts
            .map(|t| Content::Reasoning(Reasoning { texts: vec![t], ..Reasoning::default() }).into())
            .collect());
    }
    Ok(blocks.into_iter().map(|b| Content::Reasoning(b).into()).collect())
}

fn tools(o: &mut Object<'_>, losses: &mut Losses) -> Result<Vec<Tool>> {
    let mut tools = Vec::new();
    for mut tool in o.objects("tools")?.unwrap_or_default() {
        let kind: String = tool.need("type")?;
        let read = match kind.as_str() {
            "function" => {
                let mut f = tool.object("function")?.ok_or_else(|| tool.bad("function", "it is missing"))?;
                let cache = cache_mark(&mut tool)?.or(cache_mark(&mut f)?);
                let function = Function {
                    name: f.need("name")?,
                    description: f.get("description")?,
                    parameters: f.json("parameters"),
                    strict: f.get("strict")?,
                    cache,
                };
                f.rest(losses);
                Tool::Function(function)
            }
            "custom" => {
                let mut c = tool.object("custom")?.ok_or_else(|| tool.bad("custom", "it is missing"))?;
                let format = super::grammar::from_chat(c.object("format")?)?;
                Tool::Custom { name: c.need("name")?, description: c.get("description")?, format }
            }
            other => {
                return Err(tool.unsupported("type", format!("tools of type `{other}` run at their provider only")));
            }
        };
        tool.rest(losses);
        tools.push(read);
    }
    Ok(tools)
}

fn tool_choice(o: &mut Object<'_>, losses: &mut Losses) -> Result<Option<ToolChoice>> {
    let Some(raw) = o.take("tool_choice") else { return Ok(None) };
    if let Some(word) = text_of(raw) {
        return Ok(Some(match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" | "any" => ToolChoice::Required,
            other => return Err(o.bad("tool_choice", format_args!("`{other}` is none of auto, none, required"))),
        }));
    }
    let mut choice = Object::of(Format::Chat, o.at("tool_choice"), raw)?;
    let kind: String = choice.need("type")?;
    let read = match kind.as_str() {
        "function" | "custom" => {
            let mut of = choice.object(&kind)?.ok_or_else(|| choice.bad(&kind, "it is missing"))?;
            ToolChoice::Named { name: of.need("name")?, custom: kind == "custom" }
        }
        "allowed_tools" => {
            let mut allowed =
                choice.object("allowed_tools")?.ok_or_else(|| choice.bad("allowed_tools", "it is missing"))?;
            let required = allowed.need::<String>("mode")? == "required";
            let mut names = Vec::new();
            for mut tool in allowed.objects("tools")?.unwrap_or_default() {
                let mut f = tool
                    .object("function")?
                    .ok_or_else(|| tool.unsupported("type", "only functions can be allowed by name across formats"))?;
                names.push(f.need("name")?);
            }
            ToolChoice::Allowed { required, names }
        }
        other => return Err(choice.unsupported("type", format!("a choice of type `{other}` is not known"))),
    };
    choice.rest(losses);
    Ok(Some(read))
}

fn response_format(o: &mut Object<'_>, losses: &mut Losses) -> Result<Option<ResponseFormat>> {
    let Some(mut f) = o.object("response_format")? else { return Ok(None) };
    let kind: String = f.need("type")?;
    let read = match kind.as_str() {
        "text" => ResponseFormat::Text,
        "json_object" => ResponseFormat::JsonObject,
        "json_schema" => {
            let mut s = f.object("json_schema")?.ok_or_else(|| f.bad("json_schema", "it is missing"))?;
            let read = ResponseFormat::JsonSchema {
                name: s.need("name")?,
                description: s.get("description")?,
                schema: s.json("schema").ok_or_else(|| s.bad("schema", "it is missing"))?,
                strict: s.get("strict")?,
            };
            s.rest(losses);
            read
        }
        other => return Err(f.unsupported("type", format!("the form `{other}` is not known"))),
    };
    f.rest(losses);
    Ok(Some(read))
}

fn logprobs(o: &mut Object<'_>) -> Result<Option<Logprobs>> {
    let top = o.get("top_logprobs")?;
    Ok(o.get("logprobs")?.unwrap_or(false).then_some(Logprobs { top }))
}

/// OpenAI's word, and the objects that OpenRouter and Anthropic use for the same.
fn reasoning(o: &mut Object<'_>, losses: &mut Losses) -> Result<Option<ReasoningConfig>> {
    let mut config = ReasoningConfig::default();
    if let Some(word) = o.string("reasoning_effort")? {
        config.effort = Some(effort(o, "reasoning_effort", &word)?);
    }
    if let Some(mut r) = o.object("reasoning")? {
        if let Some(word) = r.string("effort")? {
            config.effort = Some(effort(&r, "effort", &word)?);
        }
        config.budget_tokens = r.get("max_tokens")?;
        config.enabled = r.get("enabled")?;
        config.visible = r.get::<bool>("exclude")?.map(|hidden| !hidden);
        r.rest(losses);
    }
    if let Some(mut t) = o.object("thinking")? {
        config.enabled = Some(t.need::<String>("type")? != "disabled");
        config.budget_tokens = t.get("budget_tokens")?;
        t.rest(losses);
    }
    Ok((config != ReasoningConfig::default()).then_some(config))
}

fn effort(o: &Object<'_>, key: &str, word: &str) -> Result<Effort> {
    Effort::parse(word).ok_or_else(|| o.bad(key, format_args!("`{word}` is no effort; use none, low, medium or high")))
}

fn stop(o: &mut Object<'_>) -> Result<Vec<String>> {
    let Some(raw) = o.take("stop") else { return Ok(Vec::new()) };
    if let Some(text) = text_of(raw) {
        return Ok(vec![text]);
    }
    serde_json::from_str(raw.get()).map_err(|e| o.bad("stop", e))
}
