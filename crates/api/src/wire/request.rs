//! Requests of agents and the decisions on them.

use super::{Amounts, Budget};
use domain::request as d;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Request {
    /// Its id.
    #[schema(example = "req_0193a7c05c5a7f1e8b4de1a3c6f7b2d9")]
    pub id: String,
    /// The task that asks.
    pub task: String,
    /// The iteration that asks.
    pub iteration: u32,
    /// What is asked. The names and words are the agent's.
    pub ask: RequestAsk,
    /// The agent's reason; not trusted.
    pub reason: String,
    /// Whether the model asked, a program in the sandbox, or TaskForge itself.
    pub provenance: Provenance,
    /// `resolving`, `pending`, `rejected`, `approved`, `applied`, `build_failed`, `denied`, `suggested`, `answered`,
    /// `expired` or `withdrawn`.
    pub status: String,
    /// The digest that a decision must carry.
    pub digest: Option<String>,
    /// The decision, once made.
    pub decision: Option<Decision>,
    /// What went wrong.
    pub failure: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// When it expires undecided, RFC 3339.
    pub expires_at: String,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RequestAsk {
    /// Packages, baked into a new image on approval.
    Packages {
        /// As the agent named them.
        packages: Vec<RequestedPackage>,
    },
    /// A question to a person.
    Question {
        /// The question.
        question: String,
        /// Suggested answers.
        options: Vec<String>,
    },
    /// More of the task's budget. TaskForge itself asks when a model call has no room in it.
    Budget {
        /// The budget in force.
        budget: Budget,
        /// What is used of it, calls under way included.
        used: Amounts,
        /// What the refused call needs.
        need: Amounts,
        /// The budget that an approval puts in force.
        granted: Budget,
        /// The policy version that holds `budget`.
        policy_version: u32,
    },
}

/// A package as the agent asked for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RequestedPackage {
    /// `pip`, `apt` or `npm`.
    pub ecosystem: String,
    /// The name.
    pub name: String,
    /// A version or range; none: the newest.
    pub version: Option<String>,
}

/// Where a request came from, judged by the gateway from the model traffic that it saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Provenance {
    /// `model`, `program` or `taskforge`.
    pub by: String,
    /// The turn in which the model emitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<u32>,
    /// The same as a sentence.
    pub text: String,
}

/// A decision as recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Decision {
    /// `approve`, `deny`, `suggest` or `answer`.
    pub decision: String,
    /// The person's words, told to the agent.
    pub words: Option<String>,
    /// The digest that the person was shown.
    pub digest: String,
    /// The token's name.
    pub reviewer: String,
    /// RFC 3339.
    pub decided_at: String,
}

impl From<d::Decision> for Decision {
    fn from(v: d::Decision) -> Self {
        Self {
            decision: v.verdict.name().to_owned(),
            words: v.verdict.text().map(str::to_owned),
            digest: v.digest,
            reviewer: v.reviewer,
            decided_at: v.decided_at,
        }
    }
}

impl From<d::Ask> for RequestAsk {
    fn from(a: d::Ask) -> Self {
        match a {
            d::Ask::Packages { packages } => Self::Packages {
                packages: packages
                    .into_iter()
                    .map(|p| RequestedPackage {
                        ecosystem: p.ecosystem.as_str().to_owned(),
                        name: p.name,
                        version: p.version,
                    })
                    .collect(),
            },
            d::Ask::Question { question, options } => Self::Question { question, options },
            d::Ask::Budget(d::BudgetAsk { budget, used, need, granted, policy_version }) => Self::Budget {
                budget: budget.into(),
                used: used.into(),
                need: need.into(),
                granted: granted.into(),
                policy_version,
            },
        }
    }
}

impl From<d::Provenance> for Provenance {
    fn from(p: d::Provenance) -> Self {
        match p {
            d::Provenance::Model { turn } => {
                Self { by: "model".into(), turn: Some(turn), text: format!("asked by the model in turn {turn}") }
            }
            d::Provenance::Program => {
                Self { by: "program".into(), turn: None, text: "made by a program in the sandbox".into() }
            }
            d::Provenance::Taskforge => {
                Self { by: "taskforge".into(), turn: None, text: "asked by TaskForge for a refused model call".into() }
            }
        }
    }
}

