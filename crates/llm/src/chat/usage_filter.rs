//! Taking the closing token counts out of a stream for a client that did not ask for them.

use crate::sse;
use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};

/// Passes a stream on event by event, without the event that holds token counts and no choice.
#[derive(Debug, Default)]
pub struct UsageFilter {
    scanner: sse::Scanner,
    event: Vec<u8>,
}

impl UsageFilter {
    /// Takes a piece; returns the bytes that can go on.
    pub fn feed(&mut self, piece: Bytes) -> Bytes {
        let mut out = Vec::with_capacity(self.event.len() + piece.len());
        for line in piece.split_inclusive(|b| *b == b'\n') {
            let (mut events, mut counts) = (0, 0);
            self.event.extend_from_slice(line);
            self.scanner.feed(line, |event| {
                events += 1;
                counts += usize::from(is_count(event));
            });
            if (events, counts) == (1, 1) {
                self.event.clear();
            } else if self.scanner.is_between_events() || self.event.len() > sse::MAX_EVENT_BYTES {
                out.append(&mut self.event);
            }
        }
        Bytes::from(out)
    }

    /// What was held back, at the end of the stream.
    pub fn finish(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.event))
    }
}

fn is_count(event: sse::Event<'_>) -> bool {
    #[derive(Deserialize)]
    struct Counts {
        choices: Vec<IgnoredAny>,
        usage: Option<IgnoredAny>,
    }
    let sse::Event::Message { data, .. } = event else { return false };
    serde_json::from_slice::<Counts>(data).is_ok_and(|c| c.choices.is_empty() && c.usage.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_counts_are_taken_out_in_every_split() {
        let count = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\r\n\r\n";
        let before = ": ping\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"é\"}}],\"usage\":null}\r\n\r\n";
        let after = "data: [DONE]\n\n";
        let text = [before, count, after].concat();
        let expected = [before, after].concat();
        for at in 0..=text.len() {
            let mut filter = UsageFilter::default();
            let mut out = filter.feed(Bytes::copy_from_slice(&text.as_bytes()[..at])).to_vec();
            out.extend_from_slice(&filter.feed(Bytes::copy_from_slice(&text.as_bytes()[at..])));
            out.extend_from_slice(&filter.finish());
            // An LF that arrives after the CR that ended the event is a blank line of its own, and harmless.
            let text = String::from_utf8(out).unwrap();
            assert!(text == expected || text == [before, "\n", after].concat(), "split at {at}: {text:?}");
        }
    }
}
