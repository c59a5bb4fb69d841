//! Reading a client's request.

use super::blocks;
use crate::{
    Format, Losses, TranslateError,
    ir::{
        Effort, Function, Identity, Json, Message, Opaque, ReasoningConfig, Request, ResponseFormat, Role, Sampling,
        Tool, ToolChoice,
    },
    read::Object,
    schema,
};

type Result<T> = std::result::Result<T, TranslateError>;

/// Fields that decide where or with what the answer is made; left out, the call would be another one.
const DECISIVE: [(&str, &str); 4] = [
    ("mcp_servers", "tools at the provider work with Anthropic's own models only"),
    ("container", "containers at the provider work with Anthropic's own models only"),
    ("inference_geo", "another provider does not promise where it computes"),
    ("fallbacks", "name an alias with several targets in the gateway's configuration instead"),
];

/// Reads a request; what has no counterpart is added to `losses`.
pub(crate) fn parse_request(body: &[u8], losses: &mut Losses) -> Result<Request> {
    let request = parse_prompt(body, losses)?;
    if request.max_output_tokens.is_none() {
        let why = "it is missing".into();
        return Err(TranslateError::Malformed { format: Format::Messages, what: "`max_tokens`".into(), why });
    }
    Ok(request)
}

/// Reads a request whose length may be missing, as those that only count tokens.
pub(super) fn parse_prompt(body: &[u8], losses: &mut Losses) -> Result<Request> {
    let mut top = Object::of_body(Format::Messages, body)?;
    for (field, why) in DECISIVE {
        if top.has(field) {
            return Err(top.unsupported(field, why));
        }
    }
    let mut messages = Vec::new();
    if let Some(raw) = top.take("system") {
        let parts = blocks::parse_content(&top.at("system"), raw, losses)?;
        messages.extend((!parts.is_empty()).then(|| Message::new(Role::System, parts)));
    }
    for message in top.objects("messages")?.ok_or_else(|| top.bad("messages", "it is missing"))? {
        parse_message(message, &mut messages, losses)?;
    }
    let (tool_choice, parallel_tool_calls) = match top.object("tool_choice")? {
        Some(choice) => parse_choice(choice, losses)?,
        None => (None, None),
    };
    let mut reasoning = top.object("thinking")?.map(|t| parse_thinking(t, losses)).transpose()?;
    let response_format = parse_output(&mut top, &mut reasoning, losses)?;
    let mut metadata = top.object("metadata")?;
    let user = metadata.as_mut().map(|m| m.string("user_id")).transpose()?.flatten();
    if let Some(metadata) = metadata {
        metadata.rest(losses);
    }
    let stream = top.get("stream")?.unwrap_or(false);
    let request = Request {
        model: top.need("model")?,
        messages,
        tools: parse_tools(&mut top, losses)?,
        tool_choice,
        parallel_tool_calls,
        response_format,
        sampling: Sampling {
            temperature: top.number("temperature")?,
            top_p: top.number("top_p")?,
            top_k: top.get("top_k")?,
            stop: top.get("stop_sequences")?.unwrap_or_default(),
            ..Sampling::default()
        },
        max_output_tokens: top.get("max_tokens")?,
        reasoning,
        stream,
        include_usage: stream,
        identity: Identity { user, ..Identity::default() },
        service_tier: parse_tier(&mut top)?,
        ..Request::default()
    };
    top.rest(losses);
    Ok(request)
}

/// Anthropic's "standard only" is what OpenAI calls the default tier.
fn parse_tier(top: &mut Object<'_>) -> Result<Option<String>> {
    let tier = top.string("service_tier")?;
    Ok(tier.map(|t| if t == "standard_only" { "default".into() } else { t }))
}

