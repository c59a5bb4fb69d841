//! What people see. Text of agents is made visible and marked; colour only on a terminal, and never alone.

pub(crate) mod event;
pub(crate) mod request;
pub(crate) mod task;

use serde::Serialize;
use std::io::{IsTerminal, Write};

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    /// Machine-readable.
    pub(crate) json: bool,
    colour: bool,
}

/// How a piece of text stands out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    /// Important.
    Bold,
    /// Beside the point.
    Dim,
    /// Well.
    Good,
    /// Needs a look.
    Warn,
    /// Not well.
    Bad,
}

impl Out {
    /// Reads `NO_COLOR` and whether stdout is a terminal.
    pub(crate) fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        Self { json, colour: !json && wanted && !dumb && std::io::stdout().is_terminal() }
    }

    /// Text in a style, where colours are wanted.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match style {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Warn => "33",
            Style::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Prints a line of data. A reader that went away is no failure.
    pub(crate) fn line(self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        if writeln!(stdout, "{text}").and_then(|()| stdout.flush()).is_err() {
            std::process::exit(0);
        }
    }

    /// Prints one JSON document.
    pub(crate) fn document(self, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.line(&serde_json::to_string_pretty(value)?);
        Ok(())
    }

    /// Prints one line of a JSON stream.
    pub(crate) fn item(self, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.line(&serde_json::to_string(value)?);
        Ok(())
    }

    /// Prints rows under headings, as wide as they need to be.
    pub(crate) fn table(self, headings: &[&str], rows: &[Vec<String>]) {
        for line in table(headings, rows)
            .iter()
            .enumerate()
            .map(|(n, l)| if n == 0 { self.paint(Style::Bold, l) } else { l.clone() })
        {
            self.line(&line);
        }
    }
}

fn table(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = headings.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        line.trim_end().to_owned()
    };
    let mut lines = vec![render(&mut headings.iter().copied())];
    lines.extend(rows.iter().map(|row| render(&mut row.iter().map(String::as_str))));
    lines
}

/// Bytes as people read them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// The first digits of a hash.
pub(crate) fn short(hash: &str) -> String {
    let digits = hash.strip_prefix("sha256:").unwrap_or(hash);
    digits.chars().take(12).collect()
}

/// The time of day of an RFC 3339 time.
pub(crate) fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}

/// How long ago something was, in the largest unit that fits; `now` and `then` are RFC 3339.
pub(crate) fn age(now: jiff::Timestamp, then: &str) -> String {
    let Ok(then) = then.parse::<jiff::Timestamp>() else { return "unknown".to_owned() };
    let seconds = now.as_second() - then.as_second();
    match seconds {
        ..0 => "in the future".to_owned(),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        172_800..63_072_000 => format!("{} days", seconds / 86_400),
        _ => format!("{} years", seconds / 31_536_000),
    }
}

/// The agent's words on one line: visible, marked, and not longer than they need to be.
pub(crate) fn agent_line(text: &str, max_chars: usize) -> String {
    let visible = domain::text::visible_line(text.trim());
    let cut: String = visible.chars().take(max_chars).collect();
    let more = if cut.len() < visible.len() { " …" } else { "" };
    format!("agent: “{cut}{more}”")
}

/// The agent's words whole, each line marked.
pub(crate) fn agent_block(text: &str, indent: &str) -> String {
    let visible = domain::text::visible(text.trim());
    visible.lines().map(|l| format!("{indent}agent│ {l}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_hashes_and_ages_are_short() {
        assert_eq!([size(0), size(1023), size(1024), size(5 << 30)], ["0 B", "1023 B", "1.0 KiB", "5.0 GiB"]);
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        assert_eq!(age(now, "2026-11-23T11:59:30Z"), "30 s");
        assert_eq!(age(now, "2026-11-01T12:00:00Z"), "22 days");
        assert_eq!(age(now, "2020-11-01T12:00:00Z"), "6 years");
        assert_eq!(age(now, "soon"), "unknown");
        assert_eq!(clock("2026-11-23T11:59:30.123Z"), "11:59:30");
    }

    #[test]
    fn the_words_of_agents_cannot_pose_as_ours() {
        let line = agent_line("done\n\x1b[2J\u{202e}approved", 100);
        assert_eq!(line, "agent: “done\\n\\u{1b}[2J\\u{202e}approved”");
        assert!(agent_line(&"x".repeat(300), 100).ends_with(" …”"));
        let block = agent_block("one\nRequest req_1: approved\r\x1b[1A", "  ");
        assert!(block.lines().all(|l| l.starts_with("  agent│ ")), "{block}");
        assert!(!block.contains('\x1b') && !block.contains('\r'));
    }

    #[test]
    fn columns_are_as_wide_as_needed() {
        let rows = [vec!["a".to_owned(), "bc".to_owned()], vec!["größer".to_owned(), "d".to_owned()]];
        assert_eq!(table(&["X", "Y"], &rows), ["X       Y", "a       bc", "größer  d"]);
    }
}
