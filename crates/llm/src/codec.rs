//! Which module speaks which format, and what each owes to the others.

use crate::{
    ApiError, Format, Losses, StreamMeta, TranslateError, chat, gemini,
    ir::{Event, Request, Response},
    messages, ollama, responses,
};

/// Turns the bytes of a provider's stream into events, in whatever pieces they arrive.
///
/// Keeps the event under way and what it needs to number tool calls, and nothing that grows with the stream.
pub(crate) trait Decoder: Send {
    /// Reads a piece.
    fn feed(&mut self, bytes: &[u8], found: &mut dyn FnMut(Event));
    /// Ends the stream: an event that lacks only its closing line is read too.
    fn finish(&mut self, found: &mut dyn FnMut(Event));
}

/// Turns events into the bytes of a client's stream.
pub(crate) trait Encoder: Send {
    /// Writes what an event adds to the stream. [`Event::Error`] is written as the format's error event, after which
    /// nothing more is asked for. `Finish` and `Usage` may come in any order and are best kept until the end.
    fn encode(&mut self, event: &Event, out: &mut Vec<u8>);
    /// Writes the end of a complete answer.
    fn finish(&mut self, out: &mut Vec<u8>);
}

/// What a response takes from its call.
pub(crate) type Meta = StreamMeta;

fn no_way(format: Format, what: &str) -> TranslateError {
    TranslateError::unsupported("model", format!("{what} in the format of {} are not supported", format.title()))
}

/// A request of a client.
pub(crate) fn parse_request(format: Format, body: &[u8], losses: &mut Losses) -> Result<Request, TranslateError> {
    match format {
        Format::Chat => chat::parse_request(body, losses),
        Format::Responses => responses::parse_request(body, losses),
        Format::Messages => messages::parse_request(body, losses),
        Format::Gemini => gemini::parse_request(body, losses),
        Format::Ollama => Err(no_way(format, "requests")),
    }
}

/// A request to a provider.
pub(crate) fn render_request(
    format: Format,
    request: &Request,
    model: &str,
    losses: &mut Losses,
) -> Result<Vec<u8>, TranslateError> {
    match format {
        Format::Chat => chat::render_request(request, model, losses),
        Format::Responses => responses::render_request(request, model, losses),
        Format::Messages => messages::render_request(request, model, losses),
        Format::Gemini => gemini::render_request(request, model, losses),
        Format::Ollama => ollama::render_request(request, model, losses),
    }
}

/// A whole answer of a provider. `id` makes ids of tool calls where the provider gives none.
pub(crate) fn parse_response(
    format: Format,
    id: &str,
    body: &[u8],
    losses: &mut Losses,
) -> Result<Response, TranslateError> {
    match format {
        Format::Chat => chat::parse_response(body, losses),
        Format::Responses => responses::parse_response(body, losses),
        Format::Messages => messages::parse_response(body, losses),
        Format::Gemini => gemini::parse_response(body, id, losses),
        Format::Ollama => ollama::parse_response(body, id, losses),
    }
}

/// A whole answer to a client.
pub(crate) fn render_response(
    format: Format,
    response: &Response,
    meta: &Meta,
    losses: &mut Losses,
) -> Result<Vec<u8>, TranslateError> {
    match format {
        Format::Chat => Ok(chat::render_response(response, meta, losses)),
        Format::Responses => Ok(responses::render_response(response, meta, losses)),
        Format::Messages => Ok(messages::render_response(response, meta, losses)),
        Format::Gemini => Ok(gemini::render_response(response, meta, losses)),
        Format::Ollama => Err(no_way(format, "answers")),
    }
}

/// The decoder of a provider's stream. `id` makes ids of tool calls where the provider gives none.
pub(crate) fn decoder(format: Format, id: &str) -> Result<Box<dyn Decoder>, TranslateError> {
    match format {
        Format::Chat => Ok(Box::new(chat::Decoder::new(id))),
        Format::Responses => Ok(Box::<responses::Decoder>::default()),
        Format::Messages => Ok(Box::<messages::Decoder>::default()),
        Format::Gemini => Ok(Box::new(gemini::Decoder::new(id))),
        Format::Ollama => Ok(Box::new(ollama::Decoder::new(id))),
    }
}

/// The encoder of a client's stream.
pub(crate) fn encoder(format: Format, meta: StreamMeta) -> Result<Box<dyn Encoder>, TranslateError> {
    match format {
        Format::Chat => Ok(Box::new(chat::Encoder::new(meta))),
        Format::Responses => Ok(Box::new(responses::Encoder::new(meta))),
        Format::Messages => Ok(Box::new(messages::Encoder::new(meta))),
        Format::Gemini => Ok(Box::new(gemini::Encoder::new(meta))),
        Format::Ollama => Err(no_way(format, "streams")),
    }
}

/// The body of an error answer in the format's published shape; the status is the error's own.
pub fn render_error(format: Format, error: &ApiError) -> Vec<u8> {
    match format {
        Format::Chat | Format::Responses => crate::openai::render_error(error),
        Format::Messages => messages::render_error(error),
        Format::Gemini => gemini::render_error(error),
        Format::Ollama => ollama::render_error(error),
    }
}

/// One or more events that end a stream with an error, in the format's published shape.
pub fn render_stream_error(format: Format, error: &ApiError) -> Vec<u8> {
    let mut out = Vec::new();
    match format {
        Format::Chat => chat::write_stream_error(error, &mut out),
        Format::Responses => responses::write_stream_error(error, 0, &mut out),
        Format::Messages => messages::write_stream_error(error, &mut out),
        Format::Gemini => gemini::write_stream_error(error, &mut out),
        Format::Ollama => {
            out = ollama::render_error(error);
            out.push(b'\n');
        }
    }
    out
}

/// What a provider's error answer says. `Retry-After` is a header and is the caller's to add.
pub fn parse_error(format: Format, status: u16, body: &[u8]) -> ApiError {
    let mut error = match format {
        Format::Messages => messages::parse_error(status, body),
        Format::Gemini => gemini::parse_error(status, body),
        Format::Ollama => ollama::parse_error(status, body),
        Format::Chat | Format::Responses => crate::openai::parse_error(status, body),
    };
    if error.status < 400 {
        error.status = error.kind.status();
    }
    error
}
