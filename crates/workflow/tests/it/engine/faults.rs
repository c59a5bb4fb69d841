//! A store that fails now and then: nothing is failed for good by it.

use super::bed::*;
use std::time::Duration;

const POINTS: [&str; 5] =
    ["engine.turn.fetch", "engine.call.fetch", "engine.turn.write", "engine.call.write", "engine.enqueue.write"];

/// Failpoints are of the whole process: other tests that run meanwhile must not mind either.
#[tokio::test]
async fn transient_store_errors_fail_no_run() {
    let bed = Bed::new().await;
    for point in POINTS {
        fail::cfg(point, "20%return").unwrap();
    }
    for i in 0..12 {
        bed.start(&format!("t{i}"), "ppnfpd", Duration::from_secs(3600)).await;
        bed.world.decide(&format!("t{i}"), 3, i % 2 == 0);
        bed.engine.signal::<Task>(&format!("t{i}"), &Signal::Wake).await.unwrap();
    }
    let mut reports = Vec::new();
    for i in 0..12 {
        reports.push(bed.report(&format!("t{i}")).await);
    }
    for point in POINTS {
        fail::remove(point);
    }
    for (i, report) in reports.into_iter().enumerate() {
        let note = if i % 2 == 0 { format!("t{i}:built") } else { "denied".into() };
        assert_eq!(report, Report { verdict: "done".into(), steps: 6, notes: vec![note] });
    }
    assert!(bed.world.effects().values().all(|keys| keys.len() == 1));
}
