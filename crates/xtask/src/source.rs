//! Rules on Rust files.

use crate::{Finding, Text};
use std::path::Path;

/// Non-test lines of a file: more is an error.
const STOP_LINES: usize = 600;
/// More is a warning.
const WARN_LINES: usize = 400;

/// Endings of names that say nothing about what a thing is.
const EMPTY_NAMES: &[&str] = &["Manager", "Utils", "Util", "Impl"];

/// What the pure crate must not name: clocks, randomness, environment, files, runtimes, and maps without an order.
const IMPURE: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "std::env",
    "std::fs",
    "std::net",
    "tokio",
    "HashMap",
    "HashSet",
    "getrandom",
    "Timestamp::now",
];

pub(crate) fn check(file: &Text) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines: Vec<_> = file.body.lines().collect();
    let test_code = is_test(&file.path);
    let own = own_lines(&lines);
    if !test_code {
        findings.extend(length(&file.path, own));
    }
    if !test_code && !lines.first().is_some_and(|l| l.starts_with("//!")) {
        findings.push(Finding::error(&file.path, 1, "a file begins with its module doc: what it owns, its invariants"));
    }
    for (i, line) in lines.iter().enumerate() {
        let in_tests = test_code || i >= own;
        findings.extend(attributes(&file.path, i + 1, line));
        findings.extend(names(&file.path, i + 1, line));
        if !in_tests && file.path.starts_with("crates/domain/src") {
            findings.extend(purity(&file.path, i + 1, line));
        }
    }
    findings
}

fn length(path: &Path, lines: usize) -> Option<Finding> {
    if lines > STOP_LINES {
        return Some(Finding::error(
            path,
            0,
            format!("{lines} lines without tests; the limit is {STOP_LINES}: split it"),
        ));
    }
    (lines > WARN_LINES).then(|| Finding::warning(path, 0, format!("{lines} lines without tests; aim at {WARN_LINES}")))
}

fn attributes(path: &Path, line: usize, text: &str) -> Option<Finding> {
    let start = text.trim_start();
    let allows = start.starts_with("#[allow(") || start.starts_with("#![allow(");
    allows.then(|| Finding::error(path, line, "use #[expect(lint, reason = \"…\")], which goes away with its cause"))
}

fn names(path: &Path, line: usize, text: &str) -> Option<Finding> {
    let mut words = text.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
    let keyword = words.find(|w| !["pub", "crate", "super"].contains(w))?;
    if !["struct", "enum", "trait", "type"].contains(&keyword) {
        return None;
    }
    let name = words.next()?;
    let ending = EMPTY_NAMES.iter().find(|e| name.ends_with(*e))?;
    Some(Finding::error(path, line, format!("`{name}`: an ending `{ending}` says nothing; name what it is or does")))
}

fn purity(path: &Path, line: usize, text: &str) -> Option<Finding> {
    let code = text.split("//").next().unwrap_or_default();
    let found = IMPURE.iter().find(|word| code.contains(*word))?;
    Some(Finding::error(
        path,
        line,
        format!("`{found}`: the domain is pure (no clock, randomness, IO or unordered maps)"),
    ))
}

fn is_test(path: &Path) -> bool {
    path.components().any(|c| ["tests", "benches"].iter().any(|t| c.as_os_str() == *t))
        || path.file_stem().is_some_and(|s| s == "tests")
}

/// Lines before the file's own test module.
fn own_lines(lines: &[&str]) -> usize {
    let at = |i: usize| lines.get(i).copied().unwrap_or_default();
    let tests = (0..lines.len()).find(|i| at(*i) == "#[cfg(test)]" && at(i + 1).starts_with("mod tests"));
    tests.unwrap_or(lines.len())
}
