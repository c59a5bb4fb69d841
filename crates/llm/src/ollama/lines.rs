//! Finding the lines of a stream that arrives in pieces.

use crate::sse::MAX_EVENT_BYTES;

/// Finds lines; keeps the line under way and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    line: Vec<u8>,
    too_large: bool,
}

impl Lines {
    /// Reads a piece, and reports each line that it completes and that is not blank; none is one that is too large.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Option<&[u8]>)) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.line.is_empty() && !self.too_large {
                report(line, &mut found);
            } else {
                self.keep(line);
                self.finish(&mut found);
            }
        }
        self.keep(bytes);
    }

    /// Ends the stream: a line that lacks its end is reported too.
    pub(crate) fn finish(&mut self, mut found: impl FnMut(Option<&[u8]>)) {
        if std::mem::take(&mut self.too_large) {
            found(None);
        } else {
            report(&self.line, &mut found);
        }
        self.line.clear();
    }

    fn keep(&mut self, part: &[u8]) {
        if self.too_large || self.line.len() + part.len() > MAX_EVENT_BYTES {
            self.too_large = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(part);
        }
    }
}

fn report(line: &[u8], found: &mut impl FnMut(Option<&[u8]>)) {
    let line = line.trim_ascii();
    if !line.is_empty() {
        found(Some(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_gives_the_same_lines() {
        let text = "{\"a\":\"é\"}\r\n\n {\"b\":1}\n{\"c\":2}".as_bytes();
        let scan = |pieces: &[&[u8]]| {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            let mut add = |l: Option<&[u8]>| seen.push(l.map(|l| String::from_utf8_lossy(l).into_owned()));
            pieces.iter().for_each(|p| lines.feed(p, &mut add));
            lines.finish(&mut add);
            seen
        };
        let whole = scan(&[text]);
        assert_eq!(whole.len(), 3);
        for i in 0..=text.len() {
            for j in i..=text.len() {
                assert_eq!(scan(&[&text[..i], &text[i..j], &text[j..]]), whole, "split at {i} and {j}");
            }
        }
        let big = vec![b'x'; MAX_EVENT_BYTES];
        assert_eq!(scan(&[b"xx", &big, b"\nok\n"]), [None, Some("ok".to_owned())]);
    }
}
