//! Answers as Chat Completions writes them, in the many ways in which providers do.

use crate::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A text field that upstreams also send as null or as parts; anything but a text is left to the recorded body.
pub(super) fn text_of(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok()
}

/// Arguments are a text that holds JSON; some upstreams send the JSON itself.
pub(super) fn text_or_json(value: Option<&RawValue>) -> Cow<'static, str> {
    let Some(raw) = value.map(RawValue::get).filter(|r| *r != "null") else { return Cow::Borrowed("") };
    match serde_json::from_str::<String>(raw) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Owned(crate::ir::compact(raw)),
    }
}

#[derive(Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) model: Option<&'a RawValue>,
    pub(super) created: Option<u64>,
    #[serde(borrow)]
    pub(super) service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    pub(super) usage: Option<WireUsage>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    pub(super) index: Option<u32>,
    #[serde(borrow)]
    pub(super) delta: Option<WireDelta<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<WireDelta<'a>>,
    #[serde(borrow)]
    pub(super) logprobs: Option<WireLogprobs<'a>>,
    pub(super) finish_reason: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct WireDelta<'a> {
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) thinking_blocks: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) annotations: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(super) audio: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) images: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<WireToolCall<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct WireToolCall<'a> {
    pub(super) index: Option<u32>,
    pub(super) id: Option<String>,
    #[serde(borrow)]
    pub(super) function: Option<WireFunction<'a>>,
    #[serde(borrow)]
    pub(super) custom: Option<WireCustom<'a>>,
    pub(super) extra_content: Option<ExtraContent>,
}

#[derive(Deserialize, Default)]
pub(super) struct WireFunction<'a> {
    pub(super) name: Option<String>,
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
}

/// A call of a tool that takes free text.
#[derive(Deserialize, Default)]
pub(super) struct WireCustom<'a> {
    pub(super) name: Option<String>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
}

/// Probabilities of the tokens of the text, and of a refusal.
#[derive(Deserialize)]
pub(super) struct WireLogprobs<'a> {
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
}

/// Where Gemini's signature on a call stands in this format.
#[derive(Deserialize)]
pub(super) struct ExtraContent {
    pub(super) google: Option<Google>,
}

/// See [`ExtraContent`].
#[derive(Deserialize)]
pub(super) struct Google {
    pub(super) thought_signature: Option<String>,
}

/// Token counts as Chat Completions writes them.
#[derive(Deserialize)]
pub(super) struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    #[serde(alias = "cache_creation_tokens")]
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl WireUsage {
    /// The counts.
    pub(super) fn counts(self) -> Usage {
        Usage {
            prompt: self.prompt_tokens,
            completion: self.completion_tokens,
            cached: self.prompt_tokens_details.as_ref().and_then(|d| d.cached_tokens),
            cache_write: self.prompt_tokens_details.and_then(|d| d.cache_write_tokens),
            reasoning: self.completion_tokens_details.and_then(|d| d.reasoning_tokens),
        }
    }
}
