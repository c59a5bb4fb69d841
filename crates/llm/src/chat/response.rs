//! Reading answers, whole or streamed.

use super::wire::{Chunk, WireDelta, text_of, text_or_json};
use crate::{Answer, Delta, sse};
use serde::Deserialize;

/// The data that ends a stream.
const DONE: &[u8] = b"[DONE]";
/// The most of an upstream's error message that is kept apart from the recorded body.
const MAX_ERROR_CHARS: usize = 500;

/// Reads a streamed answer piece by piece.
#[derive(Debug, Default)]
pub struct StreamReader {
    scanner: sse::Scanner,
    answer: Answer,
}

impl StreamReader {
    /// Reads a piece as it arrives.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self { scanner, answer } = self;
        scanner.feed(bytes, |event| read_event(event, answer));
    }

    /// The answer so far.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Ends the stream and returns the answer.
    pub fn finish(mut self) -> Answer {
        if self.scanner.is_between_events() {
            return self.answer;
        }
        let (mut last, before) = (self.answer.clone(), self.answer.malformed);
        self.scanner.finish(|event| read_event(event, &mut last));
        // An event that was cut in the middle is no fault of the format.
        if last.malformed > before { self.answer } else { last }
    }
}

/// Reads an answer that arrived whole.
pub fn read_answer(body: &[u8]) -> Answer {
    let mut answer = Answer::default();
    read_chunk(body, &mut answer);
    answer
}

fn read_event(event: sse::Event<'_>, answer: &mut Answer) {
    match event {
        sse::Event::Message { data, .. } if data.trim_ascii() == DONE => answer.add(Delta::Done),
        sse::Event::Message { data, .. } => read_chunk(data, answer),
        sse::Event::TooLarge => answer.add(Delta::Malformed),
    }
}

fn read_chunk(data: &[u8], answer: &mut Answer) {
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else { return answer.add(Delta::Malformed) };
    if let Some(error) = chunk.error.filter(|e| e.get() != "null") {
        answer.add(Delta::Error(error_message(error.get())));
    }
    for choice in chunk.choices.unwrap_or_default() {
        let index = choice.index.unwrap_or(0);
        if let Some(delta) = choice.delta.or(choice.message) {
            read_delta(delta, index, answer);
        }
        if let Some(reason) = choice.finish_reason {
            answer.add(Delta::Finish(&reason));
        }
    }
    if let Some(u) = chunk.usage {
        answer.add(Delta::Usage(u.counts()));
    }
}

fn read_delta(delta: WireDelta<'_>, choice: u32, answer: &mut Answer) {
    if choice == 0 {
        if let Some(text) = text_of(delta.content) {
            answer.add(Delta::Text(&text));
        }
        if let Some(text) = text_of(delta.refusal) {
            answer.add(Delta::Refusal(&text));
        }
        for text in [text_of(delta.reasoning_content), text_of(delta.reasoning)].into_iter().flatten() {
            answer.add(Delta::Reasoning(&text));
        }
    }
    for call in delta.tool_calls.unwrap_or_default() {
        let function = call.function.unwrap_or_default();
        let custom = call.custom.unwrap_or_default();
        answer.add(Delta::ToolCall {
            slot: call.index.map(|i| (choice, i)),
            id: call.id.as_deref(),
            name: function.name.or(custom.name).as_deref(),
            arguments: &text_or_json(function.arguments.or(custom.input)),
        });
    }
}

fn error_message(raw: &str) -> String {
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let text = serde_json::from_str::<Error>(raw)
        .map(|e| e.message)
        .or_else(|_| serde_json::from_str::<String>(raw))
        .unwrap_or_else(|_| raw.to_owned());
    text.chars().take(MAX_ERROR_CHARS).collect()
}
