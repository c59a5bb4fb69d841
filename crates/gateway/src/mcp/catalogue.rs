//! The tools: what the agent is told about each, and what it may send.

use domain::request::{MAX_PACKAGES_PER_REQUEST, PackageAsk};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// The longest name of a package.
const MAX_NAME_BYTES: usize = 214;
/// The longest version or range.
const MAX_VERSION_BYTES: usize = 100;
/// The longest reason, question or answer option.
const MAX_TEXT_BYTES: usize = 8 << 10;
/// The longest summary.
const MAX_SUMMARY_BYTES: usize = 256 << 10;
/// The most files of a submission.
const MAX_FILES: usize = 1000;
/// The longest path.
const MAX_PATH_BYTES: usize = 4096;
/// The most options of a question.
const MAX_OPTIONS: usize = 10;
/// The longest progress report.
const MAX_PROGRESS_BYTES: usize = 2000;

/// A tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    RequestPackages,
    AskHuman,
    ReportProgress,
    SubmitResult,
}

impl Tool {
    pub(super) const ALL: [Self; 4] = [Self::RequestPackages, Self::AskHuman, Self::ReportProgress, Self::SubmitResult];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RequestPackages => "request_packages",
            Self::AskHuman => "ask_human",
            Self::ReportProgress => "report_progress",
            Self::SubmitResult => "submit_result",
        }
    }

    /// The name under which a model knows it when its client prefixes the server's name.
    pub(super) const fn prefixed_name(self) -> &'static str {
        match self {
            Self::RequestPackages => "taskforge__request_packages",
            Self::AskHuman => "taskforge__ask_human",
            Self::ReportProgress => "taskforge__report_progress",
            Self::SubmitResult => "taskforge__submit_result",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    const fn description(self) -> &'static str {
        match self {
            Self::RequestPackages => {
                "Ask for packages that are missing here. This sandbox has no network, so pip, apt and npm cannot \
                 install anything: this tool is the only way. Name everything you need in one request; dependencies \
                 are found by themselves. A person reviews the exact files. If the answer says that the request waits \
                 for a person, END YOUR TURN AT ONCE: you will be started again, in the same session and workspace, \
                 with the packages installed or with the reason why not. Do not poll, do not work around it. If it is \
                 denied, go on without it or do what the reason says; do not ask for the same again."
            }
            Self::AskHuman => {
                "Ask a person a question that you cannot settle yourself. The answer takes a while: after this call END \
                 YOUR TURN AT ONCE. You will be started again, in the same session and workspace, with the answer."
            }
            Self::ReportProgress => {
                "Tell the people who watch what you are doing, in one sentence. Optional, answered at once; go on \
                 working afterwards. Do not use it to ask for something or to deliver your result."
            }
            Self::SubmitResult => {
                "Deliver your result when the task is done: a summary for the person and the files that belong to it \
                 (paths in the workspace; leave the list out to deliver everything new or changed). Call it exactly \
                 once, as your last act, yourself and not from a script, and end your turn after it. Without it the task counts as \
                 not delivered."
            }
        }
    }

    fn schema(self) -> Value {
        let text = |description: &str| json!({ "type": "string", "minLength": 1, "description": description });
        let object = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
        match self {
            Self::RequestPackages => object(
                json!({
                    "packages": {
                        "type": "array", "minItems": 1, "maxItems": MAX_PACKAGES_PER_REQUEST,
                        "items": object(json!({
                            "ecosystem": { "type": "string", "enum": ["pip", "apt", "npm"],
                                "description": "pip for Python, npm for Node.js, apt for programs and system libraries" },
                            "name": text("The package's name in its registry, without a version or a URL"),
                            "version": text("A version or range in the registry's own syntax; leave out for the newest"),
                        }), &["ecosystem", "name"]),
                    },
                    "reason": text("Why you need them, for the person who decides"),
                }),
                &["packages", "reason"],
            ),
            Self::AskHuman => object(
                json!({
                    "question": text("The question, with what the person must know to answer it"),
                    "options": { "type": "array", "maxItems": MAX_OPTIONS, "items": text("A possible answer") },
                }),
                &["question"],
            ),
            Self::ReportProgress => object(
                json!({
                    "message": text("What you are doing"),
                    "percent": { "type": "number", "minimum": 0, "maximum": 100, "description": "How much is done" },
                }),
                &["message"],
            ),
            Self::SubmitResult => object(
                json!({
                    "summary": text("What you did and found, for the person"),
                    "files": { "type": "array", "maxItems": MAX_FILES, "items": text("A path in the workspace") },
                }),
                &["summary"],
            ),
        }
    }
}

/// The answer to `tools/list`.
pub(super) fn list() -> Vec<Value> {
    Tool::ALL
        .iter()
        .map(|t| json!({ "name": t.name(), "description": t.description(), "inputSchema": t.schema() }))
        .collect()
}

/// Arguments of `request_packages`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Packages {
    pub(super) packages: Vec<PackageAsk>,
    pub(super) reason: String,
}

/// Arguments of `ask_human`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    pub(super) question: String,
    pub(super) options: Option<Vec<String>>,
}

/// Arguments of `report_progress`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    pub(super) message: String,
    pub(super) percent: Option<f64>,
}

/// Arguments of `submit_result`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submission {
    pub(super) summary: String,
    pub(super) files: Option<Vec<String>>,
}

