//! The adapter: an engine context as [`Durable`], and registered activities and workflows as engine handlers.

use super::{
    gate::LONG,
    live::{Live, call_name},
};
use crate::durable::{ActCx, Activity, Durable, Fault, Lane, Next, Policy, Workflow};
use duroxide::{
    ActivityContext, OrchestrationContext, OrchestrationRegistry,
    runtime::{
        OrchestrationRegistryBuilder,
        registry::{ActivityRegistry, ActivityRegistryBuilder},
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{
    fmt,
    future::{Future, pending, ready},
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

/// The one queue of signals of a run.
pub(super) const INBOX: &str = "inbox";
/// How long a cancelled activity may take to end before it is dropped, unless [`Registry::grace`] says otherwise.
const GRACE: Duration = Duration::from_secs(30);

/// The activities (with their state) and workflows that an engine runs. Filled with [`Registry::activity`] and
/// [`crate::workflows!`].
pub struct Registry {
    pub(super) activities: ActivityRegistryBuilder,
    pub(super) workflows: OrchestrationRegistryBuilder,
    pub(super) live: Arc<Live>,
    pub(super) grace: Duration,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self {
            activities: ActivityRegistry::builder(),
            workflows: OrchestrationRegistry::builder(),
            live: Arc::default(),
            grace: GRACE,
        }
    }

    /// How long a cancelled activity may take to end before it is dropped. Before the first [`Registry::activity`].
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Registers an activity. A second one of the same name makes [`super::Engine::open`] fail.
    pub fn activity<A: Activity>(mut self, activity: A) -> Self {
        let (activity, live, grace) = (Arc::new(activity), Arc::clone(&self.live), self.grace);
        self.activities = self.activities.register(A::NAME, move |cx: ActivityContext, text: String| {
            let (activity, live) = (Arc::clone(&activity), Arc::clone(&live));
            async move { perform(&*activity, &live, grace, cx, &text).await }
        });
        self
    }

    /// Registers a workflow through its `run`; [`crate::workflows!`] writes this call, since that a run's future is
    /// `Send` can be proved only at a concrete type.
    pub fn workflow<W, F, Fut>(mut self, run: F) -> Self
    where
        W: Workflow,
        F: Fn(Host<W>, W::In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Next<W>, Fault>> + Send + 'static,
    {
        let run = Arc::new(run);
        self.workflows = self.workflows.register(W::NAME, move |cx: OrchestrationContext, text: String| {
            let run = Arc::clone(&run);
            async move {
                let input = decode(&text).map_err(told)?;
                match run(Host::new(cx.clone()), input).await.map_err(told)? {
                    Next::Done(out) => encode(&out).map_err(told),
                    // Does not return: the engine ends this execution and begins the next.
                    Next::Again(input) => cx.continue_as_new(encode(&input).map_err(told)?).await,
                }
            }
        });
        self
    }
}

/// Registers workflows in a registry: `workflows!(registry; AgentTask, ImageBuild)`.
#[macro_export]
macro_rules! workflows {
    ($registry:expr; $($workflow:ty),* $(,)?) => {{
        let registry: $crate::engine::Registry = $registry;
        $(let registry = registry.workflow::<$workflow, _, _>(|host, input| async move {
            <$workflow as $crate::durable::Workflow>::run(host, input).await
        });)*
        registry
    }};
}

/// [`Durable`] for one run on the embedded engine.
pub struct Host<W> {
    cx: OrchestrationContext,
    calls: Arc<AtomicU32>,
    workflow: PhantomData<fn() -> W>,
}

impl<W> Clone for Host<W> {
    fn clone(&self) -> Self {
        Self { cx: self.cx.clone(), calls: Arc::clone(&self.calls), workflow: PhantomData }
    }
}

impl<W> fmt::Debug for Host<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("id", &self.cx.instance_id()).finish_non_exhaustive()
    }
}

/// A durable future of the embedded engine. The mutex is never locked: it makes the future `Sync`, so that a workflow
/// may hold one across an await behind a shared reference to itself.
pub struct Work<T>(Mutex<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Work<T> {
    fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Mutex::new(Box::pin(work)))
    }
}

impl<T> Future for Work<T> {
    type Output = T;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Work<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").finish_non_exhaustive()
    }
}

/// What a call carries through the engine.
#[derive(Serialize, Deserialize)]
struct Envelope<I> {
    key: String,
    attempt: u32,
    timeout_ms: u64,
    input: I,
}

fn encode<T: Serialize>(value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|e| Fault::fatal("encode", e.to_string()))
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|e| Fault::fatal("decode", e.to_string()))
}

/// A fault as the engine's error text.
pub(super) fn told(fault: Fault) -> String {
    serde_json::to_string(&fault).unwrap_or(fault.message)
}

/// The engine's error text as a fault: ours, or the engine's own (a panic, a poisoned message).
pub(super) fn heard(text: String) -> Fault {
    serde_json::from_str(&text).unwrap_or_else(|_| match text.strip_prefix("canceled: ") {
        Some(why) => Fault::fatal("cancelled", why),
        None => Fault::transient("engine", text),
    })
}

