//! Requests of Responses clients.

use super::items::{self, Thought};
use crate::{
    Format, Losses, TranslateError,
    ir::{
        CacheHint, Content, Effort, Function, Identity, Json, Logprobs, Message, Opaque, Part, ReasoningConfig,
        Request, ResponseFormat, Role, Sampling, Seal, Tool, ToolChoice, ToolResultPart,
    },
    read::{Item, Object, items as array, text_of},
};

type Result<T> = std::result::Result<T, TranslateError>;

/// Reads a request.
pub(crate) fn parse_request(body: &[u8], losses: &mut Losses) -> Result<Request> {
    let mut o = Object::of_body(Format::Responses, body)?;
    refuse(&mut o)?;
    let mut messages = Vec::new();
    if let Some(text) = o.string("instructions")? {
        messages.push(Message::new(Role::System, vec![Part::text(text)]));
    }
    input(&mut o, &mut messages, losses)?;
    let (response_format, verbosity) = text(&mut o, losses)?;
    let request = Request {
        model: o.need("model")?,
        messages,
        tools: tools(&mut o, losses)?,
        tool_choice: tool_choice(&mut o, losses)?,
        parallel_tool_calls: o.get("parallel_tool_calls")?,
        response_format,
        max_output_tokens: o.get("max_output_tokens")?,
        n: None,
        logprobs: logprobs(&mut o)?,
        reasoning: reasoning(&mut o, losses)?,
        verbosity,
        stream: o.get("stream")?.unwrap_or(false),
        include_usage: true,
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
        sampling: Sampling { temperature: o.number("temperature")?, top_p: o.number("top_p")?, ..Sampling::default() },
    };
    // How the stream is padded is no question of the answer.
    o.ignore(&["stream_options"]);
    o.rest(losses);
    Ok(request)
}

/// What lives at OpenAI.
fn refuse(o: &mut Object<'_>) -> Result<()> {
    const HERE: &str = "it is kept at OpenAI; send the whole conversation as `input`";
    for field in ["previous_response_id", "conversation", "prompt"] {
        if o.has(field) {
            return Err(o.unsupported(field, HERE));
        }
    }
    if o.get::<bool>("background")?.unwrap_or(false) {
        return Err(o.unsupported("background", "only OpenAI answers later; leave it out"));
    }
    Ok(())
}

fn input(o: &mut Object<'_>, messages: &mut Vec<Message>, losses: &mut Losses) -> Result<()> {
    let raw = o.take("input").ok_or_else(|| o.bad("input", "it is missing"))?;
    if let Some(text) = text_of(raw) {
        messages.push(Message::new(Role::User, vec![Part::text(text)]));
        return Ok(());
    }
    let mut seal = None;
    for item in array(Format::Responses, &o.at("input"), raw)? {
        item_of(item, messages, &mut seal, losses)?;
    }
    Ok(())
}

/// Adds an item. What the model emitted in one go is one message, and so are the results of its calls.
fn item_of(item: Item<'_>, messages: &mut Vec<Message>, seal: &mut Option<Seal>, losses: &mut Losses) -> Result<()> {
    let value = item.raw;
    let mut o = item.object()?;
    let kind = o.string("type")?.unwrap_or_else(|| "message".into());
    let (role, parts) = match kind.as_str() {
        "message" => {
            let role: String = o.need("role")?;
            let role = match role.as_str() {
                "user" => Role::User,
                "assistant" => Role::Assistant,
                "system" => Role::System,
                "developer" => Role::Developer,
                other => {
                    return Err(o.bad("role", format_args!("`{other}` is none of user, assistant, system, developer")));
                }
            };
            o.ignore(&["id", "status"]);
            (role, items::content(&mut o, "content", losses)?)
        }
        "reasoning" => match items::thought(&mut o)? {
            Thought::Block(block) => (Role::Assistant, vec![Content::Reasoning(block).into()]),
            Thought::OfCall(of_call) => {
                *seal = Some(of_call);
                return Ok(());
            }
        },
        "function_call" | "custom_tool_call" => {
            let call = items::tool_call(&mut o, kind == "custom_tool_call", seal.take())?;
            (Role::Assistant, vec![Content::ToolCall(call).into()])
        }
        "function_call_output" | "custom_tool_call_output" => {
            o.ignore(&["id", "status"]);
            let result = ToolResultPart {
                call_id: o.need("call_id")?,
                name: None,
                parts: items::content(&mut o, "output", losses)?,
                is_error: false,
                custom: kind == "custom_tool_call_output",
            };
            (Role::Tool, vec![Content::ToolResult(result).into()])
        }
        "item_reference" => {
            return Err(o.unsupported("type", "it refers to an item that is kept at OpenAI; send the item itself"));
        }
        _ => {
            let opaque = Opaque { format: Format::Responses, kind, value: Json::from(value) };
            return add(messages, Role::Assistant, vec![Content::Opaque(opaque).into()]);
        }
    };
    o.ignore(&["status", "type"]);
    o.rest(losses);
    add(messages, role, parts)
}

