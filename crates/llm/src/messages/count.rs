//! Counting the tokens of a request.

use super::parse::parse_prompt;
use crate::{Format, Losses, TranslateError, write};
use serde::Deserialize;

/// The body that asks a provider to count what a client's `count_tokens` request holds. None: the provider cannot
/// count, and the count has to be estimated. For Anthropic itself the client's bytes go through with another model.
pub fn translate_count(to: Format, body: &[u8], model: &str) -> Result<Option<Vec<u8>>, TranslateError> {
    let mut losses = Losses::default();
    match to {
        Format::Messages => {
            let view = crate::view(Format::Messages, None, body).map_err(|e| TranslateError::Malformed {
                format: Format::Messages,
                what: "the body".into(),
                why: e.to_string(),
            })?;
            Ok(Some(view.splice().rewrite(body, model, false)))
        }
        Format::Gemini => {
            let request = parse_prompt(body, &mut losses)?;
            crate::gemini::render_count(&request, model, &mut losses).map(Some)
        }
        Format::Chat | Format::Responses | Format::Ollama => {
            parse_prompt(body, &mut losses)?;
            Ok(None)
        }
    }
}

/// What a provider counted; none if it did not.
pub fn parse_count(from: Format, body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Count {
        #[serde(alias = "totalTokens")]
        input_tokens: u64,
    }
    matches!(from, Format::Messages | Format::Gemini)
        .then(|| serde_json::from_slice::<Count>(body).ok())?
        .map(|c| c.input_tokens)
}

/// The answer for a client.
pub fn render_count(tokens: u64) -> Vec<u8> {
    let mut out = Vec::new();
    write::Object::new(&mut out).put("input_tokens", &tokens);
    out
}
