//! Embeddings: asked for in OpenAI's shape, answered by OpenAI-compatible servers, Gemini and Ollama.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/embeddings>, <https://ai.google.dev/api/embeddings>,
//! <https://docs.ollama.com/api/embed>.
//!
//! To an OpenAI-compatible server the request passes with another model name and nothing else changed
//! ([`EmbeddingsRequest::rewrite`]); its answer passes as it is. Anthropic has no such API.

use crate::{
    Format, Loss, Losses, TranslateError,
    read::{Object, items, text_of},
    write,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::ops::Range;

/// The most texts of one request, as OpenAI publishes it.
pub const MAX_INPUTS: usize = 2048;

/// A request in OpenAI's shape.
#[derive(Debug)]
pub struct EmbeddingsRequest {
    /// The model that is asked for.
    pub model: String,
    /// Whether the vectors are to come as base64 of little-endian floats.
    pub base64: bool,
    /// How many vectors are asked for.
    pub inputs: usize,
    input: Input,
    dimensions: Option<u64>,
    losses: Vec<Loss>,
    model_at: Range<usize>,
}

#[derive(Debug)]
enum Input {
    Texts(Vec<String>),
    /// Token numbers, which mean something to one tokeniser only.
    Tokens,
}

/// The call that answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// OpenAI's `/embeddings`.
    OpenAi,
    /// Gemini's `models/M:embedContent`.
    GeminiOne,
    /// Gemini's `models/M:batchEmbedContents`.
    GeminiBatch,
    /// Ollama's `/api/embed`.
    Ollama,
}

/// A request for a provider.
#[derive(Debug)]
pub struct TranslatedEmbeddings {
    /// Which call it is the body of.
    pub method: Method,
    /// The body.
    pub body: Vec<u8>,
    /// What could not be carried.
    pub losses: Vec<Loss>,
}

/// Vectors in OpenAI's shape, and what was counted.
#[derive(Debug)]
pub struct TranslatedVectors {
    /// The body for the client.
    pub body: Vec<u8>,
    /// Tokens of the request, where the provider counted them.
    pub prompt_tokens: Option<u64>,
}

impl EmbeddingsRequest {
    /// Reads a request.
    pub fn parse(body: &[u8]) -> Result<Self, TranslateError> {
        let mut fields = Object::of_body(Format::Chat, body)?;
        let raw = fields.take("model").ok_or_else(|| fields.bad("model", "it is missing"))?;
        let model = text_of(raw).filter(|m| !m.is_empty()).ok_or_else(|| fields.bad("model", "it is no name"))?;
        let input = fields.take("input").ok_or_else(|| fields.bad("input", "it is missing"))?;
        let (input, inputs) = read_input(&fields, input)?;
        let base64 = match fields.string("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => return Err(fields.bad("encoding_format", "it is neither `float` nor `base64`")),
        };
        let dimensions = fields.get("dimensions")?;
        let mut losses = Losses::default();
        fields.rest(&mut losses);
        let losses = losses.into_vec();
        Ok(Self { model, base64, inputs, input, dimensions, losses, model_at: span(body, raw) })
    }

    /// The request `body`, from which this was read, with another model name and nothing else changed.
    pub fn rewrite(&self, body: &[u8], model: &str) -> Vec<u8> {
        let name = serde_json::Value::from(model).to_string();
        [&body[..self.model_at.start], name.as_bytes(), &body[self.model_at.end..]].concat()
    }

    /// The request for a provider that speaks `to`; `body` is what this was read from.
    pub fn translate(&self, to: Format, body: &[u8], model: &str) -> Result<TranslatedEmbeddings, TranslateError> {
        if matches!(to, Format::Chat | Format::Responses) {
            let body = self.rewrite(body, model);
            return Ok(TranslatedEmbeddings { method: Method::OpenAi, body, losses: Vec::new() });
        }
        if to == Format::Messages {
            return Err(TranslateError::unsupported("model", "Anthropic has no embeddings"));
        }
        let Input::Texts(texts) = &self.input else {
            let why = "token numbers belong to OpenAI's tokeniser; send text to this provider";
            return Err(TranslateError::unsupported("input", why));
        };
        let (method, body) = match to {
            Format::Gemini => gemini_request(texts, model, self.dimensions),
            _ => {
                let request = OllamaRequest { model, input: texts, dimensions: self.dimensions };
                (Method::Ollama, json(&request))
            }
        };
        Ok(TranslatedEmbeddings { method, body, losses: self.losses.clone() })
    }

    /// A provider's answer in OpenAI's shape.
    pub fn translate_answer(
        &self,
        method: Method,
        body: &[u8],
        model: &str,
    ) -> Result<TranslatedVectors, TranslateError> {
        let (vectors, prompt_tokens) = match method {
            Method::OpenAi => {
                let counted: OpenAiCounted = read(Format::Chat, body)?;
                let prompt_tokens = counted.usage.and_then(|u| u.prompt_tokens);
                return Ok(TranslatedVectors { body: body.to_vec(), prompt_tokens });
            }
            Method::GeminiOne | Method::GeminiBatch => {
                let answer: GeminiAnswer = read(Format::Gemini, body)?;
                let vectors = answer.embedding.into_iter().chain(answer.embeddings).map(|v| v.values).collect();
                (vectors, answer.usage_metadata.and_then(|u| u.prompt_token_count))
            }
            Method::Ollama => {
                let answer: OllamaAnswer = read(Format::Ollama, body)?;
                (answer.embeddings, answer.prompt_eval_count)
            }
        };
        if vectors.len() != self.inputs {
            let why = format!("{} vectors for {} inputs", vectors.len(), self.inputs);
            let format = if method == Method::Ollama { Format::Ollama } else { Format::Gemini };
            return Err(TranslateError::Malformed { format, what: "the answer".into(), why });
        }
        Ok(TranslatedVectors { body: self.render(&vectors, prompt_tokens, model), prompt_tokens })
    }

