//! Events on the wire: paced, broken, or oddly cut, as the model's name wants it.

use crate::model::{Break, Plan};
use bytes::Bytes;
use futures::{Stream, stream};
use serde_json::Value;
use std::{io, time::Duration};

/// Sizes of the pieces into which an odd stream is cut, in turn. Short ones split characters.
const ODD_SIZES: [usize; 7] = [1, 2, 3, 5, 8, 13, 64];

/// A pause that lets what was written leave before the connection breaks.
const BEFORE_BREAK: Duration = Duration::from_millis(20);

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    name: Option<String>,
    data: String,
}

impl Event {
    /// An event without a name.
    pub(crate) fn bare(data: &Value) -> Self {
        Self { name: None, data: data.to_string() }
    }

    /// An event with a name.
    pub(crate) fn named(name: &str, data: &Value) -> Self {
        Self { name: Some(name.to_owned()), data: data.to_string() }
    }

    /// The end of OpenAI's streams.
    pub(crate) fn done() -> Self {
        Self { name: None, data: "[DONE]".to_owned() }
    }

    fn plain(&self) -> String {
        let name = self.name.as_ref().map(|n| format!("event: {n}\n")).unwrap_or_default();
        format!("{name}data: {}\n\n", self.data)
    }

    /// The same event with all that the format permits and clients bear: OpenAI's Python client takes the blank line
    /// after a comment for an event once it has seen an `id`.
    fn odd(&self, n: usize) -> String {
        let name = self.name.as_ref().map(|n| format!("event:{n}\r\n")).unwrap_or_default();
        let comment = if n.is_multiple_of(3) { ": keep-alive\r\n\r\n" } else { "" };
        let data = match self.data.strip_prefix('{') {
            // Between two lines of data stands a newline, which JSON takes for a space.
            Some(rest) if n.is_multiple_of(2) => format!("data: {{\r\ndata:{rest}\r\n"),
            _ => format!("data:{}\r\n", self.data),
        };
        format!("{comment}{name}{data}\r\n")
    }
}

/// How a format frames its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Sse,
    /// One JSON value on a line.
    Lines,
    /// One body that is no stream.
    Whole,
}

impl Framing {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream; charset=utf-8",
            Self::Lines => "application/x-ndjson",
            Self::Whole => "application/json",
        }
    }
}

/// A piece of a body, and how long to wait before it.
enum Step {
    Send(Bytes, Duration),
    Fail,
    Stall,
}

/// The body of a stream.
pub(crate) fn deliver(
    framing: Framing,
    events: &[Event],
    plan: &Plan,
    error: &Event,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let steps = steps(framing, events, plan, error);
    let apart = plan.odd || plan.bytes;
    stream::unfold(steps.into_iter(), move |mut steps| async move {
        let sent = match steps.next()? {
            Step::Send(bytes, wait) => {
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                } else if apart {
                    // The server writes what it has while it waits, so that pieces are not joined again.
                    tokio::task::yield_now().await;
                }
                Ok(bytes)
            }
            Step::Fail => {
                tokio::time::sleep(BEFORE_BREAK).await;
                Err(io::Error::other("broken on purpose"))
            }
            Step::Stall => std::future::pending().await,
        };
        Some((sent, steps))
    })
}

