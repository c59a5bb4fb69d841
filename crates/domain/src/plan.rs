//! The decision core of AgentTaskWorkflow: what comes next, given all that is known.
//!
//! The workflow is a loop of `plan → act → wait`. Signals are only wake-ups; the facts come from the store as a
//! [`Snapshot`], so a crash at any point resumes with the same facts and reaches the same step.

use crate::{
    ids::RequestId,
    request::RequestStatus,
    task::{Desired, RunOutcome, TaskStatus},
};
use serde::{Deserialize, Serialize};

/// Iterations that may fail one after another before the run does.
pub const MAX_CONSECUTIVE_FAILURES: u32 = 3;

/// How an iteration ended, as classified from the Engine's facts by trusted code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum IterationEnd {
    /// The agent ended its turn.
    TurnEnded,
    /// We stopped it (pause, restart for a message, cancel).
    Stopped,
    /// It asks to be started again (the gateway was away, the Engine restarted, the container was killed).
    Interrupted {
        /// What happened.
        reason: String,
    },
    /// It failed; another try may help.
    Failed {
        /// What happened.
        reason: String,
    },
    /// It failed in a way that another try cannot mend.
    Fatal {
        /// A stable code.
        code: String,
        /// What happened.
        reason: String,
    },
    /// It reached a limit.
    Limit {
        /// `memory`, `pids`, `disk` or `time`.
        limit: String,
    },
}

/// The newest iteration of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IterationView {
    /// From 1.
    pub number: u32,
    /// How it ended; none while it runs or after a crash before the end was recorded.
    pub end: Option<IterationEnd>,
    /// Ended iterations, newest first, that failed or were interrupted without a good turn between.
    pub consecutive_failures: u32,
    /// Whether this iteration was a nudge.
    pub nudge: bool,
    /// Nothing of it is let out any more, and it is to be stopped for this reason.
    pub stopping: Option<StopReason>,
}

/// A request that matters to the next step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestView {
    /// Its id.
    pub id: RequestId,
    /// Where it stands.
    pub status: RequestStatus,
    /// When it expires undecided, Unix milliseconds.
    pub expires_ms: i64,
    /// Whether the agent has been told the outcome.
    pub told: bool,
    /// Set for a budget that this run asked for.
    pub budget: Option<BudgetView>,
}

/// What a request for more budget means for the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetView {
    /// Whether there is room again without a decision when the budget's day or month is over.
    pub renews: bool,
    /// Who refused it and why.
    pub refusal: Option<String>,
}

/// Work beside the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "side", rename_all = "snake_case")]
pub enum Side {
    /// The base image and the workspace are made ready.
    Prepare,
    /// A request is being resolved.
    Resolve {
        /// Which.
        request: RequestId,
    },
    /// The image of an approved request is being built.
    Build {
        /// Which.
        request: RequestId,
    },
}

/// What the workflow has under way, known to it alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underway {
    /// The agent's container is being run.
    pub agent: bool,
    /// What is done beside it.
    pub side: Option<Side>,
}

/// All facts that the next step depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Unix milliseconds.
    pub now_ms: i64,
    /// What the operator wants.
    pub desired: Desired,
    /// Whether workspace and base image are ready.
    pub prepared: bool,
    /// Iterations allowed in this run.
    pub max_iterations: u32,
    /// The newest iteration, if any.
    pub iteration: Option<IterationView>,
    /// Requests of this task that are open, or decided and not yet told or applied; oldest first.
    pub requests: Vec<RequestView>,
    /// Whether the agent has submitted its result in this run.
    pub submitted: bool,
    /// Messages that no iteration has been told.
    pub messages_waiting: bool,
    /// A message asks for a restart of the running agent.
    pub restart_now: bool,
}

/// Why an iteration is started; decides its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The first of a run.
    Start,
    /// Requests were decided.
    Decided,
    /// A person wrote.
    Message,
    /// It was stopped or interrupted and goes on.
    Resume,
    /// It failed and is tried again.
    Retry,
    /// Its turn ended with neither request nor submission.
    Nudge,
}

/// Why the agent is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The operator paused the task.
    Pause,
    /// The operator cancelled it.
    Cancel,
    /// A message asks for a restart.
    Restart,
    /// The task's budget has no room for its next model call.
    Budget,
}

/// One step of the workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Begin work beside the agent.
    Begin(Side),
    /// Close a request that nobody decided in time.
    Expire {
        /// Which.
        request: RequestId,
    },
    /// Start the agent and follow it to its end.
    RunAgent {
        /// From 1.
        iteration: u32,
        /// Why.
        cause: Cause,
    },
    /// Stop the running agent.
    StopAgent {
        /// Why.
        reason: StopReason,
    },
    /// Give up what is being resolved or built.
    DropSide,
    /// Nothing to do until something changes or the time comes.
    Wait {
        /// What the task shows meanwhile.
        status: TaskStatus,
        /// Unix milliseconds.
        until_ms: Option<i64>,
    },
    /// End the run.
    Finish {
        /// How.
        outcome: RunOutcome,
    },
}

