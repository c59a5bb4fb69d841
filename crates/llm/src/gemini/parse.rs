//! Reading a request of a client that speaks Gemini's format. Names are taken in both of the forms that Google takes,
//! `camelCase` and `snake_case`.

use super::{schema::to_json_schema, seal};
use crate::{
    Format, Losses, TranslateError,
    ids::CallIds,
    ir::{
        CacheHint, Content, Effort, Function, Identity, Json, Logprobs, Message, Opaque, Part, Reasoning,
        ReasoningConfig, Request, ResponseFormat, Role, Sampling, Source, Tool, ToolCallPart, ToolChoice,
        ToolResultPart,
    },
    read::{Item, Object, text_of},
    schema,
};

type Result<T> = std::result::Result<T, TranslateError>;

/// The name of a field as this object has it.
fn key(object: &Object<'_>, camel: &'static str) -> String {
    if object.has(camel) {
        return camel.to_owned();
    }
    camel.chars().fold(String::new(), |mut snake, c| {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
        snake
    })
}

/// Reads a request. The model and whether the answer is streamed stand in the path.
pub(crate) fn parse_request(body: &[u8], losses: &mut Losses) -> Result<Request> {
    let mut top = Object::of_body(Format::Gemini, body)?;
    let mut messages = Vec::new();
    if let Some(system) = top.take(&key(&top, "systemInstruction")) {
        let texts = system_texts(&top, system)?;
        messages.push(Message::new(Role::System, texts.into_iter().map(Part::text).collect()));
    }
    let contents = top.objects("contents")?.ok_or_else(|| top.bad("contents", "it is missing"))?;
    let mut calls = Calls { ids: CallIds::new("gemini"), open: Vec::new() };
    for content in contents {
        parse_content(content, &mut calls, &mut messages, losses)?;
    }
    let tools = parse_tools(&mut top, losses)?;
    let tool_choice = match top.object(&key(&top, "toolConfig"))? {
        Some(config) => parse_choice(config, losses)?,
        None => None,
    };
    let mut request = Request {
        messages,
        tools,
        tool_choice,
        cache: CacheHint { content: top.string(&key(&top, "cachedContent"))?, ..CacheHint::default() },
        identity: Identity { metadata: top.json("labels"), ..Identity::default() },
        store: top.get("store")?,
        ..Request::default()
    };
    if let Some(config) = top.object(&key(&top, "generationConfig"))? {
        parse_generation(config, &mut request, losses)?;
    }
    top.ignore(&["model"]);
    top.rest(losses);
    Ok(request)
}

/// A system instruction is a content, and by the SDKs' leave also a bare text.
fn system_texts(top: &Object<'_>, raw: &serde_json::value::RawValue) -> Result<Vec<String>> {
    if let Some(text) = text_of(raw) {
        return Ok(vec![text]);
    }
    let mut content = Object::of(Format::Gemini, key(top, "systemInstruction"), raw)?;
    let mut texts = Vec::new();
    for mut part in content.objects("parts")?.unwrap_or_default() {
        texts.push(part.need("text")?);
    }
    Ok(texts)
}

/// Calls that have had no result, so that results without an id find theirs.
struct Calls {
    ids: CallIds,
    open: Vec<(String, String)>,
}

impl Calls {
    fn call(&mut self, id: Option<&str>, name: &str) -> String {
        let id = self.ids.next(id);
        self.open.push((id.clone(), name.to_owned()));
        id
    }

    /// The call of a result: by its id, and otherwise the first of its name that is open.
    fn result(&mut self, id: Option<String>, name: &str) -> Option<String> {
        let at = match &id {
            Some(id) => self.open.iter().position(|(open, _)| open == id),
            None => self.open.iter().position(|(_, open)| open == name),
        };
        match at {
            Some(at) => Some(self.open.remove(at).0),
            None => id,
        }
    }
}

