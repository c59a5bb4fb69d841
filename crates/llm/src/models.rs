//! Lists of models: read in the shape of each provider, written in the shape that a client expects.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/models>, <https://platform.claude.com/docs/en/api/models-list>,
//! <https://ai.google.dev/api/models>, <https://docs.ollama.com/api/tags>.
//!
//! What a provider does not tell is absent here, and takes the neutral value where a client's shape requires a field.

use crate::Format;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most models that are read from one page.
pub const MAX_MODELS: usize = 10_000;

/// A model as a provider describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// Its name in calls.
    pub id: String,
    /// Its name for people.
    pub display_name: Option<String>,
    /// When it was made or released, in seconds since 1970.
    pub created_s: Option<i64>,
    /// Whom it belongs to.
    pub owned_by: Option<String>,
    /// The most tokens of a request.
    pub max_input_tokens: Option<u64>,
    /// The most tokens of an answer.
    pub max_output_tokens: Option<u64>,
}

/// A page of models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The models in the provider's order.
    pub models: Vec<Model>,
    /// What asks for the next page: Anthropic's `after_id`, Gemini's `pageToken`; none at the end.
    pub next: Option<String>,
}

/// A list that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not a list of models: {0}")]
pub struct ListError(#[from] serde_json::Error);

/// Reads a page of the list of a provider that speaks `format`: OpenAI's list for Chat and Responses.
pub fn parse_list(format: Format, body: &[u8]) -> Result<Page, ListError> {
    let mut page = match format {
        Format::Chat | Format::Responses => serde_json::from_slice::<OpenAiList>(body)?.into_page(),
        Format::Messages => serde_json::from_slice::<AnthropicList>(body)?.into_page(),
        Format::Gemini => serde_json::from_slice::<GeminiList>(body)?.into_page(),
        Format::Ollama => serde_json::from_slice::<OllamaList>(body)?.into_page(),
    };
    page.models.retain(|m| !m.id.is_empty());
    page.models.truncate(MAX_MODELS);
    Ok(page)
}

/// The whole list in the shape of a client that speaks `format`.
pub fn render_list(format: Format, models: &[Model]) -> Vec<u8> {
    match format {
        Format::Chat | Format::Responses => {
            json(&OpenAiListOut { object: "list", data: models.iter().map(openai).collect() })
        }
        Format::Messages => json(&AnthropicListOut {
            data: models.iter().map(anthropic).collect(),
            has_more: false,
            first_id: models.first().map(|m| m.id.as_str()),
            last_id: models.last().map(|m| m.id.as_str()),
        }),
        Format::Gemini => json(&GeminiListOut { models: models.iter().map(gemini).collect() }),
        Format::Ollama => json(&OllamaListOut { models: models.iter().map(ollama).collect() }),
    }
}

/// One model in the shape of a client that speaks `format`.
pub fn render_model(format: Format, model: &Model) -> Vec<u8> {
    match format {
        Format::Chat | Format::Responses => json(&openai(model)),
        Format::Messages => json(&anthropic(model)),
        Format::Gemini => json(&gemini(model)),
        Format::Ollama => json(&ollama(model)),
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // The types below hold no map with other keys than text, the one thing that cannot be written.
    serde_json::to_vec(value).unwrap_or_default()
}

fn seconds(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

fn time(seconds: Option<i64>) -> String {
    // The published meaning of the beginning of the epoch is "unknown".
    Timestamp::from_second(seconds.unwrap_or(0)).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[derive(Deserialize)]
struct OpenAiList {
    // Some compatible servers answer null when they have none.
    data: Option<Vec<OpenAiModel>>,
}

#[derive(Deserialize)]
struct OpenAiModel {
    id: String,
    created: Option<f64>,
    owned_by: Option<String>,
    name: Option<String>,
    context_length: Option<u64>,
    max_model_len: Option<u64>,
}

impl OpenAiList {
    fn into_page(self) -> Page {
        let models = self.data.unwrap_or_default().into_iter().map(|m| Model {
            id: m.id,
            display_name: m.name,
            #[expect(clippy::cast_possible_truncation, reason = "saturates, and a time that large is no time")]
            created_s: m.created.map(|c| c as i64),
            owned_by: m.owned_by,
            max_input_tokens: m.context_length.or(m.max_model_len),
            max_output_tokens: None,
        });
        Page { models: models.collect(), next: None }
    }
}

#[derive(Deserialize)]
struct AnthropicList {
    data: Vec<AnthropicModel>,
    #[serde(default)]
    has_more: bool,
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct AnthropicModel {
    id: String,
    display_name: Option<String>,
    created_at: Option<String>,
    max_input_tokens: Option<u64>,
    max_tokens: Option<u64>,
}

impl AnthropicList {
    fn into_page(self) -> Page {
        let models = self.data.into_iter().map(|m| Model {
            id: m.id,
            display_name: m.display_name,
            created_s: m.created_at.as_deref().and_then(seconds).filter(|s| *s != 0),
            owned_by: Some("anthropic".into()),
            max_input_tokens: m.max_input_tokens,
            max_output_tokens: m.max_tokens,
        });
        Page { models: models.collect(), next: self.last_id.filter(|_| self.has_more) }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiList {
    #[serde(default)]
    models: Vec<GeminiModel>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiModel {
    name: String,
    display_name: Option<String>,
    input_token_limit: Option<u64>,
    output_token_limit: Option<u64>,
}

impl GeminiList {
    fn into_page(self) -> Page {
        let models = self.models.into_iter().map(|m| Model {
            id: m.name.strip_prefix("models/").unwrap_or(&m.name).to_owned(),
            display_name: m.display_name,
            created_s: None,
            owned_by: Some("google".into()),
            max_input_tokens: m.input_token_limit,
            max_output_tokens: m.output_token_limit,
        });
        Page { models: models.collect(), next: self.next_page_token.filter(|t| !t.is_empty()) }
    }
}

#[derive(Deserialize)]
struct OllamaList {
    models: Option<Vec<OllamaModel>>,
}

#[derive(Deserialize)]
struct OllamaModel {
    name: String,
    model: Option<String>,
    modified_at: Option<String>,
}

impl OllamaList {
    fn into_page(self) -> Page {
        let models = self.models.unwrap_or_default().into_iter().map(|m| Model {
            id: m.model.unwrap_or(m.name),
            created_s: m.modified_at.as_deref().and_then(seconds),
            ..Model::default()
        });
        Page { models: models.collect(), next: None }
    }
}

#[derive(Serialize)]
struct OpenAiListOut<'a> {
    object: &'static str,
    data: Vec<OpenAiModelOut<'a>>,
}

#[derive(Serialize)]
struct OpenAiModelOut<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'a str,
}

fn openai(m: &Model) -> OpenAiModelOut<'_> {
    let owned_by = m.owned_by.as_deref().unwrap_or("unknown");
    OpenAiModelOut { id: &m.id, object: "model", created: m.created_s.unwrap_or(0), owned_by }
}

#[derive(Serialize)]
struct AnthropicListOut<'a> {
    data: Vec<AnthropicModelOut<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicModelOut<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: String,
    max_input_tokens: Option<u64>,
    max_tokens: Option<u64>,
}

fn anthropic(m: &Model) -> AnthropicModelOut<'_> {
    AnthropicModelOut {
        kind: "model",
        id: &m.id,
        display_name: m.display_name.as_deref().unwrap_or(&m.id),
        created_at: time(m.created_s),
        max_input_tokens: m.max_input_tokens,
        max_tokens: m.max_output_tokens,
    }
}

#[derive(Serialize)]
struct GeminiListOut<'a> {
    models: Vec<GeminiModelOut<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GeminiModelOut<'a> {
    name: String,
    display_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_token_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_token_limit: Option<u64>,
}

fn gemini(m: &Model) -> GeminiModelOut<'_> {
    GeminiModelOut {
        name: format!("models/{}", m.id),
        display_name: m.display_name.as_deref().unwrap_or(&m.id),
        input_token_limit: m.max_input_tokens,
        output_token_limit: m.max_output_tokens,
    }
}

#[derive(Serialize)]
struct OllamaListOut<'a> {
    models: Vec<OllamaModelOut<'a>>,
}

