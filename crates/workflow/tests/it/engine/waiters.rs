//! Thousands of waiting runs hold nothing but rows.

use super::bed::*;
use std::time::{Duration, Instant};
use workflow::engine::Outcome;

const WAITERS: usize = 2000;
const DAY_MS: u64 = 24 * 3600 * 1000;

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_waiters_are_cheap_and_wake_at_once() {
    let bed = Bed::new().await;
    let before = rss_kib();
    for i in 0..WAITERS {
        bed.engine.start::<Waiter>(&format!("w{i}"), &DAY_MS).await.unwrap();
    }
    bed.world.until(":parked", WAITERS).await;
    eventually("all are parked", async || {
        let s = bed.engine.stats().await.unwrap();
        s.timers == WAITERS as u64 && s.queued_turns == 0 && s.queued_calls == 0 && s.live_calls == 0
    })
    .await;
    let grown = rss_kib().saturating_sub(before);
    println!("{WAITERS} waiters: +{grown} KiB");
    assert!(grown < 60 * 1024, "{grown} KiB for {WAITERS} waiters");
    let mut took = Vec::new();
    for i in 0..20 {
        let id = format!("w{}", i * 37 % WAITERS);
        let asked = Instant::now();
        bed.engine.signal::<Waiter>(&id, &7).await.unwrap();
        assert_eq!(bed.engine.wait::<Waiter>(&id, PATIENCE).await.unwrap(), Outcome::Done(7));
        took.push(asked.elapsed());
    }
    took.sort();
    println!("signal to end among them: median {:?}, worst {:?}", took[10], took[19]);
    assert!(took[19] < Duration::from_secs(2), "{took:?}");
}
