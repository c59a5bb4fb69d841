//! A whole answer from the events of a decoder.

use crate::{
    Losses,
    ir::{Content, Event, Part, Reasoning, Response, ToolCallPart},
};

/// Adds events up to an answer. It holds what the body of the answer held, which was bounded when it was read.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    response: Response,
    open: Option<Reasoning>,
    calls: Vec<usize>,
}

impl Assembler {
    /// Adds an event.
    pub(crate) fn add(&mut self, event: Event, losses: &mut Losses) {
        match event {
            Event::Start { id, model, created } => {
                let r = &mut self.response;
                (r.id, r.model, r.created) = (id.or(r.id.take()), model.or(r.model.take()), created.or(r.created));
            }
            Event::Text(text) => self.text(text, false),
            Event::Refusal(text) => self.text(text, true),
            Event::Reasoning(text) => {
                let texts = &mut self.open.get_or_insert_default().texts;
                match texts.last_mut() {
                    Some(last) => last.push_str(&text),
                    None => texts.push(text),
                }
            }
            Event::ReasoningBreak => self.open.get_or_insert_default().texts.push(String::new()),
            Event::ReasoningEnd { id, seal, redacted } => {
                let texts = self.open.take().unwrap_or_default().texts;
                self.push(Content::Reasoning(Reasoning { texts, id, seal, redacted }));
            }
            Event::ToolStart { index: _, id, name, custom, seal } => {
                self.calls.push(self.response.parts.len() + usize::from(self.open.is_some()));
                self.push(Content::ToolCall(ToolCallPart { id, name, arguments: String::new(), custom, seal }));
            }
            Event::ToolArguments { index, text } => {
                let at = usize::try_from(index).ok().and_then(|i| self.calls.get(i).copied());
                if let Some(Part { content: Content::ToolCall(call), .. }) =
                    at.and_then(|at| self.response.parts.get_mut(at))
                {
                    call.arguments.push_str(&text);
                }
            }
            Event::Annotation(annotation) => {
                if let Some(Part { content: Content::Text { annotations, .. }, .. }) = self.response.parts.last_mut() {
                    annotations.push(annotation);
                }
            }
            Event::Logprobs(logprobs) => self.response.logprobs = Some(logprobs),
            Event::Usage(usage) => self.response.usage.update(usage),
            Event::Finish(finish) => self.response.finish = Some(finish),
            Event::Error(error) => self.response.error = Some(error),
            Event::Loss(loss) => losses.add(loss.field, loss.note),
            Event::ToolStop { .. } | Event::Ping | Event::Malformed | Event::Done => {}
        }
    }

    /// The answer.
    pub(crate) fn finish(mut self) -> Response {
        self.end_reasoning();
        self.response
    }

    fn end_reasoning(&mut self) {
        if let Some(open) = self.open.take() {
            self.response.parts.push(Content::Reasoning(open).into());
        }
    }

    fn push(&mut self, content: Content) {
        self.end_reasoning();
        self.response.parts.push(content.into());
    }

    fn text(&mut self, more: String, is_refusal: bool) {
        self.end_reasoning();
        match self.response.parts.last_mut().map(|p| &mut p.content) {
            Some(Content::Text { text, .. }) if !is_refusal => text.push_str(&more),
            Some(Content::Refusal(text)) if is_refusal => text.push_str(&more),
            _ if is_refusal => self.push(Content::Refusal(more)),
            _ => self.push(Content::Text { text: more, annotations: Vec::new() }),
        }
    }
}
