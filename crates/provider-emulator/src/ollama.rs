//! Ollama's `/api/chat`: one JSON object on a line. Fields that it does not know it ignores, types it checks.

use crate::{
    answer::{Answer, Asked, Finish, INPUT, Image, Part, Tool},
    chat_check::chosen,
    delivery::Event,
    fault::Fault,
    provider::Provider,
    shape::{At, Bad},
};
use serde_json::{Value, json};

const SETTINGS: &[&str] = &["options", "think", "keep_alive"];

/// Reads and checks a request.
pub(crate) fn read(body: &Value) -> Result<Asked, Fault> {
    let mut asked = Asked::default();
    fill(&At::root(body), &mut asked).map_err(|bad| Fault::field(Provider::Ollama, &bad))?;
    Ok(asked)
}

fn fill(root: &At<'_>, asked: &mut Asked) -> Result<(), Bad> {
    // A stream unless it is declined.
    asked.stream = root.get("stream").map_or(Ok(true), |s| s.flag())?;
    asked.settings = chosen(root.value, SETTINGS);
    if let Some(options) = root.get("options") {
        options.object()?;
        asked.limit = options.get("num_predict").and_then(|n| n.value.as_u64());
        for stop in options.items("stop")? {
            asked.stop.push(stop.str()?.to_owned());
        }
    }
    if let Some(think) = root.get("think")
        && !think.value.is_boolean()
        && !["high", "medium", "low", "max"].contains(&think.value.as_str().unwrap_or_default())
    {
        return Err(
            think.says("think must be a boolean or string (\"high\", \"medium\", \"low\", \"max\", true, or false)")
        );
    }
    if let Some(format) = root.get("format") {
        asked.schema = match format.value {
            Value::String(kind) if kind == "json" => Some(json!({"type": "object"})),
            Value::String(kind) if kind.is_empty() => None,
            schema if schema.is_object() => Some(schema.clone()),
            other => {
                return Err(
                    format.says(format!("invalid format: {other}; expected \"json\" or a valid JSON Schema object"))
                );
            }
        };
    }
    for tool in root.items("tools")? {
        let function = tool.need("function")?;
        let schema = function.get("parameters").map_or(json!({}), |p| p.value.clone());
        asked.tools.push(Tool { name: function.need("name")?.str()?.to_owned(), schema });
    }
    for message in root.items("messages")? {
        read_message(&message, asked)?;
    }
    Ok(())
}

fn read_message(message: &At<'_>, asked: &mut Asked) -> Result<(), Bad> {
    message.object()?;
    let role = message.text("role")?.unwrap_or_default();
    if !["system", "user", "assistant", "tool"].contains(&role) {
        return Err(message.says(format!("invalid role: {role}")));
    }
    asked.roles.push(role.to_owned());
    let text = message.text("content")?.unwrap_or_default().to_owned();
    message.text("thinking")?;
    for image in message.items("images")? {
        let data = image.str()?;
        let read = Image::encoded("image", data).ok_or_else(|| image.says("illegal base64 data at input byte 4"))?;
        let media = match &read.content {
            Ok(bytes) if bytes.starts_with(b"\x89PNG") => "image/png",
            Ok(bytes) if bytes.starts_with(&[0xff, 0xd8]) => "image/jpeg",
            Ok(_) | Err(_) => return Err(image.says("Failed to create new sequence: failed to process inputs")),
        };
        asked.images.push(Image { media: media.to_owned(), ..read });
    }
    for call in message.items("tool_calls")? {
        let function = call.need("function")?;
        function.need("name")?.str()?;
        function.need("arguments")?.object()?;
    }
    match role {
        "system" => asked.system.push_str(&text),
        "user" => {
            asked.user = text;
            asked.results.clear();
        }
        "tool" => {
            let name = message.text("tool_name")?.or(message.text("tool_call_id")?).unwrap_or("tool");
            asked.results.push((name.to_owned(), text));
        }
        _ => asked.results.clear(),
    }
    Ok(())
}

fn line(asked: &Asked, message: &Value) -> Value {
    json!({"model": asked.model, "created_at": "2026-11-25T09:00:00.000000Z", "message": message, "done": false})
}

fn end(asked: &Asked, answer: &Answer, message: &Value) -> Value {
    let reason = match answer.finish {
        Finish::Length => "length",
        Finish::Stop | Finish::Sequence(_) | Finish::Calls | Finish::Refusal => "stop",
    };
    let mut line = line(asked, message);
    line["done"] = json!(true);
    line["done_reason"] = json!(reason);
    for (key, value) in [
        ("total_duration", 40_000_000),
        ("load_duration", 1_000_000),
        ("prompt_eval_count", INPUT),
        ("prompt_eval_duration", 9_000_000),
        ("eval_count", answer.output()),
        ("eval_duration", 30_000_000),
    ] {
        line[key] = json!(value);
    }
    line
}

fn call(name: &str, arguments: &Value, index: usize) -> Value {
    json!({"function": {"index": index, "name": name, "arguments": arguments}})
}

/// The answer in one piece.
pub(crate) fn whole(asked: &Asked, answer: &Answer) -> Value {
    let mut message = json!({"role": "assistant", "content": ""});
    let (mut content, mut calls) = (String::new(), Vec::new());
    for part in &answer.parts {
        match part {
            Part::Text(text) | Part::Refusal(text) => content.push_str(text),
            Part::Thinking { text, .. } => message["thinking"] = json!(text),
            Part::Redacted(_) => {}
            Part::Call { name, arguments, .. } => calls.push(call(name, arguments, calls.len())),
        }
    }
    message["content"] = json!(content);
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    end(asked, answer, &message)
}

/// The answer as the lines of a stream.
pub(crate) fn events(asked: &Asked, answer: &Answer) -> Vec<Event> {
    let mut lines = Vec::new();
    let mut calls = 0;
    for part in &answer.parts {
        match part {
            Part::Text(text) | Part::Refusal(text) => lines.extend(
                answer.split(text).into_iter().map(|p| line(asked, &json!({"role": "assistant", "content": p}))),
            ),
            Part::Thinking { text, .. } => lines.extend(
                answer
                    .split(text)
                    .into_iter()
                    .map(|p| line(asked, &json!({"role": "assistant", "content": "", "thinking": p}))),
            ),
            Part::Redacted(_) => {}
            Part::Call { name, arguments, .. } => {
                let calls_now = [call(name, arguments, calls)];
                lines.push(line(asked, &json!({"role": "assistant", "content": "", "tool_calls": calls_now})));
                calls += 1;
            }
        }
    }
    lines.push(end(asked, answer, &json!({"role": "assistant", "content": ""})));
    lines.iter().map(Event::bare).collect()
}
