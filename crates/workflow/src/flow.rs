//! AgentTaskWorkflow, written once for every engine: `plan → act → wait`, until the run is over.
//!
//! The store holds all facts; a signal only says "look again". The decisions are [`domain::plan::plan`]. What is under
//! way (the agent's container, and at most one piece of work beside it) is a durable future that outlives crashes.

use crate::{
    activities::{
        Abandon, Act, Build, CancelTask, Expire, Finish, PREPARE_FAILED, PlanNext, Prepare, Resolve, RunAgent, RunRef,
        SideFailed, StopAgent,
    },
    durable::{Activity, Durable, Fault, Inbox, Next, Policy, Workflow},
};
use domain::{
    ids::RequestId,
    plan::{Cause, Side, Step, StopReason, Underway},
    task::RunOutcome,
};
use serde::{Deserialize, Serialize};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

/// Steps after which a run continues as new, so that its history stays short.
const STEPS_PER_HISTORY: u32 = 60;
/// Reads, writes and stops: short, and tried until the trouble passes.
const QUICK: Policy = Policy { timeout: Duration::from_secs(120), attempts: 12, backoff: Duration::from_millis(250) };
/// An agent's process: its own limits bound it; the Engine may be away for a while.
const AGENT: Policy =
    Policy { timeout: Duration::from_secs(40 * 24 * 3600), attempts: 8, backoff: Duration::from_secs(1) };
/// Making the base image, a candidate or an image; borne for two minutes when the Engine is away.
const SIDE: Policy = Policy { timeout: Duration::from_secs(3600), attempts: 8, backoff: Duration::from_secs(1) };
/// The end of a run: for more than a day, because nobody else would end it.
const FINISH: Policy = Policy { timeout: Duration::from_secs(120), attempts: 500, backoff: Duration::from_millis(250) };

/// The workflow of one run of a task.
pub struct AgentTask;

/// What can be told to a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Signal {
    /// Something changed: look again.
    Wake,
    /// The engine was asked to end it: cancel the task properly.
    Cancel {
        /// Who or why.
        why: String,
    },
}

enum Woke {
    Agent(Result<(), Fault>),
    Side(Result<(), Fault>),
    Signal(Signal),
    Time,
}

/// A durable call under way.
type Work<D> = <D as Durable<AgentTask>>::Fut<Result<(), Fault>>;

struct Running<D: Durable<AgentTask>> {
    d: D,
    run: RunRef,
    inbox: Inbox<AgentTask, D>,
    agent: Option<(u32, Work<D>)>,
    side: Option<(Side, Work<D>)>,
}

impl Workflow for AgentTask {
    const NAME: &'static str = "agent_task";
    type In = RunRef;
    type Out = ();
    type Signal = Signal;
    type Status = Step;

    fn cancelled(why: String) -> Option<Signal> {
        Some(Signal::Cancel { why })
    }

    async fn run<D: Durable<Self>>(d: D, run: RunRef) -> Result<Next<Self>, Fault> {
        let mut r = Running { inbox: Inbox::new(&d), d, run, agent: None, side: None };
        match r.steps().await {
            Ok(true) => Ok(Next::Done(())),
            Ok(false) => Ok(Next::Again(run)),
            Err(fault) => {
                // Whatever happened, the run ends on the record and nothing of it stays.
                let code = if fault.kind == PREPARE_FAILED { PREPARE_FAILED } else { "internal" };
                let outcome = RunOutcome::Failed { code: code.to_owned(), reason: fault.to_string() };
                r.side = None;
                // What cannot be stopped now is removed at the end.
                let stopped = r.stop(StopReason::Cancel).await;
                r.call::<Finish, RunOutcome>(FINISH, outcome).await?;
                stopped?;
                Ok(Next::Done(()))
            }
        }
    }
}

impl<D: Durable<AgentTask>> Running<D> {
    /// Not an async function: its future would hold `self`, which cannot be shared between threads.
    fn call<A: Activity<In = Act<I>>, I>(&self, policy: Policy, input: I) -> D::Fut<Result<A::Out, Fault>> {
        self.d.call::<A>(policy, Act { run: self.run, input })
    }

