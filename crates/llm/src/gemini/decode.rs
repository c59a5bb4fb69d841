//! Reading Gemini's answers, whole or streamed.

use super::{
    errors,
    json_stream::{Found, JsonStream},
    wire::{Candidate, Chunk, Part, parse_finish},
};
use crate::{
    ApiError, ErrorKind, Format, Loss, Losses, MAX_TOOL_CALLS, TranslateError,
    assemble::Assembler,
    ids::CallIds,
    ir::{Event, Finish, Json, Response, Seal},
    sse,
};

/// Reads a stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    form: Form,
    state: State,
}

/// How the stream is framed; its first byte tells.
#[derive(Debug)]
enum Form {
    Unknown,
    Sse(sse::Scanner),
    Json(JsonStream),
}

#[derive(Debug, Default)]
struct State {
    ids: CallIds,
    started: bool,
    tools: u32,
    /// Thoughts were read and their block has not ended.
    in_thought: bool,
}

impl Decoder {
    /// A decoder; `seed` tells this answer from others.
    pub(crate) fn new(seed: &str) -> Self {
        Self { form: Form::Unknown, state: State { ids: CallIds::new(seed), ..State::default() } }
    }
}

impl crate::codec::Decoder for Decoder {
    fn feed(&mut self, bytes: &[u8], found: &mut dyn FnMut(Event)) {
        if matches!(self.form, Form::Unknown) {
            match bytes.iter().find(|b| !b.is_ascii_whitespace()) {
                None => return,
                Some(b'[' | b'{') => self.form = Form::Json(JsonStream::default()),
                Some(_) => self.form = Form::Sse(sse::Scanner::default()),
            }
        }
        let state = &mut self.state;
        match &mut self.form {
            Form::Unknown => {}
            Form::Sse(scanner) => scanner.feed(bytes, |event| state.event(event, found)),
            Form::Json(stream) => stream.feed(bytes, |object| match object {
                Found::Object(object) => state.chunk(object, found),
                Found::End => found(Event::Done),
                Found::Malformed => found(Event::Malformed),
            }),
        }
    }

    fn finish(&mut self, found: &mut dyn FnMut(Event)) {
        if let Form::Sse(scanner) = &mut self.form {
            let state = &mut self.state;
            scanner.finish(|event| state.event(event, found));
        }
    }
}

/// Reads a whole answer; `seed` tells it from others.
pub(crate) fn parse_response(body: &[u8], seed: &str, losses: &mut Losses) -> Result<Response, TranslateError> {
    let mut state = State { ids: CallIds::new(seed), ..State::default() };
    let chunk: Chunk<'_> = serde_json::from_slice(body).map_err(|e| TranslateError::Malformed {
        format: Format::Gemini,
        what: "the body".into(),
        why: e.to_string(),
    })?;
    if chunk.candidates.is_none() && chunk.error.is_none() && chunk.prompt_feedback.is_none() {
        let why = "it is missing".into();
        return Err(TranslateError::Malformed { format: Format::Gemini, what: "`candidates`".into(), why });
    }
    let mut assembler = Assembler::default();
    state.read(chunk, body, &mut |event| assembler.add(event, losses));
    Ok(assembler.finish())
}

impl State {
    fn event(&mut self, event: sse::Event<'_>, found: &mut dyn FnMut(Event)) {
        match event {
            // Not Google's, but proxies that speak its format add it.
            sse::Event::Message { data, .. } if data.trim_ascii() == b"[DONE]" => found(Event::Done),
            sse::Event::Message { data, .. } => self.chunk(data, found),
            sse::Event::TooLarge => found(Event::Malformed),
        }
    }

