//! The end of a run: whatever its outcome, nothing of it stays behind.

use super::{Act, RunRef, Shared, sandbox_fault, store_fault};
use crate::durable::{ActCx, Activity, Fault};
use domain::task::RunOutcome;
use futures::FutureExt;

/// Takes down what the run still holds and records its outcome.
pub struct Finish(pub Shared);

impl Activity for Finish {
    const NAME: &'static str = "finish";
    type In = Act<RunOutcome>;
    type Out = ();

    async fn run(&self, _: ActCx, act: Self::In) -> Result<(), Fault> {
        let s = &self.0;
        let task = s.store.task_get(act.run.task).await.map_err(store_fault)?;
        match s.sandboxes.remove(&task.id).await {
            // Without an agent process there is no container to remove, also where Docker cannot say so.
            Err(e) if e.is_transient() && self.never_ran(act.run).await? => {}
            removed => removed.map_err(sandbox_fault)?,
        }
        s.gateway.close(task.id).await;
        s.sandboxes.remove_run_dir(&task.id).await.map_err(sandbox_fault)?;
        let (run, outcome) = (act.run.run, act.input);
        let make = || {
            let (task, outcome) = (task.clone(), outcome.clone());
            store::work(move |tx| async move { tx.run_finish(&task, run, &outcome).await }.boxed())
        };
        s.store.write_stopping(make).await.map_err(store_fault)
    }
}

impl Finish {
    async fn never_ran(&self, act: RunRef) -> Result<bool, Fault> {
        Ok(self.0.store.iteration_list(act.run).await.map_err(store_fault)?.is_empty())
    }
}
