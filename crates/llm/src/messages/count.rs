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

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"system":"s","model":"a","messages":[{"role":"user","content":"x"}],"x":1.0}"#;

    fn asked(to: Format) -> Option<String> {
        translate_count(to, BODY.as_bytes(), "m").unwrap().map(|b| String::from_utf8(b).unwrap())
    }

    #[test]
    fn providers_that_count_are_asked() {
        assert_eq!(asked(Format::Messages), Some(BODY.replace(r#""a""#, r#""m""#)));
        let gemini = concat!(
            r#"{"generateContentRequest":{"model":"models/m","systemInstruction":{"parts":[{"text":"s"}]},"#,
            r#""contents":[{"role":"user","parts":[{"text":"x"}]}]}}"#
        );
        assert_eq!(asked(Format::Gemini).as_deref(), Some(gemini));
        assert_eq!((asked(Format::Chat), asked(Format::Ollama)), (None, None), "they have no such call");
        for to in Format::ALL {
            assert!(translate_count(to, br#"{"model":"a"}"#, "m").is_err(), "{to}: there is nothing to count");
        }
    }

    #[test]
    fn counts_are_read_and_written() {
        assert_eq!(parse_count(Format::Messages, br#"{"input_tokens":7}"#), Some(7));
        assert_eq!(parse_count(Format::Gemini, br#"{"totalTokens":8,"promptTokensDetails":[]}"#), Some(8));
        assert_eq!(parse_count(Format::Chat, br#"{"input_tokens":7}"#), None);
        assert_eq!(parse_count(Format::Messages, b"{}"), None);
        assert_eq!(render_count(9), br#"{"input_tokens":9}"#);
    }
}
