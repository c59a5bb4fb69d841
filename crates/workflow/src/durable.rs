//! The engine-neutral surface: what a workflow may do, and nothing else.
//!
//! A workflow is a deterministic async function over [`Durable`]. It reads no clock, draws no random number, touches no
//! database, and iterates no hash map: everything that comes from outside is the result of an [`Activity`], a signal, a
//! timer or a child. Engines replay it from its recorded history after a crash.
//!
//! Invariants:
//! - An activity runs at least once. [`ActCx::key`] is the same in every re-run of one call: effects are keyed by it.
//! - A run has one [`Inbox`], hence exactly one outstanding receive, which is never dropped: no signal is lost or
//!   given to a receive that nobody polls any more.
//! - Waiting for two things is [`race`] (biased, so the order is the same in a replay), never `tokio::select!`.
//! - Inputs, results and signals are small (ids, digests); bodies live in the store.
//!
//! This module names no engine; [`crate::engine`] holds the implementations.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What crosses the engine's border: serialisable, owned, thread-safe.
pub trait Data: Serialize + DeserializeOwned + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Data for T {}

/// A named, typed side effect with its own state (handles of the store, of Docker, ...), registered as an instance.
///
/// Workflows name the type (`d.call::<RunAgent>(policy, input)`); the engine finds the registered instance by
/// [`Activity::NAME`]. At-least-once: see [`ActCx::key`].
pub trait Activity: Send + Sync + 'static {
    /// Unique among the activities of one registry, and stable: it is written into histories.
    const NAME: &'static str;
    /// Which slots a call of this activity uses.
    const LANE: Lane = Lane::Short;
    /// What the call carries.
    type In: Data;
    /// What the call yields.
    type Out: Data;
    /// Performs the effect. Dropped when the policy's timeout passes; told of a cancel through [`ActCx::cancel`].
    fn run(&self, cx: ActCx, input: Self::In) -> impl Future<Output = Result<Self::Out, Fault>> + Send;
}

/// Two kinds of slots, so that agents that run for days never starve the short steps that cancel them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Ends within seconds: reads, writes, decisions, stops.
    Short,
    /// May run for minutes or days: an agent, a build, a resolution.
    Long,
}

/// What an activity knows about its call.
#[derive(Clone, Debug)]
pub struct ActCx {
    /// Stable across re-runs (attempts, crashes, replays) of this call, unique among all calls of all runs.
    pub key: String,
    /// Cancelled when the workflow dropped the call or its run ended: undo or stop the work and return; after the
    /// engine's grace the future is dropped. What is returned is not seen by the workflow.
    pub cancel: CancellationToken,
    /// Cancelled when this process shuts down: let go of the work without stopping it (an agent goes on in its
    /// container) and return. An `Ok` is still recorded; an `Err` is not, nor is a future that had to be dropped:
    /// then the next process runs the call again, with the same key.
    pub stopping: CancellationToken,
    /// 1 for the first attempt of the policy. A re-run after a crash keeps its number.
    pub attempt: u32,
}

/// A named, typed, deterministic async function over any engine.
pub trait Workflow: Sized + Send + Sync + 'static {
    /// Unique among the workflows of one registry, and stable: it is written into histories.
    const NAME: &'static str;
    /// What a run starts from.
    type In: Data;
    /// What a run yields.
    type Out: Data;
    /// What can be told to a running run.
    type Signal: Data;
    /// What a run shows of itself.
    type Status: Data;
    /// The run itself.
    fn run<D: Durable<Self>>(d: D, input: Self::In) -> impl Future<Output = Result<Next<Self>, Fault>>;
    /// What an engine-level cancel says to a run. `None`: the run ends at once, its work cancelled and nothing cleaned up.
    fn cancelled(_why: String) -> Option<Self::Signal> {
        None
    }
}

/// How a run ends: a result, or a fresh history with a carried-over input.
pub enum Next<W: Workflow> {
    /// The run is over.
    Done(W::Out),
    /// Continue as new: same id, empty history, this input. Unread signals are carried along.
    Again(W::In),
}

/// Why an activity or a run failed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Fault {
    /// A stable word that code may compare (`timeout`, `encode`, `decode`, `engine` are the engine's own).
    pub kind: String,
    /// A sentence for people.
    pub message: String,
    /// Whether the policy's next attempt may help.
    pub retry: bool,
}

