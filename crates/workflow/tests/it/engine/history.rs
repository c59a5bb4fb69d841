//! Recorded histories replay; a changed workflow is found out.

use super::bed::*;
use std::time::Duration;
use workflow::{
    durable::{Durable, Fault, Next, Workflow},
    engine::{History, Registry, ReplayError, replay},
    workflows,
};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/engine/history.json");

/// `RECORD=1` writes the fixture anew, for a release that changes the workflows on purpose.
#[tokio::test]
async fn the_recorded_run_replays() {
    if std::env::var_os("RECORD").is_some() {
        let bed = Bed::new().await;
        bed.world.decide("t", 2, true);
        bed.start("t", "pnfpppppppppnpd", Duration::from_millis(100)).await;
        bed.report("t").await;
        let text = serde_json::to_string_pretty(&bed.engine.history("t").await.unwrap()).unwrap();
        std::fs::write(FIXTURE, text + "\n").unwrap();
    }
    let recorded: Vec<History> = serde_json::from_str(&std::fs::read_to_string(FIXTURE).unwrap()).unwrap();
    assert_eq!(recorded.len(), 2, "two executions: it continued as new");
    let dir = tempfile::tempdir().unwrap();
    for history in &recorded {
        assert!(history.len() > 10);
        replay(registry(&World::new(dir.path())), history).unwrap();
    }
}

#[tokio::test]
async fn an_open_run_replays_too() {
    let bed = Bed::new().await;
    bed.start("t", "ppn", Duration::from_secs(3600)).await;
    bed.shows("t", Phase::Waiting { request: 3 }).await;
    for history in bed.engine.history("t").await.unwrap() {
        replay(registry(&bed.world), &history).unwrap();
    }
}

/// `Task` as somebody might change it: one more call at its start.
struct Changed;
impl Workflow for Changed {
    const NAME: &'static str = "task";
    type In = Input;
    type Out = Report;
    type Signal = Signal;
    type Status = Phase;
    async fn run<D: Durable<Self>>(d: D, st: Input) -> Result<Next<Self>, Fault> {
        d.call::<Note>(QUICK, "new".into()).await?;
        Ok(Next::Done(Report { verdict: "done".into(), steps: st.step, notes: st.notes }))
    }
}

#[tokio::test]
async fn a_changed_workflow_does_not_replay() {
    let bed = Bed::new().await;
    bed.start("t", "pd", Duration::ZERO).await;
    bed.report("t").await;
    let history = bed.engine.history("t").await.unwrap().remove(0);
    let changed = workflows!(Registry::new().activity(Note(bed.world.clone())); Changed);
    let found = replay(changed, &history);
    assert!(matches!(found, Err(ReplayError::Diverged { .. })), "{found:?}");
    let other = workflows!(Registry::new(); Waiter);
    assert!(matches!(replay(other, &history), Err(ReplayError::NoWorkflow(_))));
}
