//! What can go wrong with images, by what the caller can do about it.

use domain::request::Ecosystem;

/// Why a request has no candidate. The text of each is a sentence for the agent and for the person.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The registry has no such package or no such version.
    #[error("{} has no package {name:?}{}", .ecosystem.as_str(), near_text(.near))]
    Unknown {
        /// Where it was looked for.
        ecosystem: Ecosystem,
        /// What was asked.
        name: String,
        /// Names that exist and look alike.
        near: Vec<String>,
    },
    /// The wishes cannot all be met.
    #[error("these {} packages cannot be installed together: {detail}", .ecosystem.as_str())]
    Conflict {
        /// Whose resolver says so.
        ecosystem: Ecosystem,
        /// The resolver's words.
        detail: String,
    },
    /// A registry could not be reached or answered with an error.
    #[error("the {} registry could not be asked: {detail}. Try again later", .ecosystem.as_str())]
    Network {
        /// Which registry.
        ecosystem: Ecosystem,
        /// What happened.
        detail: String,
    },
    /// A bound was reached.
    #[error("the request is too large: {what}. Ask for fewer or smaller packages")]
    TooLarge {
        /// Which bound, with its value.
        what: String,
    },
    /// The wish is not allowed, whatever a registry says.
    #[error("{what}")]
    Rejected {
        /// What and why.
        what: String,
    },
    /// It took too long.
    #[error("resolving did not finish within {limit_s} s. Ask for fewer packages or try again later")]
    Timeout {
        /// The limit.
        limit_s: u64,
    },
    /// A lookup was refused before it left.
    #[error("a package lookup was not allowed: {reason}")]
    Refused {
        /// The reason that the caller gave.
        reason: String,
    },
    /// Not the request's fault.
    #[error("the packages could not be resolved because of a fault on our side: {0}")]
    Internal(#[from] ImageError),
}

fn near_text(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!(". Did you mean {}?", near.join(", ")) }
}

impl ResolveError {
    /// A stable code for people and programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "package_unknown",
            Self::Conflict { .. } => "package_conflict",
            Self::Network { .. } => "registry_unreachable",
            Self::TooLarge { .. } => "request_too_large",
            Self::Rejected { .. } => "package_rejected",
            Self::Timeout { .. } => "resolve_timeout",
            Self::Refused { .. } => "lookup_refused",
            Self::Internal(_) => "resolve_failed",
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Network { .. } | Self::Timeout { .. } => true,
            Self::Internal(error) => error.is_transient(),
            Self::Unknown { .. }
            | Self::Conflict { .. }
            | Self::TooLarge { .. }
            | Self::Rejected { .. }
            | Self::Refused { .. } => false,
        }
    }
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A step of the Dockerfile failed: a package does not install.
    #[error("the packages do not install: {step}")]
    Failed {
        /// The builder's words.
        step: String,
        /// The last lines of the build's output.
        log_tail: String,
    },
    /// It took too long.
    #[error("the build did not finish within {limit_s} s")]
    Timeout {
        /// The limit.
        limit_s: u64,
    },
    /// What would be built is not what was approved.
    #[error("the approved set does not fit this build: {what}")]
    Mismatch {
        /// What differs.
        what: String,
    },
    /// Not the packages' fault.
    #[error(transparent)]
    Internal(#[from] ImageError),
}

impl BuildError {
    /// A stable code for people and programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "build_failed",
            Self::Timeout { .. } => "build_timeout",
            Self::Mismatch { .. } => "build_mismatch",
            Self::Internal(_) => "build_error",
        }
    }
}

/// A failure of this crate that is nobody's wish.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The Engine.
    #[error(transparent)]
    Docker(#[from] sandbox::Error),
    /// A file operation failed.
    #[error("{what}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The base image is not there.
    #[error("the base image is missing; run `taskforge image bootstrap`")]
    NoBase,
    /// The base image could not be made.
    #[error("the base image could not be made: {what}")]
    Bootstrap {
        /// What failed, with the last lines of output.
        what: String,
    },
    /// Something answered with what cannot be used.
    #[error("{what}")]
    Protocol {
        /// What is wrong.
        what: String,
    },
}

impl ImageError {
    /// A stable code for people and programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Docker(error) => error.code(),
            Self::Io { .. } => "image_io",
            Self::NoBase => "base_image_missing",
            Self::Bootstrap { .. } => "bootstrap_failed",
            Self::Protocol { .. } => "image_protocol",
        }
    }

    /// Whether the same call may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Docker(error) if error.is_transient())
    }

    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into() }
    }
}
