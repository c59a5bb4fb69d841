//! A scanner of server-sent events that is fed bytes as they arrive.
//!
//! It keeps the event under way and nothing else. Lines end with LF, CR or CRLF, also when a piece ends between the
//! two; comments and unknown fields are skipped; several `data` lines are joined by LF. An event larger than
//! [`MAX_EVENT_BYTES`] is dropped and reported as [`Event::TooLarge`].

mod gate;

pub use gate::Gate;

/// The largest event that is read.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// What the scanner found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// An event: its name (empty if it has none) and its data.
    Message {
        /// The `event` field.
        name: &'a [u8],
        /// The `data` fields, joined by LF.
        data: &'a [u8],
    },
    /// An event that is too large to be read.
    TooLarge,
}

/// The scanner.
#[derive(Debug, Default)]
pub struct Scanner {
    /// The beginning of a line whose end has not arrived.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    too_large: bool,
    /// The piece before ended with CR: an LF at the beginning of the next belongs to it.
    after_cr: bool,
    /// Something of the stream was seen, so that no byte order mark can follow.
    begun: bool,
}

impl Scanner {
    /// Reads a piece and reports every event that it completes.
    pub fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Event<'_>)) {
        if std::mem::take(&mut self.after_cr) {
            match bytes.first() {
                None => self.after_cr = true,
                Some(b'\n') => bytes = &bytes[1..],
                Some(_) => {}
            }
        }
        while let Some(end) = bytes.iter().position(|b| *b == b'\n' || *b == b'\r') {
            let (line, rest) = bytes.split_at(end);
            if self.line.is_empty() {
                self.end_line(line, &mut found);
            } else {
                self.keep(line);
                let line = std::mem::take(&mut self.line);
                self.end_line(&line, &mut found);
            }
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] | rest => rest,
            };
        }
        self.keep(bytes);
    }

    /// Whether no event is under way.
    pub fn is_between_events(&self) -> bool {
        self.line.is_empty() && !self.has_data && !self.too_large
    }

    /// Ends the stream: an event whose closing blank line is missing is reported too.
    pub fn finish(&mut self, mut found: impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_line(&line, &mut found);
        }
        self.end_event(&mut found);
    }

    fn keep(&mut self, part: &[u8]) {
        if self.line.len() + self.data.len() + part.len() > MAX_EVENT_BYTES {
            self.too_large = true;
        }
        if self.too_large {
            // The line goes on, and one byte is enough to know that it is not blank.
            self.line.truncate(1);
            if self.line.is_empty() {
                self.line.extend(part.first());
            }
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self, line: &[u8], found: &mut impl FnMut(Event<'_>)) {
        let line = if self.begun { line } else { line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line) };
        self.begun = true;
        if line.is_empty() {
            return self.end_event(found);
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.data.len() + value.len() > MAX_EVENT_BYTES {
                    self.too_large = true;
                }
                if self.too_large {
                    return;
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => value.clone_into(&mut self.name),
            _ => {}
        }
    }

    fn end_event(&mut self, found: &mut impl FnMut(Event<'_>)) {
        if self.too_large {
            found(Event::TooLarge);
        } else if self.has_data {
            found(Event::Message { name: &self.name, data: &self.data });
        }
        self.name.clear();
        self.data.clear();
        self.has_data = false;
        self.too_large = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut scanner = Scanner::default();
        let mut seen = Vec::new();
        let mut take = |e: Event<'_>| match e {
            Event::Message { name, data } => {
                seen.push((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(data).into_owned()))
            }
            Event::TooLarge => seen.push(("!".into(), "too large".into())),
        };
        for piece in pieces {
            scanner.feed(piece, &mut take);
        }
        scanner.finish(&mut take);
        seen
    }

    fn message(name: &str, data: &str) -> (String, String) {
        (name.into(), data.into())
    }

    #[test]
    fn lines_end_in_three_ways_and_fields_are_joined() {
        let expected = vec![message("", "a"), message("x", "b\nc"), message("", "")];
        for end in ["\n", "\r\n", "\r"] {
            let text = "\u{feff}data: a||: ping|id: 7|event: x|data:b|data: c|||data||".replace('|', end);
            assert_eq!(scan(&[text.as_bytes()]), expected, "{end:?}");
        }
    }

    #[test]
    fn every_split_gives_the_same_events() {
        let text =
            "data: grüße 東京\r\n\r\n: c\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata: 🚀\n\ndata: [DONE]".as_bytes();
        let whole = scan(&[text]);
        assert_eq!(whole.len(), 4);
        for i in 0..=text.len() {
            for j in i..=text.len() {
                assert_eq!(scan(&[&text[..i], &text[i..j], &text[j..]]), whole, "split at {i} and {j}");
            }
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(scan(&bytes), whole);
    }

    #[test]
    fn an_event_that_is_too_large_is_reported_and_the_next_is_read() {
        let big = vec![b'x'; 1 << 20];
        let mut pieces: Vec<&[u8]> = vec![b"data: "];
        pieces.extend(std::iter::repeat_n(big.as_slice(), 17));
        pieces.push(b"\n\ndata: ok\n\n");
        assert_eq!(scan(&pieces), vec![message("!", "too large"), message("", "ok")]);
    }
}