fn add(messages: &mut Vec<Message>, role: Role, parts: Vec<Part>) -> Result<()> {
    match messages.last_mut().filter(|m| m.role == role && matches!(role, Role::Assistant | Role::Tool)) {
        Some(last) => last.parts.extend(parts),
        None => messages.push(Message::new(role, parts)),
    }
    Ok(())
}

fn text(o: &mut Object<'_>, losses: &mut Losses) -> Result<(Option<ResponseFormat>, Option<String>)> {
    let Some(mut text) = o.object("text")? else { return Ok((None, None)) };
    let verbosity = text.get("verbosity")?;
    let format = match text.object("format")? {
        None => None,
        Some(mut f) => {
            let kind: String = f.need("type")?;
            let read = match kind.as_str() {
                "text" => ResponseFormat::Text,
                "json_object" => ResponseFormat::JsonObject,
                "json_schema" => ResponseFormat::JsonSchema {
                    name: f.need("name")?,
                    description: f.get("description")?,
                    schema: f.json("schema").ok_or_else(|| f.bad("schema", "it is missing"))?,
                    strict: f.get("strict")?,
                },
                other => return Err(f.unsupported("type", format!("the form `{other}` is not known"))),
            };
            f.rest(losses);
            Some(read)
        }
    };
    text.rest(losses);
    Ok((format, verbosity))
}

fn tools(o: &mut Object<'_>, losses: &mut Losses) -> Result<Vec<Tool>> {
    let mut tools = Vec::new();
    for item in o.array("tools")?.unwrap_or_default() {
        let value = item.raw;
        let mut t = item.object()?;
        let kind: String = t.need("type")?;
        tools.push(match kind.as_str() {
            "function" => Tool::Function(Function {
                name: t.need("name")?,
                description: t.get("description")?,
                parameters: t.json("parameters"),
                strict: t.get("strict")?,
                cache: crate::chat::cache_mark(&mut t)?,
            }),
            "custom" => {
                Tool::Custom { name: t.need("name")?, description: t.get("description")?, format: t.json("format") }
            }
            _ => {
                tools.push(Tool::Opaque(Opaque { format: Format::Responses, kind, value: Json::from(value) }));
                continue;
            }
        });
        t.rest(losses);
    }
    Ok(tools)
}

fn tool_choice(o: &mut Object<'_>, losses: &mut Losses) -> Result<Option<ToolChoice>> {
    let Some(raw) = o.take("tool_choice") else { return Ok(None) };
    if let Some(word) = text_of(raw) {
        return Ok(Some(match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            other => return Err(o.bad("tool_choice", format_args!("`{other}` is none of auto, none, required"))),
        }));
    }
    let mut c = Object::of(Format::Responses, o.at("tool_choice"), raw)?;
    let kind: String = c.need("type")?;
    let read = match kind.as_str() {
        "function" | "custom" => ToolChoice::Named { name: c.need("name")?, custom: kind == "custom" },
        "allowed_tools" => {
            let required = c.need::<String>("mode")? == "required";
            let mut names = Vec::new();
            for mut tool in c.objects("tools")?.unwrap_or_default() {
                if tool.need::<String>("type")? != "function" {
                    return Err(tool.unsupported("type", "only functions can be allowed by name across formats"));
                }
                names.push(tool.need("name")?);
            }
            ToolChoice::Allowed { required, names }
        }
        other => return Err(c.unsupported("type", format!("the tool `{other}` runs at OpenAI only"))),
    };
    c.rest(losses);
    Ok(Some(read))
}

fn logprobs(o: &mut Object<'_>) -> Result<Option<Logprobs>> {
    let include: Vec<String> = o.get("include")?.unwrap_or_default();
    let top = o.get("top_logprobs")?;
    // The other words ask for what tools at OpenAI found, and for encrypted reasoning, which is always there.
    Ok(include.iter().any(|i| i == "message.output_text.logprobs").then_some(Logprobs { top }))
}

fn reasoning(o: &mut Object<'_>, losses: &mut Losses) -> Result<Option<ReasoningConfig>> {
    let Some(mut r) = o.object("reasoning")? else { return Ok(None) };
    let effort = match r.string("effort")? {
        Some(word) => Some(
            Effort::parse(&word)
                .ok_or_else(|| r.bad("effort", format_args!("`{word}` is no effort; use none, low, medium or high")))?,
        ),
        None => None,
    };
    let old = r.get("generate_summary")?;
    let summary: Option<String> = r.get("summary")?.or(old);
    r.rest(losses);
    Ok(Some(ReasoningConfig {
        enabled: None,
        effort,
        budget_tokens: None,
        visible: summary.as_ref().map(|_| true),
        summary,
    }))
}
