//! What can stand in the way of a lookup: a spent budget, a registry, a refusal.

use crate::error::ResolveError;
use axum::http::StatusCode;
use domain::request::Ecosystem;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The window of the task's budget.
const HOUR: Duration = Duration::from_secs(3600);

/// Lookups of a task within the last hour.
#[derive(Debug, Default)]
pub struct HourBudget {
    taken: VecDeque<Instant>,
}

impl HourBudget {
    /// Takes one lookup, unless `limit` of them were taken in the hour before `now`.
    pub fn take(&mut self, now: Instant, limit: u32) -> bool {
        while self.taken.front().is_some_and(|t| now.duration_since(*t) >= HOUR) {
            self.taken.pop_front();
        }
        let free = self.taken.len() < limit as usize;
        if free {
            self.taken.push_back(now);
        }
        free
    }

    /// Whether nothing was taken in the hour before `now`.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.taken.back().is_none_or(|t| now.duration_since(*t) >= HOUR)
    }
}

/// Why the proxy did not answer with what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// No such route.
    NoRoute,
    /// The registry has no such thing.
    Missing {
        /// Which registry.
        ecosystem: Ecosystem,
        /// What was asked.
        name: String,
    },
    /// The registry could not be asked.
    Network {
        /// Which registry.
        ecosystem: Ecosystem,
        /// What happened.
        detail: String,
    },
    /// A bound was reached.
    TooLarge {
        /// Which.
        what: String,
    },
    /// The caller refused the lookup.
    Refused {
        /// Its reason.
        reason: String,
    },
}

impl Trouble {
    pub(super) fn as_response(&self) -> (StatusCode, String) {
        match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "no such route".into()),
            Self::Missing { name, .. } => (StatusCode::NOT_FOUND, format!("{name} not found")),
            Self::Network { detail, .. } => (StatusCode::BAD_GATEWAY, detail.clone()),
            Self::TooLarge { what } => (StatusCode::INSUFFICIENT_STORAGE, what.clone()),
            Self::Refused { reason } => (StatusCode::FORBIDDEN, reason.clone()),
        }
    }

    /// The trouble as an answer to the request that caused it.
    pub fn into_error(self) -> ResolveError {
        match self {
            Self::NoRoute => ResolveError::Rejected { what: "the package points outside of its registry".into() },
            Self::Missing { ecosystem, name } => ResolveError::Unknown { ecosystem, name, near: Vec::new() },
            Self::Network { ecosystem, detail } => ResolveError::Network { ecosystem, detail },
            Self::TooLarge { what } => ResolveError::TooLarge { what },
            Self::Refused { reason } => ResolveError::Refused { reason },
        }
    }
}