fn parse_content(
    mut content: Object<'_>,
    calls: &mut Calls,
    messages: &mut Vec<Message>,
    losses: &mut Losses,
) -> Result<()> {
    let role = match content.string("role")?.as_deref() {
        None | Some("user" | "function") => Role::User,
        Some("model") => Role::Assistant,
        Some("system") => Role::System,
        Some(_) => return Err(content.bad("role", "it is neither `user` nor `model`")),
    };
    let mut run = Message::new(role, Vec::new());
    for item in content.array("parts")?.unwrap_or_default() {
        for part in parse_part(item, calls, losses)? {
            let role = if matches!(part.content, Content::ToolResult(_)) { Role::Tool } else { role };
            if run.role != role && !run.parts.is_empty() {
                messages.push(std::mem::replace(&mut run, Message::new(role, Vec::new())));
            }
            run.role = role;
            if let Some(part) = joined(&mut run.parts, part) {
                run.parts.push(part);
            }
        }
    }
    messages.push(run);
    content.rest(losses);
    Ok(())
}

/// Adds a thought to the thoughts before it that are not sealed: a stream's pieces, and the seal at their end. Gives
/// back what begins a part of its own.
fn joined(parts: &mut [Part], part: Part) -> Option<Part> {
    let Content::Reasoning(more) = &part.content else { return Some(part) };
    let Some(Part { content: Content::Reasoning(open), .. }) = parts.last_mut() else { return Some(part) };
    let is_native = more.texts.is_empty() && more.seal.as_ref().is_some_and(|s| s.origin == Format::Gemini);
    if open.seal.is_some() || more.redacted || is_native {
        return Some(part);
    }
    match open.texts.first_mut() {
        Some(text) => text.push_str(&more.texts.concat()),
        None => open.texts.clone_from(&more.texts),
    }
    open.seal.clone_from(&more.seal);
    None
}

/// A part; a text with a signature is two.
fn parse_part(item: Item<'_>, calls: &mut Calls, losses: &mut Losses) -> Result<Vec<Part>> {
    let whole = Json::from(item.raw);
    let mut part = item.object()?;
    let thought = part.get("thought")?.unwrap_or(false);
    let seal = part.string(&key(&part, "thoughtSignature"))?;
    let seal = seal.filter(|s| s != super::prompt::UNSIGNED).and_then(|s| seal::read(&s));
    let (seal, redacted) = seal.map_or((None, false), |(seal, redacted)| (Some(seal), redacted));
    let mut parts: Vec<Part> = Vec::new();
    if let Some(mut call) = part.object(&key(&part, "functionCall"))? {
        let name: String = call.need("name")?;
        let id = calls.call(call.string("id")?.as_deref(), &name);
        let arguments = call.json("args").map_or_else(|| "{}".into(), |a| a.compact());
        parts.push(Content::ToolCall(ToolCallPart { id, name, arguments, custom: false, seal }).into());
        call.rest(losses);
    } else if let Some(response) = part.object(&key(&part, "functionResponse"))? {
        parts.push(parse_result(response, calls, losses)?);
    } else if let Some(text) = part.string("text")? {
        let texts = Some(text).filter(|t| !t.is_empty());
        if thought {
            let texts = texts.into_iter().collect();
            parts.push(Content::Reasoning(Reasoning { texts, id: None, seal, redacted }).into());
        } else {
            parts.extend(texts.map(Part::text));
            parts.extend(
                seal.map(|seal| Content::Reasoning(Reasoning { seal: Some(seal), ..Reasoning::default() }).into()),
            );
        }
    } else if let Some(source) = parse_source(&mut part, losses)? {
        parts.push(media(source).into());
    } else {
        let kind = "part of Gemini's own".to_owned();
        return Ok(vec![Content::Opaque(Opaque { format: Format::Gemini, kind, value: whole }).into()]);
    }
    part.rest(losses);
    Ok(parts)
}

fn parse_source(part: &mut Object<'_>, losses: &mut Losses) -> Result<Option<Source>> {
    if let Some(mut data) = part.object(&key(part, "inlineData"))? {
        let source = Source::Base64 { media_type: data.need(&key(&data, "mimeType"))?, data: data.need("data")? };
        data.ignore(&["displayName", "display_name"]);
        data.rest(losses);
        return Ok(Some(source));
    }
    let Some(mut data) = part.object(&key(part, "fileData"))? else { return Ok(None) };
    let url: String = data.need(&key(&data, "fileUri"))?;
    let media_type = data.string(&key(&data, "mimeType"))?;
    data.rest(losses);
    let is_kept = url.contains("generativelanguage.googleapis.com") || url.starts_with("gs://");
    Ok(Some(if is_kept { Source::Id { origin: Format::Gemini, id: url } } else { Source::Url { url, media_type } }))
}

