//! Writing a request for Ollama.

use super::prompt;
use crate::{
    Losses, TranslateError,
    ir::{
        CacheHint, Effort, Function, Identity, Logprobs, ReasoningConfig, Request, ResponseFormat, Sampling, Tool,
        ToolChoice,
    },
    write,
};

type Result<T> = std::result::Result<T, TranslateError>;

/// A request for Ollama.
pub(crate) fn render_request(request: &Request, model: &str, losses: &mut Losses) -> Result<Vec<u8>> {
    let Request {
        model: _,
        messages: _,
        tools,
        tool_choice,
        parallel_tool_calls,
        response_format,
        sampling,
        max_output_tokens,
        // More than one is refused before.
        n: _,
        logprobs,
        reasoning,
        verbosity,
        stream,
        include_usage: _,
        identity,
        cache,
        service_tier,
        store,
    } = request;
    losses.add_if(verbosity.is_some(), "verbosity", "Ollama has no such setting");
    losses.add_if(*store == Some(true), "store", "Ollama keeps no answers for later calls");
    losses.add_if(service_tier.as_deref().is_some_and(|t| t != "auto"), "service_tier", "Ollama has no tiers");
    losses.add_if(
        *parallel_tool_calls == Some(false) && !tools.is_empty(),
        "parallel_tool_calls",
        "the model decides itself whether it calls several tools at once",
    );
    let Identity { user, safety_identifier, metadata } = identity;
    losses.add_if(user.is_some() || safety_identifier.is_some(), "user", "Ollama takes no user");
    losses.add_if(metadata.is_some(), "metadata", "Ollama takes no labels");
    check_cache(cache, losses)?;
    let mut out = Vec::new();
    let mut top = write::Object::new(&mut out);
    top.put("model", model);
    prompt::put(&mut top, request, losses)?;
    put_tools(&mut top, tools, tool_choice.as_ref(), losses)?;
    put_format(&mut top, response_format.as_ref(), losses);
    if let Some(Logprobs { top: alternatives }) = logprobs {
        top.put("logprobs", &true);
        top.some("top_logprobs", alternatives);
    }
    if let Some(reasoning) = reasoning {
        put_think(&mut top, reasoning, model, losses);
    }
    put_options(&mut top, sampling, *max_output_tokens)?;
    top.put("stream", stream);
    drop(top);
    Ok(out)
}

fn check_cache(cache: &CacheHint, losses: &mut Losses) -> Result<()> {
    let CacheHint { key, retention, content } = cache;
    losses.add_if(key.is_some(), "prompt_cache_key", "Ollama caches by itself");
    losses.add_if(retention.is_some(), "prompt_cache_retention", "Ollama caches by itself");
    match content {
        Some(_) => {
            Err(TranslateError::unsupported("cachedContent", "it is kept at Google and holds a part of the prompt"))
        }
        None => Ok(()),
    }
}

