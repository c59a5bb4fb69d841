//! Rules on the words of any text file.

use crate::{Finding, Text};

pub(crate) fn check(file: &Text) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A lock file, a vendored text and recorded output are nobody's words.
    let name = file.path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if name.contains("lock") || file.path.starts_with("docs/recordings") {
        return findings;
    }
    let machine = machine_paths();
    let code = file.path.extension().is_some_and(|e| e == "rs");
    for (i, line) in file.body.lines().enumerate() {
        if let Some(found) = machine.iter().find(|p| line.contains(p.as_str())) {
            findings.push(Finding::error(&file.path, i + 1, format!("`{found}`: a path of one machine")));
        }
        if code && let Some(comment) = comment_of(line) {
            findings.extend(history(comment).map(|what| Finding::error(&file.path, i + 1, what)));
        }
    }
    findings
}

/// Put together from parts, so that this file does not find itself.
fn machine_paths() -> Vec<String> {
    [("/wo", "rk/"), ("/ro", "ot/"), ("/home/", "runner"), ("/tmp/", "tf/"), ("arti", "factory")]
        .map(|(a, b)| format!("{a}{b}"))
        .to_vec()
}

/// The comment of a line. Slashes without a space before them are taken for part of a string.
fn comment_of(line: &str) -> Option<&str> {
    let start = line.trim_start();
    start.strip_prefix("//").or_else(|| line.split_once(" // ").map(|(_, comment)| comment))
}

/// Comments say why the code is as it is; what it was is git's to tell.
fn history(comment: &str) -> Option<String> {
    let words = comment.to_lowercase();
    let told =
        [("now ", "uses"), ("now ", "returns"), ("previ", "ously"), ("used ", "to be "), ("no longer ", "needed")]
            .map(|(a, b)| format!("{a}{b}"))
            .into_iter()
            .find(|phrase| words.contains(phrase));
    if let Some(phrase) = told {
        return Some(format!("`{}`: a comment does not tell history", phrase.trim()));
    }
    let open = ["TO", "FIX"].map(|start| if start == "TO" { format!("{start}DO") } else { format!("{start}ME") });
    let mark = open.into_iter().find(|mark| comment.contains(mark.as_str()))?;
    (!comment.contains('#')).then(|| format!("{mark} without an issue's number"))
}
