//! Gemini: the request, in either spelling of its names, checked as the API checks it.

use crate::{
    answer::{Asked, Choice, Image, Tool},
    chat_check::chosen,
    fault::Fault,
    model::{Content, Plan},
    provider::Provider,
    shape::{At, Bad},
    signature::is_ours,
};
use serde_json::{Map, Value, json};

const FIELDS: &[&str] = &[
    "model",
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "labels",
    "serviceTier",
    "store",
];
const CONFIG: &[&str] = &[
    "stopSequences",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "candidateCount",
    "maxOutputTokens",
    "temperature",
    "topP",
    "topK",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "enableEnhancedCivicAnswers",
    "speechConfig",
    "thinkingConfig",
    "imageConfig",
    "mediaResolution",
    "responseFormat",
    "translationConfig",
    "audioTranscriptionConfig",
];
const SCHEMA: &[&str] = &[
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "maxItems",
    "minItems",
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "anyOf",
    "propertyOrdering",
    "default",
    "items",
    "minimum",
    "maximum",
    "additionalProperties",
    "ref",
    "defs",
];
const PART: &[&str] = &[
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "thought",
    "thoughtSignature",
    "videoMetadata",
    "mediaResolution",
    "partMetadata",
];
/// Of a part, just one is there.
const DATA: &[&str] =
    &["text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult"];
const SETTINGS: &[&str] =
    &["temperature", "topP", "topK", "seed", "thinkingConfig", "candidateCount", "presencePenalty", "frequencyPenalty"];

