//! What OpenAI's two formats share: errors, data URLs, and which models are OpenAI's own.

use crate::{ApiError, ErrorKind, ir::Source, write};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The word for `type` of an error.
pub(crate) fn error_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::TooLarge | ErrorKind::ContextLength | ErrorKind::ContentFilter => {
            "invalid_request_error"
        }
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::RateLimited => "rate_limit_error",
        ErrorKind::Quota => "insufficient_quota",
        ErrorKind::Overloaded => "overloaded_error",
        ErrorKind::Timeout => "timeout_error",
        ErrorKind::Server | ErrorKind::Interrupted => "server_error",
    }
}

/// The body of an error answer.
pub(crate) fn render_error(error: &ApiError) -> Vec<u8> {
    let mut out = Vec::new();
    write_error(error, &mut write::Object::new(&mut out));
    out
}

/// The `error` field.
pub(crate) fn write_error(error: &ApiError, o: &mut write::Object<'_>) {
    let mut e = o.object("error");
    e.put("message", &error.message);
    e.put("type", error_type(error.kind));
    e.null("param");
    e.put("code", &error.code);
}

/// What an error answer says, in the shapes in which OpenAI and compatible servers send it.
pub(crate) fn parse_error(status: u16, body: &[u8]) -> ApiError {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
        #[serde(borrow)]
        message: Option<&'a RawValue>,
        #[serde(borrow)]
        detail: Option<&'a RawValue>,
        #[serde(borrow)]
        code: Option<&'a RawValue>,
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let text = std::str::from_utf8(body).unwrap_or_default();
    match serde_json::from_str::<Body<'_>>(text) {
        Ok(Body { error: Some(error), .. }) => read_error(status, error),
        Ok(Body { message, detail, code, kind, .. }) if message.or(detail).is_some() => {
            let message = message.or(detail).map(word).unwrap_or_default();
            make(status, code.map(word).as_deref(), kind.as_deref(), &message)
        }
        _ => make(status, None, None, &format!("the provider answered with status {status} and no readable error")),
    }
}

/// What an `error` field says. `status` is 200 for an error inside a stream.
pub(crate) fn read_error(status: u16, error: &RawValue) -> ApiError {
    #[derive(Deserialize)]
    struct Error<'a> {
        #[serde(borrow)]
        message: Option<&'a RawValue>,
        #[serde(rename = "type")]
        kind: Option<String>,
        #[serde(borrow)]
        code: Option<&'a RawValue>,
    }
    match serde_json::from_str::<Error<'_>>(error.get()) {
        Ok(e) => {
            let message = e.message.map_or_else(|| error.get().to_owned(), word);
            make(status, e.code.map(word).as_deref(), e.kind.as_deref(), &message)
        }
        Err(_) => make(status, None, None, &word(error)),
    }
}

/// A text as it is, and anything else as its JSON.
fn word(raw: &RawValue) -> String {
    crate::read::text_of(raw).unwrap_or_else(|| raw.get().to_owned())
}

fn make(status: u16, code: Option<&str>, word: Option<&str>, message: &str) -> ApiError {
    let code = code.filter(|c| !c.is_empty() && *c != "null");
    // A number in `code` is a status, which some servers repeat there.
    let number = code.and_then(|c| c.parse().ok()).filter(|n: &u16| (400..=599).contains(n));
    let status = if status < 400 { number.unwrap_or(status) } else { status };
    let code = code.filter(|_| number.is_none());
    let kind =
        [code, word].into_iter().flatten().find_map(kind_of_word).unwrap_or_else(|| ErrorKind::of_status(status));
    let kind = if message.contains("maximum context length") { ErrorKind::ContextLength } else { kind };
    let status = if status < 400 { kind.status() } else { status };
    let code = match code.or(word) {
        Some(c) => Cow::Owned(c.to_owned()),
        None => Cow::Borrowed(error_type(kind)),
    };
    ApiError::new(status, kind, code, message)
}

/// An error from its code and message alone.
pub(crate) fn make_error(status: u16, code: Option<&str>, message: Option<&str>) -> ApiError {
    make(status, code, None, message.unwrap_or("the provider reported an error without a message"))
}

