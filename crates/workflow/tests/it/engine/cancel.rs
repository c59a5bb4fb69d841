//! A cancel reaches what runs, and ends what does not listen.

use super::bed::*;
use std::time::{Duration, Instant};
use workflow::{
    durable::{ActCx, Activity, Durable, Fault, Next, Workflow},
    engine::{Engine, Options, Outcome, Registry},
    workflows,
};

#[tokio::test]
async fn a_running_call_is_told_within_a_second() {
    let bed = Bed::new().await;
    bed.start("t", "l", Duration::ZERO).await;
    bed.world.until("step t 0", 1).await;
    let asked = Instant::now();
    bed.engine.cancel::<Task>("t", "by hand").await.unwrap();
    bed.world.until("told t", 1).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "told after {:?}", asked.elapsed());
    assert_eq!(bed.report("t").await.verdict, "cancelled: by hand");
    eventually("its slot is free", async || bed.engine.stats().await.unwrap().live_calls == 0).await;
}

/// Listens to nothing.
struct Deaf;
impl Activity for Deaf {
    const NAME: &'static str = "deaf";
    type In = ();
    type Out = ();
    async fn run(&self, _: ActCx, (): ()) -> Result<(), Fault> {
        std::future::pending().await
    }
}
/// Has no clean-up of its own.
struct Plain;
impl Workflow for Plain {
    const NAME: &'static str = "plain";
    type In = ();
    type Out = ();
    type Signal = ();
    type Status = ();
    async fn run<D: Durable<Self>>(d: D, (): ()) -> Result<Next<Self>, Fault> {
        d.call::<Deaf>(QUICK, ()).await?;
        Ok(Next::Done(()))
    }
}

#[tokio::test]
async fn a_deaf_call_is_dropped_after_its_grace() {
    let dir = tempfile::tempdir().unwrap();
    let registry = workflows!(Registry::new().grace(Duration::from_millis(100)).activity(Deaf); Plain);
    let engine = Engine::open(&dir.path().join("engine.db"), registry, Options::default()).await.unwrap();
    engine.start::<Plain>("p", &()).await.unwrap();
    eventually("it runs", async || engine.stats().await.unwrap().live_calls == 1).await;
    engine.cancel::<Plain>("p", "enough").await.unwrap();
    let outcome = engine.wait::<Plain>("p", PATIENCE).await.unwrap();
    assert_eq!(outcome, Outcome::Failed(Fault::fatal("cancelled", "enough")));
    eventually("its slot is free", async || engine.stats().await.unwrap().live_calls == 0).await;
}

#[tokio::test]
async fn full_long_slots_do_not_starve_short_calls() {
    let bed = Bed::with(Options { long_slots: 2, short_slots: 1, ..Options::default() }).await;
    for i in 0..4 {
        bed.start(&format!("t{i}"), "l", Duration::ZERO).await;
    }
    bed.world.until("step t", 2).await;
    eventually("two run, two wait", async || {
        let s = bed.engine.stats().await.unwrap();
        s.live_long == 2 && s.queued_calls == 2
    })
    .await;
    bed.engine.start::<Waiter>("w", &1).await.unwrap();
    assert_eq!(bed.engine.wait::<Waiter>("w", PATIENCE).await.unwrap(), Outcome::Done(0));
    assert_eq!(bed.world.count("step t"), 2);
    for i in 0..4 {
        bed.engine.cancel::<Task>(&format!("t{i}"), "all").await.unwrap();
        assert_eq!(bed.report(&format!("t{i}")).await.verdict, "cancelled: all");
    }
}
