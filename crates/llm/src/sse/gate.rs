//! Passing a stream on by whole events, so that it can be ended by an error event wherever it is cut.

use super::MAX_EVENT_BYTES;
use bytes::Bytes;

/// Passes a stream on up to the end of its last complete event. Pieces that end there, as providers write them, pass as
/// they are; what follows is held until its event is complete, and is left behind if the stream is cut.
#[derive(Debug, Default)]
pub struct Gate {
    held: Vec<u8>,
}

impl Gate {
    /// Takes a piece; returns the bytes that can go on.
    pub fn feed(&mut self, piece: Bytes) -> Bytes {
        if self.held.is_empty() {
            let end = last_end(&piece, 0);
            self.held.extend_from_slice(&piece[end..]);
            return piece.slice(..end);
        }
        let from = self.held.len().saturating_sub(2);
        self.held.extend_from_slice(&piece);
        // An event that is too large for any reader passes as it comes.
        let end = if self.held.len() > MAX_EVENT_BYTES { self.held.len() } else { last_end(&self.held, from) };
        let rest = self.held.split_off(end);
        Bytes::from(std::mem::replace(&mut self.held, rest))
    }

    /// What was held back, at the good end of a stream: its closing blank line may be missing.
    pub fn finish(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.held))
    }
}

/// The end of the last blank line that ends behind `from`.
fn last_end(bytes: &[u8], from: usize) -> usize {
    let is_end = |end: &usize| {
        let before = &bytes[..*end];
        [&b"\n\n"[..], b"\n\r\n", b"\r\r"].iter().any(|blank| before.ends_with(blank))
    };
    (from..=bytes.len()).rev().find(is_end).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_passes_whole_events_and_all_bytes() {
        for text in ["data: é\n\n: ping\n\ndata: b\n\nda", "data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\rdata: b\r\r"]
        {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            for i in 0..=bytes.len() {
                for j in i..=bytes.len() {
                    let mut gate = Gate::default();
                    let mut out = Vec::new();
                    for piece in [bytes.slice(..i), bytes.slice(i..j), bytes.slice(j..)] {
                        out.extend_from_slice(&gate.feed(piece));
                        assert_eq!(last_end(&out, 0), out.len(), "{text:?} at {i} and {j}");
                    }
                    out.extend_from_slice(&gate.finish());
                    assert_eq!(out, text.as_bytes());
                }
            }
        }
    }

    #[test]
    fn a_whole_event_passes_without_a_copy() {
        let piece = Bytes::from_static(b"data: a\n\n");
        assert_eq!(Gate::default().feed(piece.clone()).as_ptr(), piece.as_ptr());
    }
}