/// What a file is, by its type.
fn media(source: Source) -> Content {
    let media_type = match &source {
        Source::Base64 { media_type, .. } => media_type.as_str(),
        Source::Url { media_type: Some(media_type), .. } => media_type.as_str(),
        Source::Url { media_type: None, .. } | Source::Text(_) | Source::Id { .. } => "",
    };
    if media_type.starts_with("image/") {
        Content::Image { source, detail: None }
    } else if media_type.starts_with("audio/") {
        Content::Audio { source }
    } else {
        Content::File { source, name: None }
    }
}

/// A result: what is under `output` or `error` alone, and the whole object otherwise.
fn parse_result(mut result: Object<'_>, calls: &mut Calls, losses: &mut Losses) -> Result<Part> {
    let name: String = result.need("name")?;
    let id = result.string("id")?;
    let Some(call_id) = calls.result(id, &name) else {
        return Err(result.bad("name", format!("no call of `{name}` waits for a result")));
    };
    let mut parts = Vec::new();
    let mut is_error = false;
    if let Some(raw) = result.take("response") {
        let mut fields = Object::of(Format::Gemini, result.at("response"), raw)?;
        let (output, error) = (fields.take("output"), fields.take("error"));
        let mut others = Losses::default();
        fields.rest(&mut others);
        is_error = error.is_some();
        let is_alone = others.into_vec().is_empty();
        let alone = match (output, error) {
            (Some(one), None) | (None, Some(one)) if is_alone => one,
            _ => raw,
        };
        parts.push(Part::text(text_of(alone).unwrap_or_else(|| Json::from(alone).compact())));
    }
    for item in result.array("parts")?.unwrap_or_default() {
        let mut part = item.object()?;
        let source = parse_source(&mut part, losses)?.ok_or_else(|| part.bad("inlineData", "it is missing"))?;
        parts.push(media(source).into());
        part.rest(losses);
    }
    result.rest(losses);
    let custom = false;
    Ok(Content::ToolResult(ToolResultPart { call_id, name: Some(name), parts, is_error, custom }).into())
}

fn parse_tools(top: &mut Object<'_>, losses: &mut Losses) -> Result<Vec<Tool>> {
    let mut tools = Vec::new();
    for item in top.array("tools")?.unwrap_or_default() {
        let whole = Json::from(item.raw);
        let mut tool = item.object()?;
        let declarations = tool.objects(&key(&tool, "functionDeclarations"))?;
        let has_none = declarations.is_none();
        for mut d in declarations.unwrap_or_default() {
            let own = d.json("parameters").map(|p| to_json_schema(&p));
            tools.push(Tool::Function(Function {
                name: d.need("name")?,
                description: d.string("description")?,
                parameters: d.json(&key(&d, "parametersJsonSchema")).or(own),
                ..Function::default()
            }));
            d.rest(losses);
        }
        let mut others = Losses::default();
        tool.rest(&mut others);
        let others = others.into_vec();
        if has_none || !others.is_empty() {
            let kind = others.into_iter().next().map_or_else(|| "tool".into(), |o| o.field);
            tools.push(Tool::Opaque(Opaque { format: Format::Gemini, kind, value: whole }));
        }
    }
    Ok(tools)
}

fn parse_choice(mut config: Object<'_>, losses: &mut Losses) -> Result<Option<ToolChoice>> {
    let Some(mut calling) = config.object(&key(&config, "functionCallingConfig"))? else {
        config.rest(losses);
        return Ok(None);
    };
    let mode = calling.string("mode")?.map(|m| m.to_ascii_uppercase());
    let names: Vec<String> = calling.get(&key(&calling, "allowedFunctionNames"))?.unwrap_or_default();
    calling.rest(losses);
    config.rest(losses);
    Ok(match (mode.as_deref(), names.as_slice()) {
        (None | Some("MODE_UNSPECIFIED"), _) => None,
        (Some("AUTO" | "VALIDATED"), []) => Some(ToolChoice::Auto),
        (Some("AUTO" | "VALIDATED"), _) => Some(ToolChoice::Allowed { required: false, names }),
        (Some("NONE"), _) => Some(ToolChoice::None),
        (Some("ANY"), []) => Some(ToolChoice::Required),
        (Some("ANY"), [name]) => Some(ToolChoice::Named { name: name.clone(), custom: false }),
        (Some("ANY"), _) => Some(ToolChoice::Allowed { required: true, names }),
        _ => return Err(config_error("it is none of `AUTO`, `ANY`, `NONE`, `VALIDATED`")),
    })
}

