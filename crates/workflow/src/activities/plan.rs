//! Looking, and the small changes of record.

use super::{Act, Shared, store_fault};
use crate::durable::{ActCx, Activity, Fault};
use domain::{
    ids::RequestId,
    plan::{Side, Step, Underway, plan},
    task::{Command, TaskStatus},
};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use store::{Durability, StoreError};

/// The next step and the time at which it was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// What comes next.
    pub step: Step,
    /// Unix milliseconds.
    pub now_ms: i64,
}

/// Reads the facts, decides the next step, and shows the task's status.
pub struct PlanNext(pub Shared);

impl Activity for PlanNext {
    const NAME: &'static str = "plan_next";
    type In = Act<Underway>;
    type Out = Planned;

    async fn run(&self, _: ActCx, act: Self::In) -> Result<Planned, Fault> {
        let store = &self.0.store;
        let task = act.run.task;
        let snapshot = store.plan_snapshot(task, act.run.run).await.map_err(store_fault)?;
        let step = plan(&snapshot, act.input);
        tracing::debug!(task.id = %task, ?step, "planned");
        let show = match &step {
            Step::Wait { status, .. } => Some(*status),
            Step::Begin(Side::Build { .. }) if !act.input.agent => Some(TaskStatus::Building),
            Step::RunAgent { .. } => Some(TaskStatus::Running),
            Step::Begin(_) | Step::Expire { .. } | Step::StopAgent { .. } | Step::DropSide | Step::Finish { .. } => {
                None
            }
        };
        if let Some(status) = show
            && store.task_get(task).await.map_err(store_fault)?.status != status
        {
            let work = store::work(move |tx| tx.task_show_status(task, status).boxed());
            store.write(Durability::Process, work).await.map_err(store_fault)?;
        }
        Ok(Planned { step, now_ms: snapshot.now_ms })
    }
}

/// Closes a request that nobody decided in time.
pub struct Expire(pub Shared);

impl Activity for Expire {
    const NAME: &'static str = "expire_request";
    type In = Act<RequestId>;
    type Out = ();

    async fn run(&self, _: ActCx, act: Self::In) -> Result<(), Fault> {
        let id = act.input;
        let done = self
            .0
            .store
            .write(Durability::Power, move |tx| async move { tx.request_expire(id).await.map(drop) }.boxed())
            .await;
        match done {
            // Decided in the last moment: the decision stands.
            Err(StoreError::Conflict { .. }) | Ok(()) => Ok(()),
            Err(e) => Err(store_fault(e)),
        }
    }
}

/// The code of a run whose workspace or base image could not be made.
pub const PREPARE_FAILED: &str = "prepare_failed";

/// Records that work beside the agent failed for good.
pub struct SideFailed(pub Shared);

impl Activity for SideFailed {
    const NAME: &'static str = "side_failed";
    type In = Act<(Side, String)>;
    type Out = ();

    async fn run(&self, _: ActCx, act: Self::In) -> Result<(), Fault> {
        let (side, why) = act.input;
        let store = &self.0.store;
        let done = match side {
            Side::Prepare => return Err(Fault::fatal(PREPARE_FAILED, why)),
            Side::Resolve { request } => {
                store
                    .write(Durability::Power, move |tx| async move { tx.request_rejected(request, &why).await }.boxed())
                    .await
            }
            Side::Build { request } => {
                store
                    .write(Durability::Power, move |tx| {
                        async move { tx.request_build_failed(request, &why).await }.boxed()
                    })
                    .await
            }
        };
        match done {
            Err(StoreError::Conflict { .. }) | Ok(_) => Ok(()),
            Err(e) => Err(store_fault(e)),
        }
    }
}

/// An engine-level cancel becomes the task's own.
pub struct CancelTask(pub Shared);

impl Activity for CancelTask {
    const NAME: &'static str = "cancel_task";
    type In = Act<String>;
    type Out = ();

    async fn run(&self, _: ActCx, act: Self::In) -> Result<(), Fault> {
        let task = act.run.task;
        let make = move || {
            store::work(move |tx| async move { tx.task_command(task, Command::Cancel, "engine").await }.boxed())
        };
        match self.0.store.write_stopping(make).await {
            Err(StoreError::Illegal(_)) | Ok(_) => Ok(()),
            Err(e) => Err(store_fault(e)),
        }
    }
}
