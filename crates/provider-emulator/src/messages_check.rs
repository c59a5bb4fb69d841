//! Anthropic Messages: the request, checked as the API checks it.

use crate::{
    answer::{Asked, Choice, Image, Tool},
    chat_check::chosen,
    fault::Fault,
    model::{Content, Plan},
    provider::Provider,
    shape::{At, Bad},
    signature::is_ours,
};
use serde_json::Value;

const FIELDS: &[&str] = &[
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

const SETTINGS: &[&str] = &["temperature", "top_p", "top_k", "thinking", "metadata", "service_tier", "output_config"];

/// The most markers for the prompt cache in a request.
const CACHE_MARKERS: usize = 4;
const LEAST_THINKING: u64 = 1024;

/// Reads and checks a request; `counting` needs no limit.
pub(crate) fn read(body: &Value, plan: &Plan, counting: bool) -> Result<Asked, Fault> {
    let fault = |bad: Bad| Fault::field(Provider::Anthropic, &bad);
    let root = At::root(body);
    root.only(FIELDS).map_err(fault)?;
    let mut asked = Asked::default();
    read_options(&root, &mut asked, counting).map_err(fault)?;
    let markers = cache_markers(body);
    if markers > CACHE_MARKERS {
        return Err(Fault::invalid(format!(
            "A maximum of 4 blocks with cache_control may be provided. Found {markers}."
        )));
    }
    asked.cache_markers = markers;
    let messages = root.need("messages").and_then(|m| m.list()).map_err(fault)?;
    match messages.first() {
        None => return Err(Fault::invalid("messages: at least one message is required")),
        Some(first) if first.value["role"] == "assistant" => {
            return Err(Fault::invalid("messages: first message must use the \"user\" role"));
        }
        Some(_) => {}
    }
    for message in &messages {
        read_message(message, &mut asked).map_err(fault)?;
    }
    paired(&messages)?;
    thinking_first(&messages, body, plan, &mut asked)?;
    Ok(asked)
}

fn read_options(root: &At<'_>, asked: &mut Asked, counting: bool) -> Result<(), Bad> {
    asked.stream = root.yes("stream")?;
    if !counting {
        let limit = root.need("max_tokens")?;
        asked.limit = Some(limit.count()?);
        if asked.limit == Some(0) {
            return Err(limit.says("Input should be greater than or equal to 1"));
        }
    }
    if let Some(temperature) = root.get("temperature")
        && !(0.0..=1.0).contains(&temperature.number()?)
    {
        return Err(temperature.says("Input should be less than or equal to 1"));
    }
    asked.settings = chosen(root.value, SETTINGS);
    for stop in root.items("stop_sequences")? {
        if stop.str()?.trim().is_empty() {
            return Err(stop.says("each stop sequence must contain non-whitespace"));
        }
        asked.stop.push(stop.str()?.to_owned());
    }
    if let Some(system) = root.get("system") {
        asked.system = text_of(&system, asked, &["text"])?;
    }
    for tool in root.items("tools")? {
        read_tool(&tool, asked)?;
    }
    if let Some(choice) = root.get("tool_choice") {
        choice.only(&["type", "name", "disable_parallel_tool_use"])?;
        asked.one_call = choice.yes("disable_parallel_tool_use")?;
        asked.choice = match choice.need("type")?.str()? {
            "auto" => Choice::Auto,
            "none" => Choice::None,
            "any" => Choice::Any,
            "tool" => Choice::Named(choice.need("name")?.str()?.to_owned()),
            other => return Err(choice.says(format!("Input tag '{other}' found using 'type' does not match any of the expected tags: 'auto', 'any', 'tool', 'none'"))),
        };
        if asked.tools.is_empty() {
            return Err(choice.says("tool_choice may only be specified while providing tools."));
        }
        if let Choice::Named(name) = &asked.choice
            && !asked.tools.iter().any(|t| t.name == *name)
        {
            return Err(choice.says(format!("Tool '{name}' not found in provided tools")));
        }
    }
    if let Some(format) = root.get("output_config").and_then(|c| c.get("format")) {
        format.only(&["type", "schema"])?;
        if format.need("type")?.str()? != "json_schema" {
            return Err(format.need("type")?.says("Input should be 'json_schema'"));
        }
        let schema = format.need("schema")?;
        closed(&schema)?;
        asked.schema = Some(schema.value.clone());
    }
    thinking(root, asked)
}

fn closed(schema: &At<'_>) -> Result<(), Bad> {
    schema.object()?;
    if schema.value["type"] == "object" && schema.value["additionalProperties"] != Value::Bool(false) {
        return Err(schema.says("For 'object' type, 'additionalProperties' must be explicitly set to false"));
    }
    Ok(())
}

fn thinking(root: &At<'_>, asked: &Asked) -> Result<(), Bad> {
    let Some(thinking) = root.get("thinking") else { return Ok(()) };
    match thinking.need("type")?.str()? {
        "disabled" => return Ok(()),
        "enabled" => {
            let budget = thinking.need("budget_tokens")?;
            if budget.count()? < LEAST_THINKING {
                return Err(budget.says("Input should be greater than or equal to 1024"));
            }
            if asked.limit.is_some_and(|limit| budget.count().is_ok_and(|b| b >= limit)) {
                return Err(root.need("max_tokens")?.says("`max_tokens` must be greater than `thinking.budget_tokens`."));
            }
        }
        "adaptive" | "between_tools" => {}
        other => return Err(thinking.says(format!("Input tag '{other}' found using 'type' does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'"))),
    }
    if matches!(asked.choice, Choice::Any | Choice::Named(_)) {
        return Err(thinking.says("Thinking may not be enabled when tool_choice forces tool use."));
    }
    match root.get("temperature") {
        Some(t) if t.number()? < 1.0 => Err(t.says("`temperature` may only be set to 1 when thinking is enabled.")),
        _ => Ok(()),
    }
}

fn read_tool(tool: &At<'_>, asked: &mut Asked) -> Result<(), Bad> {
    if tool.text("type")?.is_some_and(|t| t != "custom") {
        // A tool of the provider itself; this emulator calls none.
        return Ok(());
    }
    tool.only(&[
        "allowed_callers",
        "cache_control",
        "defer_loading",
        "description",
        "eager_input_streaming",
        "input_examples",
        "input_schema",
        "name",
        "strict",
        "type",
    ])?;
    let name = tool.need("name")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.str()?.is_empty() || name.str()?.len() > 128 || !name.str()?.chars().all(fits) {
        return Err(name.says("String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"));
    }
    let schema = tool.need("input_schema")?;
    if schema.need("type")?.str()? != "object" {
        return Err(schema.need("type")?.says("Input should be 'object'"));
    }
    if asked.tools.iter().any(|t| t.name == name.value.as_str().unwrap_or_default()) {
        return Err(tool.says("Tool names must be unique."));
    }
    asked.tools.push(Tool { name: name.str()?.to_owned(), schema: schema.value.clone() });
    Ok(())
}

fn read_message(message: &At<'_>, asked: &mut Asked) -> Result<(), Bad> {
    message.only(&["role", "content"])?;
    let role = message.need("role")?;
    asked.roles.push(role.str()?.to_owned());
    let content = message.need("content")?;
    match role.str()? {
        "user" => {
            asked.results.clear();
            let text = text_of(&content, asked, &["text", "image", "document", "tool_result", "search_result"])?;
            // Results without a text leave the question as it was.
            if !text.is_empty() {
                asked.user = text;
            }
        }
        "assistant" => {
            asked.results.clear();
            text_of(&content, asked, &["text", "thinking", "redacted_thinking", "tool_use"])?;
        }
        "system" => {
            let text = text_of(&content, asked, &["text"])?;
            asked.system.push_str(&text);
        }
        _ => return Err(role.says("Input should be 'user' or 'assistant'")),
    }
    Ok(())
}

/// The text of a content; what else is in it is checked, and noted.
fn text_of(content: &At<'_>, asked: &mut Asked, allowed: &[&str]) -> Result<String, Bad> {
    if let Some(text) = content.value.as_str() {
        return Ok(text.to_owned());
    }
    let mut out = String::new();
    for block in content.list()? {
        let kind = block.need("type")?.str()?;
        if !allowed.contains(&kind) {
            return Err(block.says(format!(
                "Input tag '{kind}' found using 'type' does not match any of the expected tags: '{}'",
                allowed.join("', '")
            )));
        }
        match kind {
            "text" => {
                block.only(&["type", "text", "cache_control", "citations"])?;
                let text = block.need("text")?;
                if text.str()?.is_empty() {
                    return Err(block.says("text content blocks must be non-empty"));
                }
                out.push_str(text.str()?);
            }
            "image" => {
                block.only(&["type", "source", "cache_control", "transformations"])?;
                asked.images.push(image(&block.need("source")?)?);
            }
            "thinking" => {
                block.only(&["type", "thinking", "signature"])?;
                block.need("thinking")?.str()?;
                block.need("signature")?.str()?;
            }
            "redacted_thinking" => {
                block.only(&["type", "data"])?;
                block.need("data")?.str()?;
            }
            "tool_use" => {
                block.only(&["type", "id", "name", "input", "cache_control", "caller", "toolset_name"])?;
                let id = block.need("id")?;
                let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                if id.str()?.is_empty() || !id.str()?.chars().all(fits) {
                    return Err(id.says("String should match pattern '^[a-zA-Z0-9_-]+$'"));
                }
                block.need("name")?.str()?;
                block.need("input")?.object()?;
            }
            "tool_result" => {
                block.only(&["type", "tool_use_id", "content", "is_error", "cache_control", "toolset_name"])?;
                block.yes("is_error")?;
                let text = match block.get("content") {
                    Some(content) => text_of(&content, asked, &["text", "image", "document", "search_result"])?,
                    None => String::new(),
                };
                asked.results.push((block.need("tool_use_id")?.str()?.to_owned(), text));
            }
            _ => {}
        }
    }
    Ok(out)
}

fn image(source: &At<'_>) -> Result<Image, Bad> {
    match source.need("type")?.str()? {
        "base64" => {
            source.only(&["type", "media_type", "data"])?;
            let media = source.need("media_type")?;
            if !["image/jpeg", "image/png", "image/gif", "image/webp"].contains(&media.str()?) {
                return Err(media.says("Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"));
            }
            let data = source.need("data")?;
            Image::encoded(media.str()?, data.str()?).ok_or_else(|| data.says("Invalid base64 data"))
        }
        "url" => {
            source.only(&["type", "url"])?;
            let url = source.need("url")?;
            Image::at(url.str()?)
                .filter(|i| i.content.is_err())
                .ok_or_else(|| url.says("Only HTTPS URLs are supported."))
        }
        "file" => Ok(Image { media: "file".to_owned(), content: Err(source.need("file_id")?.str()?.to_owned()) }),
        other => Err(source.says(format!(
            "Input tag '{other}' found using 'type' does not match any of the expected tags: 'base64', 'url', 'file'"
        ))),
    }
}

fn blocks<'a>(message: &At<'a>, kind: &str) -> Vec<&'a Value> {
    let all = message.value["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(|b| b["type"] == kind).collect()
}

