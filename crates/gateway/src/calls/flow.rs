//! A streamed answer on its way: masked, recorded, read, and put into the client's format.

use super::{
    capture::Capture,
    end::Ending,
    failure::Failure,
    open::{Open, unrecorded},
};
use crate::secret::{Masker, Needles};
use bytes::Bytes;
use hyper::StatusCode;
use llm::{Answer, StreamReader, StreamTranslator, chat::UsageFilter};
use std::time::Instant;

/// A streamed answer.
pub(super) struct Flow {
    pub(super) open: Open,
    masker: Masker,
    work: Work,
    /// How much of the answer's texts was looked at for secrets.
    looked: Looked,
}

/// What becomes of the bytes.
pub(super) enum Work {
    /// They pass as they are; a stream is read on the way.
    Pass { reader: Option<StreamReader>, gate: Gate },
    /// They are put into another format; what the client gets is recorded too.
    Translate { translator: Box<StreamTranslator>, sent: Capture },
}

/// Lets bytes of a stream through by whole events, so that a cut one can be ended by an event of our own.
pub(super) enum Gate {
    /// All events. (What is no stream has no events.)
    Events(llm::sse::Gate),
    /// All but the closing token counts, which are ours alone to see.
    NoCounts(UsageFilter),
    /// Everything at once.
    Open,
}

impl Gate {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        match self {
            Self::Events(gate) => gate.feed(piece),
            Self::NoCounts(filter) => filter.feed(piece),
            Self::Open => piece,
        }
    }

    fn finish(&mut self) -> Bytes {
        match self {
            Self::Events(gate) => gate.finish(),
            Self::NoCounts(filter) => filter.finish(),
            Self::Open => Bytes::new(),
        }
    }
}

#[derive(Default)]
struct Looked {
    text: usize,
    reasoning: usize,
    arguments: (usize, usize),
}

impl Flow {
    pub(super) fn new(open: Open, work: Work) -> Self {
        let masker = Masker::new(open.attempt.target.provider.needles.clone());
        Self { open, masker, work, looked: Looked::default() }
    }

    /// Masks, records, reads and translates a piece; returns what the client gets of it.
    pub(super) fn take(&mut self, piece: Bytes) -> Result<Bytes, Failure> {
        let open = &mut self.open;
        if open.first_byte.is_none() {
            open.first_byte = Some(open.started.elapsed());
            open.attempt.first_byte = Some(open.attempt.started.elapsed());
        }
        let piece = self.masker.feed(piece);
        self.note(piece)
    }

    /// What was held back, at the end of the provider's stream.
    pub(super) fn rest(&mut self) -> Result<Bytes, Failure> {
        let piece = self.masker.finish();
        let out = self.note(piece)?;
        match &mut self.work {
            Work::Pass { .. } => Ok(self.flush(out)),
            Work::Translate { translator, .. } => {
                let mut tail = Vec::new();
                translator.finish(&mut tail);
                let tail = Bytes::from(tail);
                self.keep_sent(&tail)?;
                Ok(joined(out, tail))
            }
        }
    }

    /// The bytes, and what was held until its event was complete.
    pub(super) fn flush(&mut self, out: Bytes) -> Bytes {
        match &mut self.work {
            Work::Pass { gate, .. } => joined(out, gate.finish()),
            Work::Translate { .. } => out,
        }
    }

    fn note(&mut self, piece: Bytes) -> Result<Bytes, Failure> {
        self.open.receive(&piece)?;
        let out = match &mut self.work {
            Work::Pass { reader, gate } => {
                if let Some(reader) = reader {
                    reader.feed(&piece);
                }
                gate.feed(piece)
            }
            Work::Translate { translator, .. } => {
                let mut out = Vec::with_capacity(piece.len() * 2);
                translator.feed(&piece, &mut out);
                let out = Bytes::from(out);
                self.keep_sent(&out)?;
                out
            }
        };
        if self.holds_secret() {
            let message =
                "the provider put its own key together in its answer, piece by piece; the answer was cut there";
            return Err(Failure::cut("secret_in_answer", message));
        }
        Ok(out)
    }

    fn keep_sent(&mut self, out: &Bytes) -> Result<(), Failure> {
        let Work::Translate { sent, .. } = &mut self.work else { return Ok(()) };
        let Some(call) = &self.open.record else { return Ok(()) };
        sent.push(out, &self.open.who.shared().recorder, call).map_err(|e| unrecorded(&e))
    }

