//! Early, late, duplicate, many, unreadable: no signal is lost while a run is open, none hurts it after.

use super::bed::*;
use std::{collections::BTreeMap, time::Duration};
use workflow::engine::{Outcome, Told};

const LONG_WAIT: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn early_and_duplicate_signals_are_wake_ups_only() {
    let bed = Bed::new().await;
    bed.world.decide("t", 1, true);
    bed.start("t", "nd", LONG_WAIT).await;
    for _ in 0..5 {
        assert_ne!(bed.engine.signal::<Task>("t", &Signal::Wake).await.unwrap(), Told::Unknown);
    }
    assert_eq!(bed.report("t").await.notes, ["t:built"]);
    assert_eq!(bed.world.count("note t:built"), 1);
}

#[tokio::test]
async fn late_and_unknown_are_told_not_failed() {
    let bed = Bed::new().await;
    bed.start("t", "d", LONG_WAIT).await;
    bed.report("t").await;
    assert_eq!(bed.engine.signal::<Task>("t", &Signal::Wake).await.unwrap(), Told::Ended);
    assert_eq!(bed.engine.cancel::<Task>("t", "late").await.unwrap(), Told::Ended);
    assert_eq!(bed.engine.signal::<Task>("nobody", &Signal::Wake).await.unwrap(), Told::Unknown);
    assert_eq!(bed.engine.result::<Task>("nobody").await.unwrap(), Outcome::Unknown);
}

#[tokio::test]
async fn unread_signals_survive_continue_as_new() {
    let bed = Bed::new().await;
    // Step 9 is long; the pause and wakes that arrive in it are taken between it and the new execution, or in it.
    bed.start("t", "ppppppppplpd", LONG_WAIT).await;
    bed.world.until("step t 9", 1).await;
    bed.world.open("t");
    for _ in 0..20 {
        bed.engine.signal::<Task>("t", &Signal::Wake).await.unwrap();
    }
    bed.engine.signal::<Task>("t", &Signal::Pause).await.unwrap();
    eventually("the pause is honoured or came too late", async || {
        bed.engine.status::<Task>("t").await.unwrap() == Some(Phase::Paused)
            || bed.engine.result::<Task>("t").await.unwrap() != Outcome::Open
    })
    .await;
    bed.engine.signal::<Task>("t", &Signal::Resume).await.unwrap();
    assert_eq!(bed.report("t").await.verdict, "done");
}

#[tokio::test]
async fn a_cancel_that_crosses_continue_as_new_is_never_lost() {
    let mut dice = Dice::new("a_cancel_that_crosses_continue_as_new_is_never_lost");
    let bed = Bed::new().await;
    for i in 0..30 {
        let id = format!("c{i}");
        // Continues as new for ever unless it is told: a lost cancel would never end.
        bed.start(&id, &"p".repeat(5000), LONG_WAIT).await;
        bed.world.until(&format!("step {id} {}", 5 + dice.below(10)), 1).await;
        bed.engine.cancel::<Task>(&id, "now").await.unwrap();
        assert_eq!(bed.report(&id).await.verdict, "cancelled: now");
    }
}

#[tokio::test]
async fn random_signals_to_random_scripts_always_end_right() {
    let mut dice = Dice::new("random_signals_to_random_scripts_always_end_right");
    let bed = Bed::new().await;
    let mut ids = Vec::new();
    for i in 0..60 {
        let script: String = (0..dice.below(25)).map(|_| ['p', 'p', 'f', 'n'][dice.below(4) as usize]).collect();
        let id = format!("r{i}");
        bed.start(&id, &script, Duration::from_millis(100)).await;
        ids.push(id);
        for _ in 0..dice.below(6) {
            let id = &ids[dice.below(ids.len() as u64) as usize];
            let signal = match dice.below(12) {
                0..=3 => {
                    bed.world.decide(id, dice.below(20) as u32, dice.below(2) == 0);
                    Signal::Wake
                }
                4..=6 => Signal::Pause,
                7..=10 => Signal::Resume,
                _ => Signal::Cancel { why: "dice".into() },
            };
            bed.engine.signal::<Task>(id, &signal).await.unwrap();
        }
    }
    for id in &ids {
        bed.engine.signal::<Task>(id, &Signal::Resume).await.unwrap();
    }
    let mut tally = BTreeMap::<String, u32>::new();
    for id in &ids {
        *tally.entry(bed.report(id).await.verdict).or_default() += 1;
    }
    println!("{tally:?}");
    assert!(tally.keys().all(|v| v == "done" || v == "cancelled: dice"), "{tally:?}");
    assert!(bed.world.effects().values().all(|keys| keys.len() == 1), "an effect under two keys");
}