impl Fault {
    /// A fault that no retry can help.
    pub fn fatal(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into(), retry: false }
    }
    /// A fault that may pass.
    pub fn transient(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into(), retry: true }
    }
}

/// How long one attempt may take, and how often it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Limit of one attempt; days are fine.
    pub timeout: Duration,
    /// Attempts in all, at least 1. A fault without `retry` ends the call at once.
    pub attempts: u32,
    /// Pause before the second attempt; doubled for each further one, up to [`Policy::BACKOFF_MAX`].
    pub backoff: Duration,
}

impl Policy {
    /// The longest pause between two attempts.
    pub const BACKOFF_MAX: Duration = Duration::from_secs(300);

    /// The pause after the failed attempt with this number (from 1).
    pub fn pause(&self, attempt: u32) -> Duration {
        let doubled = 2u32.saturating_pow(attempt.saturating_sub(1));
        self.backoff.saturating_mul(doubled).min(Self::BACKOFF_MAX)
    }
}

/// One engine context. Dropping an unfinished `Fut` cancels the work behind it.
///
/// Neither the context nor its futures need be `Send`: some engines run each workflow on one thread.
pub trait Durable<W: Workflow>: Clone + 'static {
    /// A durable future of this engine.
    type Fut<T: Send + 'static>: Future<Output = T> + Unpin + 'static;
    /// The run's id, as given at its start.
    fn id(&self) -> String;
    /// Calls an activity under a policy.
    fn call<A: Activity>(&self, policy: Policy, input: A::In) -> Self::Fut<Result<A::Out, Fault>>;
    /// Runs a child workflow to its end.
    fn child<C: Workflow>(&self, id: &str, input: C::In) -> Self::Fut<Result<C::Out, Fault>>;
    /// Waits durably.
    fn sleep(&self, duration: Duration) -> Self::Fut<()>;
    /// The next signal. Not for workflows: use [`Inbox`].
    fn signal(&self) -> Self::Fut<W::Signal>;
    /// Shows a status to the outside.
    fn status(&self, status: &W::Status);
}

/// Which side of a race was first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first argument.
    A(A),
    /// The second argument.
    B(B),
}

/// Biased two-way race over borrowed futures: the loser stays alive and can be raced again.
pub fn race<'a, A: Future + Unpin, B: Future + Unpin>(a: &'a mut A, b: &'a mut B) -> Race<'a, A, B> {
    Race(a, b)
}

/// See [`race`].
#[must_use = "a race does nothing unless awaited"]
pub struct Race<'a, A, B>(&'a mut A, &'a mut B);

impl<A: Future + Unpin, B: Future + Unpin> Future for Race<'_, A, B> {
    type Output = Either<A::Output, B::Output>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(x) = Pin::new(&mut *self.0).poll(cx) {
            return Poll::Ready(Either::A(x));
        }
        if let Poll::Ready(x) = Pin::new(&mut *self.1).poll(cx) {
            return Poll::Ready(Either::B(x));
        }
        Poll::Pending
    }
}

/// The one signal pump of a run: exactly one outstanding receive, never dropped mid-run.
pub struct Inbox<W: Workflow, D: Durable<W>> {
    d: D,
    next: D::Fut<W::Signal>,
}

impl<W: Workflow, D: Durable<W>> Inbox<W, D> {
    /// Opens the inbox; once per run, at its start.
    pub fn new(d: &D) -> Self {
        Self { d: d.clone(), next: d.signal() }
    }
    /// Waits for a signal.
    pub async fn next(&mut self) -> W::Signal {
        let s = (&mut self.next).await;
        self.next = self.d.signal();
        s
    }
    /// Races the next signal against `work` (the signal wins a tie); on a signal, `work` is untouched.
    pub async fn race<F: Future + Unpin>(&mut self, work: &mut F) -> Either<W::Signal, F::Output> {
        match race(&mut self.next, work).await {
            Either::A(s) => {
                self.next = self.d.signal();
                Either::A(s)
            }
            Either::B(o) => Either::B(o),
        }
    }
    /// A signal already delivered, without waiting.
    pub fn poll_now(&mut self) -> Option<W::Signal> {
        match Pin::new(&mut self.next).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(s) => {
                self.next = self.d.signal();
                Some(s)
            }
            Poll::Pending => None,
        }
    }
}

impl<W: Workflow, D: Durable<W>> fmt::Debug for Inbox<W, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("workflow", &W::NAME).finish_non_exhaustive()
    }
}