fn kind_of_word(word: &str) -> Option<ErrorKind> {
    Some(match word {
        "insufficient_quota" | "billing_hard_limit_reached" | "quota_exceeded" => ErrorKind::Quota,
        "rate_limit_exceeded" | "rate_limit_error" | "requests" | "tokens" => ErrorKind::RateLimited,
        "context_length_exceeded" | "string_above_max_length" => ErrorKind::ContextLength,
        "content_filter" | "content_policy_violation" => ErrorKind::ContentFilter,
        "invalid_api_key" | "authentication_error" => ErrorKind::Authentication,
        "model_not_found" | "not_found_error" => ErrorKind::NotFound,
        "permission_error" | "insufficient_permissions" => ErrorKind::Permission,
        "server_overloaded" | "overloaded_error" | "overloaded" | "slow_down" => ErrorKind::Overloaded,
        "server_error" | "internal_server_error" | "internal_error" | "api_error" => ErrorKind::Server,
        "timeout" | "timeout_error" => ErrorKind::Timeout,
        _ => return None,
    })
}

/// Whether a name is one of OpenAI's own models, which take some fields that compatible servers do not, and the other
/// way round.
pub(crate) fn is_openai_model(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    // A model that was tuned there: `ft:o4-mini-…:organisation::id`.
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let own_o = name.strip_prefix('o').is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()));
    let own_name = ["chatgpt-", "codex-", "computer-use-"].iter().any(|p| name.starts_with(p));
    (name.starts_with("gpt-") && !name.starts_with("gpt-oss")) || own_o || own_name
}

/// A source from an address that may be a `data:` URL.
pub(crate) fn source_of_url(url: String) -> Source {
    let parts = url.strip_prefix("data:").and_then(|rest| rest.split_once(','));
    match parts {
        Some((head, data)) if head.ends_with(";base64") => {
            let media_type = head.split(';').next().filter(|m| !m.is_empty()).unwrap_or("application/octet-stream");
            Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() }
        }
        _ => Source::Url { url, media_type: None },
    }
}

/// A `data:` URL.
pub(crate) fn data_url(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}

/// A tool that runs at its provider.
pub(crate) fn opaque_tool(kind: &str) -> crate::TranslateError {
    let why = format!("the tool `{kind}` runs at its provider only; ask a model there, or leave it out");
    crate::TranslateError::unsupported("tools", why)
}

/// A file or image that is kept at another provider.
pub(crate) fn kept_elsewhere(field: &str) -> crate::TranslateError {
    crate::TranslateError::unsupported(field, "it is kept at another provider; send its data")
}

/// A part that only its own format knows.
pub(crate) fn opaque_part(kind: &str) -> crate::TranslateError {
    crate::TranslateError::unsupported(kind, "only the provider that made this part can read it")
}

/// The media type of OpenAI's word for a form of sound.
pub(crate) fn audio_type(format: &str) -> String {
    match format {
        "mp3" => "audio/mpeg".to_owned(),
        other => format!("audio/{other}"),
    }
}

/// OpenAI's word for a form of sound.
pub(crate) fn audio_format(media_type: &str) -> &str {
    match media_type.strip_prefix("audio/").unwrap_or(media_type) {
        "mpeg" | "mp3" => "mp3",
        "x-wav" | "wave" => "wav",
        other => other,
    }
}

/// Whether a model of OpenAI's reasons and gives its reasoning encrypted.
pub(crate) fn is_reasoning_model(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let generation = name.strip_prefix("gpt-").and_then(|r| r.split(['.', '-']).next()).and_then(|g| g.parse().ok());
    is_openai_model(name)
        && !name.contains("chat")
        && (name.starts_with('o') || generation.is_some_and(|g: u32| g >= 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuned_model_is_what_it_was_made_of() {
        for own in ["gpt-4o", "ft:gpt-4o-mini:acme::id", "o3", "ft:o4-mini-2025-04-16:acme::id", "codex-mini-latest"] {
            assert!(is_openai_model(own), "{own}");
        }
        for other in ["gpt-oss-20b", "qwen3", "ft:qwen3", "olmo", "text"] {
            assert!(!is_openai_model(other), "{other}");
        }
        assert!(is_reasoning_model("ft:o4-mini-2025-04-16:acme::id") && !is_reasoning_model("ft:gpt-4o:acme::id"));
    }
}
