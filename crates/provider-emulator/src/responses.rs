//! OpenAI Responses: requests and whole answers. Nothing is stored, so that a `previous_response_id` is never found.

use crate::{
    answer::{Answer, Asked, CACHED, Choice, Finish, INPUT, Image, Part, call_id},
    chat_check::{chosen, known_tool, read_schema, read_tool},
    fault::Fault,
    model::{Content, Plan},
    provider::Provider,
    shape::{At, Bad},
    signature::is_ours,
};
use serde_json::{Value, json};

const FIELDS: &[&str] = &[
    "background",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

const SETTINGS: &[&str] = &[
    "temperature",
    "top_p",
    "reasoning",
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "truncation",
];

/// Reads and checks a request.
pub(crate) fn read(body: &Value, plan: &Plan) -> Result<Asked, Fault> {
    let fault = |bad: Bad| Fault::field(Provider::OpenAi, &bad);
    let root = At::root(body);
    root.only(FIELDS).map_err(fault)?;
    if let Some(id) = root.get("previous_response_id") {
        let message = format!("Previous response with id '{}' not found.", id.value.as_str().unwrap_or_default());
        return Err(Fault::invalid(message).coded("previous_response_not_found").about("previous_response_id"));
    }
    let mut asked = Asked::default();
    read_options(&root, &mut asked).map_err(fault)?;
    let input = root.need("input").map_err(fault)?;
    if let Some(text) = input.value.as_str() {
        text.clone_into(&mut asked.user);
        asked.roles.push("user".to_owned());
        return Ok(asked);
    }
    let items = input.list().map_err(fault)?;
    for item in &items {
        read_item(item, &mut asked).map_err(fault)?;
    }
    paired(&items, plan, &mut asked)?;
    Ok(asked)
}

fn read_options(root: &At<'_>, asked: &mut Asked) -> Result<(), Bad> {
    asked.stream = root.yes("stream")?;
    asked.system = root.text("instructions")?.unwrap_or_default().to_owned();
    asked.limit = root.get("max_output_tokens").map(|l| l.count()).transpose()?;
    if asked.limit.is_some_and(|l| l < 16) {
        return Err(root
            .need("max_output_tokens")?
            .says("Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16."));
    }
    asked.settings = chosen(root.value, SETTINGS);
    asked.one_call = root.get("parallel_tool_calls").is_some_and(|p| p.value == &Value::Bool(false));
    for include in root.items("include")? {
        asked.encrypted |= include.str()? == "reasoning.encrypted_content";
        asked.logprobs |= include.str()? == "message.output_text.logprobs";
    }
    for tool in root.items("tools")? {
        match tool.need("type")?.str()? {
            "function" => asked.tools.push(read_tool(&tool, true)?),
            "custom" | "web_search" | "file_search" | "code_interpreter" | "mcp" | "image_generation" => {}
            other => return Err(tool.need("type")?.says(format!("Invalid value: '{other}'."))),
        }
    }
    if let Some(choice) = root.get("tool_choice") {
        let read = match choice.value.as_str() {
            Some("auto") => Choice::Auto,
            Some("none") => Choice::None,
            Some("required") => Choice::Any,
            Some(other) => return Err(choice.says(format!("Invalid value: '{other}'."))),
            None => Choice::Named(choice.need("name")?.str()?.to_owned()),
        };
        asked.choice = known_tool(&choice, read, &asked.tools)?;
    }
    let Some(format) = root.get("text").and_then(|t| t.get("format")) else { return Ok(()) };
    asked.schema = match format.need("type")?.str()? {
        "json_schema" => {
            format.only(&["type", "name", "description", "schema", "strict"])?;
            format.need("name")?.str()?;
            Some(read_schema(&format, true)?)
        }
        "json_object" => Some(json!({"type": "object"})),
        "text" => None,
        other => return Err(format.need("type")?.says(format!("Invalid value: '{other}'."))),
    };
    Ok(())
}

fn read_item(item: &At<'_>, asked: &mut Asked) -> Result<(), Bad> {
    let kind = item.text("type")?.unwrap_or("message");
    match kind {
        "message" => {
            item.only(&["type", "role", "content", "id", "status", "phase"])?;
            let role = item.need("role")?;
            asked.roles.push(role.str()?.to_owned());
            let text = read_content(&item.need("content")?, role.str()?, asked)?;
            match role.str()? {
                "user" => asked.user = text,
                "system" | "developer" => asked.system.push_str(&text),
                "assistant" => {}
                other => return Err(role.says(format!(
                    "Invalid value: '{other}'. Supported values are: 'assistant', 'system', 'developer', and 'user'."
                ))),
            }
            asked.results.clear();
        }
        "function_call" => {
            item.only(&["type", "id", "call_id", "name", "arguments", "status", "namespace", "caller"])?;
            if let Some(id) = item.get("id")
                && !id.str()?.starts_with("fc")
            {
                return Err(id.says(format!("Invalid 'id': '{}'. Expected an ID that begins with 'fc'.", id.str()?)));
            }
            for key in ["call_id", "name", "arguments"] {
                item.need(key)?.str()?;
            }
            asked.roles.push("function_call".to_owned());
            asked.results.clear();
        }
        "function_call_output" => {
            item.only(&["type", "id", "call_id", "output", "status", "caller", "name", "namespace"])?;
            let output = read_content(&item.need("output")?, "user", asked)?;
            asked.results.push((item.need("call_id")?.str()?.to_owned(), output));
            asked.roles.push("function_call_output".to_owned());
        }
        "reasoning" => {
            item.only(&["type", "id", "summary", "content", "encrypted_content", "status"])?;
            if !item.need("id")?.str()?.starts_with("rs") {
                let id = item.need("id")?;
                return Err(id.says(format!("Invalid 'id': '{}'. Expected an ID that begins with 'rs'.", id.str()?)));
            }
            item.need("summary")?.list()?;
        }
        "item_reference" => {
            return Err(item.says("Item with this id not found. Items are not persisted when `store` is set to false."));
        }
        other => return Err(item.need("type")?.says(format!("Invalid value: '{other}'."))),
    }
    Ok(())
}

fn read_content(content: &At<'_>, role: &str, asked: &mut Asked) -> Result<String, Bad> {
    if let Some(text) = content.value.as_str() {
        return Ok(text.to_owned());
    }
    let mut text = String::new();
    for part in content.list()? {
        let kind = part.need("type")?;
        match (kind.str()?, role) {
            ("input_text", "user" | "system" | "developer") | ("output_text", "assistant") => {
                text.push_str(part.need("text")?.str()?);
            }
            ("refusal", "assistant") => text.push_str(part.need("refusal")?.str()?),
            ("input_image", "user") => {
                part.only(&["type", "detail", "file_id", "image_url", "prompt_cache_breakpoint"])?;
                let url = part.need("image_url")?;
                asked.images.push(Image::at(url.str()?).ok_or_else(|| url.says("Invalid image data."))?);
            }
            ("input_file", "user") => {}
            (other, "assistant") => {
                return Err(
                    kind.says(format!("Invalid value: '{other}'. Supported values are: 'output_text' and 'refusal'."))
                );
            }
            (other, _) => {
                return Err(kind.says(format!(
                    "Invalid value: '{other}'. Supported values are: 'input_text', 'input_image', and 'input_file'."
                )));
            }
        }
    }
    Ok(text)
}

/// Calls and outputs belong together, and so do reasoning and what followed it.
fn paired(items: &[At<'_>], plan: &Plan, asked: &mut Asked) -> Result<(), Fault> {
    let text = |item: &At<'_>, key: &str| item.value[key].as_str().unwrap_or_default().to_owned();
    let kind = |item: &At<'_>| text(item, "type");
    let calls: Vec<String> = items.iter().filter(|i| kind(i) == "function_call").map(|i| text(i, "call_id")).collect();
    let outputs: Vec<String> =
        items.iter().filter(|i| kind(i) == "function_call_output").map(|i| text(i, "call_id")).collect();
    if let Some(open) = calls.iter().find(|c| !outputs.contains(c)) {
        return Err(Fault::invalid(format!("No tool output found for function call {open}.")).about("input"));
    }
    if let Some(alone) = outputs.iter().find(|o| !calls.contains(o)) {
        let message = format!("No tool call found for function call output with call_id {alone}.");
        return Err(Fault::invalid(message).about("input"));
    }
    for (n, item) in items.iter().enumerate() {
        let next = items.get(n + 1).map(kind).unwrap_or_default();
        if kind(item) == "reasoning" && !matches!(next.as_str(), "function_call" | "message" | "reasoning") {
            let message = format!(
                "Item '{}' of type 'reasoning' was provided without its required following item.",
                text(item, "id")
            );
            return Err(Fault::invalid(message).about("input"));
        }
    }
    if plan.content == Content::Verify && !calls.is_empty() {
        asked.spoilt = spoilt(items);
    }
    Ok(())
}

/// The reasoning before each group of calls, as it was given out: its summary and its encrypted content.
fn spoilt(items: &[At<'_>]) -> Option<String> {
    let kind = |n: usize| items.get(n).map(|i| i.value["type"].as_str().unwrap_or_default()).unwrap_or_default();
    for n in (0..items.len()).filter(|n| kind(*n) == "function_call" && (*n == 0 || kind(n - 1) != "function_call")) {
        let ids: Vec<&str> = (n..items.len())
            .take_while(|i| kind(*i) == "function_call")
            .filter_map(|i| items.get(i)?.value["call_id"].as_str())
            .collect();
        let Some(reasoning) = n.checked_sub(1).filter(|i| kind(*i) == "reasoning").and_then(|i| items.get(i)) else {
            let id = ids.first().copied().unwrap_or_default();
            return Some(format!("Function call '{id}' was provided without its required 'reasoning' item."));
        };
        let mut covered = vec![reasoning.value["summary"][0]["text"].as_str().unwrap_or_default()];
        covered.extend(&ids);
        if !is_ours(reasoning.value["encrypted_content"].as_str().unwrap_or_default(), &covered) {
            let id = reasoning.value["id"].as_str().unwrap_or_default();
            return Some(format!("The encrypted content for item {id} could not be verified."));
        }
    }
    None
}

/// The items of the output.
pub(crate) fn output(asked: &Asked, answer: &Answer) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    for (n, part) in answer.parts.iter().enumerate() {
        let serial = answer.serial;
        let message = |content: Value| {
            json!({"id": format!("msg_{serial:x}_{n}"), "type": "message", "role": "assistant", "status": "completed",
                "content": [content]})
        };
        items.push(match part {
            Part::Text(text) => {
                message(json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []}))
            }
            Part::Refusal(text) => message(json!({"type": "refusal", "refusal": text})),
            Part::Thinking { text, signature } => {
                let mut item = json!({"id": format!("rs_{serial:x}_{n}"), "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": text}]});
                if asked.encrypted {
                    item["encrypted_content"] = json!(signature);
                }
                item
            }
            Part::Redacted(_) => continue,
            Part::Call { id, name, arguments, .. } => json!({"id": format!("fc_{id}"), "type": "function_call",
                "status": "completed", "arguments": arguments.to_string(), "call_id": call_id(Provider::OpenAi, id),
                "name": name}),
        });
    }
    items
}

