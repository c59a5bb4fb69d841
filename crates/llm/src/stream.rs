//! Streams from a provider to a client: translated, or only observed.

use crate::{
    Answer, ApiError, Format, Loss, Losses, TranslateError,
    carry::Carrier,
    chat,
    codec::{self, Decoder, Encoder},
    ir::{Event, Finish},
    responses::Echo,
};

/// What an answer takes from its call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamMeta {
    /// The id of the answer where the provider gives none that fits; letters, digits, `-` and `_`.
    pub id: String,
    /// The model as the client asked for it; it is named so in the answer.
    pub model: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Whether a Chat client asked for token counts at the end.
    pub include_usage: bool,
    /// Prompt tokens as estimated before the call, for formats that name them at the beginning.
    pub estimated_prompt: Option<u64>,
    /// What the answer repeats of its request: [`crate::TranslatedRequest::echo`].
    pub echo: Echo,
}

/// Translates a stream as it passes.
///
/// Memory: the event under way, the answer up to [`crate::MAX_KEPT_BYTES`], and reasoning that is carried up to
/// [`crate::MAX_CARRY_BYTES`]. A Responses client is also told the whole answer at its end, which is kept for that.
pub struct StreamTranslator {
    decoder: Box<dyn Decoder>,
    state: State,
}

struct State {
    client: Format,
    encoder: Box<dyn Encoder>,
    answer: Answer,
    carrier: Carrier,
    losses: Losses,
    closed: bool,
}

impl StreamTranslator {
    /// A translator from a provider's format to a client's.
    pub fn new(from_provider: Format, to_client: Format, meta: StreamMeta) -> Result<Self, TranslateError> {
        let decoder = codec::decoder(from_provider, &meta.id)?;
        let state = State {
            client: to_client,
            encoder: codec::encoder(to_client, meta)?,
            answer: Answer::default(),
            carrier: Carrier::default(),
            losses: Losses::default(),
            closed: false,
        };
        Ok(Self { decoder, state })
    }

    /// Reads a piece from the provider and appends what the client is to get.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let state = &mut self.state;
        self.decoder.feed(bytes, &mut |event| state.pass(event, out));
    }

    /// The provider's stream ended. Without a sign that the answer is complete the client gets an error event.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let state = &mut self.state;
        // An event that was cut in the middle is no fault of the format.
        let malformed = state.answer.malformed;
        self.decoder.finish(&mut |event| state.pass(event, out));
        state.answer.malformed = malformed;
        if state.answer.finish_reason.is_some() {
            state.complete(out);
        } else {
            state.fail(ApiError::interrupted(), out);
        }
    }

    /// Ends the client's stream with an error, unless it is complete.
    pub fn interrupt(&mut self, error: &ApiError, out: &mut Vec<u8>) {
        self.state.fail(error.clone(), out);
    }

    /// What was read so far.
    pub fn answer(&self) -> &Answer {
        &self.state.answer
    }

    /// What was read.
    pub fn into_answer(self) -> Answer {
        self.state.answer
    }

    /// Whether the client's stream is at its end, well or not.
    pub fn is_done(&self) -> bool {
        self.state.closed
    }

    /// Reasoning to keep for the next turn, by tool-call id; see [`crate::translate_request`].
    pub fn carries(&mut self) -> Vec<(String, Vec<u8>)> {
        self.state.carrier.take()
    }

    /// What could not be carried.
    pub fn losses(&self) -> Vec<Loss> {
        self.state.losses.clone().into_vec()
    }
}

impl State {
    fn pass(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.closed {
            // Only what it costs is of interest behind the end.
            if let Event::Usage(_) = event {
                self.answer.observe(&event);
            }
            return;
        }
        self.answer.observe(&event);
        self.carrier.observe(&event);
        note_losses(self.client, &event, &mut self.losses);
        match event {
            Event::Done => self.complete(out),
            Event::Loss(_) | Event::Malformed => {}
            Event::Error(_) => {
                self.encoder.encode(&event, out);
                self.closed = true;
            }
            event => self.encoder.encode(&event, out),
        }
    }

    fn complete(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.closed, true) {
            self.encoder.finish(out);
        }
    }

    fn fail(&mut self, error: ApiError, out: &mut Vec<u8>) {
        if !self.closed {
            self.pass(Event::Error(error), out);
        }
    }
}

/// Reports what the client's format has no place for.
pub(crate) fn note_losses(client: Format, event: &Event, losses: &mut Losses) {
    match event {
        Event::Loss(loss) => losses.add(&loss.field, &loss.note),
        Event::Annotation(note) if note.format != client => {
            losses.add("annotations", "citations have another form there; the recorded answer has them");
        }
        Event::Finish(Finish::Other(word)) => {
            losses.add("finish_reason", format!("`{word}` has no counterpart and is told as a plain end"));
        }
        Event::Finish(Finish::StopSequence(Some(_))) if client != Format::Messages => {
            losses.add("stop_sequence", "which stop sequence ended the answer has no place there");
        }
        _ => {}
    }
}

/// Reads a stream that passes through unchanged.
pub struct StreamReader(Reader);

enum Reader {
    /// Chat has a reader of its own that makes no events.
    Chat(chat::StreamReader),
    Other {
        decoder: Box<dyn Decoder>,
        answer: Answer,
    },
}

impl StreamReader {
    /// A reader of a provider's format.
    pub fn new(format: Format) -> Result<Self, TranslateError> {
        Ok(Self(match format {
            Format::Chat => Reader::Chat(chat::StreamReader::default()),
            other => Reader::Other { decoder: codec::decoder(other, "")?, answer: Answer::default() },
        }))
    }

    /// Reads a piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Reader::Chat(reader) => reader.feed(bytes),
            Reader::Other { decoder, answer } => decoder.feed(bytes, &mut |event| answer.observe(&event)),
        }
    }

    /// The answer so far.
    pub fn answer(&self) -> &Answer {
        match &self.0 {
            Reader::Chat(reader) => reader.answer(),
            Reader::Other { answer, .. } => answer,
        }
    }

    /// Ends the stream and returns the answer.
    pub fn finish(self) -> Answer {
        match self.0 {
            Reader::Chat(reader) => reader.finish(),
            Reader::Other { mut decoder, mut answer } => {
                // An event that was cut in the middle is no fault of the format.
                let malformed = answer.malformed;
                decoder.finish(&mut |event| answer.observe(&event));
                answer.malformed = malformed;
                answer
            }
        }
    }
}
