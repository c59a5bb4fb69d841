//! OpenAI Chat Completions: the request, checked as OpenAI checks it, or as freely as a compatible server does.

use crate::{
    answer::{Asked, Choice, Image, Tool},
    fault::Fault,
    model::{Content, Plan},
    provider::Provider,
    shape::{At, Bad, Wrong},
    signature::is_ours,
};
use serde_json::{Value, json};

const FIELDS: &[&str] = &[
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// Settings that `echo` repeats.
const SETTINGS: &[&str] = &[
    "temperature",
    "top_p",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
    "user",
    "logit_bias",
    "prompt_cache_key",
    "service_tier",
    "metadata",
    "verbosity",
];

/// Reads and checks a request.
pub(crate) fn read(provider: Provider, body: &Value, plan: &Plan) -> Result<Asked, Fault> {
    let strict = provider == Provider::OpenAi;
    let fault = |bad: Bad| Fault::field(provider, &bad);
    let root = At::root(body);
    if strict {
        root.only(FIELDS).map_err(fault)?;
        limits(&root, plan)?;
    }
    let mut asked = Asked::default();
    read_messages(&root, strict, &mut asked).map_err(fault)?;
    read_options(&root, &mut asked, strict).map_err(fault)?;
    paired(&root, plan, provider, &mut asked)?;
    Ok(asked)
}

fn limits(root: &At<'_>, plan: &Plan) -> Result<(), Fault> {
    if root.get("max_tokens").is_none() {
        return Ok(());
    }
    if root.get("max_completion_tokens").is_some() {
        let both = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
        return Err(Fault::invalid(both).coded("invalid_parameter_combination"));
    }
    if matches!(plan.content, Content::Reason | Content::Verify) {
        let unsupported = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                           'max_completion_tokens' instead.";
        return Err(Fault::invalid(unsupported).coded("unsupported_parameter").about("max_tokens"));
    }
    Ok(())
}

fn read_options(root: &At<'_>, asked: &mut Asked, strict: bool) -> Result<(), Bad> {
    asked.stream = root.yes("stream")?;
    match root.get("stream_options") {
        Some(options) if asked.stream => asked.include_usage = options.yes("include_usage")?,
        Some(options) if strict => {
            return Err(options.says("The 'stream_options' parameter is only allowed when 'stream' is enabled."));
        }
        Some(_) | None => {}
    }
    for key in ["max_completion_tokens", "max_tokens"] {
        if let Some(limit) = root.get(key) {
            asked.limit = Some(limit.count()?);
        }
    }
    if let Some(temperature) = root.get("temperature")
        && !(0.0..=2.0).contains(&temperature.number()?)
    {
        return Err(temperature.says("Invalid 'temperature': expected a value between 0 and 2."));
    }
    asked.stop = stops(root, "stop", 4)?;
    asked.settings = chosen(root.value, SETTINGS);
    asked.logprobs = root.yes("logprobs")?;
    asked.one_call = root.get("parallel_tool_calls").is_some_and(|p| p.value == &Value::Bool(false));
    for tool in root.items("tools")? {
        if tool.need("type")?.str()? != "function" {
            return Err(tool.need("type")?.says("Invalid value for a tool's type. Supported values are: 'function'."));
        }
        if strict {
            tool.only(&["type", "function"])?;
        }
        asked.tools.push(read_tool(&tool.need("function")?, strict)?);
    }
    if let Some(choice) = root.get("tool_choice") {
        asked.choice = read_choice(&choice, &asked.tools)?;
    }
    if let Some(format) = root.get("response_format") {
        asked.schema = read_format(&format, strict)?;
    }
    Ok(())
}

/// A text or several.
pub(crate) fn stops(root: &At<'_>, key: &str, most: usize) -> Result<Vec<String>, Bad> {
    let Some(stop) = root.get(key) else { return Ok(Vec::new()) };
    if let Some(one) = stop.value.as_str() {
        return Ok(vec![one.to_owned()]);
    }
    let all = stop.list()?;
    if all.len() > most {
        return Err(
            stop.says(format!("Invalid '{key}': array too long. Expected an array with maximum length {most}."))
        );
    }
    all.iter().map(|s| Ok(s.str()?.to_owned())).collect()
}

/// The fields of these names.
pub(crate) fn chosen(value: &Value, names: &[&str]) -> Value {
    let fields = names.iter().filter_map(|n| Some(((*n).to_owned(), value.get(n).filter(|v| !v.is_null())?.clone())));
    Value::Object(fields.collect())
}

/// A function: here, and (flat) in the Responses API.
pub(crate) fn read_tool(function: &At<'_>, strict: bool) -> Result<Tool, Bad> {
    let name = function.need("name")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.str()?.is_empty() || name.str()?.len() > 64 || !name.str()?.chars().all(fits) {
        return Err(name.says("Invalid function name: string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."));
    }
    if strict {
        function.only(&["name", "description", "parameters", "strict", "type", "defer_loading", "output_schema"])?;
    }
    let schema = function.get("parameters").map_or(json!({}), |p| p.value.clone());
    if let Some(parameters) = function.get("parameters") {
        parameters.object()?;
        if strict && function.yes("strict")? {
            closed(&parameters, name.str()?)?;
        }
    }
    Ok(Tool { name: name.str()?.to_owned(), schema })
}

/// Strict schemas close every object and require all of its properties.
fn closed(schema: &At<'_>, what: &str) -> Result<(), Bad> {
    if let Some(properties) = schema.get("properties") {
        if schema.value["additionalProperties"] != Value::Bool(false) {
            return Err(schema.says(format!(
                "Invalid schema for '{what}': In context=(), 'additionalProperties' is required to be supplied and to be false."
            )));
        }
        let names = properties.value.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        let required = schema.value["required"].as_array().cloned().unwrap_or_default();
        for name in names {
            if !required.iter().any(|r| r.as_str() == Some(&name)) {
                return Err(schema.says(format!(
                    "Invalid schema for '{what}': In context=(), 'required' is required to be supplied and to be an array including every key in properties. Missing '{name}'."
                )));
            }
            if let Some(inner) = properties.get(&name) {
                closed(&inner, what)?;
            }
        }
    }
    schema.get("items").map_or(Ok(()), |items| closed(&items, what))
}

fn read_choice(choice: &At<'_>, tools: &[Tool]) -> Result<Choice, Bad> {
    if tools.is_empty() {
        return Err(
            choice.says("Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.")
        );
    }
    let read = match choice.value.as_str() {
        Some("auto") => Choice::Auto,
        Some("none") => Choice::None,
        Some("required") => Choice::Any,
        Some(_) => {
            return Err(
                choice.says("Invalid value for 'tool_choice'. Supported values are: 'none', 'auto', and 'required'.")
            );
        }
        None => Choice::Named(choice.need("function")?.need("name")?.str()?.to_owned()),
    };
    known_tool(choice, read, tools)
}

/// A choice may only name a tool that is there.
pub(crate) fn known_tool(at: &At<'_>, choice: Choice, tools: &[Tool]) -> Result<Choice, Bad> {
    match &choice {
        Choice::Named(name) if !tools.iter().any(|t| t.name == *name) => {
            Err(at.says(format!("Tool choice '{name}' not found in 'tools' parameter.")))
        }
        _ => Ok(choice),
    }
}

fn read_format(format: &At<'_>, strict: bool) -> Result<Option<Value>, Bad> {
    match format.need("type")?.str()? {
        "text" => Ok(None),
        "json_object" => Ok(Some(json!({"type": "object"}))),
        "json_schema" => {
            let wrapped = format.need("json_schema")?;
            wrapped.need("name")?.str()?;
            read_schema(&wrapped, strict).map(Some)
        }
        _ => Err(format.need("type")?.says("Invalid value for 'response_format.type'.")),
    }
}

/// The schema of a format with `name`, `schema` and `strict`.
pub(crate) fn read_schema(format: &At<'_>, strict: bool) -> Result<Value, Bad> {
    let schema = format.need("schema")?;
    schema.object()?;
    if strict && format.yes("strict")? {
        closed(&schema, format.need("name")?.str()?)?;
    }
    Ok(schema.value.clone())
}

fn read_messages(root: &At<'_>, strict: bool, asked: &mut Asked) -> Result<(), Bad> {
    let messages = root.need("messages")?.list()?;
    if messages.is_empty() {
        return Err(root.need("messages")?.says(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        ));
    }
    for message in messages {
        let role = message.need("role")?;
        asked.roles.push(role.str()?.to_owned());
        let known: &[&str] = match role.str()? {
            "system" | "developer" | "user" => &["role", "content", "name"],
            "assistant" => {
                &["role", "content", "name", "audio", "function_call", "refusal", "tool_calls", "annotations"]
            }
            "tool" => &["role", "content", "tool_call_id"],
            other => {
                return Err(role.says(format!(
                    "Invalid value: '{other}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
                )));
            }
        };
        if strict {
            message.only(known)?;
        }
        let text = match message.get("content") {
            Some(content) => read_content(&content, strict, role.str()? == "user", asked)?,
            None if role.str()? == "assistant" && message.get("tool_calls").is_some() => String::new(),
            None if role.str()? == "assistant" && message.get("refusal").is_some() => String::new(),
            None => return Err(message.need("content").err().unwrap_or_else(|| message.bad(Wrong::Missing))),
        };
        match role.str()? {
            "system" | "developer" => asked.system.push_str(&text),
            "user" => {
                asked.user = text;
                asked.results.clear();
            }
            "assistant" => asked.results.clear(),
            _ => asked.results.push((message.need("tool_call_id")?.str()?.to_owned(), text)),
        }
    }
    Ok(())
}

fn read_content(content: &At<'_>, strict: bool, images: bool, asked: &mut Asked) -> Result<String, Bad> {
    if let Some(text) = content.value.as_str() {
        return Ok(text.to_owned());
    }
    let mut text = String::new();
    for part in content.list()? {
        match part.need("type")?.str()? {
            "text" => text.push_str(part.need("text")?.str()?),
            "refusal" => text.push_str(part.need("refusal")?.str()?),
            "image_url" if images => {
                let url = part.need("image_url")?.need("url")?;
                let image = Image::at(url.str()?);
                asked.images.push(image.ok_or_else(|| url.says("Invalid image data."))?);
            }
            "input_audio" | "file" if images => {}
            other => {
                return Err(part
                    .need("type")?
                    .says(format!("Invalid value: '{other}' is not allowed in this message.")));
            }
        }
        if strict {
            part.only(&["type", "text", "refusal", "image_url", "input_audio", "file", "prompt_cache_breakpoint"])?;
        }
    }
    Ok(text)
}

/// Calls and results belong together; and what a compatible model thought comes back with its calls.
fn paired(root: &At<'_>, plan: &Plan, provider: Provider, asked: &mut Asked) -> Result<(), Fault> {
    let field = |bad: Bad| Fault::field(provider, &bad);
    let messages = root.need("messages").and_then(|m| m.list()).map_err(field)?;
    let mut open: Vec<String> = Vec::new();
    for (n, message) in messages.iter().enumerate() {
        if message.value["role"] == "tool" {
            let id = message.value["tool_call_id"].as_str().unwrap_or_default();
            let Some(place) = open.iter().position(|o| o == id) else {
                let alone = "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'.";
                return Err(Fault::invalid(alone).about(format!("messages.[{n}].role")));
            };
            open.remove(place);
            continue;
        }
        answered(&open, n)?;
        for call in message.items("tool_calls").map_err(field)? {
            let function = call.need("function").map_err(field)?;
            call.need("type").map_err(field)?;
            let arguments = function.need("arguments").and_then(|a| a.str()).map_err(field)?;
            function.need("name").and_then(|a| a.str()).map_err(field)?;
            if serde_json::from_str::<Value>(arguments).is_err() && !arguments.is_empty() {
                return Err(Fault::invalid("Invalid 'function.arguments': it is not JSON."));
            }
            open.push(call.need("id").and_then(|a| a.str()).map_err(field)?.to_owned());
        }
        if provider == Provider::Compatible && plan.content == Content::Verify && !open.is_empty() {
            asked.spoilt = asked.spoilt.take().or_else(|| reasoning_lost(message.value, &open));
        }
    }
    answered(&open, messages.len())
}

fn answered(open: &[String], n: usize) -> Result<(), Fault> {
    if open.is_empty() {
        return Ok(());
    }
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. \
         The following tool_call_ids did not have response messages: {}",
        open.join(", ")
    );
    Err(Fault::invalid(message).about(format!("messages.[{n}].role")))
}

fn reasoning_lost(message: &Value, ids: &[String]) -> Option<String> {
    let Some(reasoning) = message["reasoning_content"].as_str() else {
        return Some("Missing `reasoning_content` field in the assistant message of a tool call.".to_owned());
    };
    let ours = reasoning.rsplit_once('#').is_some_and(|(text, signature)| {
        let mut covered = vec![text];
        covered.extend(ids.iter().map(String::as_str));
        is_ours(signature, &covered)
    });
    (!ours).then(|| "The `reasoning_content` is not what the model gave out.".to_owned())
}
