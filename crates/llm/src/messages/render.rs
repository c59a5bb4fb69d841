//! Writing a request for Anthropic.

use super::{prompt, thinking};
use crate::{
    Losses, TranslateError,
    ir::{CacheHint, CacheMark, Function, Identity, Request, ResponseFormat, Sampling, Tool, ToolChoice},
    schema, write,
};

type Result<T> = std::result::Result<T, TranslateError>;

/// The most tokens of an answer where the client names no limit, since Anthropic requires one.
const DEFAULT_MAX_TOKENS: u64 = 8192;

/// A request for Anthropic.
pub(crate) fn render_request(request: &Request, model: &str, losses: &mut Losses) -> Result<Vec<u8>> {
    let Request {
        model: _,
        messages,
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
    if logprobs.is_some() {
        return Err(TranslateError::unsupported("logprobs", "Anthropic gives no probabilities of tokens"));
    }
    losses.add_if(verbosity.is_some(), "verbosity", "Anthropic has no such setting");
    losses.add_if(*store == Some(true), "store", "Anthropic keeps no answers for later calls");
    let mut plan = thinking::Plan::of(reasoning.as_ref(), *max_output_tokens, model, losses);
    let is_forced = matches!(
        tool_choice,
        Some(ToolChoice::Required | ToolChoice::Named { .. } | ToolChoice::Allowed { required: true, .. })
    );
    plan.fit(is_forced, prompt::has_unsigned_calls(messages), losses);
    let max_tokens = plan.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    let note = format!("Anthropic requires a limit, and {max_tokens} was used as none was given");
    losses.add_if(max_output_tokens.is_none(), "max_tokens", &note);

    let mut out = Vec::new();
    let mut top = write::Object::new(&mut out);
    top.put("model", model);
    top.put("max_tokens", &max_tokens);
    prompt::put(&mut top, messages, losses)?;
    put_tools(&mut top, tools, tool_choice.as_ref(), *parallel_tool_calls, losses)?;
    plan.put(&mut top);
    put_output(&mut top, response_format.as_ref(), plan.effort, losses)?;
    put_sampling(&mut top, sampling, plan.is_on(), losses)?;
    put_identity(&mut top, identity, losses);
    put_tier(&mut top, service_tier.as_deref(), losses);
    check_cache(cache, losses)?;
    if *stream {
        top.put("stream", &true);
    }
    drop(top);
    Ok(out)
}

/// Puts a cache marker.
pub(super) fn put_cache(object: &mut write::Object<'_>, mark: Option<&CacheMark>) {
    if let Some(CacheMark { ttl }) = mark {
        let mut out = object.object("cache_control");
        out.put("type", "ephemeral");
        out.some("ttl", ttl);
    }
}

fn put_tools(
    top: &mut write::Object<'_>,
    tools: &[Tool],
    choice: Option<&ToolChoice>,
    parallel: Option<bool>,
    losses: &mut Losses,
) -> Result<()> {
    let offered = offered(tools, choice, losses)?;
    if offered.is_empty() {
        return Ok(());
    }
    let mut array = top.array("tools");
    for Function { name, description, parameters, strict, cache } in offered {
        let mut tool = array.object();
        tool.put("name", name);
        tool.some("description", description);
        match parameters {
            // What OpenAI calls strict is closed there too, by its rules and not by its word.
            Some(open) if *strict == Some(true) => {
                tool.put("input_schema", &schema::closed(open).unwrap_or_else(|| open.clone()));
            }
            Some(schema) => tool.put("input_schema", schema),
            None => {
                let mut schema = tool.object("input_schema");
                schema.put("type", "object");
                drop(schema.object("properties"));
            }
        }
        if *strict == Some(true) {
            tool.put("strict", &true);
        }
        put_cache(&mut tool, cache.as_ref());
    }
    drop(array);
    let (kind, name) = match choice {
        None if parallel != Some(false) => return Ok(()),
        None | Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) => ("auto", None),
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => ("any", None),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Named { name, .. }) => ("tool", Some(name)),
    };
    let mut object = top.object("tool_choice");
    object.put("type", kind);
    object.some("name", &name);
    if let Some(parallel) = parallel.filter(|_| kind != "none") {
        object.put("disable_parallel_tool_use", &!parallel);
    }
    Ok(())
}

/// The functions to offer: of a choice among several, those alone.
fn offered<'r>(tools: &'r [Tool], choice: Option<&ToolChoice>, losses: &mut Losses) -> Result<Vec<&'r Function>> {
    let mut functions = Vec::with_capacity(tools.len());
    for tool in tools {
        match tool {
            Tool::Function(function) => functions.push(function),
            Tool::Custom { name, .. } => {
                let why = format!("`{name}` takes free text, and Anthropic's tools take JSON; offer it as a function");
                return Err(TranslateError::unsupported("tools", why));
            }
            Tool::Opaque(tool) => {
                let why = format!("`{}` runs at its own provider alone; ask a model there, or leave it out", tool.kind);
                return Err(TranslateError::unsupported("tools", why));
            }
        }
    }
    if let Some(ToolChoice::Allowed { names, .. }) = choice {
        functions.retain(|f| names.contains(&f.name));
        losses.add("tool_choice", "Anthropic cannot choose among several, so that only the allowed tools are offered");
    }
    Ok(functions)
}

