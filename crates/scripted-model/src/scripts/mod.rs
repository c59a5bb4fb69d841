//! The scripts, by model name. A new one is a function and a line in [`TABLE`].

mod demo;
mod follow;
mod packages;
mod turns;

use crate::{
    job::{Job, Turn},
    transcript::Transcript,
};
use std::convert::Infallible;

/// A script never returns normally: its last step is always a turn.
pub type Script = fn(&mut Job<'_>) -> Result<Infallible, Turn>;

/// Model name, what its script does, the script.
pub const TABLE: &[(&str, &str, Script)] = &[
    ("demo", "a chart and a summary of sales.csv; asks for matplotlib", demo::chart),
    ("pip", "needs the Python package six", packages::pip),
    ("apt", "needs Debian's hello", packages::apt),
    ("npm", "needs npm's left-pad", packages::npm),
    ("all-three", "one request for a pip, an apt and an npm package", packages::all_three),
    ("two-requests", "two requests in one turn", packages::two_requests),
    ("unknown-package", "asks for a package that does not exist, then for one that does", packages::unknown),
    ("failing-build", "asks for a package whose installation fails, then for six", packages::failing_build),
    ("alternative", "asks for a package and follows a suggestion `ecosystem:name`", packages::alternative),
    ("ask-again", "repeats a denied request once", packages::ask_again),
    ("question", "asks a person which colour to use", turns::question),
    ("slow", "works in steps=N steps of seconds=S seconds", turns::slow),
    ("thinking", "takes seconds=S seconds for its first answer", turns::thinking),
    ("plain-end", "ends every turn without a request or a submission", turns::plain_end),
    ("late-submit", "ends its first turn without a submission and submits when nudged", turns::late_submit),
    ("continue", "submits, and appends each further message to notes.txt", turns::continued),
    ("progress", "reports progress, then submits all new files", turns::progress),
    ("messages", "writes down what it hears between two steps", turns::messages),
    ("follow", "does what lines such as `exec: …` in its task say", follow::follow),
    ("echo", "says the last words to it back", turns::echo),
];

/// The next turn of a script; none if there is no such model.
pub fn next_turn(model: &str, transcript: &Transcript) -> Option<Turn> {
    let name = model.rsplit('/').next().unwrap_or(model);
    let (_, _, script) = TABLE.iter().find(|(n, _, _)| *n == name)?;
    match script(&mut Job::new(transcript)) {
        Ok(never) => match never {},
        Err(turn) => Some(turn),
    }
}