impl From<d::Request> for Request {
    fn from(r: d::Request) -> Self {
        Self {
            id: r.id.to_string(),
            task: r.task.to_string(),
            iteration: r.iteration,
            ask: r.ask.into(),
            reason: r.reason,
            provenance: r.provenance.into(),
            status: r.status.to_string(),
            digest: r.digest,
            decision: r.decision.map(Into::into),
            failure: r.failure,
            created_at: r.created_at,
            expires_at: r.expires_at,
        }
    }
}

/// A request with all that a person needs to decide it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RequestDetail {
    /// The request.
    #[serde(flatten)]
    pub request: Request,
    /// The task's name.
    pub task_name: String,
    /// What would be built; none for questions and budgets, and while it is being resolved.
    pub candidate: Option<Candidate>,
}

/// Exactly what an approval grants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// ID of the base image.
    pub base_image: String,
    /// ID of the image that the task has so far.
    pub parent_image: String,
    /// The task's whole approved set and what this request adds.
    pub artefacts: Vec<Artefact>,
    /// The Dockerfile of the image.
    pub dockerfile: String,
    /// The policy version in force.
    pub policy_version: u32,
    /// Bytes of all artefacts.
    pub total_bytes: u64,
    /// Bytes of the artefacts that the task does not have yet.
    pub added_bytes: u64,
}

/// One file that goes into the image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Artefact {
    /// `pip`, `apt` or `npm`.
    pub ecosystem: String,
    /// Normalised name.
    pub name: String,
    /// Exact version.
    pub version: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size_bytes: u64,
    /// File name.
    pub file_name: String,
    /// Where the bytes came from.
    pub url: String,
    /// As the registry or the package states it; none: unknown.
    pub licence: Option<String>,
    /// RFC 3339, where the registry tells; none: unknown.
    pub uploaded_at: Option<String>,
    /// Whether installing it would run scripts of the package.
    pub install_scripts: bool,
    /// Whether the agent named it; otherwise another package needs it.
    pub requested: bool,
    /// Whether the task has it already from an earlier approval.
    pub already_approved: bool,
}

impl Candidate {
    pub(crate) fn new(c: domain::candidate::Candidate, approved: &[domain::candidate::Artefact]) -> Self {
        let known = |sha: &str| approved.iter().any(|a| a.sha256 == sha);
        let artefacts: Vec<Artefact> = c
            .artefacts
            .into_iter()
            .map(|a| Artefact {
                ecosystem: a.ecosystem.as_str().to_owned(),
                already_approved: known(&a.sha256),
                name: a.name,
                version: a.version,
                sha256: a.sha256,
                size_bytes: a.size_bytes,
                file_name: a.file_name,
                url: a.url,
                licence: a.licence,
                uploaded_at: a.uploaded_at,
                install_scripts: a.install_scripts,
                requested: a.requested,
            })
            .collect();
        Self {
            base_image: c.base_image,
            parent_image: c.parent_image,
            total_bytes: artefacts.iter().map(|a| a.size_bytes).sum(),
            added_bytes: artefacts.iter().filter(|a| !a.already_approved).map(|a| a.size_bytes).sum(),
            artefacts,
            dockerfile: c.dockerfile,
            policy_version: c.policy_version,
        }
    }
}

/// A decision to be made. The reviewer is the token's name, never a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// What is decided.
    pub decision: Verb,
    /// The digest that was shown.
    #[schema(min_length = 64, max_length = 64)]
    pub digest: String,
    /// Why, for `deny`. Told to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do instead, for `suggest`. Told to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternative: Option<String>,
    /// The answer, for `answer`. Told to the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// What can be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Grant exactly the candidate.
    Approve,
    /// Refuse, with a reason.
    Deny,
    /// Refuse, and say what to do instead.
    Suggest,
    /// Answer a question.
    Answer,
}