    fn chunk(&mut self, data: &[u8], found: &mut dyn FnMut(Event)) {
        match serde_json::from_slice::<Chunk<'_>>(data) {
            Ok(chunk) => self.read(chunk, data, found),
            Err(_) => found(Event::Malformed),
        }
    }

    fn read(&mut self, chunk: Chunk<'_>, data: &[u8], found: &mut dyn FnMut(Event)) {
        if chunk.error.is_some() {
            return found(Event::Error(errors::parse_error(0, data)));
        }
        if !std::mem::replace(&mut self.started, true) {
            self.ids.seed_with(chunk.response_id.as_deref().unwrap_or_default());
            found(Event::Start { id: chunk.response_id, model: chunk.model_version, created: None });
        }
        if let Some(counts) = chunk.usage_metadata {
            found(Event::Usage(counts.usage()));
        }
        for candidate in chunk.candidates.unwrap_or_default() {
            // More than one is asked for by nobody, as requests for several answers are refused.
            if candidate.index.unwrap_or(0) == 0 {
                self.candidate(candidate, found);
            }
        }
        if chunk.prompt_feedback.is_some_and(|f| f.block_reason.is_some()) {
            self.end_thought(found);
            found(Event::Finish(Finish::ContentFilter));
        }
    }

    fn candidate(&mut self, candidate: Candidate<'_>, found: &mut dyn FnMut(Event)) {
        let parts = candidate.content.and_then(|c| c.parts).unwrap_or_default();
        parts.into_iter().for_each(|part| self.part(part, found));
        if let Some(logprobs) = candidate.logprobs_result.and_then(|l| l.to_openai()) {
            found(Event::Logprobs(logprobs));
        }
        for (field, is_there) in [
            ("citationMetadata", candidate.citation_metadata.is_some()),
            ("groundingMetadata", candidate.grounding_metadata.is_some()),
        ] {
            if is_there {
                found(lost(field));
            }
        }
        let Some(reason) = candidate.finish_reason.filter(|r| r != "FINISH_REASON_UNSPECIFIED") else { return };
        self.end_thought(found);
        match parse_finish(&reason, self.tools > 0) {
            Ok(finish) => found(Event::Finish(finish)),
            Err(()) => {
                let why = candidate.finish_message.unwrap_or_else(|| "the model called a tool in a wrong form".into());
                found(Event::Error(ApiError::new(502, ErrorKind::Server, reason.to_ascii_lowercase(), why)));
            }
        }
    }

    fn part(&mut self, part: Part<'_>, found: &mut dyn FnMut(Event)) {
        let seal = part.thought_signature.and_then(|s| Seal::read(Format::Gemini, &s));
        for (field, is_there) in [
            ("inlineData", part.inline_data.is_some()),
            ("fileData", part.file_data.is_some()),
            ("executableCode", part.executable_code.is_some()),
            ("codeExecutionResult", part.code_execution_result.is_some()),
        ] {
            if is_there {
                found(lost(field));
            }
        }
        if let Some(call) = part.function_call {
            self.end_thought(found);
            if self.tools as usize >= MAX_TOOL_CALLS {
                return found(Event::Malformed);
            }
            let index = self.tools;
            self.tools += 1;
            let id = self.ids.next(call.id.as_deref());
            found(Event::ToolStart { index, id, name: call.name, custom: false, seal });
            let text = call.args.filter(|a| a.get() != "null").map_or_else(|| "{}".into(), |a| Json::from(a).compact());
            found(Event::ToolArguments { index, text });
            found(Event::ToolStop { index });
            return;
        }
        let text = part.text.filter(|t| !t.is_empty());
        if part.thought.unwrap_or(false) {
            if let Some(text) = text {
                self.in_thought = true;
                found(Event::Reasoning(text));
            }
            if seal.is_some() {
                self.in_thought = false;
                found(Event::ReasoningEnd { id: None, seal, redacted: false });
            }
            return;
        }
        if let Some(text) = text {
            self.end_thought(found);
            found(Event::Text(text));
        }
        if seal.is_some() {
            self.end_thought(found);
            found(Event::ReasoningEnd { id: None, seal, redacted: false });
        }
    }

    fn end_thought(&mut self, found: &mut dyn FnMut(Event)) {
        if std::mem::take(&mut self.in_thought) {
            found(Event::ReasoningEnd { id: None, seal: None, redacted: false });
        }
    }
}

fn lost(field: &str) -> Event {
    Event::Loss(Loss { field: field.to_owned(), note: "only Gemini's own clients know it".to_owned() })
}
