//! How a command ends: stable exit codes, and failures that say what to do next.

use std::fmt;

/// Exit codes, part of the interface: see `taskforge --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It worked.
    Ok = 0,
    /// It failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The server cannot be reached.
    Unreachable = 3,
    /// The token is missing, unknown or not allowed.
    NotAllowed = 4,
    /// It clashes with the present state: decided before, stale, or the task's status forbids it.
    Conflict = 5,
    /// The task ended without success.
    TaskFailed = 6,
    /// The command was interrupted; the task goes on.
    Interrupted = 7,
}

/// The table for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  it worked
  1  it failed
  2  the command line is wrong
  3  the server cannot be reached
  4  the token is missing, unknown or not allowed
  5  conflict: decided before, stale, or the task's status forbids it
  6  the task ended without success
  7  interrupted; the task goes on";

/// A command that did not work.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// A stable code.
    pub(crate) code: String,
    /// What failed.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// The request id and details of the server's error.
    pub(crate) details: Option<serde_json::Value>,
}

/// What commands return.
pub(crate) type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    /// A failure with an exit code.
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: code.to_owned(), message: message.into(), hint: None, details: None }
    }

    /// A plain failure.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "failed", message)
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// Says what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure as one JSON document.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({"error": {
            "code": self.code, "message": self.message, "hint": self.hint, "details": self.details,
            "exit_code": self.exit as u8,
        }})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", domain::text::visible(&self.message))?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint:  {}", domain::text::visible(hint))?;
        }
        Ok(())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(e: anyhow::Error) -> Self {
        Self::failed(format!("{e:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::failed(e.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(e: serde_json::Error) -> Self {
        Self::failed(e.to_string())
    }
}

impl From<audit::AuditError> for Failure {
    fn from(e: audit::AuditError) -> Self {
        Self::new(Exit::Failed, "audit", e.to_string())
    }
}
