//! The language that scripts are written in: a cursor that replays the transcript.
//!
//! Each step looks for itself in the transcript from the cursor on. Found with its result: the cursor moves behind it
//! and the step returns the result. Not found: the step returns `Err(Turn)`, which `?` hands out as the answer. So a
//! script reads like a program that runs once, and is evaluated afresh for each request.

use crate::transcript::{Entry, Transcript};
use serde_json::{Value, json};

/// How often a background command is asked for its end before the script gives up.
const MAX_POLLS: usize = 200;

/// A tool call to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The tool's name.
    pub name: String,
    /// Its arguments, an object.
    pub arguments: Value,
}

/// What the model answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Turn {
    /// Words.
    pub text: String,
    /// Tool calls; without any, the agent's turn ends.
    pub calls: Vec<Call>,
    /// How long the model thinks before the first byte.
    pub think_ms: u64,
}

impl Turn {
    /// Words that end the agent's turn.
    pub fn say(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// What a step gives: its result, or the turn to take now.
pub type Step<T> = Result<T, Turn>;

/// What became of a request, in the words that the model was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// How.
    pub how: How,
    /// The whole text.
    pub text: String,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Granted and in the image.
    Approved,
    /// Refused.
    Denied,
    /// Refused, with something else to do instead.
    Suggested,
    /// A question was answered.
    Answered,
    /// Anything else: could not be resolved or built, expired.
    Failed,
}

/// A cursor through a transcript.
#[derive(Debug)]
pub struct Job<'a> {
    transcript: &'a Transcript,
    at: usize,
}

impl<'a> Job<'a> {
    /// At the start.
    pub fn new(transcript: &'a Transcript) -> Self {
        Self { transcript, at: 0 }
    }

