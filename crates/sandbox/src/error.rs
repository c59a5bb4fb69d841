//! What can go wrong with a sandbox, by what the caller can do about it.

use bollard::errors::Error as Engine;
use std::{io, time::Duration};

/// A failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the Engine's address.
    #[error("docker is not running or not reachable at {endpoint}: {cause}")]
    Unreachable {
        /// Where it was expected.
        endpoint: String,
        /// What the connection attempt said.
        cause: String,
    },
    /// The Engine took longer than the operation may take.
    #[error("docker did not finish {op} within {limit_s} s")]
    Timeout {
        /// The operation.
        op: &'static str,
        /// Its limit.
        limit_s: u64,
    },
    /// The address of the Engine makes no sense.
    #[error("{endpoint:?} is not an address of a docker engine")]
    Endpoint {
        /// The address.
        endpoint: String,
    },
    /// The image is not on this Engine.
    #[error("image {image} is not on this docker engine")]
    NoSuchImage {
        /// Its reference.
        image: String,
    },
    /// The thing that was named is not there.
    #[error("{what} does not exist")]
    NotFound {
        /// Its name.
        what: String,
    },
    /// A container that is not ours has the name that we need.
    #[error("container {name} exists but does not belong to this installation")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The Engine answered and said no.
    #[error("docker refused {op} with status {status}: {message}")]
    Refused {
        /// The operation.
        op: &'static str,
        /// HTTP status.
        status: u16,
        /// The Engine's words.
        message: String,
    },
    /// Something that the caller gave cannot be used.
    #[error("{what}")]
    Invalid {
        /// What and why.
        what: String,
    },
    /// A file operation of the host failed.
    #[error("{what}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The Engine's answer could not be understood.
    #[error("docker's answer to {op} cannot be used: {cause}")]
    Protocol {
        /// The operation.
        op: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

impl Error {
    /// A stable code for people and programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "docker_unreachable",
            Self::Timeout { .. } => "docker_timeout",
            Self::Endpoint { .. } => "docker_endpoint",
            Self::NoSuchImage { .. } => "image_missing",
            Self::NotFound { .. } => "sandbox_not_found",
            Self::NameTaken { .. } => "sandbox_name_taken",
            Self::Refused { .. } => "docker_refused",
            Self::Invalid { .. } => "sandbox_invalid",
            Self::Io { .. } => "sandbox_io",
            Self::Protocol { .. } => "docker_protocol",
        }
    }

    /// What to do next.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "start Docker (`systemctl start docker`, or `dockerd` as root), check that this user may open its \
                 socket, or set TASKFORGE_DOCKER_HOST"
            }
            Self::Timeout { .. } => "look at the load of the machine and at Docker's own log, then try again",
            Self::Endpoint { .. } => "use unix:///path/to/docker.sock or tcp://host:port in TASKFORGE_DOCKER_HOST",
            Self::NoSuchImage { .. } => {
                "for the base image run `taskforge image bootstrap`; a task's own image comes back with a backup made with \
                 --with-images (`make backup IMAGES=1`), or with a new task"
            }
            Self::NotFound { .. } => "see `taskforge task show` for the state of the task",
            Self::NameTaken { .. } => "remove or rename that container; TaskForge does not touch what is not its own",
            Self::Refused { .. } => "see Docker's message; `taskforge doctor` checks the usual causes",
            Self::Invalid { .. } => "correct the value",
            Self::Io { .. } => "check the free space and the permissions of the data directory",
            Self::Protocol { .. } => "check Docker's version: 20.10 or newer is needed",
        }
    }

    /// Whether the same call can succeed later without anybody changing anything but the Engine's state.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
            || matches!(self, Self::Refused { status, .. } if *status >= 500)
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    pub(crate) const fn timeout(op: &'static str, limit: Duration) -> Self {
        Self::Timeout { op, limit_s: limit.as_secs() }
    }

    /// Sorts an error of the Engine's client.
    pub(crate) fn engine(op: &'static str, endpoint: &str, error: Engine) -> Self {
        match error {
            Engine::DockerResponseServerError { status_code: 404, message } => {
                match message.split_once("No such image: ") {
                    Some((_, image)) => Self::NoSuchImage { image: image.trim().to_owned() },
                    None => Self::NotFound { what: message },
                }
            }
            Engine::DockerResponseServerError { status_code, message } => {
                Self::Refused { op, status: status_code, message }
            }
            Engine::RequestTimeoutError => Self::Timeout { op, limit_s: crate::docker::CALL_TIMEOUT.as_secs() },
            Engine::SocketNotFoundError(path) => {
                Self::Unreachable { endpoint: endpoint.to_owned(), cause: format!("there is no socket at {path}") }
            }
            unreachable @ (Engine::HyperLegacyError { .. }
            | Engine::HyperResponseError { .. }
            | Engine::IOError { .. }) => {
                Self::Unreachable { endpoint: endpoint.to_owned(), cause: chain(&unreachable) }
            }
            other => Self::Protocol { op, cause: chain(&other) },
        }
    }
}

/// An error and its sources on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        let next_text = next.to_string();
        if !text.ends_with(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        source = next.source();
    }
    text
}
