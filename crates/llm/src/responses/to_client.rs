//! Answers to Responses clients: whole ones, errors, and the response object that streams repeat.

use super::to_client_stream::Encoder;
use crate::{
    ApiError, ErrorKind, Losses, Usage,
    codec::{Encoder as _, Meta},
    ir::{Event, Finish, Response},
    openai, write,
};

/// Writes a whole answer: what the last event of its stream would hold.
pub(crate) fn render_response(response: &Response, meta: &Meta, losses: &mut Losses) -> Vec<u8> {
    if let Some(error) = &response.error {
        return openai::render_error(error);
    }
    let mut encoder = Encoder::new(Meta { created: response.created.unwrap_or(meta.created), ..meta.clone() });
    let mut stream = Vec::new();
    for event in response.events() {
        if let Event::Loss(loss) = event {
            losses.add(loss.field, loss.note);
        } else if event != Event::Done {
            encoder.encode(&event, &mut stream);
        }
        stream.clear();
    }
    let mut out = Vec::new();
    encoder.close(&mut stream);
    encoder.write_whole(&mut out, response.service_tier.as_deref());
    out
}

/// How an answer stands.
pub(super) enum Status<'a> {
    InProgress,
    Ended(&'a Finish),
    Failed(&'a ApiError),
}

impl Status<'_> {
    /// Why it is incomplete.
    fn incomplete(&self) -> Option<&'static str> {
        match self {
            Self::Ended(Finish::Length) => Some("max_output_tokens"),
            Self::Ended(Finish::ContentFilter | Finish::Refusal) => Some("content_filter"),
            _ => None,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Failed(_) => "failed",
            Self::Ended(_) if self.incomplete().is_some() => "incomplete",
            Self::Ended(_) => "completed",
        }
    }

    /// The event that tells of it.
    pub(super) fn event(&self) -> &'static str {
        match self.word() {
            "failed" => "response.failed",
            "incomplete" => "response.incomplete",
            _ => "response.completed",
        }
    }
}

/// Writes a response object; `output` holds its items, joined by commas.
pub(super) fn write_object(
    o: &mut write::Object<'_>,
    meta: &Meta,
    status: &Status<'_>,
    output: &str,
    usage: Option<&Usage>,
    service_tier: Option<&str>,
) {
    o.put("id", &format_args!("resp_{}", meta.id));
    o.put("object", "response");
    o.put("created_at", &meta.created);
    o.put("status", status.word());
    match status {
        Status::Failed(error) => {
            let mut e = o.object("error");
            e.put("code", error_code(error.kind));
            e.put("message", &error.message);
        }
        _ => o.null("error"),
    }
    match status.incomplete() {
        Some(reason) => o.object("incomplete_details").put("reason", reason),
        None => o.null("incomplete_details"),
    }
    o.put("model", &meta.model);
    o.raw("output", &format!("[{output}]"));
    meta.echo.write(o);
    o.put("service_tier", &service_tier);
    match usage.filter(|u| !u.is_unknown()) {
        Some(usage) => write_usage(&mut o.object("usage"), usage),
        None => o.null("usage"),
    }
}

/// The few words that `error.code` of a response may be.
fn error_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::RateLimited | ErrorKind::Quota => "rate_limit_exceeded",
        ErrorKind::InvalidRequest | ErrorKind::ContextLength | ErrorKind::TooLarge => "invalid_prompt",
        ErrorKind::Authentication
        | ErrorKind::Permission
        | ErrorKind::NotFound
        | ErrorKind::Overloaded
        | ErrorKind::Timeout
        | ErrorKind::Server
        | ErrorKind::ContentFilter
        | ErrorKind::Interrupted => "server_error",
    }
}

fn write_usage(u: &mut write::Object<'_>, usage: &Usage) {
    let Usage { prompt, completion, cached, cache_write, reasoning } = *usage;
    let (prompt, completion) = (prompt.unwrap_or(0), completion.unwrap_or(0));
    u.put("input_tokens", &prompt);
    {
        let mut d = u.object("input_tokens_details");
        d.put("cached_tokens", &cached.unwrap_or(0));
        d.put("cache_write_tokens", &cache_write.unwrap_or(0));
    }
    u.put("output_tokens", &completion);
    u.object("output_tokens_details").put("reasoning_tokens", &reasoning.unwrap_or(0));
    u.put("total_tokens", &prompt.saturating_add(completion));
}

/// Writes an error inside a stream that has no response object to speak of.
pub(crate) fn write_stream_error(error: &ApiError, sequence: u64, out: &mut Vec<u8>) {
    write::sse(out, Some("error"), |out| {
        let mut o = write::Object::new(out);
        o.put("type", "error");
        o.put("code", &error.code);
        o.put("message", &error.message);
        o.null("param");
        o.put("sequence_number", &sequence);
    });
}
