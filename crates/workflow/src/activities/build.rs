//! An approved candidate becomes the task's image: exactly the approved bytes, nothing else.

use super::{Act, RunRef, Shared, image_fault, recorded, store_fault};
use crate::durable::{ActCx, Activity, Fault, Lane};
use domain::{
    candidate::Candidate,
    event::{Event, EventKind},
    ids::RequestId,
    request::RequestStatus,
    task::Desired,
};
use futures::FutureExt;
use image::{BuildError, BuildInput, BuiltImage};
use serde_json::json;
use store::{Durability, ImageRow, StoreError};

/// Builds (or finds) the image of an approved request and makes it the task's.
pub struct Build(pub Shared);

impl Activity for Build {
    const NAME: &'static str = "build_image";
    const LANE: Lane = Lane::Long;
    type In = Act<RequestId>;
    type Out = ();

    async fn run(&self, _: ActCx, act: Self::In) -> Result<(), Fault> {
        let s = &self.0;
        let request = s.store.request_get(act.input).await.map_err(store_fault)?;
        if request.status != RequestStatus::Approved {
            return Ok(());
        }
        let digest =
            request.digest.clone().ok_or_else(|| Fault::fatal("internal", "an approved request has no digest"))?;
        let candidate = s.store.candidate_get(&digest).await.map_err(store_fault)?;
        let same = candidate.digest().map_err(|e| Fault::fatal("internal", e.to_string()))? == digest;
        if !same {
            return Err(Fault::fatal("candidate_changed", "the stored candidate is not the one that was approved"));
        }
        // The decision is under a signed checkpoint before it takes effect.
        s.store.seal().await.map_err(store_fault)?;
        let built = build(s, act.run, &candidate, &digest).await?;
        apply(s, act.run, request.id, &candidate, &digest, built).await
    }
}

async fn build(s: &Shared, run: RunRef, candidate: &Candidate, digest: &str) -> Result<BuiltImage, Fault> {
    let input = BuildInput {
        task: run.task,
        request: candidate.request,
        candidate_digest: digest.to_owned(),
        base_image: candidate.base_image.clone(),
        parent_image: candidate.parent_image.clone(),
        artefacts: candidate.artefacts.clone(),
        dockerfile: Some(candidate.dockerfile.clone()),
    };
    let data = json!({"request": candidate.request, "digest": digest, "base_image": candidate.base_image});
    recorded(s, EventKind::ImageBuild, run, data, async {
        let built = s.images.build(&input).await.map_err(|e| {
            let (code, text) = (e.code(), e.to_string());
            match e {
                BuildError::Internal(e) => image_fault(e),
                BuildError::Failed { log_tail, .. } => Fault::fatal(code, format!("{text}\n{log_tail}")),
                BuildError::Timeout { .. } | BuildError::Mismatch { .. } => Fault::fatal(code, text),
            }
        })?;
        let data = json!({"image": built.id, "size": built.size_bytes, "reused": built.reused, "key": built.key});
        Ok((built, data))
    })
    .await
}

async fn apply(
    s: &Shared,
    run: RunRef,
    id: RequestId,
    candidate: &Candidate,
    digest: &str,
    built: BuiltImage,
) -> Result<(), Fault> {
    let row = ImageRow {
        id: built.id.clone(),
        kind: "task".to_owned(),
        key: built.key.clone(),
        base: Some(candidate.base_image.clone()),
        parent: Some(candidate.parent_image.clone()),
        request: Some(id),
        digest: Some(digest.to_owned()),
        dockerfile: built.dockerfile.clone(),
        size: built.size_bytes,
        created_at: String::new(),
        used_at: String::new(),
    };
    let work = store::work(move |tx| {
        async move {
            tx.image_upsert(&row).await?;
            if built.reused {
                let event = Event::point(EventKind::ImageReused, json!({"image": built.id, "request": id}));
                tx.leaf(event.task(run.task).run(run.run)).await?;
            }
            // While the task is paused a finished build is kept, not applied: it is found again on resume.
            match tx.task_get(run.task).await?.desired {
                Desired::Run => tx.request_applied(id, &built.id).await.map(drop),
                Desired::Pause | Desired::Cancel => Ok(()),
            }
        }
        .boxed()
    });
    fail::fail_point!("workflow.apply.before");
    let done = s.store.write(Durability::Power, work).await;
    fail::fail_point!("workflow.apply.after");
    match done {
        Err(StoreError::Conflict { .. }) | Ok(()) => Ok(()),
        Err(e) => Err(store_fault(e)),
    }
}