/// Names in camel case, which proto JSON accepts beside snake case. What is the caller's own data stays.
fn camel(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let own = [
                "args",
                "response",
                "parametersJsonSchema",
                "responseJsonSchema",
                "properties",
                "partMetadata",
                "labels",
            ];
            let renamed = fields.iter().map(|(key, inner)| {
                let key = camel_key(key);
                let inner = if own.contains(&key.as_str()) { inner.clone() } else { camel(inner) };
                (key, inner)
            });
            Value::Object(renamed.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(camel).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn camel_key(key: &str) -> String {
    let mut words = key.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut characters = word.chars();
        out.extend(characters.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(characters.as_str());
    }
    out
}

/// Reads and checks a request.
pub(crate) fn read(body: &Value, plan: &Plan) -> Result<Asked, Fault> {
    let body = camel(body);
    let root = At::root(&body);
    let fault = |bad: Bad| Fault::field(Provider::Gemini, &bad);
    root.only(FIELDS).map_err(fault)?;
    let mut asked = Asked::default();
    read_options(&root, &mut asked).map_err(fault)?;
    let contents = root.need("contents").map_err(fault)?;
    // One content may stand without a list.
    let contents = if contents.value.is_object() { vec![contents] } else { contents.list().map_err(fault)? };
    if contents.is_empty() {
        return Err(Fault::invalid("* GenerateContentRequest.contents: contents is not specified"));
    }
    for content in &contents {
        read_content(content, &mut asked).map_err(fault)?;
    }
    turns(&contents)?;
    if plan.content == Content::Verify {
        asked.spoilt = spoilt(&contents);
    }
    Ok(asked)
}

fn read_options(root: &At<'_>, asked: &mut Asked) -> Result<(), Bad> {
    if let Some(system) = root.get("systemInstruction") {
        system.only(&["role", "parts"])?;
        for part in system.items("parts")? {
            asked.system.push_str(part.text("text")?.unwrap_or_default());
        }
    }
    for tool in root.items("tools")? {
        for declaration in tool.items("functionDeclarations")? {
            asked.tools.push(read_tool(&declaration)?);
        }
    }
    if let Some(config) = root.get("toolConfig").and_then(|c| c.get("functionCallingConfig")) {
        config.only(&["mode", "allowedFunctionNames", "streamFunctionCallArguments"])?;
        let names: Vec<&str> =
            config.items("allowedFunctionNames")?.iter().map(|n| n.str()).collect::<Result<_, _>>()?;
        asked.choice = match (config.text("mode")?.unwrap_or("AUTO"), names.as_slice()) {
            ("AUTO" | "VALIDATED" | "MODE_UNSPECIFIED", _) => Choice::Auto,
            ("NONE", _) => Choice::None,
            ("ANY", [one]) => Choice::Named((*one).to_owned()),
            ("ANY", _) => Choice::Any,
            (other, _) => return Err(config.need("mode")?.says(format!("Invalid value at 'tool_config.function_calling_config.mode' (type.googleapis.com/google.ai.generativelanguage.v1beta.FunctionCallingConfig.Mode), \"{other}\""))),
        };
    }
    let Some(config) = root.get("generationConfig") else { return Ok(()) };
    config.only(CONFIG)?;
    asked.settings = chosen(config.value, SETTINGS);
    asked.limit = config.get("maxOutputTokens").map(|l| l.count()).transpose()?;
    let stops = config.items("stopSequences")?;
    if stops.len() > 5 {
        return Err(config.need("stopSequences")?.says("* GenerateContentRequest.generation_config.stop_sequences: the number of stop sequences must not exceed 5."));
    }
    asked.stop = stops.iter().map(|s| Ok(s.str()?.to_owned())).collect::<Result<_, Bad>>()?;
    if let Some(thinking) = config.get("thinkingConfig") {
        thinking.only(&["includeThoughts", "thinkingBudget", "thinkingLevel"])?;
    }
    let json = config.text("responseMimeType")? == Some("application/json");
    for key in ["responseSchema", "responseJsonSchema"] {
        let Some(schema) = config.get(key) else { continue };
        if !json {
            return Err(schema.says("* GenerateContentRequest.generation_config.response_schema: response mime type must be application/json when a response schema is set."));
        }
        if key == "responseSchema" {
            open_api(&schema)?;
        }
        asked.schema = Some(schema.value.clone());
    }
    if json && asked.schema.is_none() {
        asked.schema = Some(json!({"type": "object"}));
    }
    Ok(())
}

fn read_tool(declaration: &At<'_>) -> Result<Tool, Bad> {
    declaration.only(&[
        "name",
        "description",
        "parameters",
        "parametersJsonSchema",
        "response",
        "responseJsonSchema",
        "behavior",
    ])?;
    let name = declaration.need("name")?;
    if let Some(parameters) = declaration.get("parameters") {
        open_api(&parameters)?;
    }
    let schema = declaration.get("parameters").or_else(|| declaration.get("parametersJsonSchema"));
    Ok(Tool { name: name.str()?.to_owned(), schema: schema.map_or(json!({}), |s| s.value.clone()) })
}

/// Gemini's own schemas know fewer words than JSON Schema.
fn open_api(schema: &At<'_>) -> Result<(), Bad> {
    schema.only(SCHEMA)?;
    if let Some(kind) = schema.get("type")
        && kind.value.is_array()
    {
        return Err(kind.says("Proto field is not repeating, cannot start list."));
    }
    if let Some(properties) = schema.get("properties") {
        let names = properties.value.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        for name in names {
            if let Some(inner) = properties.get(&name) {
                open_api(&inner)?;
            }
        }
    }
    for inner in schema.items("anyOf")? {
        open_api(&inner)?;
    }
    schema.get("items").map_or(Ok(()), |items| open_api(&items))
}

fn read_content(content: &At<'_>, asked: &mut Asked) -> Result<(), Bad> {
    content.only(&["role", "parts"])?;
    let role = content.text("role")?.unwrap_or("user");
    if role != "user" && role != "model" {
        return Err(content.need("role")?.says("Please use a valid role: user, model."));
    }
    asked.roles.push(role.to_owned());
    let parts = content.items("parts")?;
    if parts.is_empty() {
        return Err(content.says("* GenerateContentRequest.contents.parts: contents.parts must not be empty."));
    }
    asked.results.clear();
    let mut text = String::new();
    for part in parts {
        part.only(PART)?;
        let data = DATA.iter().filter(|key| part.get(key).is_some()).count();
        if data > 1 || (data == 0 && part.get("thoughtSignature").is_none()) {
            return Err(part.says("* GenerateContentRequest.contents.parts.data: required oneof field 'data' must have one initialized field"));
        }
        text.push_str(part.text("text")?.unwrap_or_default());
        if let Some(image) = part.get("inlineData") {
            asked.images.push(inline(&image)?);
        }
        if let Some(file) = part.get("fileData") {
            file.only(&["mimeType", "fileUri", "displayName"])?;
            let image = Image { media: "url".to_owned(), content: Err(file.need("fileUri")?.str()?.to_owned()) };
            asked.images.push(image);
        }
        if let Some(call) = part.get("functionCall") {
            call.only(&["id", "name", "args", "partialArgs", "willContinue"])?;
            call.need("name")?.str()?;
            call.get("args").map_or(Ok(()), |a| a.object())?;
        }
        if let Some(result) = part.get("functionResponse") {
            result.only(&["id", "name", "response", "parts", "willContinue", "scheduling"])?;
            result.need("response")?.object()?;
            for image in result.items("parts")? {
                if let Some(image) = image.get("inlineData") {
                    asked.images.push(inline(&image)?);
                }
            }
            let known = result.text("id")?.unwrap_or(result.need("name")?.str()?);
            asked.results.push((known.to_owned(), result.value["response"].to_string()));
        }
    }
    if role == "user" && !text.is_empty() {
        asked.user = text;
    }
    Ok(())
}

/// Bytes in JSON may have either alphabet of base64; Google's own client writes the one for URLs.
fn standard(base64: &str) -> String {
    base64.replace('-', "+").replace('_', "/")
}

fn inline(data: &At<'_>) -> Result<Image, Bad> {
    data.only(&["mimeType", "data", "displayName"])?;
    let bytes = data.need("data")?;
    Image::encoded(data.need("mimeType")?.str()?, &standard(bytes.str()?)).ok_or_else(|| {
        bytes.says("Invalid value at 'contents[0].parts[0].inline_data.data' (TYPE_BYTES), Base64 decoding failed")
    })
}

fn parts<'a>(content: &At<'a>, key: &str) -> Vec<&'a Value> {
    let all = content.value["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(|p| p.get(key).is_some()).collect()
}

/// Calls follow a user's turn, and their results follow them, as many as there were calls.
fn turns(contents: &[At<'_>]) -> Result<(), Fault> {
    for (n, content) in contents.iter().enumerate() {
        let before = n.checked_sub(1).and_then(|i| contents.get(i));
        let calls = parts(content, "functionCall").len();
        if calls > 0 && !before.is_some_and(|b| b.value["role"] != "model") {
            return Err(Fault::invalid(
                "Please ensure that function call turn comes immediately after a user turn or after a function response turn.",
            ));
        }
        let results = parts(content, "functionResponse").len();
        let called = before.map(|b| parts(b, "functionCall").len()).unwrap_or_default();
        if results > 0 && called == 0 {
            return Err(Fault::invalid(
                "Please ensure that function response turn comes immediately after a function call turn.",
            ));
        }
        if called > 0 && called != results {
            return Err(Fault::invalid(
                "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
            ));
        }
    }
    Ok(())
}

/// The first call of each turn of the model has the signature that was given out with it.
fn spoilt(contents: &[At<'_>]) -> Option<String> {
    for (n, content) in contents.iter().enumerate() {
        let Some(first) = parts(content, "functionCall").first().copied() else { continue };
        let name = first["functionCall"]["name"].as_str().unwrap_or_default();
        let Some(signature) = first["thoughtSignature"].as_str() else {
            return Some(format!(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call `default_api:{name}` , position {}.",
                n + 1
            ));
        };
        if !is_ours(&standard(signature), &[name, &first["functionCall"]["args"].to_string()]) {
            return Some("Thought signature is not valid.".to_owned());
        }
    }
    None
}