impl<W> Host<W> {
    fn new(cx: OrchestrationContext) -> Self {
        Self { cx, calls: Arc::default(), workflow: PhantomData }
    }

    /// Stable across replays: calls are made in the same order.
    fn next_key(&self) -> String {
        format!("{}/{}/{}", self.cx.instance_id(), self.cx.execution_id(), self.calls.fetch_add(1, Ordering::Relaxed))
    }
}

/// All attempts of one call.
async fn attempts<A: Activity>(
    cx: OrchestrationContext,
    key: String,
    policy: Policy,
    input: Box<RawValue>,
) -> Result<A::Out, Fault> {
    let timeout_ms = u64::try_from(policy.timeout.as_millis()).unwrap_or(u64::MAX);
    let mut attempt = 1;
    loop {
        let envelope = encode(&Envelope { key: key.clone(), attempt, timeout_ms, input: &input })?;
        let scheduled = cx.schedule_activity(A::NAME, envelope);
        let scheduled = if A::LANE == Lane::Long { scheduled.with_tag(LONG) } else { scheduled };
        let fault = match scheduled.await {
            Ok(text) => return decode(&text),
            Err(text) => heard(text),
        };
        if !fault.retry || attempt >= policy.attempts {
            return Err(fault);
        }
        cx.schedule_timer(policy.pause(attempt)).await;
        attempt += 1;
    }
}

impl<W: Workflow> Durable<W> for Host<W> {
    type Fut<T: Send + 'static> = Work<T>;

    fn id(&self) -> String {
        self.cx.instance_id()
    }

    fn call<A: Activity>(&self, policy: Policy, input: A::In) -> Self::Fut<Result<A::Out, Fault>> {
        let key = self.next_key();
        match serde_json::value::to_raw_value(&input) {
            Ok(input) => Work::new(attempts::<A>(self.cx.clone(), key, policy, input)),
            Err(e) => Work::new(ready(Err(Fault::fatal("encode", e.to_string())))),
        }
    }

    fn child<C: Workflow>(&self, id: &str, input: C::In) -> Self::Fut<Result<C::Out, Fault>> {
        match encode(&input) {
            Ok(input) => {
                let (cx, id) = (self.cx.clone(), id.to_owned());
                Work::new(async move {
                    let text = cx.schedule_sub_orchestration_with_id(C::NAME, id, input).await.map_err(heard)?;
                    decode(&text)
                })
            }
            Err(fault) => Work::new(ready(Err(fault))),
        }
    }

    fn sleep(&self, duration: Duration) -> Self::Fut<()> {
        let cx = self.cx.clone();
        Work::new(async move { cx.schedule_timer(duration).await })
    }

    /// The receive is scheduled at once, and only here: an unreadable signal is passed over, the same in every replay.
    fn signal(&self) -> Self::Fut<W::Signal> {
        let cx = self.cx.clone();
        let mut next = cx.dequeue_event(INBOX);
        Work::new(async move {
            loop {
                match serde_json::from_str(&next.await) {
                    Ok(signal) => return signal,
                    Err(error) => {
                        tracing::warn!(run = cx.instance_id(), workflow = W::NAME, %error, "an unreadable signal was passed over");
                        next = cx.dequeue_event(INBOX);
                    }
                }
            }
        })
    }

    fn status(&self, status: &W::Status) {
        match serde_json::to_string(status) {
            Ok(text) => self.cx.set_custom_status(text),
            Err(error) => tracing::warn!(workflow = W::NAME, %error, "a status cannot be encoded"),
        }
    }
}

/// Runs one attempt of an activity, and answers for it to the engine.
async fn perform<A: Activity>(
    activity: &A,
    live: &Live,
    grace: Duration,
    cx: ActivityContext,
    text: &str,
) -> Result<String, String> {
    let Envelope { key, attempt, timeout_ms, input } = decode::<Envelope<A::In>>(text).map_err(told)?;
    let cancel = live.token(&call_name(&key, attempt)).unwrap_or_else(|| cx.cancellation_token());
    let work = activity.run(ActCx { key, cancel: cancel.clone(), stopping: live.stopping.clone(), attempt }, input);
    let dropped = async {
        tokio::select! { () = cancel.cancelled() => {}, () = cx.cancelled() => cancel.cancel() }
        tokio::time::sleep(grace).await;
    };
    let result = tokio::select! {
        biased;
        result = tokio::time::timeout(Duration::from_millis(timeout_ms), work) => match result {
            Ok(result) => result,
            Err(_) => Err(Fault::transient("timeout", format!("{} took longer than {timeout_ms} ms", A::NAME))),
        },
        () = dropped => Err(Fault::fatal("cancelled", format!("{} did not end within its grace", A::NAME))),
    };
    match result.and_then(|out| encode(&out)) {
        Ok(text) => Ok(text),
        // Told so, the engine would record a failure; the next process runs the call again instead.
        Err(_) if live.stopping.is_cancelled() => {
            live.park();
            pending().await
        }
        Err(fault) => Err(told(fault)),
    }
}
