//! Tools, the form of the answer, sampling and reasoning of a request to a provider.

use crate::{
    Losses, TranslateError,
    ir::{Effort, ReasoningConfig, ResponseFormat, Sampling, Tool, ToolChoice},
    openai, write,
};

type Result<T> = std::result::Result<T, TranslateError>;

pub(super) fn write_tools(o: &mut write::Object<'_>, tools: &[Tool], losses: &mut Losses) -> Result<()> {
    if tools.is_empty() {
        return Ok(());
    }
    let mut list = o.array("tools");
    for tool in tools {
        let mut t = list.object();
        match tool {
            Tool::Function(f) => {
                losses.add_if(f.cache.is_some(), "tools.cache_control", "OpenAI's format has no cache marker");
                t.put("type", "function");
                let mut of = t.object("function");
                of.put("name", &f.name);
                of.some("description", &f.description);
                of.some("parameters", &f.parameters);
                of.some("strict", &f.strict);
            }
            Tool::Custom { name, description, format } => {
                t.put("type", "custom");
                let mut of = t.object("custom");
                of.put("name", name);
                of.some("description", description);
                if let Some(format) = format {
                    super::grammar::write_chat(&mut of, format)?;
                }
            }
            Tool::Opaque(opaque) => return Err(openai::opaque_tool(&opaque.kind)),
        }
    }
    Ok(())
}

pub(super) fn write_choice(o: &mut write::Object<'_>, choice: &ToolChoice) {
    match choice {
        ToolChoice::Auto => o.put("tool_choice", "auto"),
        ToolChoice::None => o.put("tool_choice", "none"),
        ToolChoice::Required => o.put("tool_choice", "required"),
        ToolChoice::Named { name, custom } => {
            let kind = if *custom { "custom" } else { "function" };
            let mut c = o.object("tool_choice");
            c.put("type", kind);
            c.object(kind).put("name", name);
        }
        ToolChoice::Allowed { required, names } => {
            let mut c = o.object("tool_choice");
            c.put("type", "allowed_tools");
            let mut allowed = c.object("allowed_tools");
            allowed.put("mode", if *required { "required" } else { "auto" });
            let mut list = allowed.array("tools");
            for name in names {
                let mut t = list.object();
                t.put("type", "function");
                t.object("function").put("name", name);
            }
        }
    }
}

pub(super) fn write_format(o: &mut write::Object<'_>, format: &ResponseFormat) {
    let mut f = o.object("response_format");
    match format {
        ResponseFormat::Text => f.put("type", "text"),
        ResponseFormat::JsonObject => f.put("type", "json_object"),
        ResponseFormat::JsonSchema { name, description, schema, strict } => {
            f.put("type", "json_schema");
            let mut s = f.object("json_schema");
            s.put("name", name);
            s.some("description", description);
            s.put("schema", schema);
            s.some("strict", strict);
        }
    }
}

pub(super) fn write_sampling(o: &mut write::Object<'_>, sampling: &Sampling, losses: &mut Losses) {
    let Sampling { temperature, top_p, top_k, frequency_penalty, presence_penalty, seed, logit_bias, stop } = sampling;
    o.some("temperature", temperature);
    o.some("top_p", top_p);
    losses.add_if(top_k.is_some(), "top_k", "OpenAI's format has no top_k");
    o.some("frequency_penalty", frequency_penalty);
    o.some("presence_penalty", presence_penalty);
    o.some("seed", seed);
    o.some("logit_bias", logit_bias);
    if !stop.is_empty() {
        o.put("stop", stop);
    }
}

pub(super) fn write_reasoning(o: &mut write::Object<'_>, config: &ReasoningConfig, losses: &mut Losses) {
    let ReasoningConfig { enabled: _, effort, budget_tokens, summary: _, visible: _ } = config;
    if config.is_off() && *effort != Some(Effort::None) {
        return losses
            .add("thinking", "reasoning cannot be switched off for every model here; it is left as the model does");
    }
    losses.add_if(
        effort.is_none() && budget_tokens.is_some(),
        "budget_tokens",
        "the budget is sent as the nearest effort",
    );
    let effort = config.effort().map(|e| if e == Effort::Max { Effort::Xhigh } else { e });
    losses.add_if(effort.is_none() && config.enabled == Some(true), "thinking", "the effort is left to the model");
    o.some("reasoning_effort", &effort.map(Effort::as_str));
}