fn usage(answer: &Answer) -> Value {
    let output = answer.output();
    json!({"input_tokens": INPUT, "input_tokens_details": {"cached_tokens": CACHED, "cache_write_tokens": 0},
        "output_tokens": output, "output_tokens_details": {"reasoning_tokens": answer.thought},
        "total_tokens": INPUT + output})
}

/// The response object; before its end it has no output and no usage.
pub(crate) fn response(asked: &Asked, answer: &Answer, ended: bool) -> Value {
    let (status, incomplete) = match answer.finish {
        _ if !ended => ("in_progress", Value::Null),
        Finish::Length => ("incomplete", json!({"reason": "max_output_tokens"})),
        Finish::Stop | Finish::Sequence(_) | Finish::Calls | Finish::Refusal => ("completed", Value::Null),
    };
    let mut output = if ended { output(asked, answer) } else { Vec::new() };
    if status == "incomplete"
        && let Some(last) = output.last_mut()
    {
        last["status"] = json!("incomplete");
    }
    let tools: Vec<Value> = asked
        .tools
        .iter()
        .map(|t| json!({"type": "function", "name": t.name, "parameters": t.schema, "strict": false, "description": null}))
        .collect();
    json!({"id": format!("resp_{:x}", answer.serial), "object": "response", "created_at": 1_790_000_000,
        "status": status, "background": false, "error": null, "incomplete_details": incomplete, "instructions": null,
        "max_output_tokens": asked.limit, "max_tool_calls": null, "model": asked.model, "output": output,
        "parallel_tool_calls": !asked.one_call, "previous_response_id": null, "prompt_cache_key": null,
        "reasoning": {"effort": null, "summary": null}, "safety_identifier": null, "service_tier": "default",
        "store": false, "temperature": 1.0, "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto", "tools": tools, "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled",
        "usage": if ended { usage(answer) } else { Value::Null }, "user": null, "metadata": {}})
}