/// The next step.
pub fn plan(s: &Snapshot, underway: Underway) -> Step {
    if s.desired == Desired::Cancel {
        return match underway {
            Underway { agent: true, .. } => Step::StopAgent { reason: StopReason::Cancel },
            Underway { side: Some(_), .. } => Step::DropSide,
            Underway { agent: false, side: None } => Step::Finish { outcome: RunOutcome::Cancelled },
        };
    }
    if let Some(late) = s.requests.iter().find(|r| r.status == RequestStatus::Pending && r.expires_ms <= s.now_ms) {
        return Step::Expire { request: late.id };
    }
    if s.desired == Desired::Pause {
        return if underway.agent {
            Step::StopAgent { reason: StopReason::Pause }
        } else {
            wait(s, TaskStatus::Paused)
        };
    }
    if !s.prepared {
        return if underway.side.is_some() { wait(s, TaskStatus::Starting) } else { Step::Begin(Side::Prepare) };
    }
    if underway.side.is_none()
        && let Some(side) = side_work(s)
    {
        return Step::Begin(side);
    }
    if underway.agent {
        let asked = s.iteration.as_ref().and_then(|i| i.stopping);
        return match asked.or(s.restart_now.then_some(StopReason::Restart)) {
            Some(reason) => Step::StopAgent { reason },
            None => wait(s, TaskStatus::Running),
        };
    }
    between_iterations(s, underway)
}

/// Approved requests are built before open ones are resolved, so that a candidate always names its real parent image.
fn side_work(s: &Snapshot) -> Option<Side> {
    let first = |status| s.requests.iter().find(|r| r.status == status).map(|r| r.id);
    if let Some(request) = first(RequestStatus::Approved) {
        return Some(Side::Build { request });
    }
    first(RequestStatus::Resolving).map(|request| Side::Resolve { request })
}

fn between_iterations(s: &Snapshot, underway: Underway) -> Step {
    let Some(last) = &s.iteration else {
        return next(s, 1, Cause::Start);
    };
    let Some(end) = &last.end else {
        // The record says running and nobody follows it: adopt the container, or find that it is gone.
        return Step::RunAgent { iteration: last.number, cause: Cause::Resume };
    };
    match end {
        IterationEnd::Fatal { code, reason } => return failed(code, reason),
        IterationEnd::Limit { limit } => {
            return failed(&format!("limit_{limit}"), &format!("the agent reached its {limit} limit"));
        }
        IterationEnd::Failed { reason } | IterationEnd::Interrupted { reason }
            if last.consecutive_failures >= MAX_CONSECUTIVE_FAILURES =>
        {
            return failed("agent_failed", reason);
        }
        IterationEnd::TurnEnded
        | IterationEnd::Stopped
        | IterationEnd::Failed { .. }
        | IterationEnd::Interrupted { .. } => {}
    }
    if s.submitted {
        return Step::Finish { outcome: RunOutcome::Submitted };
    }
    if let Some(refused) = refused_budget(s) {
        return refused;
    }
    match underway.side {
        Some(Side::Build { .. }) => return wait(s, TaskStatus::Building),
        Some(Side::Resolve { .. } | Side::Prepare) => return wait(s, TaskStatus::Waiting),
        None => {}
    }
    if s.requests.iter().any(|r| r.status.is_open()) {
        return wait(s, TaskStatus::Waiting);
    }
    let number = last.number + 1;
    if s.requests.iter().any(|r| !r.told) {
        return next(s, number, Cause::Decided);
    }
    if s.messages_waiting {
        return next(s, number, Cause::Message);
    }
    match end {
        IterationEnd::Stopped | IterationEnd::Interrupted { .. } => next(s, number, Cause::Resume),
        IterationEnd::Failed { .. } => next(s, number, Cause::Retry),
        IterationEnd::TurnEnded if last.nudge => Step::Finish { outcome: RunOutcome::NotSubmitted },
        IterationEnd::TurnEnded => next(s, number, Cause::Nudge),
        IterationEnd::Fatal { .. } | IterationEnd::Limit { .. } => failed("internal", "an ended run cannot go on"),
    }
}

/// Without a budget the agent cannot call a model: a refused one ends the run. One that expired with its day or month
/// does not, since there is room again.
fn refused_budget(s: &Snapshot) -> Option<Step> {
    let untold = s.requests.iter().filter(|r| !r.told);
    untold.filter_map(|r| Some((r.status, r.budget.as_ref()?))).find_map(|(status, budget)| match status {
        RequestStatus::Denied => {
            let why = budget.refusal.as_deref().unwrap_or("a person refused to raise it");
            Some(failed("budget_denied", &format!("the budget of the task is used up: {why}")))
        }
        RequestStatus::Expired if !budget.renews => {
            Some(failed("budget_expired", "the budget of the task is used up, and nobody decided in time to raise it"))
        }
        RequestStatus::Expired
        | RequestStatus::Resolving
        | RequestStatus::Pending
        | RequestStatus::Rejected
        | RequestStatus::Approved
        | RequestStatus::Applied
        | RequestStatus::BuildFailed
        | RequestStatus::Suggested
        | RequestStatus::Answered
        | RequestStatus::Withdrawn => None,
    })
}

fn next(s: &Snapshot, iteration: u32, cause: Cause) -> Step {
    if iteration > s.max_iterations {
        return failed("iteration_limit", &format!("the run used its {} iterations", s.max_iterations));
    }
    Step::RunAgent { iteration, cause }
}

fn failed(code: &str, reason: &str) -> Step {
    Step::Finish { outcome: RunOutcome::Failed { code: code.to_owned(), reason: reason.to_owned() } }
}

fn wait(s: &Snapshot, status: TaskStatus) -> Step {
    let pending = s.requests.iter().filter(|r| r.status == RequestStatus::Pending);
    Step::Wait { status, until_ms: pending.map(|r| r.expires_ms).min() }
}
