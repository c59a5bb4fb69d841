//! A model that does what its task says, one line after the other, so that a test can state its agent's behaviour.
//!
//! Lines (anything else is ignored):
//!
//! ```text
//! exec: COMMAND
//! write: PATH = TEXT          (\n is a line break)
//! read: PATH
//! request: pip:six, apt:hello (REASON)
//! ask: QUESTION
//! progress: TEXT
//! say: TEXT                   (ends the turn; goes on at the next words to the model)
//! submit: SUMMARY | FILE, FILE
//! ```
//!
//! After `request` and `ask` it waits for the decision and writes what it was told to `told-N.txt`. Lines in later
//! messages are followed too; a message that only repeats earlier lines is not.

use crate::job::{Job, Turn};
use std::convert::Infallible;

/// More messages than this are not followed.
const MAX_MESSAGES: usize = 100;

pub(super) fn follow(job: &mut Job<'_>) -> Result<Infallible, Turn> {
    let mut words = job.begin().to_owned();
    let mut done: Vec<Vec<(String, String)>> = Vec::new();
    let mut told = 0;
    for _ in 0..MAX_MESSAGES {
        let steps = parse(&words);
        if !steps.is_empty() && !done.contains(&steps) {
            for (verb, rest) in &steps {
                step(job, verb, rest, &mut told)?;
            }
            done.push(steps);
        }
        words = job.end_turn("I have followed all lines.")?.to_owned();
    }
    Err(Turn::say("I have heard too many messages."))
}

fn parse(words: &str) -> Vec<(String, String)> {
    const VERBS: &[&str] = &["exec", "write", "read", "request", "ask", "progress", "say", "submit"];
    let lines = words.lines().filter_map(|line| line.trim().split_once(": "));
    let known = lines.filter(|(verb, _)| VERBS.contains(verb));
    known.map(|(verb, rest)| (verb.to_owned(), rest.trim().to_owned())).collect()
}

fn step(job: &mut Job<'_>, verb: &str, rest: &str, told: &mut usize) -> Result<(), Turn> {
    match verb {
        "exec" => job.exec("", rest).map(drop),
        "read" => job.read("", rest).map(drop),
        "progress" => job.progress(rest).map(drop),
        "say" => job.end_turn(rest).map(drop),
        "write" => {
            let (path, text) = rest.split_once(" = ").unwrap_or((rest, ""));
            job.write("", path, &text.replace("\\n", "\n")).map(drop)
        }
        "request" => {
            let (packages, reason) = rest.split_once(" (").unwrap_or((rest, "The task says so."));
            let packages: Vec<_> = packages.split(',').map(str::trim).collect();
            let decided = job.request("", &packages, reason.trim_end_matches(')'))?;
            note(job, &decided.text, told)
        }
        "ask" => {
            let decided = job.ask(rest, &[])?;
            note(job, &decided.text, told)
        }
        _ => {
            let (summary, files) = rest.split_once('|').unwrap_or((rest, ""));
            let files: Vec<_> = files.split(',').map(str::trim).filter(|f| !f.is_empty()).collect();
            job.submit(summary.trim(), &files).map(drop)
        }
    }
}

fn note(job: &mut Job<'_>, text: &str, told: &mut usize) -> Result<(), Turn> {
    *told += 1;
    job.write("", &format!("told-{told}.txt"), text).map(drop)
}
