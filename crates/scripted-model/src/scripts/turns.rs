//! Scripts around turns, messages and time.

use crate::job::{Job, Turn};
use std::convert::Infallible;

type End = Result<Infallible, Turn>;

/// More further messages than this are not followed.
const MAX_CONTINUATIONS: usize = 100;
/// More steps than this are not taken.
const MAX_STEPS: u64 = 1000;

/// Asks a person and writes the answer down.
pub(super) fn question(job: &mut Job<'_>) -> End {
    job.begin();
    let decided = job.ask("Which colour shall the chart have?", &["blue", "green"])?;
    job.write("", "answer.txt", &decided.text)?;
    finish(job, "I wrote the answer down.", &["answer.txt"])
}

/// Works in steps, one file each, so that it can be stopped and resumed anywhere.
pub(super) fn slow(job: &mut Job<'_>) -> End {
    let (steps, seconds) = (job.number("steps", 6).min(MAX_STEPS), job.number("seconds", 5));
    job.begin();
    for step in 1..=steps {
        job.exec(&format!("Step {step} of {steps}."), &format!("sleep {seconds}; date +%s > slow-{step}.txt"))?;
    }
    finish(job, &format!("All {steps} steps are done."), &[])
}

/// Thinks before its first answer, so that a model call can be caught under way.
pub(super) fn thinking(job: &mut Job<'_>) -> End {
    let seconds = job.number("seconds", 30);
    job.begin();
    let slowly = |turn: Turn| Turn { think_ms: seconds.saturating_mul(1000), ..turn };
    job.exec("I have thought.", "echo thought > thought.txt").map_err(slowly)?;
    finish(job, "I thought first.", &["thought.txt"])
}

/// Never asks and never submits.
pub(super) fn plain_end(_: &mut Job<'_>) -> End {
    Err(Turn::say("I think that all is said."))
}

/// Submits only when it is told that it has not.
pub(super) fn late_submit(job: &mut Job<'_>) -> End {
    job.begin();
    job.exec("", "echo late > late.txt")?;
    job.end_turn("I believe that I am done.")?;
    finish(job, "Submitted after the reminder.", &["late.txt"])
}

/// A first run, and a further one for each message.
pub(super) fn continued(job: &mut Job<'_>) -> End {
    job.begin();
    job.exec("", "echo 'first run' > notes.txt")?;
    job.submit("The first run is done.", &["notes.txt"])?;
    let mut last = "The first run is done.".to_owned();
    for n in 1..=MAX_CONTINUATIONS {
        let words = job.end_turn(&last)?.to_owned();
        job.write("", &format!("message-{n}.txt"), &words)?;
        job.exec("", &format!("echo 'message {n}' >> notes.txt"))?;
        last = format!("I have worked in message {n}.");
        job.submit(&last, &["notes.txt", &format!("message-{n}.txt")])?;
    }
    Err(Turn::say(last))
}

/// Reports progress; submits without naming files.
pub(super) fn progress(job: &mut Job<'_>) -> End {
    job.begin();
    job.progress("I have begun.")?;
    job.exec("", "echo one > one.txt; mkdir -p sub; echo two > sub/two.txt")?;
    job.progress("Half of it is done.")?;
    finish(job, "Everything new is the result.", &[])
}

/// Sleeps between two reports of progress; a message of a person arrives with the second.
pub(super) fn messages(job: &mut Job<'_>) -> End {
    let seconds = job.number("seconds", 5);
    job.begin();
    let first = job.progress("I am listening.")?;
    job.exec("", &format!("sleep {seconds}"))?;
    let second = job.progress("I am still listening.")?;
    job.write("", "heard.txt", &format!("{first}\n---\n{second}\n"))?;
    finish(job, "I wrote down what I heard.", &["heard.txt"])
}

/// The last words to it.
pub(super) fn echo(job: &mut Job<'_>) -> End {
    let mut last = job.begin();
    while let Ok(words) = job.end_turn("") {
        last = words;
    }
    Err(Turn::say(last))
}

fn finish(job: &mut Job<'_>, summary: &str, files: &[&str]) -> End {
    job.submit(summary, files)?;
    Err(Turn::say(summary))
}
