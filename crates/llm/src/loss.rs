//! What cannot be carried from one format to another: reported, or refused.

use crate::{ApiError, ErrorKind, Format};
use serde::Serialize;

/// The most losses that are listed for one call; a last one says that there were more.
pub const MAX_LOSSES: usize = 100;

/// Something that was left out and does not change what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The field, as the source spells it.
    pub field: String,
    /// What became of it.
    pub note: String,
}

/// A list of losses, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses(Vec<Loss>);

impl Losses {
    /// Adds one.
    pub fn add(&mut self, field: impl Into<String>, note: impl Into<String>) {
        let loss = Loss { field: field.into(), note: note.into() };
        if self.0.contains(&loss) || self.0.len() > MAX_LOSSES {
            return;
        }
        if self.0.len() == MAX_LOSSES {
            let note = format!("more than {MAX_LOSSES} fields were left out; the recorded request has them all");
            return self.0.push(Loss { field: "…".into(), note });
        }
        self.0.push(loss);
    }

    /// Adds one if there is something to lose.
    pub fn add_if(&mut self, lost: bool, field: &str, note: &str) {
        if lost {
            self.add(field, note);
        }
    }

    /// The list.
    pub fn into_vec(self) -> Vec<Loss> {
        self.0
    }
}

/// A call that cannot be translated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TranslateError {
    /// What came is not of its format.
    #[error("{what} is not valid in {}: {why}", format.title())]
    Malformed {
        /// The format that was expected.
        format: Format,
        /// The field, or `the body`.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Left out, this would change what is asked for.
    #[error("`{field}` cannot be carried to the provider of this model: {why}")]
    Unsupported {
        /// The field, as the source spells it.
        field: String,
        /// Why not, and what to do instead.
        why: String,
    },
}

impl TranslateError {
    /// A refusal.
    pub fn unsupported(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Unsupported { field: field.into(), why: why.into() }
    }

    /// The answer to the client.
    pub fn to_api_error(&self) -> ApiError {
        let code = match self {
            Self::Malformed { .. } => "invalid_request",
            Self::Unsupported { .. } => "unsupported_parameter",
        };
        ApiError::new(400, ErrorKind::InvalidRequest, code, self.to_string())
    }
}
