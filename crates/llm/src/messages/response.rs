//! Whole answers.

use super::{
    blocks,
    wire::{Counts, Holds, message_id, parse_stop, put_usage, render_stop},
};
use crate::{
    Format, Losses, StreamMeta, TranslateError,
    ir::{Content, Finish, Response},
    read::Object,
    write,
};

/// Reads an answer of Anthropic's.
pub(crate) fn parse_response(body: &[u8], losses: &mut Losses) -> Result<Response, TranslateError> {
    let mut top = Object::of_body(Format::Messages, body)?;
    let kind = top.string("type")?;
    if kind.as_deref() == Some("error") {
        return Ok(Response { error: Some(super::parse_error(0, body)), ..Response::default() });
    }
    if !top.has("content") {
        return Err(top.bad("content", "it is missing"));
    }
    let parts = blocks::parse_answer(&mut top, losses)?;
    let sequence = top.string("stop_sequence")?;
    let finish = top.string("stop_reason")?.map(|reason| parse_stop(&reason, sequence));
    let counts: Counts = top.get("usage")?.unwrap_or_default();
    let response = Response {
        id: top.string("id")?,
        model: top.string("model")?,
        parts,
        finish,
        usage: counts.usage(),
        ..Response::default()
    };
    top.ignore(&["role"]);
    top.rest(losses);
    Ok(response)
}

/// An answer for a client of Anthropic's.
pub(crate) fn render_response(response: &Response, meta: &StreamMeta, losses: &mut Losses) -> Vec<u8> {
    let Response { id, model: _, created: _, parts, logprobs, finish, usage, service_tier: _, error } = response;
    if let Some(error) = error {
        return super::render_error(error);
    }
    losses.add_if(logprobs.is_some(), "logprobs", "the client's format has none");
    let holds = Holds {
        tools: parts.iter().any(|p| matches!(p.content, Content::ToolCall(_))),
        refusal: parts.iter().any(|p| matches!(p.content, Content::Refusal(_))),
    };
    let (reason, sequence) = render_stop(finish.as_ref().unwrap_or(&Finish::Stop), holds);
    let mut out = Vec::new();
    let mut message = write::Object::new(&mut out);
    message.put("id", &message_id(id.as_deref(), &meta.id));
    message.put("type", "message");
    message.put("role", "assistant");
    message.put("model", &meta.model);
    blocks::render_answer(parts, &mut message.array("content"), losses);
    message.put("stop_reason", reason);
    message.put("stop_sequence", &sequence);
    put_usage(&mut message, usage);
    drop(message);
    out
}