    /// The first words to the model: the task.
    pub fn task(&self) -> &'a str {
        self.transcript.user_texts().next().unwrap_or_default()
    }

    /// The number behind `name=` in the task, or `default`.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        let after = self.task().split(&format!("{name}=")).nth(1).unwrap_or_default();
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(default)
    }

    /// Whether the request offers a tool.
    pub fn offers(&self, tool: &str) -> bool {
        self.transcript.tools.contains(tool)
    }

    /// Calls tools side by side; their results in order.
    pub fn calls(&mut self, text: &str, calls: Vec<Call>) -> Step<Vec<String>> {
        if let Some(missing) = calls.iter().find(|c| !self.offers(&c.name)) {
            return Err(Turn::say(format!("I cannot go on: I have no tool named {}.", missing.name)));
        }
        let found: Vec<_> = calls.iter().map(|c| self.find(c)).collect();
        if let Some(results) = found.iter().cloned().collect::<Option<Vec<_>>>() {
            self.at = results.iter().map(|(at, _)| at + 1).max().unwrap_or(self.at);
            return Ok(results.into_iter().map(|(_, text)| text).collect());
        }
        let open = calls.into_iter().zip(found).filter(|(_, f)| f.is_none()).map(|(c, _)| c).collect();
        Err(Turn { text: text.to_owned(), calls: open, think_ms: 0 })
    }

    /// Calls one tool.
    pub fn call(&mut self, text: &str, name: &str, arguments: Value) -> Step<String> {
        let mut results = self.calls(text, vec![Call { name: name.to_owned(), arguments }])?;
        Ok(results.pop().unwrap_or_default())
    }

    /// Runs a shell command to its end.
    pub fn exec(&mut self, text: &str, command: &str) -> Step<String> {
        let mut result = self.call(text, "exec", json!({ "command": command }))?;
        for n in 0..MAX_POLLS {
            let Some(session) = background_session(&result) else { break };
            // No two polls are the same: OpenClaw takes a repeated call for a loop and ends the run.
            let poll = json!({ "action": "poll", "sessionId": session, "timeout": 10_000 + n });
            result = self.call("", "process", poll)?;
        }
        Ok(result)
    }

    /// Writes a file of the workspace, through the shell where no `write` tool is offered.
    pub fn write(&mut self, text: &str, path: &str, content: &str) -> Step<String> {
        if self.offers("write") {
            return self.call(text, "write", json!({ "path": path, "content": content }));
        }
        self.exec(text, &format!("cat > '{path}' <<'END-OF-FILE'\n{content}\nEND-OF-FILE\n"))
    }

    /// Reads a file of the workspace, through the shell where no `read` tool is offered.
    pub fn read(&mut self, text: &str, path: &str) -> Step<String> {
        if self.offers("read") {
            return self.call(text, "read", json!({ "path": path }));
        }
        self.exec(text, &format!("cat '{path}'"))
    }

    /// Asks for packages (`pip:name`, `apt:name`, `npm:name`, with `==version` where one is wanted) and waits.
    pub fn request(&mut self, text: &str, packages: &[&str], reason: &str) -> Step<Decided> {
        let mut all = self.requests(text, &[(packages, reason)])?;
        Ok(all.pop().unwrap_or(Decided { how: How::Failed, text: String::new() }))
    }

    /// Makes several requests side by side and waits until all are decided.
    pub fn requests(&mut self, text: &str, requests: &[(&[&str], &str)]) -> Step<Vec<Decided>> {
        let calls = requests.iter().map(|(packages, reason)| request_call(packages, reason)).collect();
        let results = self.calls(text, calls)?;
        self.settled(results)
    }

    /// Asks a person and waits for the answer.
    pub fn ask(&mut self, question: &str, options: &[&str]) -> Step<Decided> {
        let call = ask_call(question, options);
        let results = self.calls("", vec![call])?;
        Ok(self.settled(results)?.pop().unwrap_or(Decided { how: How::Failed, text: String::new() }))
    }

    /// Reports progress.
    pub fn progress(&mut self, message: &str) -> Step<String> {
        self.call("", "taskforge__report_progress", json!({ "message": message }))
    }

    /// Submits the result.
    pub fn submit(&mut self, summary: &str, files: &[&str]) -> Step<String> {
        self.call("", "taskforge__submit_result", json!({ "summary": summary, "files": files }))
    }

    /// Ends the agent's turn with words, and goes on at the next words to the model, which it returns.
    pub fn end_turn(&mut self, text: &str) -> Step<&'a str> {
        let rest = self.transcript.entries.get(self.at..).unwrap_or_default();
        let next = rest.iter().enumerate().find_map(|(i, e)| match e {
            Entry::User(words) => Some((i, words)),
            Entry::Said(_) | Entry::Call { .. } => None,
        });
        let Some((i, words)) = next else { return Err(Turn::say(text)) };
        self.at += i + 1;
        Ok(words)
    }

    /// Skips to behind the first words to the model: the task.
    pub fn begin(&mut self) -> &'a str {
        self.end_turn("").unwrap_or_default()
    }

    fn settled(&mut self, results: Vec<String>) -> Step<Vec<Decided>> {
        let mut told: Option<&str> = None;
        let mut all = Vec::new();
        for result in results {
            let decided = match (settled_at_once(&result), told) {
                (Some(how), _) => Decided { how, text: result },
                (None, Some(words)) => {
                    Decided { how: decision_in(words).unwrap_or(How::Failed), text: words.to_owned() }
                }
                (None, None) => {
                    let words = *told.insert(self.decision()?);
                    Decided { how: decision_in(words).unwrap_or(How::Failed), text: words.to_owned() }
                }
            };
            all.push(decided);
        }
        Ok(all)
    }

    /// The words that tell of a decision; until they come, the turn ends.
    fn decision(&mut self) -> Step<&'a str> {
        loop {
            let words = self.end_turn("I have asked and wait for the decision. I end my turn here.")?;
            if decision_in(words).is_some() {
                return Ok(words);
            }
        }
    }

    fn find(&self, call: &Call) -> Option<(usize, String)> {
        let rest = self.transcript.entries.iter().enumerate().skip(self.at);
        let mut hits = rest.filter_map(|(i, entry)| match entry {
            Entry::Call { name, arguments, result: Some(result) } if *name == call.name => {
                contains(arguments, &call.arguments).then(|| (i, result.clone()))
            }
            Entry::Call { .. } | Entry::User(_) | Entry::Said(_) => None,
        });
        hits.next()
    }
}

