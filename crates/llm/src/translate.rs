//! Calls from one format to another.

use crate::{
    Answer, ApiError, Format, Loss, Losses, StreamMeta, TranslateError,
    carry::{self, Carrier},
    codec,
    responses::Echo,
    stream::note_losses,
};

/// A request for a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslatedRequest {
    /// The body.
    pub body: Vec<u8>,
    /// What was left out.
    pub losses: Vec<Loss>,
    /// What the answer repeats of the request; belongs into [`StreamMeta::echo`].
    pub echo: Echo,
}

/// An answer for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslatedResponse {
    /// The body.
    pub body: Vec<u8>,
    /// What was read.
    pub answer: Answer,
    /// The error that the body is, where the provider answered with one as if all were well; its status is to be used.
    pub error: Option<ApiError>,
    /// Reasoning to keep for the next turn, by tool-call id.
    pub carries: Vec<(String, Vec<u8>)>,
    /// What was left out.
    pub losses: Vec<Loss>,
}

/// Translates a request. `carry` is asked, by tool-call id, for what [`TranslatedResponse::carries`] or
/// [`crate::StreamTranslator::carries`] gave in an earlier turn, where the client did not send reasoning back.
pub fn translate_request(
    from: Format,
    to: Format,
    body: &[u8],
    model: &str,
    carry: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<TranslatedRequest, TranslateError> {
    translate(from, to, body, (model, None), carry)
}

/// The same for a client of Gemini's format, whose path and not whose body says whether the answer is streamed.
pub fn translate_gemini_request(
    to: Format,
    body: &[u8],
    model: &str,
    stream: bool,
    carry: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<TranslatedRequest, TranslateError> {
    translate(Format::Gemini, to, body, (model, Some(stream)), carry)
}

fn translate(
    from: Format,
    to: Format,
    body: &[u8],
    (model, stream): (&str, Option<bool>),
    carry: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<TranslatedRequest, TranslateError> {
    let mut losses = Losses::default();
    let mut request = codec::parse_request(from, body, &mut losses)?;
    if let Some(stream) = stream {
        (request.stream, request.include_usage) = (stream, stream);
    }
    if request.n.is_some_and(|n| n > 1) {
        return Err(TranslateError::unsupported("n", "one answer at a time; ask several times instead"));
    }
    carry::restore(&mut request, carry);
    let echo = if from == Format::Responses { Echo::of_request(body) } else { Echo::default() };
    let body = codec::render_request(to, &request, model, &mut losses)?;
    Ok(TranslatedRequest { body, losses: losses.into_vec(), echo })
}

/// Translates a whole answer.
pub fn translate_response(
    from: Format,
    to: Format,
    body: &[u8],
    meta: &StreamMeta,
) -> Result<TranslatedResponse, TranslateError> {
    let mut losses = Losses::default();
    let response = codec::parse_response(from, &meta.id, body, &mut losses)?;
    let mut answer = Answer::default();
    let mut carrier = Carrier::default();
    for event in response.events() {
        answer.observe(&event);
        carrier.observe(&event);
        note_losses(to, &event, &mut losses);
    }
    let body = codec::render_response(to, &response, meta, &mut losses)?;
    Ok(TranslatedResponse { body, answer, error: response.error, carries: carrier.take(), losses: losses.into_vec() })
}

/// Reads a whole answer that passes through unchanged.
pub fn read_answer(format: Format, body: &[u8]) -> Answer {
    if format == Format::Chat {
        return crate::chat::read_answer(body);
    }
    let mut answer = Answer::default();
    match codec::parse_response(format, "", body, &mut Losses::default()) {
        Ok(response) => response.events().iter().for_each(|event| answer.observe(event)),
        Err(_) => answer.malformed = 1,
    }
    answer
}
