//! `generationConfig`: how tokens are drawn, the form of the answer, and thinking.

use super::render::version;
use crate::{
    Losses, TranslateError,
    ir::{Effort, Logprobs, ReasoningConfig, Request, ResponseFormat, Sampling},
    write,
};
use serde_json::value::RawValue;

/// The first version that thinks by levels.
const LEVELS_SINCE: u32 = 3;

/// Puts it, if it holds anything.
pub(super) fn put(
    top: &mut write::Object<'_>,
    request: &Request,
    model: &str,
    losses: &mut Losses,
) -> Result<(), TranslateError> {
    let mut out = Vec::new();
    let mut config = write::Object::new(&mut out);
    put_sampling(&mut config, &request.sampling)?;
    config.some("maxOutputTokens", &request.max_output_tokens);
    if let Some(Logprobs { top }) = &request.logprobs {
        config.put("responseLogprobs", &true);
        config.some("logprobs", top);
    }
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => config.put("responseMimeType", "application/json"),
        Some(ResponseFormat::JsonSchema { name, description, schema, strict: _ }) => {
            losses.add_if(name != "response", "response_format.name", "Gemini's schemas have no name");
            losses.add_if(description.is_some(), "response_format.description", "Gemini's schemas have none");
            config.put("responseMimeType", "application/json");
            config.put("responseJsonSchema", schema);
        }
    }
    if let Some(reasoning) = &request.reasoning {
        put_thinking(&mut config, reasoning, model, losses);
    }
    drop(config);
    if let Ok(raw) = serde_json::from_slice::<&RawValue>(&out)
        && raw.get() != "{}"
    {
        top.put("generationConfig", raw);
    }
    Ok(())
}

fn put_sampling(config: &mut write::Object<'_>, sampling: &Sampling) -> Result<(), TranslateError> {
    let Sampling { temperature, top_p, top_k, frequency_penalty, presence_penalty, seed, logit_bias, stop } = sampling;
    if logit_bias.as_ref().is_some_and(|b| b.compact() != "{}") {
        return Err(TranslateError::unsupported("logit_bias", "its token numbers belong to OpenAI's tokeniser"));
    }
    config.some("temperature", temperature);
    config.some("topP", top_p);
    config.some("topK", top_k);
    config.some("frequencyPenalty", frequency_penalty);
    config.some("presencePenalty", presence_penalty);
    config.some("seed", seed);
    if !stop.is_empty() {
        config.put("stopSequences", stop);
    }
    Ok(())
}

/// Thoughts are shown unless the client asked for none: a client that names no wish gets what its format has a place
/// for.
fn put_thinking(config: &mut write::Object<'_>, reasoning: &ReasoningConfig, model: &str, losses: &mut Losses) {
    losses.add_if(
        reasoning.summary.as_deref().is_some_and(|s| s != "auto"),
        "reasoning.summary",
        "Gemini's thoughts come in one length",
    );
    let by_level = version(model).is_some_and(|v| v >= LEVELS_SINCE);
    let mut thinking = config.object("thinkingConfig");
    if reasoning.is_off() {
        if by_level {
            losses.add("reasoning", "this model always thinks; the lowest level was used");
            thinking.put("thinkingLevel", "minimal");
        } else {
            thinking.put("thinkingBudget", &0);
        }
        return;
    }
    thinking.put("includeThoughts", &reasoning.visible.unwrap_or(true));
    match (reasoning.budget_tokens, reasoning.effort) {
        (None, None) => {}
        (None, Some(effort)) if by_level => thinking.put("thinkingLevel", level(effort)),
        (Some(budget), _) => thinking.put("thinkingBudget", &budget),
        (None, Some(_)) => thinking.some("thinkingBudget", &reasoning.budget()),
    }
}

fn level(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::Xhigh | Effort::Max => "high",
    }
}
