//! Reading Ollama's answers, whole or streamed.

use super::{errors, lines::Lines};
use crate::{
    Format, Losses, MAX_TOOL_CALLS, TranslateError, Usage,
    assemble::Assembler,
    ids::CallIds,
    ir::{Event, Finish, Json, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Reads a stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    lines: Lines,
    state: State,
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
        Self { lines: Lines::default(), state: State::new(seed) }
    }
}

impl crate::codec::Decoder for Decoder {
    fn feed(&mut self, bytes: &[u8], found: &mut dyn FnMut(Event)) {
        let Self { lines, state } = self;
        lines.feed(bytes, |line| state.line(line, found));
    }

    fn finish(&mut self, found: &mut dyn FnMut(Event)) {
        let Self { lines, state } = self;
        lines.finish(|line| state.line(line, found));
    }
}

/// Reads a whole answer; `seed` tells it from others.
pub(crate) fn parse_response(body: &[u8], seed: &str, losses: &mut Losses) -> Result<Response, TranslateError> {
    let bad = |what: &str, why: String| TranslateError::Malformed { format: Format::Ollama, what: what.into(), why };
    let chunk: Chunk<'_> = serde_json::from_slice(body).map_err(|e| bad("the body", e.to_string()))?;
    if chunk.message.is_none() && chunk.error.is_none() {
        return Err(bad("`message`", "it is missing".into()));
    }
    let mut assembler = Assembler::default();
    State::new(seed).read(chunk, body, &mut |event| assembler.add(event, losses));
    Ok(assembler.finish())
}

impl State {
    fn new(seed: &str) -> Self {
        Self { ids: CallIds::new(seed), ..Self::default() }
    }

    fn line(&mut self, line: Option<&[u8]>, found: &mut dyn FnMut(Event)) {
        match line.and_then(|line| Some((serde_json::from_slice::<Chunk<'_>>(line).ok()?, line))) {
            Some((chunk, line)) => self.read(chunk, line, found),
            None => found(Event::Malformed),
        }
    }

    fn read(&mut self, chunk: Chunk<'_>, data: &[u8], found: &mut dyn FnMut(Event)) {
        if chunk.error.is_some() {
            return found(Event::Error(errors::parse_error(0, data)));
        }
        if !std::mem::replace(&mut self.started, true) {
            let time = chunk.created_at.as_deref().unwrap_or_default();
            self.ids.seed_with(time);
            let seconds = time.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
            let created = seconds.and_then(|s| u64::try_from(s).ok());
            found(Event::Start { id: None, model: chunk.model, created });
        }
        if let Some(message) = chunk.message {
            self.message(message, found);
        }
        if let Some(logprobs) = chunk.logprobs.filter(|l| !l.is_empty()) {
            found(Event::Logprobs(Json::of(&logprobs)));
        }
        if chunk.done {
            self.end_thought(found);
            let (prompt, completion) = (chunk.prompt_eval_count, chunk.eval_count);
            found(Event::Usage(Usage { prompt, completion, ..Usage::default() }));
            found(Event::Finish(match chunk.done_reason.as_deref() {
                Some("length") => Finish::Length,
                _ if self.tools > 0 => Finish::ToolCalls,
                None | Some("stop" | "load" | "unload") => Finish::Stop,
                Some(other) => Finish::Other(other.to_owned()),
            }));
            found(Event::Done);
        }
    }

    fn message(&mut self, message: Message<'_>, found: &mut dyn FnMut(Event)) {
        if let Some(text) = message.thinking.filter(|t| !t.is_empty()) {
            self.in_thought = true;
            found(Event::Reasoning(text));
        }
        if let Some(text) = message.content.filter(|t| !t.is_empty()) {
            self.end_thought(found);
            found(Event::Text(text));
        }
        for call in message.tool_calls.unwrap_or_default() {
            self.end_thought(found);
            if self.tools as usize >= MAX_TOOL_CALLS {
                return found(Event::Malformed);
            }
            let index = self.tools;
            self.tools += 1;
            let id = self.ids.next(call.id.as_deref());
            found(Event::ToolStart { index, id, name: call.function.name, custom: false, seal: None });
            let arguments = call.function.arguments.filter(|a| a.get() != "null");
            let text = arguments.map_or_else(|| "{}".into(), |a| Json::from(a).compact());
            found(Event::ToolArguments { index, text });
            found(Event::ToolStop { index });
        }
    }

    fn end_thought(&mut self, found: &mut dyn FnMut(Event)) {
        if std::mem::take(&mut self.in_thought) {
            found(Event::ReasoningEnd { id: None, seal: None, redacted: false });
        }
    }
}

#[derive(Deserialize)]
struct Chunk<'a> {
    model: Option<String>,
    created_at: Option<String>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    logprobs: Option<Vec<Token>>,
    #[serde(default)]
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    content: Option<String>,
    thinking: Option<String>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    id: Option<String>,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// A token's probability, whose form OpenAI shares; it requires what Ollama may leave out.
#[derive(Deserialize, Serialize)]
struct Token {
    token: String,
    logprob: f64,
    bytes: Option<Vec<u8>>,
    #[serde(default)]
    top_logprobs: Vec<TopToken>,
}

#[derive(Deserialize, Serialize)]
struct TopToken {
    token: String,
    logprob: f64,
    bytes: Option<Vec<u8>>,
}
