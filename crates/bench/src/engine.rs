//! From a signal to the next activity of the run that it wakes, on the embedded engine.
//!
//! Baseline: one event recorded in the store, and a task of this process woken by it.

use crate::{
    place::Place,
    report::Record,
    stats::{Sample, ms},
};
use anyhow::{Context, Result, ensure};
use domain::event::{Event, EventKind};
use futures::FutureExt;
use serde_json::json;
use std::time::{Duration, Instant};
use store::Durability;
use tokio::sync::mpsc;
use workflow::{
    durable::{ActCx, Activity, Durable, Fault, Inbox, Next, Policy, Workflow},
    engine::{Engine, Options, Registry, Told},
    workflows,
};

/// Signals in all.
const SIGNALS: u32 = 400;
/// Signals until the run continues as new.
const PER_HISTORY: u32 = 40;
/// Marks that nobody has taken yet.
const MARKS: usize = 16;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);
const QUICK: Policy = Policy { timeout: PATIENCE, attempts: 1, backoff: Duration::from_secs(1) };

/// Tells that it runs.
struct Mark(mpsc::Sender<(u32, Instant)>);

impl Activity for Mark {
    const NAME: &'static str = "mark";
    type In = u32;
    type Out = ();

    async fn run(&self, _: ActCx, n: u32) -> Result<(), Fault> {
        self.0.send((n, Instant::now())).await.map_err(|e| Fault::fatal("bench", e.to_string()))
    }
}

/// Waits for a signal and marks it, again and again.
struct Listener;

impl Workflow for Listener {
    const NAME: &'static str = "listener";
    type In = u32;
    type Out = ();
    type Signal = u32;
    type Status = u32;

    async fn run<D: Durable<Self>>(d: D, from: u32) -> Result<Next<Self>, Fault> {
        let mut inbox = Inbox::new(&d);
        for n in from..from + PER_HISTORY {
            let heard = inbox.next().await;
            d.call::<Mark>(QUICK, heard).await?;
            if n + 1 == SIGNALS {
                return Ok(Next::Done(()));
            }
        }
        Ok(Next::Again(from + PER_HISTORY))
    }
}

/// Signals one by one, in turns with the baseline.
pub(crate) async fn bench() -> Result<Vec<Record>> {
    let place = Place::new().await?;
    let (mark, mut marks) = mpsc::channel(MARKS);
    let registry = Registry::new().activity(Mark(mark));
    let registry = workflows!(registry; Listener);
    let engine = Engine::open(&place.dir.path().join("engine.db"), registry, Options::default()).await?;
    engine.start::<Listener>("listener", &0).await?;
    let (mut signalled, mut plain) = (Sample::default(), Sample::default());
    for n in 0..SIGNALS {
        let begun = Instant::now();
        let told = engine.signal::<Listener>("listener", &n).await?;
        ensure!(told == Told::Delivered, "signal {n}: {told:?}");
        let (heard, at) = tokio::time::timeout(PATIENCE, marks.recv()).await?.context("the engine has ended")?;
        ensure!(heard == n, "signal {n} was heard as {heard}");
        signalled.push(ms(at - begun));
        plain.push(recorded(&place).await?);
    }
    engine.shutdown(PATIENCE).await;
    let row = |what: &str, part: f64| {
        Record::new(format!("engine.signal.{what}"), "ms", signalled.quantile(part)).against(plain.quantile(part))
    };
    Ok(vec![Record { spread: Some(signalled.spread()), ..row("p50", 0.5) }, row("p95", 0.95)])
}

async fn recorded(place: &Place) -> Result<f64> {
    let mut changes = place.store.changes();
    let before = *changes.borrow_and_update();
    let (woken, at) = tokio::sync::oneshot::channel();
    let waiter = tokio::spawn(async move {
        let seen = changes.wait_for(|n| *n > before).await.is_ok();
        woken.send(seen.then(Instant::now)).ok();
    });
    let begun = Instant::now();
    let event = Event::point(EventKind::SandboxPosture, json!({"n": before}));
    place.store.write(Durability::Process, move |tx| tx.leaf(event).boxed()).await?;
    let at = at.await?.context("the store has ended")?;
    waiter.await?;
    Ok(ms(at - begun))
}