    /// Whether the pieces of the answer, put together, hold a secret: where it is split between two events no masking
    /// of bytes can see it. Only what is new is looked at.
    fn holds_secret(&mut self) -> bool {
        let needles = &self.open.attempt.target.provider.needles;
        if needles.is_empty() {
            return false;
        }
        let answer = match &self.work {
            Work::Pass { reader: Some(reader), .. } => reader.answer(),
            Work::Pass { reader: None, .. } => return false,
            Work::Translate { translator, .. } => translator.answer(),
        };
        let looked = &mut self.looked;
        let mut found = look(needles, &answer.text, &mut looked.text);
        found |= look(needles, &answer.reasoning, &mut looked.reasoning);
        // Its length does not tell what is new in it, and it is short.
        found |= needles.is_in(answer.beyond.as_bytes());
        if let Some(last) = answer.tool_calls.last() {
            if looked.arguments.0 != answer.tool_calls.len() {
                looked.arguments = (answer.tool_calls.len(), 0);
            }
            found |= look(needles, &last.arguments, &mut looked.arguments.1);
        }
        found
    }

    /// Whether the answer is at its end, whatever else the provider sends.
    pub(super) fn is_done(&self) -> bool {
        match &self.work {
            Work::Pass { reader, .. } => reader.as_ref().is_some_and(|r| r.answer().done),
            Work::Translate { translator, .. } => translator.is_done(),
        }
    }

    /// The event that tells the client that its stream is cut; nothing where the answer is no stream.
    pub(super) fn interrupt(&mut self, failure: &Failure) -> Bytes {
        match &mut self.work {
            Work::Pass { reader: None, .. } => Bytes::new(),
            Work::Pass { reader: Some(_), .. } => self.stream_error(failure),
            Work::Translate { translator, .. } => {
                let mut out = Vec::new();
                translator.interrupt(&failure.api_error(), &mut out);
                let out = Bytes::from(out);
                // It is cut already; that this piece is missing in its record is the smaller fault.
                drop(self.keep_sent(&out));
                out
            }
        }
    }

    /// An error event in the client's format.
    pub(super) fn stream_error(&self, failure: &Failure) -> Bytes {
        Bytes::from(llm::render_stream_error(self.open.asked.ingress.format(), &failure.api_error()))
    }

    pub(super) const fn is_translated(&self) -> bool {
        matches!(self.work, Work::Translate { .. })
    }

    /// Ends the flow: what is to be recorded, and whether the client gets a good end.
    pub(super) fn ending(&mut self, failure: Option<Failure>) -> Ending {
        let streamed = !matches!(self.work, Work::Pass { reader: None, .. });
        let (answer, sent, carries, losses) =
            match std::mem::replace(&mut self.work, Work::Pass { reader: None, gate: Gate::Open }) {
                Work::Pass { reader: Some(reader), .. } => (reader.finish(), None, Vec::new(), Vec::new()),
                Work::Pass { reader: None, .. } => {
                    let whole = self.open.attempt.received.whole();
                    let answer = whole.map(|bytes| llm::read_answer(self.open.attempt.format, &bytes));
                    (answer.unwrap_or_default(), None, Vec::new(), Vec::new())
                }
                Work::Translate { mut translator, mut sent } => {
                    let (carries, losses) = (translator.carries(), translator.losses());
                    (translator.into_answer(), sent.finish().ok(), carries, losses)
                }
            };
        let status = self.open.attempt.http_status.unwrap_or(StatusCode::OK);
        let failure = failure.or_else(|| judge_end(&answer, status, streamed));
        Ending { failure, answer, sent, carries, normalise: streamed, losses }
    }

    /// Records a flow that nobody waits for any more.
    pub(super) fn abandon(mut self, failure: Failure) {
        // What was held back goes into the record.
        drop(self.rest());
        let ending = self.ending(Some(failure));
        self.open.abandon(ending);
    }

    pub(super) fn idle_limit(&self) -> std::time::Duration {
        let config = &self.open.who.shared().config;
        self.open.attempt.target.provider.idle_timeout.unwrap_or(config.idle_timeout)
    }

    pub(super) fn idle_deadline(&self) -> Instant {
        Instant::now() + self.idle_limit()
    }
}

fn joined(a: Bytes, b: Bytes) -> Bytes {
    match (a.is_empty(), b.is_empty()) {
        (_, true) => a,
        (true, false) => b,
        (false, false) => Bytes::from([a, b].concat()),
    }
}

/// Looks at what is new in a text, and at as much before it as a secret could begin in.
fn look(needles: &Needles, text: &str, looked: &mut usize) -> bool {
    if text.len() <= *looked {
        return false;
    }
    let from = looked.saturating_sub(needles.longest());
    *looked = text.len();
    needles.is_in(&text.as_bytes()[from..])
}

/// Why an answer that arrived to its end is not a good one.
pub(super) fn judge_end(answer: &Answer, status: StatusCode, streamed: bool) -> Option<Failure> {
    if !status.is_success() {
        return Some(Failure::failed("upstream_status", format!("the provider answered {status}")));
    }
    if answer.error.is_some() {
        return Some(Failure::failed("upstream_error", "the provider reported an error within its answer"));
    }
    if streamed && !answer.is_complete() {
        return Some(Failure::cut("upstream_cut", "the answer ended without an end mark or a finish reason"));
    }
    let malformed = !streamed && answer.malformed > 0;
    malformed.then(|| Failure::failed("upstream_malformed", "the answer is not of the provider's format"))
}