#[derive(Serialize)]
struct OllamaModelOut<'a> {
    name: &'a str,
    model: &'a str,
    modified_at: String,
}

fn ollama(m: &Model) -> OllamaModelOut<'_> {
    OllamaModelOut { name: &m.id, model: &m.id, modified_at: time(m.created_s) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn each_provider_s_list_is_read() {
        let openai =
            br#"{"object":"list","data":[{"id":"gpt-5","object":"model","created":1754425777,"owned_by":"openai"},
            {"id":"","object":"model"}]}"#;
        let page = parse_list(Format::Chat, openai).unwrap();
        assert_eq!(page.models.len(), 1, "a model without a name cannot be called");
        assert_eq!(
            (page.models[0].created_s, page.models[0].owned_by.as_deref()),
            (Some(1_754_425_777), Some("openai"))
        );
        assert_eq!(parse_list(Format::Responses, br#"{"object":"list","data":null}"#).unwrap(), Page::default());

        let anthropic = br#"{"data":[{"type":"model","id":"claude-x","display_name":"Claude X","created_at":"2025-02-19T00:00:00Z"}],
            "has_more":true,"first_id":"claude-x","last_id":"claude-x"}"#;
        let page = parse_list(Format::Messages, anthropic).unwrap();
        assert_eq!((page.next.as_deref(), page.models[0].created_s), (Some("claude-x"), Some(1_739_923_200)));

        let gemini = br#"{"models":[{"name":"models/gemini-x","displayName":"Gemini X","inputTokenLimit":1048576,
            "outputTokenLimit":65536,"supportedGenerationMethods":["generateContent"]}],"nextPageToken":"t"}"#;
        let page = parse_list(Format::Gemini, gemini).unwrap();
        let m = &page.models[0];
        assert_eq!((m.id.as_str(), m.max_input_tokens, page.next.as_deref()), ("gemini-x", Some(1 << 20), Some("t")));

        let ollama = br#"{"models":[{"name":"llama3.2:latest","model":"llama3.2:latest",
            "modified_at":"2025-05-04T17:37:44.706015396-07:00","size":1,"digest":"a","details":{}}]}"#;
        let page = parse_list(Format::Ollama, ollama).unwrap();
        assert_eq!((page.models[0].id.as_str(), page.models[0].created_s), ("llama3.2:latest", Some(1_746_405_464)));
        assert!(parse_list(Format::Gemini, b"<html>").is_err());
    }

    #[test]
    fn a_list_has_the_shape_of_its_client() {
        let m = Model { id: "a/b".into(), created_s: Some(1), max_output_tokens: Some(9), ..Model::default() };
        assert_eq!(
            text(render_list(Format::Chat, std::slice::from_ref(&m))),
            r#"{"object":"list","data":[{"id":"a/b","object":"model","created":1,"owned_by":"unknown"}]}"#
        );
        assert_eq!(
            text(render_list(Format::Messages, std::slice::from_ref(&m))),
            concat!(
                r#"{"data":[{"type":"model","id":"a/b","display_name":"a/b","created_at":"1970-01-01T00:00:01Z","#,
                r#""max_input_tokens":null,"max_tokens":9}],"has_more":false,"first_id":"a/b","last_id":"a/b"}"#
            )
        );
        assert_eq!(
            text(render_model(Format::Gemini, &m)),
            r#"{"name":"models/a/b","displayName":"a/b","outputTokenLimit":9}"#
        );
        assert_eq!(
            text(render_list(Format::Messages, &[])),
            r#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#
        );
    }

    #[test]
    fn what_was_written_is_read_again() {
        let m = Model { id: "m".into(), display_name: Some("M".into()), created_s: Some(7), ..Model::default() };
        for format in [Format::Chat, Format::Messages, Format::Gemini, Format::Ollama] {
            let page = parse_list(format, &render_list(format, std::slice::from_ref(&m))).unwrap();
            assert_eq!(page.models[0].id, "m", "{format:?}");
        }
    }
}