    fn render(&self, vectors: &[Vec<f32>], tokens: Option<u64>, model: &str) -> Vec<u8> {
        let data = vectors.iter().enumerate().map(|(index, v)| VectorOut {
            object: "embedding",
            index,
            embedding: if self.base64 {
                let bytes: Vec<u8> = v.iter().flat_map(|f| f.to_le_bytes()).collect();
                VectorForm::Base64(STANDARD.encode(bytes))
            } else {
                VectorForm::Floats(v)
            },
        });
        // The shape has no word for an unknown count; the record keeps the difference.
        let count = tokens.unwrap_or(0);
        json(&AnswerOut {
            object: "list",
            data: data.collect(),
            model,
            usage: UsageOut { prompt_tokens: count, total_tokens: count },
        })
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    write::value(&mut out, value);
    out
}

fn read<T: DeserializeOwned>(format: Format, body: &[u8]) -> Result<T, TranslateError> {
    serde_json::from_slice(body).map_err(|e| TranslateError::Malformed {
        format,
        what: "the answer".into(),
        why: e.to_string(),
    })
}

/// Where a value that was borrowed from `body` stands in it.
fn span(body: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - body.as_ptr().addr();
    start..start + value.get().len()
}

/// A text, texts, token numbers, or several lists of them.
fn read_input(fields: &Object<'_>, raw: &RawValue) -> Result<(Input, usize), TranslateError> {
    if let Some(text) = text_of(raw) {
        return Ok((Input::Texts(vec![text]), 1));
    }
    let values = items(Format::Chat, "input", raw)?;
    if values.is_empty() {
        return Err(fields.bad("input", "it is empty"));
    }
    if let Some(texts) = values.iter().map(|i| text_of(i.raw)).collect::<Option<Vec<_>>>() {
        return bounded(fields, texts.len()).map(|count| (Input::Texts(texts), count));
    }
    if serde_json::from_str::<Vec<u32>>(raw.get()).is_ok() {
        return Ok((Input::Tokens, 1));
    }
    if serde_json::from_str::<Vec<Vec<u32>>>(raw.get()).is_ok() {
        return bounded(fields, values.len()).map(|count| (Input::Tokens, count));
    }
    let why = "it is no text, array of texts, array of token numbers or array of such arrays";
    Err(fields.bad("input", why))
}

fn bounded(fields: &Object<'_>, count: usize) -> Result<usize, TranslateError> {
    match count {
        0..=MAX_INPUTS => Ok(count),
        _ => Err(fields.bad("input", format!("it holds {count} inputs, and at most {MAX_INPUTS} are taken"))),
    }
}

fn gemini_request(texts: &[String], model: &str, output_dimensionality: Option<u64>) -> (Method, Vec<u8>) {
    let model = format!("models/{model}");
    let request = |text| {
        let content = GeminiContent { parts: [GeminiPart { text }] };
        GeminiRequest { model: &model, content, output_dimensionality }
    };
    match texts {
        [text] => (Method::GeminiOne, json(&request(text))),
        _ => {
            let requests = texts.iter().map(|t| request(t)).collect();
            (Method::GeminiBatch, json(&GeminiBatch { requests }))
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GeminiRequest<'a> {
    model: &'a str,
    content: GeminiContent<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u64>,
}

#[derive(Serialize)]
struct GeminiContent<'a> {
    parts: [GeminiPart<'a>; 1],
}

#[derive(Serialize)]
struct GeminiPart<'a> {
    text: &'a str,
}

#[derive(Serialize)]
struct GeminiBatch<'a> {
    requests: Vec<GeminiRequest<'a>>,
}

#[derive(Serialize)]
struct OllamaRequest<'a> {
    model: &'a str,
    input: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiAnswer {
    embedding: Option<GeminiVector>,
    #[serde(default)]
    embeddings: Vec<GeminiVector>,
    usage_metadata: Option<GeminiUsage>,
}

#[derive(Deserialize)]
struct GeminiVector {
    #[serde(default)]
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiUsage {
    prompt_token_count: Option<u64>,
}

#[derive(Deserialize)]
struct OllamaAnswer {
    embeddings: Vec<Vec<f32>>,
    prompt_eval_count: Option<u64>,
}

#[derive(Deserialize)]
struct OpenAiCounted {
    usage: Option<OpenAiUsage>,
}

#[derive(Deserialize)]
struct OpenAiUsage {
    prompt_tokens: Option<u64>,
}

#[derive(Serialize)]
struct AnswerOut<'a> {
    object: &'static str,
    data: Vec<VectorOut<'a>>,
    model: &'a str,
    usage: UsageOut,
}

#[derive(Serialize)]
struct VectorOut<'a> {
    object: &'static str,
    index: usize,
    embedding: VectorForm<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum VectorForm<'a> {
    Floats(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct UsageOut {
    prompt_tokens: u64,
    total_tokens: u64,
}

#[cfg(test)]
mod tests;
