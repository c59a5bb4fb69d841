//! Writing a request for Gemini.

use super::{generation, prompt};
use crate::{
    Losses, TranslateError,
    ir::{CacheHint, Function, Identity, Request, Tool, ToolChoice},
    write,
};

type Result<T> = std::result::Result<T, TranslateError>;

/// A request for Gemini; the model stands in the path, and what it takes differs by its version.
pub(crate) fn render_request(request: &Request, model: &str, losses: &mut Losses) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    put_request(&mut write::Object::new(&mut out), request, model, losses)?;
    Ok(out)
}

/// A request to count tokens, which wraps the request itself.
pub(crate) fn render_count(request: &Request, model: &str, losses: &mut Losses) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut top = write::Object::new(&mut out);
    let mut inner = top.object("generateContentRequest");
    inner.put("model", &format!("models/{model}"));
    put_request(&mut inner, request, model, losses)?;
    drop(inner);
    drop(top);
    Ok(out)
}

fn put_request(top: &mut write::Object<'_>, request: &Request, model: &str, losses: &mut Losses) -> Result<()> {
    let Request {
        model: _,
        messages: _,
        tools,
        tool_choice,
        parallel_tool_calls,
        response_format: _,
        sampling: _,
        max_output_tokens: _,
        // More than one is refused before.
        n: _,
        logprobs: _,
        reasoning: _,
        verbosity,
        stream: _,
        include_usage: _,
        identity,
        cache,
        service_tier,
        store,
    } = request;
    losses.add_if(verbosity.is_some(), "verbosity", "Gemini has no such setting");
    losses.add_if(*store == Some(true), "store", "Gemini keeps no answers for later calls");
    losses.add_if(service_tier.as_deref().is_some_and(|t| t != "auto"), "service_tier", "Gemini has no tiers");
    losses.add_if(
        *parallel_tool_calls == Some(false) && !tools.is_empty(),
        "parallel_tool_calls",
        "Gemini decides itself whether it calls several tools at once",
    );
    let Identity { user, safety_identifier, metadata } = identity;
    losses.add_if(user.is_some() || safety_identifier.is_some(), "user", "Gemini takes no user");
    losses.add_if(metadata.is_some(), "metadata", "Gemini takes no labels");
    let CacheHint { key, retention, content } = cache;
    losses.add_if(key.is_some(), "prompt_cache_key", "Gemini caches by itself");
    losses.add_if(retention.is_some(), "prompt_cache_retention", "Gemini caches by itself");
    prompt::put(top, request, model, losses)?;
    put_tools(top, tools, tool_choice.as_ref(), losses)?;
    generation::put(top, request, model, losses)?;
    top.some("cachedContent", content);
    Ok(())
}

fn put_tools(
    top: &mut write::Object<'_>,
    tools: &[Tool],
    choice: Option<&ToolChoice>,
    losses: &mut Losses,
) -> Result<()> {
    if tools.is_empty() {
        return Ok(());
    }
    let mut array = top.array("tools");
    let mut object = array.object();
    let mut declarations = object.array("functionDeclarations");
    for tool in tools {
        let Function { name, description, parameters, strict, cache } = match tool {
            Tool::Function(function) => function,
            Tool::Custom { name, .. } => {
                let why = format!("`{name}` takes free text, and Gemini's functions take JSON; offer it as a function");
                return Err(TranslateError::unsupported("tools", why));
            }
            Tool::Opaque(tool) => {
                let why = format!("`{}` runs at its own provider alone; ask a model there, or leave it out", tool.kind);
                return Err(TranslateError::unsupported("tools", why));
            }
        };
        losses.add_if(*strict == Some(true), "tools.strict", "Gemini does not hold arguments to their schema");
        losses.add_if(cache.is_some(), "cache_control", "Gemini caches by itself");
        let mut declaration = declarations.object();
        declaration.put("name", name);
        declaration.some("description", description);
        declaration.some("parametersJsonSchema", parameters);
    }
    drop(declarations);
    drop(object);
    drop(array);
    let (mode, names) = match choice {
        None | Some(ToolChoice::Auto) => return Ok(()),
        Some(ToolChoice::None) => ("NONE", None),
        Some(ToolChoice::Required) => ("ANY", None),
        Some(ToolChoice::Named { name, .. }) => ("ANY", Some(vec![name.as_str()])),
        Some(ToolChoice::Allowed { required, names }) => {
            // Only these two modes take a list of names.
            (if *required { "ANY" } else { "VALIDATED" }, Some(names.iter().map(String::as_str).collect()))
        }
    };
    let mut config = top.object("toolConfig");
    let mut calling = config.object("functionCallingConfig");
    calling.put("mode", mode);
    calling.some("allowedFunctionNames", &names);
    Ok(())
}

/// The main version in a name such as `gemini-2.5-flash`; none if it tells none.
pub(super) fn version(model: &str) -> Option<u32> {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.strip_prefix("gemini-")?.split(['.', '-']).next()?.parse().ok()
}