fn config_error(why: &str) -> TranslateError {
    let what = "`toolConfig.functionCallingConfig.mode`".into();
    TranslateError::Malformed { format: Format::Gemini, what, why: why.into() }
}

fn parse_generation(mut config: Object<'_>, request: &mut Request, losses: &mut Losses) -> Result<()> {
    let modalities: Vec<String> = config.get(&key(&config, "responseModalities"))?.unwrap_or_default();
    if modalities.iter().any(|m| !m.eq_ignore_ascii_case("text")) {
        return Err(config.unsupported("responseModalities", "answers in other forms than text exist at Google only"));
    }
    let top_k: Option<f64> = config.get(&key(&config, "topK"))?;
    request.sampling = Sampling {
        temperature: config.number("temperature")?,
        top_p: config.number(&key(&config, "topP"))?,
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; no k is that large")]
        top_k: top_k.map(|k| k as u64),
        frequency_penalty: config.number(&key(&config, "frequencyPenalty"))?,
        presence_penalty: config.number(&key(&config, "presencePenalty"))?,
        seed: config.get("seed")?,
        logit_bias: None,
        stop: config.get(&key(&config, "stopSequences"))?.unwrap_or_default(),
    };
    request.max_output_tokens = config.get(&key(&config, "maxOutputTokens"))?;
    request.n = config.get(&key(&config, "candidateCount"))?;
    let top = config.get("logprobs")?;
    let wants_logprobs = config.get(&key(&config, "responseLogprobs"))?.unwrap_or(false);
    request.logprobs = wants_logprobs.then_some(Logprobs { top });
    request.response_format = parse_form(&mut config)?;
    if let Some(thinking) = config.object(&key(&config, "thinkingConfig"))? {
        request.reasoning = Some(parse_thinking(thinking, losses)?);
    }
    config.rest(losses);
    Ok(())
}

fn parse_form(config: &mut Object<'_>) -> Result<Option<ResponseFormat>> {
    let own = config.json(&key(config, "responseSchema")).map(|s| to_json_schema(&s));
    let schema = config.json(&key(config, "responseJsonSchema")).or(own);
    let media_type = config.string(&key(config, "responseMimeType"))?;
    match (media_type.as_deref(), schema) {
        (None | Some("text/plain"), None) => Ok(None),
        (Some("application/json"), None) => Ok(Some(ResponseFormat::JsonObject)),
        (Some("application/json"), Some(schema)) => {
            let name = "response".into();
            let strict = schema::is_strict(&schema).then_some(true);
            Ok(Some(ResponseFormat::JsonSchema { name, description: None, schema, strict }))
        }
        (Some("text/x.enum"), _) => {
            Err(config.unsupported("responseMimeType", "answers of one word exist at Google only; use a JSON schema"))
        }
        _ => Err(config.bad("responseMimeType", "it fits no schema: it has to be `application/json`")),
    }
}

fn parse_thinking(mut thinking: Object<'_>, losses: &mut Losses) -> Result<ReasoningConfig> {
    let mut config = ReasoningConfig {
        visible: Some(thinking.get(&key(&thinking, "includeThoughts"))?.unwrap_or(false)),
        ..ReasoningConfig::default()
    };
    if let Some(word) = thinking.string(&key(&thinking, "thinkingLevel"))? {
        config.effort = Effort::parse(&word.to_ascii_lowercase());
        if config.effort.is_none() {
            return Err(thinking.bad("thinkingLevel", "it is none of `minimal`, `low`, `medium`, `high`"));
        }
    }
    match thinking.get::<i64>(&key(&thinking, "thinkingBudget"))? {
        // The model decides.
        Some(..0) => config.enabled = Some(true),
        Some(budget) => config.budget_tokens = u64::try_from(budget).ok(),
        None => {}
    }
    thinking.rest(losses);
    Ok(config)
}
