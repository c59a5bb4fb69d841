//! What is tried, and what must hold.

use crate::mutate::Rng;
use llm::{Format, StreamMeta, StreamReader, StreamTranslator};

/// What an input is taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    Request,
    Answer,
    Error,
}

/// A parser.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) format: Format,
}

/// Every parser that there is.
pub(crate) fn all() -> Vec<Target> {
    let mut all = Vec::new();
    for format in Format::ALL {
        // A side that a format does not have is refused at once.
        if StreamReader::new(format).is_ok() {
            all.extend([Kind::Stream, Kind::Answer, Kind::Error].map(|kind| Target { kind, format }));
        }
        if is_client(format) {
            all.push(Target { kind: Kind::Request, format });
        }
    }
    all
}

fn is_client(format: Format) -> bool {
    StreamTranslator::new(Format::Chat, format, meta()).is_ok()
}

fn meta() -> StreamMeta {
    StreamMeta { id: "fuzz".into(), model: "m".into(), created: 1, include_usage: true, ..StreamMeta::default() }
}

type Outcome = Result<(), String>;

impl Target {
    /// Its name on the command line.
    pub(crate) fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Stream => "stream",
            Kind::Request => "request",
            Kind::Answer => "answer",
            Kind::Error => "error",
        };
        format!("{kind}-{}", self.format)
    }

    /// Runs it.
    pub(crate) fn run(&self, input: &[u8], split: u64) -> Outcome {
        match self.kind {
            Kind::Stream => Format::ALL.into_iter().try_for_each(|client| stream(self.format, client, input, split)),
            Kind::Request => request(self.format, input),
            Kind::Answer => answer(self.format, input),
            Kind::Error => error(self.format, input),
        }
    }
}

/// Any pieces give the same stream; it ends; and what was written reads as what was read.
fn stream(from: Format, client: Format, input: &[u8], split: u64) -> Outcome {
    let Ok(mut whole) = StreamTranslator::new(from, client, meta()) else { return Ok(()) };
    let mut expected = Vec::new();
    whole.feed(input, &mut expected);
    whole.finish(&mut expected);
    check(whole.is_done(), || format!("a stream to {client} has no end"))?;

    let Ok(mut pieces) = StreamTranslator::new(from, client, meta()) else { return Ok(()) };
    let (mut out, mut rest, mut rng) = (Vec::new(), input, Rng::new(split, 0));
    while !rest.is_empty() {
        let (piece, more) = rest.split_at((1 + rng.below(64)).min(rest.len()));
        pieces.feed(piece, &mut out);
        rest = more;
    }
    pieces.finish(&mut out);
    check(out == expected, || format!("pieces give another stream to {client}"))?;

    let Ok(mut reader) = StreamReader::new(client) else { return Ok(()) };
    reader.feed(&out);
    let (read, told) = (reader.finish(), whole.into_answer());
    check(read.malformed == 0, || format!("what is written to {client} is not of its format"))?;
    // Some formats say a refusal as text, and then it stands between the texts.
    let said = |a: &llm::Answer| a.text.len() + a.refusal.len();
    let same = read.truncated || said(&read) == said(&told);
    check(same, || format!("the text to {client} differs: {:?} {:?}", told.text, read.text))?;
    // Gemini's calls go out whole, and one that was cut does not go out at all.
    let cut = client == Format::Gemini && told.error.is_some();
    check(cut || read.tool_calls.len() == told.tool_calls.len(), || format!("a tool call to {client} is lost"))
}

/// Whatever is understood is rendered as JSON, and a rewrite of a viewed request can be viewed again.
fn request(from: Format, input: &[u8]) -> Outcome {
    for to in Format::ALL {
        if let Ok(done) = llm::translate_request(from, to, input, "m", &|_| None) {
            json(&done.body)?;
        }
    }
    if let Ok(view) = llm::view(from, None, input) {
        let rewritten = view.splice().rewrite(input, "another", true);
        let again = llm::view(from, None, &rewritten).map_err(|e| format!("a rewrite cannot be read: {e}"))?;
        check(again.model == "another", || "a rewrite has the old model".to_owned())?;
    }
    let _estimate = llm::count_tokens_estimate(from, input);
    Ok(())
}

fn answer(from: Format, input: &[u8]) -> Outcome {
    let _read = llm::read_answer(from, input);
    for to in Format::ALL {
        if let Ok(done) = llm::translate_response(from, to, input, &meta()) {
            json(&done.body)?;
        }
    }
    Ok(())
}

fn error(from: Format, input: &[u8]) -> Outcome {
    for status in [200, 400, 429, 500] {
        let read = llm::parse_error(from, status, input);
        check(read.status >= 400, || format!("an error of status {}", read.status))?;
        for to in Format::ALL {
            json(&llm::render_error(to, &read))?;
        }
    }
    Ok(())
}

fn json(body: &[u8]) -> Outcome {
    let parsed = serde_json::from_slice::<&serde_json::value::RawValue>(body);
    parsed.map(|_| ()).map_err(|e| format!("what was rendered is not JSON: {e}"))
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what()) }
}
