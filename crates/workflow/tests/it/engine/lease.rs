//! Leases and restarts: what lives is not run twice, what died goes on at once.

use super::bed::*;
use std::time::{Duration, Instant};
use workflow::engine::{Engine, Options, Outcome};

#[tokio::test]
async fn a_long_call_outlives_its_lease_and_is_run_once() {
    // Renewals come no faster than each second, so this lease runs out between any two of them.
    let bed = Bed::with(Options { lease: Duration::from_millis(400), ..Options::default() }).await;
    bed.start("t", "ld", Duration::ZERO).await;
    bed.world.until("step t 0", 1).await;
    let started = Instant::now();
    // Fetches by other calls are what would take the lapsed lease.
    let mut i = 0;
    while started.elapsed() < Duration::from_secs(4) || i <= 10 {
        bed.engine.start::<Waiter>(&format!("w{i}"), &1).await.unwrap();
        bed.engine.wait::<Waiter>(&format!("w{i}"), PATIENCE).await.unwrap();
        i += 1;
    }
    bed.world.open("t");
    assert_eq!(bed.report("t").await.verdict, "done");
    assert_eq!(bed.world.count("step t 0"), 1, "run twice: {:?}", bed.world.runs());
}

#[tokio::test]
async fn a_graceful_restart_lets_go_and_runs_the_call_again() {
    let bed = Bed::new().await;
    bed.start("t", "pld", Duration::ZERO).await;
    bed.world.until("step t 1", 1).await;
    let asked = Instant::now();
    let bed = bed.restart().await;
    assert!(asked.elapsed() < Duration::from_secs(4), "took {:?}", asked.elapsed());
    bed.world.until("step t 1", 1).await;
    bed.world.open("t");
    assert_eq!(bed.report("t").await.verdict, "done");
    assert!(bed.world.effects().values().all(|keys| keys.len() == 1), "a re-run has another key");
}

#[tokio::test]
async fn timers_keep_time_across_a_restart() {
    let bed = Bed::new().await;
    bed.engine.start::<Waiter>("w", &1500).await.unwrap();
    bed.world.until("w:parked", 1).await;
    let parked = Instant::now();
    let bed = bed.restart().await;
    assert_eq!(bed.engine.wait::<Waiter>("w", PATIENCE).await.unwrap(), Outcome::Done(0));
    let took = parked.elapsed();
    assert!(took >= Duration::from_millis(1300) && took < Duration::from_secs(10), "woke after {took:?}");
}

#[tokio::test]
async fn a_path_with_odd_characters_opens() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("a b%20c?d#e");
    std::fs::create_dir(&odd).unwrap();
    let engine =
        Engine::open(&odd.join("engine.db"), registry(&World::new(dir.path())), Options::default()).await.unwrap();
    assert!(odd.join("engine.db").exists());
    engine.shutdown(Duration::from_secs(1)).await;
}
