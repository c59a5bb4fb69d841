//! What is no answer of a model: lists of models, token counts, embeddings.

use crate::{
    answer::INPUT,
    fault::Fault,
    model::{LISTED, Plan},
    provider::Provider,
    shape::{At, Bad},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The numbers of an embedding unless the request says otherwise.
const DIMENSIONS: usize = 8;
const MOST_DIMENSIONS: u64 = 4096;
/// The name of the model for embeddings.
const EMBEDDER: &str = "embed";

/// All models, or one.
pub(crate) fn models(provider: Provider, one: Option<&str>) -> Result<Value, Fault> {
    let names = || LISTED.iter().copied().chain([EMBEDDER]);
    if let Some(name) = one {
        let known = Plan::of(name).is_some() || name == EMBEDDER;
        return if known { Ok(model(provider, name)) } else { Err(Fault::no_model(provider, name)) };
    }
    let mut all: Vec<Value> = names().map(|name| model(provider, name)).collect();
    if provider == Provider::OpenAi {
        // A client may know OpenAI's models by their names.
        all.extend(LISTED.iter().map(|name| model(provider, &format!("gpt-{name}"))));
    }
    Ok(match provider {
        Provider::OpenAi | Provider::Compatible => json!({"object": "list", "data": all}),
        Provider::Anthropic => {
            json!({"data": all, "has_more": false, "first_id": LISTED.first(), "last_id": EMBEDDER})
        }
        Provider::Gemini | Provider::Ollama => json!({"models": all}),
    })
}

fn model(provider: Provider, name: &str) -> Value {
    match provider {
        Provider::OpenAi | Provider::Compatible => {
            json!({"id": name, "object": "model", "created": 1_790_000_000, "owned_by": "emulator"})
        }
        Provider::Anthropic => json!({"type": "model", "id": name, "display_name": name,
            "created_at": "2026-01-01T00:00:00Z", "max_input_tokens": 200_000, "max_tokens": 64_000,
            "lifecycle": "active"}),
        Provider::Gemini => json!({"name": format!("models/{name}"), "version": "001", "displayName": name,
            "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"]}),
        Provider::Ollama => json!({"name": name, "model": name, "modified_at": "2026-11-25T09:00:00Z", "size": 1,
            "digest": hex::encode(Sha256::digest(name)),
            "details": {"parent_model": "", "format": "gguf", "family": "emulator", "families": ["emulator"],
                "parameter_size": "1B", "quantization_level": "Q4_0"}}),
    }
}

/// A vector that depends on the text alone, of length one.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut numbers: Vec<f32> = Vec::with_capacity(dimensions);
    for block in 0u64.. {
        let hash = Sha256::new_with_prefix(text).chain_update(block.to_be_bytes()).finalize();
        numbers.extend(hash.iter().map(|byte| f32::from(*byte) - 127.5));
        if numbers.len() >= dimensions {
            break;
        }
    }
    numbers.truncate(dimensions);
    let length = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    numbers.iter().map(|x| x / length).collect()
}

/// Embeddings of this provider.
pub(crate) fn embeddings(provider: Provider, body: &Value, action: &str) -> Result<Value, Fault> {
    let made = match provider {
        Provider::OpenAi | Provider::Compatible => openai(body),
        Provider::Ollama => ollama(body),
        Provider::Gemini if action == "batchEmbedContents" => batch(body),
        Provider::Gemini => one(&At::root(body)).map(|values| json!({"embedding": {"values": values}})),
        Provider::Anthropic => return Err(Fault::of_status(404, None)),
    };
    made.map_err(|bad| Fault::field(provider, &bad))
}

fn dimensions(root: &At<'_>, key: &str) -> Result<usize, Bad> {
    let Some(asked) = root.get(key) else { return Ok(DIMENSIONS) };
    let number = asked.count()?;
    if !(1..=MOST_DIMENSIONS).contains(&number) {
        return Err(asked.says(format!("Invalid value for '{key}': it must be between 1 and {MOST_DIMENSIONS}.")));
    }
    usize::try_from(number).map_err(|_| asked.says("too many dimensions"))
}

/// One text, several, or tokens.
fn inputs(input: &At<'_>) -> Result<Vec<String>, Bad> {
    if let Some(text) = input.value.as_str() {
        return Ok(vec![text.to_owned()]);
    }
    let items = input.list()?;
    if items.is_empty() {
        return Err(input.says("Invalid 'input': input cannot be an empty array."));
    }
    if items.iter().all(|i| i.value.is_number()) {
        return Ok(vec![input.value.to_string()]);
    }
    let text = |item: &At<'_>| match item.value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(tokens) => Ok(json!(tokens).to_string()),
        _ => Err(item.says("Invalid 'input': expected a string or an array of token arrays.")),
    };
    items.iter().map(text).collect()
}

fn openai(body: &Value) -> Result<Value, Bad> {
    let root = At::root(body);
    root.only(&["input", "model", "dimensions", "encoding_format", "user"])?;
    let dimensions = dimensions(&root, "dimensions")?;
    let encoded = match root.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => return Err(root.need("encoding_format")?.says(format!("Invalid value: '{other}'."))),
    };
    let texts = inputs(&root.need("input")?)?;
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = vector(text, dimensions);
            let embedding = if encoded { json!(packed(&vector)) } else { json!(vector) };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    Ok(json!({"object": "list", "data": data, "model": root.value["model"],
        "usage": {"prompt_tokens": INPUT, "total_tokens": INPUT}}))
}

fn packed(vector: &[f32]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}

fn ollama(body: &Value) -> Result<Value, Bad> {
    let root = At::root(body);
    let dimensions = dimensions(&root, "dimensions")?;
    let texts = inputs(&root.need("input")?)?;
    let vectors: Vec<_> = texts.iter().map(|text| vector(text, dimensions)).collect();
    Ok(json!({"model": root.value["model"], "embeddings": vectors, "total_duration": 1_000_000, "load_duration": 1_000,
        "prompt_eval_count": INPUT}))
}

fn one(root: &At<'_>) -> Result<Vec<f32>, Bad> {
    let known = [
        "model",
        "content",
        "taskType",
        "task_type",
        "title",
        "outputDimensionality",
        "output_dimensionality",
        "embedContentConfig",
    ];
    root.only(&known)?;
    let key =
        if root.get("output_dimensionality").is_some() { "output_dimensionality" } else { "outputDimensionality" };
    let mut text = String::new();
    for part in root.need("content")?.need("parts")?.list()? {
        text.push_str(part.need("text")?.str()?);
    }
    Ok(vector(&text, dimensions(root, key)?))
}

fn batch(body: &Value) -> Result<Value, Bad> {
    let root = At::root(body);
    root.only(&["requests"])?;
    let requests = root.need("requests")?.list()?;
    let made = requests.iter().map(|request| {
        let model = request.need("model")?;
        if !model.str()?.starts_with("models/") {
            return Err(model.says("* BatchEmbedContentsRequest.requests[0].model: unexpected model name format"));
        }
        Ok(json!({"values": one(request)?}))
    });
    let made: Vec<Value> = made.collect::<Result<_, Bad>>()?;
    Ok(json!({"embeddings": made}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_the_length_one() {
        let vector = vector("text", 100);
        assert_eq!(vector.len(), 100);
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4);
    }
}
