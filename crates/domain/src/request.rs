//! Requests of an agent, and the decisions of people on them.

use crate::{
    budget::{Amounts, Budget},
    ids::{RequestId, RunId, TaskId},
};
use serde::{Deserialize, Serialize};

/// How many requests of a task may be open at once.
pub const MAX_OPEN_REQUESTS: u32 = 3;
/// How many packages one request may name.
pub const MAX_PACKAGES_PER_REQUEST: usize = 20;
/// How long an undecided request waits by default, in seconds (7 days).
pub const DEFAULT_REQUEST_TTL_S: u64 = 7 * 24 * 3600;

/// Where a package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// PyPI.
    Pip,
    /// Debian.
    Apt,
    /// npm.
    Npm,
}

impl Ecosystem {
    /// The name that agents and people use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pip => "pip",
            Self::Apt => "apt",
            Self::Npm => "npm",
        }
    }
}

/// One package as the agent asked for it; not yet checked by its ecosystem's grammar.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageAsk {
    /// Where from.
    pub ecosystem: Ecosystem,
    /// The name.
    pub name: String,
    /// A version or range in the ecosystem's own syntax; none means the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ask {
    /// Packages, baked into a new image on approval.
    Packages {
        /// The packages.
        packages: Vec<PackageAsk>,
    },
    /// A question to a person.
    Question {
        /// The question.
        question: String,
        /// Suggested answers.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
    },
    /// More of the task's budget. TaskForge itself asks when a model call has no room in it.
    Budget(BudgetAsk),
}

/// What a person sees of a budget that is used up, and what an approval grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetAsk {
    /// The budget in force.
    pub budget: Budget,
    /// What is used of it, calls under way included.
    pub used: Amounts,
    /// What the refused call needs.
    pub need: Amounts,
    /// The budget that an approval puts in force.
    pub granted: Budget,
    /// The policy version that holds `budget`.
    pub policy_version: u32,
}

impl Ask {
    /// `packages`, `question` or `budget`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Packages { .. } => "packages",
            Self::Question { .. } => "question",
            Self::Budget(_) => "budget",
        }
    }

    /// Whether two asks want the same: the order of packages does not matter.
    pub fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Packages { packages: a }, Self::Packages { packages: b }) => {
                let (mut a, mut b) = (a.clone(), b.clone());
                a.sort();
                b.sort();
                a == b
            }
            (Self::Question { question: a, .. }, Self::Question { question: b, .. }) => a == b,
            (Self::Budget(a), Self::Budget(b)) => a == b,
            (Self::Packages { .. } | Self::Question { .. } | Self::Budget(_), _) => false,
        }
    }
}

/// Where a request came from, judged by the gateway from the model traffic that it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Provenance {
    /// The model emitted this very tool call.
    Model {
        /// The turn (model call of the iteration, from 1) that emitted it.
        turn: u32,
    },
    /// No model output asks for it: a program in the sandbox made the call.
    Program,
    /// Nothing in the sandbox asks: TaskForge found that the agent cannot go on without it.
    Taskforge,
}

macro_rules! text_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The text form, as stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The value of a stored text.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use text_enum;

text_enum! {
    /// Where a request stands.
    ///
    /// `resolving → pending → approved → applied | build_failed`, or `resolving → rejected`, or
    /// `pending → denied | suggested | answered | expired`; any open one `→ withdrawn` when its task ends. A budget is
    /// `pending` at once and `applied` with its approval: there is nothing to build.
    RequestStatus {
        /// Its candidate is being made.
        Resolving = "resolving",
        /// A person can decide.
        Pending = "pending",
        /// No candidate could be made; the agent was told why.
        Rejected = "rejected",
        /// Approved, not yet in the task's image.
        Approved = "approved",
        /// Approved and in force: in the task's image, or in its policy.
        Applied = "applied",
        /// Approved, but the image could not be built.
        BuildFailed = "build_failed",
        /// Denied with a reason.
        Denied = "denied",
        /// Not granted; a person suggested something else.
        Suggested = "suggested",
        /// A question, answered.
        Answered = "answered",
        /// Nobody decided in time.
        Expired = "expired",
        /// The task ended before a decision.
        Withdrawn = "withdrawn",
    }
}

impl RequestStatus {
    /// Whether the request still waits for something before its agent may go on.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Resolving | Self::Pending)
    }
}

/// What a person decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Verdict {
    /// Grant exactly the candidate.
    Approve,
    /// Refuse.
    Deny {
        /// Told to the agent.
        reason: String,
    },
    /// Refuse, and say what to do instead.
    Suggest {
        /// Told to the agent.
        alternative: String,
    },
    /// Answer a question.
    Answer {
        /// Told to the agent.
        answer: String,
    },
}

impl Verdict {
    /// `approve`, `deny`, `suggest` or `answer`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny { .. } => "deny",
            Self::Suggest { .. } => "suggest",
            Self::Answer { .. } => "answer",
        }
    }

    /// The person's words, if the verdict has some.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Approve => None,
            Self::Deny { reason: t } | Self::Suggest { alternative: t } | Self::Answer { answer: t } => Some(t),
        }
    }

    /// The status that follows, or none if the verdict does not fit the ask.
    pub const fn status_for(&self, ask: &Ask) -> Option<RequestStatus> {
        match (self, ask) {
            (Self::Approve, Ask::Packages { .. }) => Some(RequestStatus::Approved),
            (Self::Approve, Ask::Budget(_)) => Some(RequestStatus::Applied),
            (Self::Deny { .. }, _) => Some(RequestStatus::Denied),
            (Self::Suggest { .. }, Ask::Packages { .. }) => Some(RequestStatus::Suggested),
            (Self::Answer { .. }, Ask::Question { .. }) => Some(RequestStatus::Answered),
            (Self::Approve | Self::Suggest { .. }, Ask::Question { .. })
            | (Self::Answer { .. }, Ask::Packages { .. } | Ask::Budget(_))
            | (Self::Suggest { .. }, Ask::Budget(_)) => None,
        }
    }
}

/// A decision as recorded: bound to the digest that was shown, by the name of the token that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What was decided.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The candidate digest that the person was shown.
    pub digest: String,
    /// The token's name.
    pub reviewer: String,
    /// When, RFC 3339.
    pub decided_at: String,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// The task that asks.
    pub task: TaskId,
    /// The run that asks.
    pub run: RunId,
    /// The iteration that asks.
    pub iteration: u32,
    /// What is asked.
    pub ask: Ask,
    /// The agent's reason; not trusted, shown as the agent's words.
    pub reason: String,
    /// Who asked.
    pub provenance: Provenance,
    /// Where it stands.
    pub status: RequestStatus,
    /// Digest that a decision must carry; none while resolving.
    pub digest: Option<String>,
    /// The decision, once made.
    pub decision: Option<Decision>,
    /// What went wrong, for `rejected` and `build_failed`.
    pub failure: Option<String>,
    /// Whether the agent has been told the outcome.
    pub told: bool,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it expires undecided, RFC 3339.
    pub expires_at: String,
}
