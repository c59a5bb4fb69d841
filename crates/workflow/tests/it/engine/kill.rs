//! kill -9 at random moments: every run ends right, every effect has one key.

use super::bed::*;
use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};
use workflow::engine::{Engine, Options, Outcome};

const RUNS: usize = 12;
const KILLS: usize = 8;
const FOLDER: &str = "TASKFORGE_TEST_ENGINE_FOLDER";
/// Per run: two steps, a decision, a step that fails once, steps across a continue-as-new.
const SCRIPT: &str = "ppnfppppppppd";

/// Not a test: the process that is killed. It opens the file, starts whatever is not started, and goes on for ever.
#[tokio::test]
#[ignore = "the process that is killed"]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let engine =
        Engine::open(&folder.join("engine.db"), registry(&World::new(folder)), Options::default()).await.unwrap();
    for i in 0..RUNS {
        let id = format!("k{i}");
        engine.start::<Task>(&id, &Input::new(SCRIPT, Duration::from_secs(3600))).await.unwrap();
        // A wake-up that a power cut or a kill may have taken is sent again at each start.
        engine.signal::<Task>(&id, &Signal::Wake).await.unwrap();
    }
    std::fs::write(folder.join("ready"), "").unwrap();
    for i in 0..RUNS {
        assert!(matches!(engine.wait::<Task>(&format!("k{i}"), PATIENCE).await.unwrap(), Outcome::Done(_)));
    }
    std::fs::write(folder.join("finished"), "").unwrap();
    std::future::pending::<()>().await;
}

fn spawn(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine::kill::child", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn kill_9_at_random_moments_loses_and_doubles_nothing() {
    let mut dice = Dice::new("kill_9_at_random_moments_loses_and_doubles_nothing");
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path());
    for i in 0..RUNS {
        world.decide(&format!("k{i}"), 3, i % 2 == 0);
    }
    for _ in 0..KILLS {
        let mut child = spawn(dir.path());
        let effects = world.effects().len();
        let more = 1 + dice.below(25) as usize;
        eventually("some more effects, or the end", async || {
            world.effects().len() >= effects + more || dir.path().join("finished").exists()
        })
        .await;
        child.kill().await.unwrap();
    }
    let mut last = spawn(dir.path());
    let begun = Instant::now();
    eventually("every run ends", async || dir.path().join("finished").exists()).await;
    println!("finished {:?} after the last kill", begun.elapsed());
    last.kill().await.unwrap();

    let engine = Engine::open(&dir.path().join("engine.db"), registry(&world), Options::default()).await.unwrap();
    for i in 0..RUNS {
        let notes = vec![if i % 2 == 0 { format!("k{i}:built") } else { "denied".into() }];
        let report = engine.result::<Task>(&format!("k{i}")).await.unwrap();
        assert_eq!(report, Outcome::Done(Report { verdict: "done".into(), steps: 13, notes }));
    }
    let effects = world.effects();
    let doubled: Vec<_> = effects.iter().filter(|(_, keys)| keys.len() != 1).collect();
    assert!(doubled.is_empty(), "effects under more than one key: {doubled:?}");
    // 13 steps and an outcome each, and a build for every second run.
    assert_eq!(effects.len(), RUNS * 14 + RUNS / 2);
}

#[tokio::test]
async fn a_killed_process_leaves_no_lease_to_wait_for() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(dir.path());
    let mut child = spawn(dir.path());
    eventually("the first effects", async || world.effects().len() > 5).await;
    child.kill().await.unwrap();
    for i in 0..RUNS {
        world.decide(&format!("k{i}"), 3, false);
    }
    let begun = Instant::now();
    let engine = Engine::open(&dir.path().join("engine.db"), registry(&world), Options::default()).await.unwrap();
    for id in engine.running().await.unwrap() {
        engine.signal::<Task>(&id, &Signal::Wake).await.unwrap();
        assert!(matches!(engine.wait::<Task>(&id, PATIENCE).await.unwrap(), Outcome::Done(_)));
    }
    // The leases of a call last 300 s, of a turn an hour.
    assert!(begun.elapsed() < Duration::from_secs(30), "went on only after {:?}", begun.elapsed());
}