/// Ollama has no choice of a tool: what is not to be called is not offered, and a call cannot be forced.
fn put_tools(
    top: &mut write::Object<'_>,
    tools: &[Tool],
    choice: Option<&ToolChoice>,
    losses: &mut Losses,
) -> Result<()> {
    const UNFORCED: &str = "Ollama cannot make a model call a tool; what may be called is offered, and it decides";
    let allowed: Option<Vec<&str>> = match choice {
        None | Some(ToolChoice::Auto) => None,
        Some(ToolChoice::None) => Some(Vec::new()),
        Some(ToolChoice::Required) => {
            losses.add("tool_choice", UNFORCED);
            None
        }
        Some(ToolChoice::Named { name, .. }) => {
            losses.add("tool_choice", UNFORCED);
            Some(vec![name])
        }
        Some(ToolChoice::Allowed { required, names }) => {
            losses.add_if(*required, "tool_choice", UNFORCED);
            Some(names.iter().map(String::as_str).collect())
        }
    };
    let mut offered = Vec::new();
    for tool in tools {
        match tool {
            Tool::Function(function) => offered.push(function),
            Tool::Custom { name, .. } => {
                let why = format!("`{name}` takes free text, and Ollama's tools take JSON; offer it as a function");
                return Err(TranslateError::unsupported("tools", why));
            }
            Tool::Opaque(tool) => {
                let why = format!("`{}` runs at its own provider alone; ask a model there, or leave it out", tool.kind);
                return Err(TranslateError::unsupported("tools", why));
            }
        }
    }
    offered.retain(|f| allowed.as_ref().is_none_or(|a| a.contains(&f.name.as_str())));
    if offered.is_empty() {
        return Ok(());
    }
    let mut array = top.array("tools");
    for Function { name, description, parameters, strict, cache } in offered {
        losses.add_if(*strict == Some(true), "tools.strict", "Ollama does not hold arguments to their schema");
        losses.add_if(cache.is_some(), "cache_control", "Ollama caches by itself");
        let mut tool = array.object();
        tool.put("type", "function");
        let mut function = tool.object("function");
        function.put("name", name);
        function.some("description", description);
        match parameters {
            Some(schema) => function.put("parameters", schema),
            None => {
                let mut schema = function.object("parameters");
                schema.put("type", "object");
                drop(schema.object("properties"));
            }
        }
    }
    Ok(())
}

fn put_format(top: &mut write::Object<'_>, format: Option<&ResponseFormat>, losses: &mut Losses) {
    match format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => top.put("format", "json"),
        Some(ResponseFormat::JsonSchema { name, description, schema, strict: _ }) => {
            losses.add_if(name != "response", "response_format.name", "Ollama's schemas have no name");
            losses.add_if(description.is_some(), "response_format.description", "Ollama's schemas have none");
            top.put("format", schema);
        }
    }
}

/// Thinking is on or off; of the models, gpt-oss takes levels and cannot do without.
fn put_think(top: &mut write::Object<'_>, reasoning: &ReasoningConfig, model: &str, losses: &mut Losses) {
    let ReasoningConfig { enabled, effort: _, budget_tokens, summary, visible } = reasoning;
    losses.add_if(budget_tokens.is_some_and(|b| b > 0), "reasoning budget", "Ollama's models think without a limit");
    losses.add_if(summary.as_deref().is_some_and(|s| s != "auto"), "reasoning.summary", "Ollama shows all of it");
    losses.add_if(*visible == Some(false), "reasoning", "Ollama shows the thinking that was asked for");
    let effort = reasoning.effort();
    if reasoning.is_off() {
        top.put("think", &false);
    } else if model.rsplit('/').next().unwrap_or(model).starts_with("gpt-oss") {
        top.some("think", &effort.map(level));
    } else if effort.is_some() || *enabled == Some(true) {
        top.put("think", &true);
    }
}

fn level(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::Xhigh | Effort::Max => "high",
    }
}

fn put_options(top: &mut write::Object<'_>, sampling: &Sampling, max_tokens: Option<u64>) -> Result<()> {
    let Sampling { temperature, top_p, top_k, frequency_penalty, presence_penalty, seed, logit_bias, stop } = sampling;
    if logit_bias.as_ref().is_some_and(|b| b.compact() != "{}") {
        return Err(TranslateError::unsupported("logit_bias", "its token numbers belong to OpenAI's tokeniser"));
    }
    if *sampling == Sampling::default() && max_tokens.is_none() {
        return Ok(());
    }
    let mut options = top.object("options");
    options.some("temperature", temperature);
    options.some("top_p", top_p);
    options.some("top_k", top_k);
    options.some("frequency_penalty", frequency_penalty);
    options.some("presence_penalty", presence_penalty);
    options.some("seed", seed);
    if !stop.is_empty() {
        options.put("stop", stop);
    }
    options.some("num_predict", &max_tokens);
    Ok(())
}