/// Results of tools become messages of their own; what stands beside them keeps its place.
fn parse_message(mut message: Object<'_>, messages: &mut Vec<Message>, losses: &mut Losses) -> Result<()> {
    use crate::ir::Content;
    let role: String = message.need("role")?;
    let role = match role.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(message.bad("role", "it is neither `user` nor `assistant`")),
    };
    let content = message.take("content").ok_or_else(|| message.bad("content", "it is missing"))?;
    let parts = blocks::parse_content(&message.at("content"), content, losses)?;
    message.rest(losses);
    let mut run: Option<Message> = None;
    for part in parts {
        let role = if matches!(part.content, Content::ToolResult(_)) { Role::Tool } else { role };
        match &mut run {
            Some(run) if run.role == role => run.parts.push(part),
            _ => messages.extend(run.replace(Message::new(role, vec![part]))),
        }
    }
    messages.push(run.unwrap_or_else(|| Message::new(role, Vec::new())));
    Ok(())
}

fn parse_tools(top: &mut Object<'_>, losses: &mut Losses) -> Result<Vec<Tool>> {
    let mut tools = Vec::new();
    for item in top.array("tools")?.unwrap_or_default() {
        let whole = Json::from(item.raw);
        let mut tool = item.object()?;
        let kind = tool.string("type")?.unwrap_or_else(|| "custom".into());
        if kind != "custom" {
            tools.push(Tool::Opaque(Opaque { format: Format::Messages, kind, value: whole }));
            continue;
        }
        tools.push(Tool::Function(Function {
            name: tool.need("name")?,
            description: tool.string("description")?,
            parameters: tool.json("input_schema"),
            strict: tool.get("strict")?,
            cache: blocks::parse_cache(&mut tool, losses)?,
        }));
        tool.rest(losses);
    }
    Ok(tools)
}

fn parse_choice(mut choice: Object<'_>, losses: &mut Losses) -> Result<(Option<ToolChoice>, Option<bool>)> {
    let kind: String = choice.need("type")?;
    let tool_choice = match kind.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named { name: choice.need("name")?, custom: false },
        _ => return Err(choice.bad("type", "it is none of `auto`, `any`, `tool`, `none`")),
    };
    let serial: Option<bool> = choice.get("disable_parallel_tool_use")?;
    choice.rest(losses);
    Ok((Some(tool_choice), serial.map(|s| !s)))
}

fn parse_thinking(mut thinking: Object<'_>, losses: &mut Losses) -> Result<ReasoningConfig> {
    let kind: String = thinking.need("type")?;
    let mut config = ReasoningConfig::default();
    match kind.as_str() {
        "disabled" => config.enabled = Some(false),
        "adaptive" => config.enabled = Some(true),
        "enabled" => {
            config.enabled = Some(true);
            config.budget_tokens = Some(thinking.need("budget_tokens")?);
        }
        _ => return Err(thinking.bad("type", "it is none of `enabled`, `adaptive`, `disabled`")),
    }
    config.visible = thinking.string("display")?.map(|d| d != "omitted");
    thinking.rest(losses);
    Ok(config)
}

/// The form of the answer and the effort; `output_format` is the name under which the form was introduced.
fn parse_output(
    top: &mut Object<'_>,
    reasoning: &mut Option<ReasoningConfig>,
    losses: &mut Losses,
) -> Result<Option<ResponseFormat>> {
    let mut format = top.object("output_format")?;
    if let Some(mut config) = top.object("output_config")? {
        if let Some(word) = config.string("effort")? {
            let effort = Effort::parse(&word)
                .ok_or_else(|| config.bad("effort", "it is none of `low`, `medium`, `high`, `xhigh`, `max`"))?;
            reasoning.get_or_insert_default().effort = Some(effort);
        }
        format = config.object("format")?.or(format);
        config.rest(losses);
    }
    let Some(mut format) = format else { return Ok(None) };
    let kind: String = format.need("type")?;
    if kind != "json_schema" {
        return Err(format.bad("type", "it is not `json_schema`"));
    }
    let schema = format.json("schema").ok_or_else(|| format.bad("schema", "it is missing"))?;
    format.rest(losses);
    // Anthropic always holds the model to the schema; OpenAI does so with schemas of a narrower form.
    let strict = schema::is_strict(&schema).then_some(true);
    Ok(Some(ResponseFormat::JsonSchema { name: "response".into(), description: None, schema, strict }))
}
