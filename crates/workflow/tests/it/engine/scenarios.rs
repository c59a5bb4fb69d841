//! The scenarios that the engine study tried, as tests.

use super::bed::*;
use std::time::Duration;
use workflow::engine::Started;

const LONG_WAIT: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn straight() {
    let bed = Bed::new().await;
    bed.start("t", "ppd", LONG_WAIT).await;
    assert_eq!(bed.report("t").await, Report { verdict: "done".into(), steps: 3, notes: vec![] });
    assert_eq!(bed.world.count("step t"), 3);
}

#[tokio::test]
async fn a_second_start_of_an_id_is_no_second_run() {
    let bed = Bed::new().await;
    let input = Input::new("pd", LONG_WAIT);
    let (a, b) = tokio::join!(bed.engine.start::<Task>("t", &input), bed.engine.start::<Task>("t", &input));
    let mut both = [a.unwrap(), b.unwrap()];
    both.sort_by_key(|s| *s == Started::Known);
    assert_eq!(both, [Started::New, Started::Known]);
    bed.report("t").await;
    assert_eq!(bed.engine.start::<Task>("t", &Input::new("pd", LONG_WAIT)).await.unwrap(), Started::Known);
    assert_eq!(bed.world.count("step t"), 2);
}

#[tokio::test]
async fn granted_builds_in_a_child() {
    let bed = Bed::new().await;
    bed.start("t", "pnpd", LONG_WAIT).await;
    bed.shows("t", Phase::Waiting { request: 2 }).await;
    bed.world.decide("t", 2, true);
    bed.engine.signal::<Task>("t", &Signal::Wake).await.unwrap();
    assert_eq!(bed.report("t").await, Report { verdict: "done".into(), steps: 4, notes: vec!["t:built".into()] });
}

#[tokio::test]
async fn denied() {
    let bed = Bed::new().await;
    bed.start("t", "nd", LONG_WAIT).await;
    bed.world.decide("t", 1, false);
    bed.engine.signal::<Task>("t", &Signal::Wake).await.unwrap();
    assert_eq!(bed.report("t").await.notes, ["denied"]);
}

#[tokio::test]
async fn expired() {
    let bed = Bed::new().await;
    bed.start("t", "nd", Duration::from_millis(150)).await;
    assert_eq!(bed.report("t").await.notes, ["expired"]);
}

#[tokio::test]
async fn pause_holds_and_resume_goes_on() {
    let bed = Bed::new().await;
    bed.start("t", "lpd", LONG_WAIT).await;
    bed.world.until("step t 0", 1).await;
    bed.engine.signal::<Task>("t", &Signal::Pause).await.unwrap();
    bed.world.open("t");
    bed.shows("t", Phase::Paused).await;
    assert_eq!(bed.world.count("step t"), 1);
    bed.engine.signal::<Task>("t", &Signal::Resume).await.unwrap();
    assert_eq!(bed.report("t").await.verdict, "done");
}

#[tokio::test]
async fn continue_as_new_keeps_the_run() {
    let bed = Bed::new().await;
    bed.start("t", &"p".repeat(25), LONG_WAIT).await;
    assert_eq!(bed.report("t").await.steps, 26);
    assert_eq!(bed.engine.state("t").await.unwrap().unwrap().execution, 3);
    assert_eq!(bed.world.effects().keys().filter(|k| k.starts_with("t:step")).count(), 26);
}

#[tokio::test]
async fn a_failing_step_still_tears_down() {
    let bed = Bed::new().await;
    bed.start("t", "px", LONG_WAIT).await;
    assert_eq!(bed.report("t").await.verdict, "failed: scripted failure");
    assert_eq!(bed.world.count("note t:outcome"), 1);
}

#[tokio::test]
async fn a_fault_that_passes_and_a_panic_are_tried_again_under_one_key() {
    let bed = Bed::new().await;
    bed.start("t", "fPd", LONG_WAIT).await;
    assert_eq!(bed.report("t").await.verdict, "done");
    assert_eq!(bed.world.count("step t 0 attempt"), 2);
    assert_eq!(bed.world.count("step t 1 attempt"), 2);
    assert!(bed.world.effects().values().all(|keys| keys.len() == 1));
}

#[tokio::test]
async fn ended_runs_are_forgotten() {
    let bed = Bed::with(workflow::engine::Options { keep_ended: Duration::ZERO, ..Default::default() }).await;
    for i in 0..5 {
        bed.start(&format!("t{i}"), &"p".repeat(12), LONG_WAIT).await;
        bed.report(&format!("t{i}")).await;
    }
    bed.start("open", "ppppppppppppn", LONG_WAIT).await;
    bed.shows("open", Phase::Waiting { request: 13 }).await;
    eventually("all five are forgotten, the open one keeps its last execution", async || {
        bed.engine.prune().await.unwrap();
        let stats = bed.engine.stats().await.unwrap();
        stats.done == 0 && stats.running == 1 && bed.engine.history("open").await.unwrap().len() == 1
    })
    .await;
    bed.engine.cancel::<Task>("open", "enough").await.unwrap();
    assert_eq!(bed.report("open").await.verdict, "cancelled: enough");
}
