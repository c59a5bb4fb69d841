//! Reasoning that the next turn needs, kept on our side for clients that do not send it back.
//!
//! A provider that signs its reasoning wants it back, byte for byte, before the tool calls that followed it. Clients
//! drop what they do not know. So an answer with signed reasoning yields, for each of its tool calls, what stood before
//! them; a later request that holds the call without its reasoning gets it back from there.

use crate::ir::{Content, Event, Part, Reasoning, Request, Role, Seal};
use serde::{Deserialize, Serialize};

/// The most reasoning of one answer that is carried; more is not, and the provider is then asked without it.
pub const MAX_CARRY_BYTES: usize = 1 << 20;

/// What is kept for a tool call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Carry {
    /// The reasoning of its answer, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reasoning: Vec<Reasoning>,
    /// The signature of the call itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call: Option<Seal>,
}

/// Collects what is to be kept from the events of an answer.
#[derive(Debug, Default)]
pub(crate) struct Carrier {
    open: Option<Reasoning>,
    reasoning: Vec<Reasoning>,
    calls: Vec<(String, Option<Seal>)>,
    bytes: usize,
}

impl Carrier {
    /// Takes notice of an event.
    pub(crate) fn observe(&mut self, event: &Event) {
        match event {
            Event::Reasoning(text) => self.add(text),
            Event::ReasoningBreak => self.open.get_or_insert_default().texts.push(String::new()),
            Event::ReasoningEnd { id, seal, redacted } => {
                let mut done = self.open.take().unwrap_or_default();
                self.bytes += seal.as_ref().map_or(0, |s| s.data.len());
                (done.id, done.seal, done.redacted) = (id.clone(), seal.clone(), *redacted);
                self.reasoning.push(done);
            }
            Event::ToolStart { id, seal, .. } if self.calls.len() < crate::MAX_TOOL_CALLS => {
                self.bytes += seal.as_ref().map_or(0, |s| s.data.len());
                self.calls.push((id.clone(), seal.clone()));
            }
            _ => {}
        }
    }

    fn add(&mut self, text: &str) {
        self.bytes += text.len();
        if self.bytes > MAX_CARRY_BYTES {
            return;
        }
        let texts = &mut self.open.get_or_insert_default().texts;
        match texts.last_mut() {
            Some(last) => last.push_str(text),
            None => texts.push(text.to_owned()),
        }
    }

    /// What to keep, by tool-call id.
    pub(crate) fn take(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut done = std::mem::take(self);
        done.reasoning.extend(done.open.take());
        if done.bytes > MAX_CARRY_BYTES {
            return Vec::new();
        }
        // The calls of an answer come back together, so that the first may hold what stood before all.
        let mut reasoning = done.reasoning;
        let keep = |(id, call): (String, Option<Seal>)| {
            let carry = Carry { reasoning: std::mem::take(&mut reasoning), call };
            if id.is_empty() || carry == Carry::default() {
                return None;
            }
            Some((id, serde_json::to_vec(&carry).ok()?))
        };
        done.calls.into_iter().filter_map(keep).collect()
    }
}

/// Puts back what an answer had before and at its tool calls. What is kept wins over what the client sends back: a client
/// may not only drop a field that it does not know, but keep a part of it.
pub(crate) fn restore(request: &mut Request, carry: &dyn Fn(&str) -> Option<Vec<u8>>) {
    for message in request.messages.iter_mut().filter(|m| m.role == Role::Assistant) {
        let mut reasoning = Vec::new();
        for part in &mut message.parts {
            let Content::ToolCall(call) = &mut part.content else { continue };
            let Some(kept) = carry(&call.id).and_then(|bytes| serde_json::from_slice::<Carry>(&bytes).ok()) else {
                continue;
            };
            call.seal = kept.call.or(call.seal.take());
            // Calls of several answers in one message keep the order of their answers.
            reasoning.extend(kept.reasoning);
        }
        if !reasoning.is_empty() {
            message.parts.retain(|p| !matches!(p.content, Content::Reasoning(_)));
            message.parts.splice(0..0, reasoning.into_iter().map(|r| Content::Reasoning(r).into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Format,
        ir::{Message, ToolCallPart},
    };

    fn seal(data: &str) -> Option<Seal> {
        Some(Seal { origin: Format::Messages, data: data.into() })
    }

    #[test]
    fn signed_reasoning_comes_back_before_its_calls() {
        let mut carrier = Carrier::default();
        let start =
            |index, id: &str, seal| Event::ToolStart { index, id: id.into(), name: "exec".into(), custom: false, seal };
        for event in [
            Event::Reasoning("a".into()),
            Event::Reasoning("b".into()),
            Event::ReasoningEnd { id: None, seal: seal("s"), redacted: false },
            Event::ReasoningEnd { id: None, seal: seal("r"), redacted: true },
            start(0, "c1", None),
            start(1, "c2", seal("own")),
            start(2, "c3", None),
        ] {
            carrier.observe(&event);
        }
        let kept = carrier.take();
        assert_eq!(kept.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["c1", "c2"]);
        let call = |id: &str, seal| {
            Part::from(Content::ToolCall(ToolCallPart {
                id: id.into(),
                name: "exec".into(),
                arguments: "{}".into(),
                custom: false,
                seal,
            }))
        };
        let asked = |parts| Request { messages: vec![Message::new(Role::Assistant, parts)], ..Request::default() };
        let mut request = asked(vec![Part::text("x"), call("c1", None), call("c2", None)]);
        let carry = |id: &str| kept.iter().find(|(k, _)| k == id).map(|(_, v)| v.clone());
        restore(&mut request, &carry);
        let thought = Reasoning { texts: vec!["ab".into()], seal: seal("s"), ..Reasoning::default() };
        let redacted = Reasoning { seal: seal("r"), redacted: true, ..Reasoning::default() };
        let expected = asked(vec![
            Content::Reasoning(thought).into(),
            Content::Reasoning(redacted).into(),
            Part::text("x"),
            call("c1", None),
            call("c2", seal("own")),
        ]);
        assert_eq!(request, expected);
        restore(&mut request, &carry);
        assert_eq!(request, expected, "what is there is left as it is");
        let half = Reasoning { texts: vec!["b".into()], seal: seal("half"), ..Reasoning::default() };
        let mut request =
            asked(vec![Content::Reasoning(half).into(), Part::text("x"), call("c1", None), call("c2", seal("half"))]);
        restore(&mut request, &carry);
        assert_eq!(request, expected, "what a client keeps in part is replaced");
    }
}
