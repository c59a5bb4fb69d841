//! Finding the objects of a JSON array that grows, or of several objects one after the other.

use crate::sse::MAX_EVENT_BYTES;

/// Finds objects in whatever pieces they arrive; keeps the object under way and nothing else.
#[derive(Debug, Default)]
pub(crate) struct JsonStream {
    object: Vec<u8>,
    depth: u32,
    in_string: bool,
    escaped: bool,
    too_large: bool,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// An object.
    Object(&'a [u8]),
    /// The end of the array.
    End,
    /// An object that is too large, or bytes between objects that do not belong there.
    Malformed,
}

impl JsonStream {
    /// Reads a piece.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(Found<'_>)) {
        // Where the part of the object that stands in this piece begins.
        let mut from = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if self.depth == 0 {
                match byte {
                    b'{' => (self.depth, from) = (1, at),
                    b']' => found(Found::End),
                    b'[' | b',' | b' ' | b'\t' | b'\r' | b'\n' => {}
                    _ => found(Found::Malformed),
                }
                continue;
            }
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.end(&bytes[from..=at], &mut found);
                    }
                }
                _ => {}
            }
        }
        if self.depth > 0 {
            self.keep(&bytes[from..]);
        }
    }

    fn keep(&mut self, part: &[u8]) {
        if self.too_large || self.object.len() + part.len() > MAX_EVENT_BYTES {
            self.too_large = true;
            self.object.clear();
        } else {
            self.object.extend_from_slice(part);
        }
    }

    fn end(&mut self, part: &[u8], found: &mut impl FnMut(Found<'_>)) {
        if self.object.is_empty() && !self.too_large {
            return found(Found::Object(part));
        }
        self.keep(part);
        if std::mem::take(&mut self.too_large) {
            found(Found::Malformed);
        } else {
            found(Found::Object(&self.object));
        }
        self.object.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(pieces: &[&[u8]]) -> Vec<String> {
        let mut stream = JsonStream::default();
        let mut seen = Vec::new();
        for piece in pieces {
            stream.feed(piece, |f| {
                seen.push(match f {
                    Found::Object(o) => String::from_utf8_lossy(o).into_owned(),
                    Found::End => "end".into(),
                    Found::Malformed => "malformed".into(),
                });
            });
        }
        seen
    }

    #[test]
    fn every_split_gives_the_same_objects() {
        let text = "[{\"a\":\"}]\\\"{é\"}\n,\r\n{\"b\":[{},{\"c\":1}]}]\n".as_bytes();
        let whole = scan(&[text]);
        assert_eq!(whole, ["{\"a\":\"}]\\\"{é\"}", "{\"b\":[{},{\"c\":1}]}", "end"]);
        for i in 0..=text.len() {
            for j in i..=text.len() {
                assert_eq!(scan(&[&text[..i], &text[i..j], &text[j..]]), whole, "split at {i} and {j}");
            }
        }
    }

    #[test]
    fn an_object_that_is_too_large_is_reported_and_the_next_is_read() {
        let big = vec![b'x'; 1 << 20];
        let mut pieces: Vec<&[u8]> = vec![b"[{\"a\":\""];
        pieces.extend(std::iter::repeat_n(big.as_slice(), 17));
        pieces.push(b"\"},{}]");
        assert_eq!(scan(&pieces), ["malformed", "{}", "end"]);
    }
}
