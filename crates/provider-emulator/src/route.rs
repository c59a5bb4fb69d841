//! The providers' paths.

use crate::provider::Provider;
use hyper::Method;

/// What a path asks for.
pub(crate) enum Ask {
    Models(Option<String>),
    Generate { model: Option<String>, stream: Option<bool>, responses: bool },
    Count(Option<String>),
    Embed { model: Option<String>, action: String },
}

/// What a path asks for; none: nothing of this provider.
pub(crate) fn ask(provider: Provider, method: &Method, path: &str) -> Option<Ask> {
    let post = method == Method::POST;
    let generate = |responses| Ask::Generate { model: None, stream: None, responses };
    match (provider, path) {
        (Provider::OpenAi | Provider::Compatible, "/v1/chat/completions") if post => Some(generate(false)),
        (Provider::OpenAi, "/v1/responses") if post => Some(generate(true)),
        (Provider::OpenAi | Provider::Compatible, "/v1/embeddings") if post => {
            Some(Ask::Embed { model: None, action: String::new() })
        }
        (Provider::Anthropic, "/v1/messages") if post => Some(generate(false)),
        (Provider::Anthropic, "/v1/messages/count_tokens") if post => Some(Ask::Count(None)),
        (Provider::Ollama, "/api/chat") if post => Some(generate(false)),
        (Provider::Ollama, "/api/embed") if post => Some(Ask::Embed { model: None, action: String::new() }),
        (Provider::Ollama, "/api/tags") => Some(Ask::Models(None)),
        (Provider::Gemini, "/v1beta/models" | "/v1/models") => Some(Ask::Models(None)),
        (Provider::Gemini, _) => gemini_ask(path, post),
        (Provider::OpenAi | Provider::Compatible | Provider::Anthropic, "/v1/models") if !post => {
            Some(Ask::Models(None))
        }
        (Provider::OpenAi | Provider::Compatible | Provider::Anthropic, _) if !post => {
            Some(Ask::Models(Some(decoded(path.strip_prefix("/v1/models/")?))))
        }
        _ => None,
    }
}

fn gemini_ask(path: &str, post: bool) -> Option<Ask> {
    let rest = decoded(path.strip_prefix("/v1beta/models/").or(path.strip_prefix("/v1/models/"))?);
    let Some((model, action)) = rest.rsplit_once(':') else { return (!post).then_some(Ask::Models(Some(rest))) };
    let model = Some(model.to_owned());
    match action {
        "generateContent" => Some(Ask::Generate { model, stream: Some(false), responses: false }),
        "streamGenerateContent" => Some(Ask::Generate { model, stream: Some(true), responses: false }),
        "countTokens" => Some(Ask::Count(model)),
        "embedContent" | "batchEmbedContents" => Some(Ask::Embed { model, action: action.to_owned() }),
        _ => None,
    }
}

/// A part of a path without its percent signs.
fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .filter(|_| *byte == b'%')
            .and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        out.push(code.unwrap_or(*byte));
        rest = if code.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}