fn put_output(
    top: &mut write::Object<'_>,
    format: Option<&ResponseFormat>,
    effort: Option<&'static str>,
    losses: &mut Losses,
) -> Result<()> {
    let schema = match format {
        None | Some(ResponseFormat::Text) => None,
        Some(ResponseFormat::JsonObject) => {
            let why = "Anthropic holds a model to a JSON schema, not to JSON of any form; send `json_schema`";
            return Err(TranslateError::unsupported("response_format", why));
        }
        Some(ResponseFormat::JsonSchema { name, description, schema, strict }) => {
            losses.add_if(name != "response", "response_format.name", "Anthropic's schemas have no name");
            losses.add_if(description.is_some(), "response_format.description", "Anthropic's schemas have none");
            losses.add_if(*strict == Some(false), "response_format.strict", "Anthropic is always strict");
            let closed = schema::closed(schema);
            let note = "Anthropic takes closed objects alone, so that none can have further properties";
            losses.add_if(closed.is_some(), "response_format.schema", note);
            Some(closed.unwrap_or_else(|| schema.clone()))
        }
    };
    if schema.is_none() && effort.is_none() {
        return Ok(());
    }
    let mut config = top.object("output_config");
    config.some("effort", &effort);
    if let Some(schema) = schema {
        let mut format = config.object("format");
        format.put("type", "json_schema");
        format.put("schema", &schema);
    }
    Ok(())
}

fn put_sampling(top: &mut write::Object<'_>, sampling: &Sampling, thinks: bool, losses: &mut Losses) -> Result<()> {
    let Sampling { temperature, top_p, top_k, frequency_penalty, presence_penalty, seed, logit_bias, stop } = sampling;
    let is_zero = |n: &serde_json::Number| n.as_f64() == Some(0.0);
    losses.add_if(frequency_penalty.as_ref().is_some_and(|n| !is_zero(n)), "frequency_penalty", "Anthropic has none");
    losses.add_if(presence_penalty.as_ref().is_some_and(|n| !is_zero(n)), "presence_penalty", "Anthropic has none");
    losses.add_if(seed.is_some(), "seed", "Anthropic has none; answers can differ");
    if logit_bias.as_ref().is_some_and(|b| b.compact() != "{}") {
        return Err(TranslateError::unsupported("logit_bias", "its token numbers belong to OpenAI's tokeniser"));
    }
    match temperature {
        Some(t) if thinks && t.as_f64() != Some(1.0) => {
            losses.add("temperature", "Anthropic's models think at their own temperature");
        }
        Some(t) if t.as_f64().is_some_and(|t| t > 1.0) => {
            losses.add("temperature", "Anthropic's scale ends at 1, which was used");
            top.put("temperature", &1);
        }
        other => top.some("temperature", other),
    }
    top.some("top_p", top_p);
    if thinks {
        losses.add_if(top_k.is_some(), "top_k", "Anthropic's models take none while they think");
    } else {
        top.some("top_k", top_k);
    }
    if stop.iter().any(|s| s.trim().is_empty()) {
        return Err(TranslateError::unsupported("stop", "Anthropic takes no sequence of white space alone"));
    }
    if !stop.is_empty() {
        top.put("stop_sequences", stop);
    }
    Ok(())
}

fn put_identity(top: &mut write::Object<'_>, identity: &Identity, losses: &mut Losses) {
    let Identity { user, safety_identifier, metadata } = identity;
    losses.add_if(metadata.is_some(), "metadata", "Anthropic takes no labels");
    losses.add_if(
        user.is_some() && safety_identifier.is_some() && user != safety_identifier,
        "user",
        "Anthropic takes one id of the user, and the safety identifier was used",
    );
    if let Some(user) = safety_identifier.as_ref().or(user.as_ref()) {
        top.object("metadata").put("user_id", user);
    }
}

fn put_tier(top: &mut write::Object<'_>, tier: Option<&str>, losses: &mut Losses) {
    match tier {
        None => {}
        Some("auto") => top.put("service_tier", "auto"),
        Some("default" | "standard_only") => top.put("service_tier", "standard_only"),
        Some(other) => losses.add("service_tier", format!("Anthropic has no tier {other:?}")),
    }
}

fn check_cache(cache: &CacheHint, losses: &mut Losses) -> Result<()> {
    let CacheHint { key, retention, content } = cache;
    losses.add_if(key.is_some(), "prompt_cache_key", "Anthropic caches by markers alone");
    losses.add_if(retention.is_some(), "prompt_cache_retention", "Anthropic caches by markers alone");
    match content {
        Some(_) => {
            Err(TranslateError::unsupported("cachedContent", "it is kept at Google and holds a part of the prompt"))
        }
        None => Ok(()),
    }
}