/// The call that asks for packages.
pub fn request_call(packages: &[&str], reason: &str) -> Call {
    let packages: Vec<_> = packages.iter().map(|p| package(p)).collect();
    Call {
        name: "taskforge__request_packages".to_owned(),
        arguments: json!({ "packages": packages, "reason": reason }),
    }
}

/// The call that asks a person.
pub fn ask_call(question: &str, options: &[&str]) -> Call {
    let mut arguments = json!({ "question": question });
    if !options.is_empty() {
        arguments["options"] = json!(options);
    }
    Call { name: "taskforge__ask_human".to_owned(), arguments }
}

fn package(text: &str) -> Value {
    let (ecosystem, rest) = text.split_once(':').unwrap_or(("pip", text));
    match rest.split_once("==") {
        Some((name, version)) => json!({ "ecosystem": ecosystem, "name": name, "version": version }),
        None => json!({ "ecosystem": ecosystem, "name": rest }),
    }
}

/// Whether `wanted`'s fields are in `have`; agents may add defaults of their own.
fn contains(have: &Value, wanted: &Value) -> bool {
    match (have, wanted) {
        (Value::Object(have), Value::Object(wanted)) => {
            wanted.iter().all(|(k, v)| have.get(k).is_some_and(|h| contains(h, v)))
        }
        (Value::String(have), Value::String(wanted)) => have.trim() == wanted.trim(),
        (have, wanted) => have == wanted,
    }
}

fn background_session(result: &str) -> Option<&str> {
    let at = result.find("still running (session ").map(|i| i + "still running (session ".len());
    let rest = result.get(at?..)?;
    rest.split(|c: char| c == ')' || c == ',' || c.is_whitespace()).next().filter(|s| !s.is_empty())
}

/// How the lines begin that tell of a decision when the agent is started again.
const DECISIONS: &[(&str, How)] = &[
    ("approved, but", How::Failed),
    ("approved", How::Approved),
    ("denied", How::Denied),
    ("not granted", How::Suggested),
    ("answer by", How::Answered),
    ("nobody decided in time", How::Failed),
    ("could not be resolved", How::Failed),
    ("withdrawn", How::Failed),
];

/// What the first line of a tool's answer holds when it needs no waiting.
const AT_ONCE: &[(&str, How)] = &[
    ("already approved", How::Approved),
    ("already installed", How::Approved),
    ("already has", How::Approved),
    ("already denied", How::Denied),
    ("already refused", How::Denied),
    ("already answered", How::Suggested),
    ("could not be prepared", How::Failed),
    ("withdrawn", How::Failed),
    ("not done", How::Failed),
];

/// What the first line that tells of a decision says.
fn decision_in(words: &str) -> Option<How> {
    words.lines().find_map(|line| {
        let line = line.trim().to_lowercase();
        DECISIONS.iter().find(|(start, _)| line.starts_with(start)).map(|(_, how)| *how)
    })
}

/// What a tool's answer decides by itself; none if it must be waited for.
fn settled_at_once(answer: &str) -> Option<How> {
    let first = answer.lines().next().unwrap_or_default().to_lowercase();
    let known = AT_ONCE.iter().find(|(part, _)| first.contains(part)).map(|(_, how)| *how);
    let waits = answer.to_lowercase().contains("end your turn");
    known.or(if waits { None } else { Some(How::Failed) })
}
