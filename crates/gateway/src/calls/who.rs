//! Who makes a call, and what of the gateway belongs to them.

use super::Shared;
use crate::{body::Memory, sandbox::Sandbox};
use domain::ids::RunId;
use std::sync::Arc;
use store::{Caller, CallerKey};
use tokio_util::sync::CancellationToken;

/// Who makes a call. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Who {
    /// What runs in a sandbox.
    Sandbox(Arc<Sandbox>),
    /// Somebody over TCP.
    Caller(Arc<Outside>),
}

/// A caller over TCP.
pub(crate) struct Outside {
    pub(crate) shared: Shared,
    pub(crate) identity: Identity,
    pub(crate) cancel: CancellationToken,
}

/// By what a caller is known.
#[derive(Clone)]
pub(crate) enum Identity {
    /// A key of the gateway.
    Key(Arc<CallerKey>),
    /// An API token, by its name.
    Token(String),
    /// Nothing that is valid.
    Unknown,
}

impl Who {
    pub(crate) fn shared(&self) -> &Shared {
        match self {
            Self::Sandbox(s) => &s.shared,
            Self::Caller(c) => &c.shared,
        }
    }

    pub(crate) fn memory(&self) -> &Memory {
        match self {
            Self::Sandbox(s) => &s.memory,
            Self::Caller(c) => &c.shared.memory,
        }
    }

    pub(crate) fn cancel(&self) -> &CancellationToken {
        match self {
            Self::Sandbox(s) => &s.cancel,
            Self::Caller(c) => &c.cancel,
        }
    }

    /// Whether nobody knows who it is.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Caller(c) if matches!(c.identity, Identity::Unknown))
    }

    /// Whether a model's name may be suggested: names outside of a key's scope are nobody's business, and a sandbox
    /// knows its own.
    pub(crate) fn may_name(&self, provider: &str, model: &str) -> bool {
        match self {
            Self::Sandbox(_) => false,
            Self::Caller(c) => match &c.identity {
                Identity::Key(key) => key.models.as_deref().is_none_or(|s| super::admit::in_scope(s, provider, model)),
                Identity::Token(_) => true,
                Identity::Unknown => false,
            },
        }
    }

    /// Under whose name reasoning is kept.
    pub(crate) fn carry_scope(&self) -> Option<Caller> {
        match self {
            // Only the task counts for what is kept.
            Self::Sandbox(s) => {
                Some(Caller::Task { task: s.task, run: store::new_id(RunId::from_uuid), iteration: 0, turn: 0 })
            }
            Self::Caller(c) => match &c.identity {
                Identity::Key(key) => Some(Caller::Key { key: key.id }),
                Identity::Token(name) => Some(Caller::Token { name: name.clone() }),
                Identity::Unknown => None,
            },
        }
    }

    /// For plumbing logs.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Sandbox(s) => s.task.to_string(),
            Self::Caller(c) => match &c.identity {
                Identity::Key(key) => key.id.to_string(),
                Identity::Token(name) => format!("token:{name}"),
                Identity::Unknown => "unknown".to_owned(),
            },
        }
    }
}