/// Each call is answered in the next message, and each answer belongs to a call of the message before.
fn paired(messages: &[At<'_>]) -> Result<(), Fault> {
    let ids = |blocks: Vec<&Value>, key: &str| -> Vec<String> {
        blocks.into_iter().filter_map(|b| b[key].as_str().map(str::to_owned)).collect()
    };
    for (n, message) in messages.iter().enumerate() {
        let used = ids(blocks(message, "tool_use"), "id");
        let answered = messages.get(n + 1).map(|m| ids(blocks(m, "tool_result"), "tool_use_id")).unwrap_or_default();
        let open: Vec<_> = used.iter().filter(|id| !answered.contains(id)).cloned().collect();
        if !open.is_empty() {
            return Err(Fault::invalid(format!(
                "messages.{n}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
                open.join(", ")
            )));
        }
        let before = n.checked_sub(1).and_then(|i| messages.get(i)).map(|m| ids(blocks(m, "tool_use"), "id"));
        for id in ids(blocks(message, "tool_result"), "tool_use_id") {
            if !before.as_ref().is_some_and(|b| b.contains(&id)) {
                return Err(Fault::invalid(format!(
                    "messages.{n}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                )));
            }
        }
    }
    Ok(())
}

/// With thinking, a turn that calls tools begins with its thinking; and of the strict model with just what it gave out.
fn thinking_first(messages: &[At<'_>], body: &Value, plan: &Plan, asked: &mut Asked) -> Result<(), Fault> {
    let thinks = matches!(body["thinking"]["type"].as_str(), Some("enabled"));
    for (n, message) in messages.iter().enumerate().filter(|(_, m)| m.value["role"] == "assistant") {
        let all = message.value["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let calls = blocks(message, "tool_use");
        let Some(first) = all.first().filter(|_| !calls.is_empty()) else { continue };
        let begins = first["type"] == "thinking" || first["type"] == "redacted_thinking";
        if !begins && (thinks || plan.content == Content::Verify) {
            let kind = first["type"].as_str().unwrap_or_default();
            return Err(Fault::invalid(format!(
                "messages.{n}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{kind}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceding the lastmost set of `tool_use` and `tool_result` blocks)."
            )));
        }
        if plan.content == Content::Verify {
            asked.spoilt = asked.spoilt.take().or_else(|| spoilt(n, message, &calls));
        }
    }
    Ok(())
}

fn spoilt(n: usize, message: &At<'_>, calls: &[&Value]) -> Option<String> {
    let ids: Vec<&str> = calls.iter().filter_map(|c| c["id"].as_str()).collect();
    let covers = |signature: &Value, text: &str| {
        let mut covered = vec![text];
        covered.extend(&ids);
        signature.as_str().is_some_and(|s| is_ours(s, &covered))
    };
    let thinking = blocks(message, "thinking");
    if !thinking.first().is_some_and(|b| covers(&b["signature"], b["thinking"].as_str().unwrap_or_default())) {
        return Some(format!("messages.{n}.content.0: Invalid `signature` in `thinking` block"));
    }
    let redacted = blocks(message, "redacted_thinking");
    if !redacted.first().is_some_and(|b| covers(&b["data"], "redacted")) {
        return Some(format!("messages.{n}.content.1: Invalid `data` in `redacted_thinking` block"));
    }
    None
}

fn cache_markers(value: &Value) -> usize {
    match value {
        Value::Object(fields) => {
            let here = usize::from(fields.get("cache_control").is_some_and(Value::is_object));
            // What a tool is called with is the caller's own.
            here + fields.iter().filter(|(key, _)| *key != "input").map(|(_, v)| cache_markers(v)).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(cache_markers).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