fn steps(framing: Framing, events: &[Event], plan: &Plan, error: &Event) -> Vec<Step> {
    // What breaks does so in the middle.
    let kept = match plan.breaks {
        Some(Break::Cut | Break::CutInCharacter | Break::Stall | Break::ErrorEvent) => events.len().div_ceil(2),
        Some(Break::EndOfFile) => events.len() * 2 / 3,
        None => events.len(),
    };
    let mut frames: Vec<String> =
        events.iter().take(kept).enumerate().map(|(n, e)| frame(framing, e, plan, n)).collect();
    if framing == Framing::Whole && plan.breaks.is_some() {
        frames = events.iter().map(|e| half(&e.data).to_owned()).collect();
    }
    if plan.breaks == Some(Break::ErrorEvent) {
        frames.push(frame(framing, error, plan, 1));
    }
    let mut steps = Vec::with_capacity(frames.len() + 1);
    for (n, text) in frames.into_iter().enumerate() {
        let wait = if n == 0 { plan.delay } else { plan.gap };
        pieces(Bytes::from(text), plan, &mut steps, wait);
    }
    match plan.breaks {
        Some(Break::CutInCharacter) => {
            // The first two bytes of a character of four.
            let opening =
                if framing == Framing::Sse { &b"data: {\"x\":\"\xf0\x9f"[..] } else { &b"{\"x\":\"\xf0\x9f"[..] };
            steps.push(Step::Send(Bytes::from_static(opening), plan.gap));
            steps.push(Step::Fail);
        }
        Some(Break::Cut | Break::ErrorEvent) if framing == Framing::Whole => steps.push(Step::Fail),
        Some(Break::Cut) => steps.push(Step::Fail),
        Some(Break::Stall) => steps.push(Step::Stall),
        Some(Break::EndOfFile | Break::ErrorEvent) | None => {}
    }
    steps
}

fn frame(framing: Framing, event: &Event, plan: &Plan, n: usize) -> String {
    match framing {
        Framing::Sse if plan.odd => event.odd(n),
        Framing::Sse => event.plain(),
        Framing::Lines => format!("{}\n", event.data),
        Framing::Whole => event.data.clone(),
    }
}

fn half(text: &str) -> &str {
    let middle = (0..=text.len() / 2).rev().find(|i| text.is_char_boundary(*i)).unwrap_or_default();
    text.get(..middle).unwrap_or_default()
}

/// One frame in one piece, or in several that are written at once.
fn pieces(mut frame: Bytes, plan: &Plan, steps: &mut Vec<Step>, mut wait: Duration) {
    if !plan.odd && !plan.bytes {
        steps.push(Step::Send(frame, wait));
        return;
    }
    for n in 0.. {
        let size = if plan.bytes { 1 } else { ODD_SIZES.get(n % ODD_SIZES.len()).copied().unwrap_or(1) };
        if frame.len() <= size {
            steps.push(Step::Send(frame, wait));
            return;
        }
        steps.push(Step::Send(frame.split_to(size), wait));
        wait = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent(name: &str, framing: Framing) -> Vec<u8> {
        let events: Vec<_> = (0..6).map(|n| Event::named("x", &json!({"n": n, "s": "ü🚀"}))).collect();
        let error = Event::bare(&json!({"error": "e"}));
        let send = |s| if let Step::Send(bytes, _) = s { Some(bytes) } else { None };
        let steps = steps(framing, &events, &Plan::of(name).unwrap(), &error);
        steps.into_iter().filter_map(send).flatten().collect()
    }

    #[test]
    fn an_odd_stream_has_the_same_events() {
        let text = String::from_utf8(sent("odd", Framing::Sse)).unwrap();
        let mut data = Vec::new();
        for block in text.split("\r\n\r\n") {
            let lines: Vec<_> = block.split("\r\n").filter_map(|l| l.strip_prefix("data:")).collect();
            if !lines.is_empty() {
                data.push(serde_json::from_str::<Value>(&lines.join("\n")).unwrap());
            }
        }
        assert_eq!(data, (0..6).map(|n| json!({"n": n, "s": "ü🚀"})).collect::<Vec<_>>());
        assert!(text.contains(": keep-alive"));
    }

    #[test]
    fn broken_streams_are_shorter() {
        let whole = sent("text", Framing::Sse);
        assert!(sent("cut", Framing::Sse).len() < whole.len());
        assert!(String::from_utf8(sent("cut-utf8", Framing::Sse)).is_err());
        assert!(sent("err-stream", Framing::Lines).ends_with(b"{\"error\":\"e\"}\n"));
        assert_eq!(sent("bytes", Framing::Sse), whole);
    }
}