/// Reads arguments; the error tells the agent what is wrong.
pub(super) fn read<T: DeserializeOwned>(arguments: &Value) -> Result<T, String> {
    T::deserialize(arguments).map_err(|e| e.to_string())
}

impl Packages {
    pub(super) fn check(mut self) -> Result<Self, String> {
        let n = self.packages.len();
        if n == 0 || n > MAX_PACKAGES_PER_REQUEST {
            return Err(format!("`packages` holds {n} entries; it must be 1 to {MAX_PACKAGES_PER_REQUEST}"));
        }
        for p in &self.packages {
            text("name", &p.name, MAX_NAME_BYTES)?;
            if let Some(version) = &p.version {
                text("version", version, MAX_VERSION_BYTES)?;
            }
        }
        text("reason", &self.reason, MAX_TEXT_BYTES)?;
        let mut seen = Vec::with_capacity(n);
        self.packages.retain(|p| {
            !seen.contains(p) && {
                seen.push(p.clone());
                true
            }
        });
        Ok(self)
    }
}

impl Question {
    pub(super) fn check(self) -> Result<Self, String> {
        text("question", &self.question, MAX_TEXT_BYTES)?;
        let options = self.options.as_deref().unwrap_or_default();
        if options.len() > MAX_OPTIONS {
            return Err(format!("`options` holds more than {MAX_OPTIONS} entries"));
        }
        options.iter().try_for_each(|o| text("option", o, MAX_TEXT_BYTES))?;
        Ok(self)
    }
}

impl Progress {
    pub(super) fn check(self) -> Result<Self, String> {
        text("message", &self.message, MAX_PROGRESS_BYTES)?;
        if self.percent.is_some_and(|p| !(0.0..=100.0).contains(&p)) {
            return Err("`percent` must lie between 0 and 100".to_owned());
        }
        Ok(self)
    }
}

impl Submission {
    /// Paths become relative to the workspace.
    pub(super) fn check(mut self) -> Result<Self, String> {
        text("summary", &self.summary, MAX_SUMMARY_BYTES)?;
        let files = self.files.get_or_insert_default();
        if files.len() > MAX_FILES {
            return Err(format!(
                "`files` names more than {MAX_FILES} files; leave it out to deliver everything new or changed"
            ));
        }
        for file in files {
            *file = workspace_path(file)?;
        }
        Ok(self)
    }
}

fn text(name: &str, value: &str, max: usize) -> Result<(), String> {
    match value.trim().is_empty() {
        true => Err(format!("`{name}` is empty")),
        false if value.len() > max => Err(format!("`{name}` is longer than {max} bytes")),
        false => Ok(()),
    }
}

/// A path in the workspace, relative to it. Whether a file is there is seen when the files are collected.
fn workspace_path(path: &str) -> Result<String, String> {
    let shown = || domain::text::visible_line(&path.chars().take(200).collect::<String>());
    let inside = match path.strip_prefix("/workspace/") {
        Some(rest) => rest,
        None if path.starts_with('/') => return Err(format!("{:?} is not in the workspace", shown())),
        None => path,
    };
    let parts: Vec<&str> = inside.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    if parts.is_empty() || parts.contains(&"..") || path.contains('\0') || path.len() > MAX_PATH_BYTES {
        return Err(format!("{:?} is not a path of a file in the workspace", shown()));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_workspace() {
        for (given, path) in
            [("a.md", "a.md"), ("./x//y", "x/y"), ("/workspace/out/z.png", "out/z.png"), ("a..b", "a..b")]
        {
            assert_eq!(workspace_path(given).as_deref(), Ok(path));
        }
        for bad in
            ["", "/", "/etc/passwd", "../x", "a/../../x", "/workspace", "/workspace/", "/workspace/../etc", "a\0b"]
        {
            assert!(workspace_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn arguments_are_checked_and_the_fault_is_named() {
        let packages = |v: Value| read::<Packages>(&v).and_then(Packages::check);
        let twice = json!({"ecosystem":"pip","name":"x"});
        assert_eq!(packages(json!({"packages":[twice, twice],"reason":"r"})).unwrap().packages.len(), 1);
        for (bad, word) in [
            (json!({"packages":[],"reason":"r"}), "packages"),
            (json!({"packages":[{"ecosystem":"cargo","name":"x"}],"reason":"r"}), "cargo"),
            (json!({"packages":[{"ecosystem":"pip","name":" "}],"reason":"r"}), "name"),
            (json!({"packages":[{"ecosystem":"pip","name":"x"}]}), "reason"),
            (json!({"packages":[{"ecosystem":"pip","name":"x"}],"reason":"r","approved":true}), "approved"),
            (json!("x"), "struct"),
        ] {
            assert!(packages(bad).unwrap_err().contains(word), "{word}");
        }
        assert!(read::<Progress>(&json!({"message":"m","percent":101})).and_then(Progress::check).is_err());
        assert!(read::<Question>(&json!({"question":""})).and_then(Question::check).is_err());
    }

    #[test]
    fn every_tool_has_a_schema_of_its_own_arguments() {
        for (tool, described) in Tool::ALL.into_iter().zip(list()) {
            assert_eq!(Tool::parse(tool.name()), Some(tool));
            assert_eq!(tool.prefixed_name(), format!("taskforge__{}", tool.name()));
            let required = described["inputSchema"]["required"].as_array().unwrap();
            assert!(required.iter().all(|r| described["inputSchema"]["properties"].get(r.as_str().unwrap()).is_some()));
        }
    }
}
