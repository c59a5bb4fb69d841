//! What a view reads of a Gemini request: the model and the method from the path, the rest from the body.

use super::{Splice, ToolResult, View, span, wire::Text};
use serde::{Deserialize, de::Error as _};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The model and whether the answer is streamed: `/v1beta/models/M:generateContent` or `:streamGenerateContent`.
pub(super) fn model_of_path(path: &str) -> Option<(Cow<'_, str>, bool)> {
    let path = path.split('?').next()?;
    let (_, rest) = path.split_once("models/")?;
    let (model, method) = rest.rsplit_once(':')?;
    let stream = match method {
        "generateContent" | "countTokens" | "embedContent" | "batchEmbedContents" => false,
        "streamGenerateContent" => true,
        _ => return None,
    };
    Some((percent_decoded(model)?, stream)).filter(|(model, _)| !model.is_empty())
}

fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// A Gemini request.
pub(super) fn gemini<'a>(path: Option<&'a str>, text: &'a str) -> serde_json::Result<View<'a>> {
    let what = "the path is not `models/MODEL:generateContent` or `models/MODEL:streamGenerateContent`";
    let (model, stream) = path.and_then(model_of_path).ok_or_else(|| serde_json::Error::custom(what))?;
    let top: Top<'a> = serde_json::from_str(text)?;
    let results = top.contents.iter().flat_map(|c| &c.parts).filter_map(|p| {
        let result = p.function_response.as_ref()?;
        Some(ToolResult {
            tool_call_id: result.id.as_ref().map(|i| i.0.clone()).unwrap_or_default(),
            content_at: result.response.map_or(0..0, |r| span(text.as_bytes(), r)),
        })
    });
    let tools = top.tools.into_iter().flat_map(|t| t.function_declarations).map(|d| d.name.0);
    let config = top.generation_config.unwrap_or_default();
    Ok(View {
        model,
        stream,
        include_usage: true,
        tools: tools.collect(),
        tool_results: results.collect(),
        max_output_tokens: config
            .max_output_tokens
            .map(|m| m.saturating_mul(config.candidate_count.unwrap_or(1).max(1))),
        splice: Splice { model_at: 0..0, stream_options_at: None, lacks_usage: false },
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Top<'a> {
    #[serde(borrow)]
    contents: Vec<Content<'a>>,
    #[serde(borrow, default)]
    tools: Vec<Tool<'a>>,
    #[serde(alias = "generation_config")]
    generation_config: Option<Config>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Vec<Part<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow, alias = "function_response")]
    function_response: Option<FunctionResponse<'a>>,
}

#[derive(Deserialize)]
struct FunctionResponse<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    #[serde(borrow, default, alias = "function_declarations")]
    function_declarations: Vec<Declaration<'a>>,
}

#[derive(Deserialize)]
struct Declaration<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, view};

    #[test]
    fn the_path_names_model_and_method() {
        for (path, expected) in [
            ("/v1beta/models/gemini-2.5-flash:generateContent", Some(("gemini-2.5-flash", false))),
            ("/v1beta/models/ollama/qwen3:8b:streamGenerateContent?alt=sse", Some(("ollama/qwen3:8b", true))),
            ("/v1/models/a%2Fb%3A1:generateContent", Some(("a/b:1", false))),
            ("/v1beta/models/a:deleteAll", None),
            ("/v1beta/models/:generateContent", None),
            ("/v1beta/models/%zz:generateContent", None),
        ] {
            let found = model_of_path(path);
            assert_eq!(found.as_ref().map(|(m, s)| (m.as_ref(), *s)), expected, "{path}");
        }
    }

    #[test]
    fn the_fields_that_matter_are_seen() {
        let body = r#"{"contents":[{"role":"user","parts":[{"functionResponse":{"id":"c1","name":"x","response":{"a":1}}}]}],
            "tools":[{"functionDeclarations":[{"name":"x"},{"name":"y"}]},{"googleSearch":{}}],"generationConfig":{"maxOutputTokens":9}}"#;
        let v = view(Format::Gemini, Some("/v1beta/models/m:streamGenerateContent"), body.as_bytes()).unwrap();
        assert_eq!((v.model.as_ref(), v.stream, v.max_output_tokens), ("m", true, Some(9)));
        assert_eq!(v.tools, ["x", "y"]);
        assert_eq!(&body[v.tool_results[0].content_at.clone()], r#"{"a":1}"#);
        assert_eq!(v.splice().rewrite(body.as_bytes(), "n", true), body.as_bytes(), "the model stands in the path");
        assert!(view(Format::Gemini, None, body.as_bytes()).is_err());
    }
}
