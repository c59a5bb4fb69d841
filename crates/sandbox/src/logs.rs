//! What a container printed: live for people, whole and bounded for the adapter.

use crate::{docker::CALL_TIMEOUT, error::Error, lifecycle::Sandboxes};
use bollard::{container::LogOutput, query_parameters::LogsOptionsBuilder};
use domain::ids::TaskId;
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};

/// Longest line; the rest of a longer one is dropped and the line says so.
pub const MAX_LINE_BYTES: usize = 64 << 10;
/// The most lines of the past that can be asked for.
pub const MAX_TAIL: u32 = 10_000;

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line that a sandbox printed. It is the sandbox's text: never trusted, made visible before it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Where.
    pub source: Source,
    /// When the Engine received it, RFC 3339.
    pub at: String,
    /// The text, with control, escape and bidi characters made visible.
    pub text: String,
    /// Whether it was longer than [`MAX_LINE_BYTES`].
    pub cut: bool,
}

/// What a container printed in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// The end of standard output.
    pub stdout: Vec<u8>,
    /// The end of standard error.
    pub stderr: Vec<u8>,
    /// Whether one of them was longer than asked for and lacks its beginning.
    pub cut: bool,
}

impl Sandboxes {
    /// The last `tail` lines and, with `follow`, everything until the container ends.
    pub async fn log_lines(
        &self,
        task: &TaskId,
        tail: u32,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<LogLine, Error>> + Send + 'static, Error> {
        let id = self.find(task).await?.map(|f| f.id);
        let id = id.ok_or_else(|| Error::NotFound { what: self.docker.container_name(task) })?;
        let docker = self.docker.clone();
        let client = docker.client().await?.clone();
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .follow(follow)
            .tail(&tail.min(MAX_TAIL).to_string())
            .build();
        let chunks = Box::pin(client.logs(&id, Some(options)));
        let lines =
            futures::stream::unfold((chunks, Lines::default(), docker), |(mut chunks, mut lines, docker)| async {
                loop {
                    if let Some(line) = lines.ready.pop_front() {
                        return Some((Ok(line), (chunks, lines, docker)));
                    }
                    match chunks.next().await {
                        Some(Ok(chunk)) => lines.push(chunk),
                        Some(Err(error)) => {
                            return Some((Err(docker.sort_error("read logs", error)), (chunks, lines, docker)));
                        }
                        None => match lines.rest() {
                            Some(line) => return Some((Ok(line), (chunks, lines, docker))),
                            None => return None,
                        },
                    }
                }
            });
        Ok(lines)
    }

    /// The last `max_bytes` of each stream of an ended container.
    pub async fn output(&self, task: &TaskId, max_bytes: usize) -> Result<Output, Error> {
        let id = self.find(task).await?.map(|f| f.id);
        let id = id.ok_or_else(|| Error::NotFound { what: self.docker.container_name(task) })?;
        let client = self.docker.client().await?;
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
        let mut chunks = Box::pin(client.logs(&id, Some(options)));
        let mut output = Output::default();
        let read = async {
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|e| self.docker.sort_error("read logs", e))?;
                let (buffer, bytes) = match &chunk {
                    LogOutput::StdErr { message } => (&mut output.stderr, message),
                    LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
                        (&mut output.stdout, message)
                    }
                };
                buffer.extend_from_slice(bytes);
                // The beginning goes first; in large steps, so that the cost stays linear.
                if buffer.len() > max_bytes.saturating_mul(2) {
                    buffer.drain(..buffer.len() - max_bytes);
                    output.cut = true;
                }
            }
            Ok::<(), Error>(())
        };
        tokio::time::timeout(CALL_TIMEOUT, read).await.map_err(|_| Error::timeout("read logs", CALL_TIMEOUT))??;
        for buffer in [&mut output.stdout, &mut output.stderr] {
            if buffer.len() > max_bytes {
                buffer.drain(..buffer.len() - max_bytes);
                output.cut = true;
            }
        }
        Ok(output)
    }
}

/// Puts lines together from the Engine's chunks, each stream for itself.
#[derive(Default)]
struct Lines {
    ready: std::collections::VecDeque<LogLine>,
    stdout: Partial,
    stderr: Partial,
}

#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    cut: bool,
}

impl Lines {
    fn push(&mut self, chunk: LogOutput) {
        let (partial, source) = match &chunk {
            LogOutput::StdErr { .. } => (&mut self.stderr, Source::Stderr),
            LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => {
                (&mut self.stdout, Source::Stdout)
            }
        };
        for piece in chunk.as_ref().split_inclusive(|b| *b == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            // A long line comes in pieces that each begin with a timestamp: only the first one's is kept.
            let text = if partial.bytes.is_empty() { text } else { without_timestamp(text) };
            let room = MAX_LINE_BYTES.saturating_sub(partial.bytes.len());
            partial.cut |= text.len() > room;
            partial.bytes.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.ready.push_back(partial.take(source));
            }
        }
    }

    fn rest(&mut self) -> Option<LogLine> {
        for (partial, source) in [(&mut self.stdout, Source::Stdout), (&mut self.stderr, Source::Stderr)] {
            if !partial.bytes.is_empty() {
                return Some(partial.take(source));
            }
        }
        None
    }
}

impl Partial {
    fn take(&mut self, source: Source) -> LogLine {
        let bytes = std::mem::take(&mut self.bytes);
        let cut = std::mem::take(&mut self.cut);
        let text = String::from_utf8_lossy(&bytes);
        let (at, text) = text.split_once(' ').unwrap_or((&text, ""));
        LogLine { source, at: at.to_owned(), text: domain::text::visible_line(text), cut }
    }
}

/// Drops a leading `2026-11-23T20:00:00.000000000Z ` if there is one.
fn without_timestamp(text: &[u8]) -> &[u8] {
    match text.iter().position(|b| *b == b' ') {
        Some(at) if at >= 20 && text[at - 1] == b'Z' && text[4] == b'-' && text[10] == b'T' => &text[at + 1..],
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &str) -> LogOutput {
        LogOutput::StdOut { message: text.to_owned().into() }
    }

    #[test]
    fn lines_are_put_together_and_made_visible() {
        let mut lines = Lines::default();
        lines.push(out("2026-11-23T20:00:00.000000001Z one\n2026-11-23T20:00:00.000000002Z tw"));
        lines.push(out("2026-11-23T20:00:00.000000003Z o\u{1b}[31m\n"));
        let got: Vec<_> = lines.ready.drain(..).map(|l| (l.at, l.text)).collect();
        assert_eq!(got[0], ("2026-11-23T20:00:00.000000001Z".to_owned(), "one".to_owned()));
        assert_eq!(got[1].0, "2026-11-23T20:00:00.000000002Z");
        assert!(got[1].1.starts_with("two") && !got[1].1.contains('\u{1b}'), "{:?}", got[1]);
    }

    #[test]
    fn a_line_without_end_costs_bounded_memory_and_says_so() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.push(out(&"x".repeat(16 << 10)));
        }
        assert!(lines.stdout.bytes.len() <= MAX_LINE_BYTES);
        assert!(lines.rest().expect("a line").cut);
    }
}