    /// True: the run is over. False: continue as new.
    async fn steps(&mut self) -> Result<bool, Fault> {
        for _ in 0..STEPS_PER_HISTORY {
            if self.step().await? {
                return Ok(true);
            }
        }
        while self.agent.is_some() || self.side.is_some() {
            if self.step().await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn step(&mut self) -> Result<bool, Fault> {
        let underway = Underway { agent: self.agent.is_some(), side: self.side.as_ref().map(|(side, _)| *side) };
        let planned = self.call::<PlanNext, _>(QUICK, underway).await?;
        self.d.status(&planned.step);
        match planned.step {
            Step::Begin(side) => self.begin(side),
            Step::Expire { request } => self.call::<Expire, RequestId>(QUICK, request).await?,
            Step::RunAgent { iteration, cause } => self.start(iteration, cause),
            Step::StopAgent { reason } => self.stop(reason).await?,
            Step::DropSide => self.side = None,
            Step::Wait { until_ms, .. } => {
                let rest =
                    until_ms.map(|t| Duration::from_millis(t.saturating_sub(planned.now_ms).max(0).unsigned_abs()));
                self.wait(rest).await?;
            }
            Step::Finish { outcome } => {
                self.side = None;
                self.call::<Finish, RunOutcome>(FINISH, outcome).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn begin(&mut self, side: Side) {
        let run = self.run;
        let work = match side {
            Side::Prepare => self.d.call::<Prepare>(SIDE, Act { run, input: () }),
            Side::Resolve { request } => self.d.call::<Resolve>(SIDE, Act { run, input: request }),
            Side::Build { request } => self.d.call::<Build>(SIDE, Act { run, input: request }),
        };
        self.side = Some((side, work));
    }

    fn start(&mut self, iteration: u32, cause: Cause) {
        let input = Act { run: self.run, input: (iteration, cause) };
        self.agent = Some((iteration, self.d.call::<RunAgent>(AGENT, input)));
    }

    /// Stops the agent's container and follows it to its end.
    async fn stop(&mut self, reason: StopReason) -> Result<(), Fault> {
        let Some((iteration, mut end)) = self.agent.take() else { return Ok(()) };
        self.call::<StopAgent, _>(QUICK, (iteration, reason)).await?;
        let result = (&mut end).await;
        self.agent_ended(iteration, result).await
    }

    async fn agent_ended(&mut self, iteration: u32, result: Result<(), Fault>) -> Result<(), Fault> {
        match result {
            Ok(()) => Ok(()),
            Err(fault) => self.call::<Abandon, _>(QUICK, (iteration, fault.to_string())).await,
        }
    }

    /// Waits until something ends, someone calls, or the time comes.
    async fn wait(&mut self, at_most: Option<Duration>) -> Result<(), Fault> {
        match self.next_event(at_most).await {
            Woke::Agent(result) => {
                let iteration = self.agent.take().map_or(0, |(n, _)| n);
                self.agent_ended(iteration, result).await
            }
            Woke::Side(result) => match (self.side.take(), result) {
                (Some((side, _)), Err(fault)) => self.call::<SideFailed, _>(QUICK, (side, fault.to_string())).await,
                _ => Ok(()),
            },
            Woke::Signal(Signal::Cancel { why }) => self.call::<CancelTask, _>(QUICK, why).await,
            Woke::Signal(Signal::Wake) | Woke::Time => {
                // One look serves all wake-ups that are already there.
                while let Some(signal) = self.inbox.poll_now() {
                    if let Signal::Cancel { why } = signal {
                        self.call::<CancelTask, _>(QUICK, why).await?;
                    }
                }
                Ok(())
            }
        }
    }

    async fn next_event(&mut self, at_most: Option<Duration>) -> Woke {
        let mut timer = at_most.map(|rest| self.d.sleep(rest));
        let (agent, side) = (&mut self.agent, &mut self.side);
        let mut signal = pin!(self.inbox.next());
        // A fixed order, so that a replay sees the same winner.
        poll_fn(move |cx| {
            if let Some((_, f)) = agent
                && let Poll::Ready(r) = Pin::new(f).poll(cx)
            {
                return Poll::Ready(Woke::Agent(r));
            }
            if let Some((_, f)) = side
                && let Poll::Ready(r) = Pin::new(f).poll(cx)
            {
                return Poll::Ready(Woke::Side(r));
            }
            if let Poll::Ready(s) = signal.as_mut().poll(cx) {
                return Poll::Ready(Woke::Signal(s));
            }
            if let Some(f) = &mut timer
                && let Poll::Ready(()) = Pin::new(f).poll(cx)
            {
                return Poll::Ready(Woke::Time);
            }
            Poll::Pending
        })
        .await
    }
}
