//! A request becomes a candidate that a person can judge.

use super::{Act, RunRef, Shared, store_fault};
use crate::durable::{ActCx, Activity, Fault, Lane};
use domain::{
    event::{Event, EventKind, Outcome},
    ids::{OpId, RequestId},
    request::{Ask, Request, RequestStatus},
};
use futures::FutureExt;
use image::{Lookup, LookupFn, ResolveError, ResolveInput, Resolved};
use serde_json::json;
use std::sync::Arc;
use store::{Durability, StoreError};

/// Makes the candidate of a request, or rejects it with the reason.
pub struct Resolve(pub Shared);

impl Activity for Resolve {
    const NAME: &'static str = "resolve_request";
    const LANE: Lane = Lane::Long;
    type In = Act<RequestId>;
    type Out = ();

    async fn run(&self, _: ActCx, act: Self::In) -> Result<(), Fault> {
        let s = &self.0;
        let request = s.store.request_get(act.input).await.map_err(store_fault)?;
        let Ask::Packages { packages } = &request.ask else { return Ok(()) };
        if request.status != RequestStatus::Resolving {
            return Ok(());
        }
        let task = s.store.task_get(act.run.task).await.map_err(store_fault)?;
        let image = task.image.clone().ok_or_else(|| Fault::fatal("internal", "the task has no image yet"))?;
        let input = ResolveInput {
            task: task.id,
            request: request.id,
            base_image: super::base_of(s, &image).await?,
            parent_image: image,
            asks: packages.clone(),
            approved: s.store.approved_set(task.id).await.map_err(store_fault)?,
            policy_version: task.policy_version,
        };
        let op = begun(s, act.run, &request).await?;
        let result = s.images.resolve(&input, lookups(s, act.run, request.id)).await;
        settle(s, act.run, &request, op, result).await
    }
}

async fn begun(s: &Shared, run: RunRef, request: &Request) -> Result<OpId, Fault> {
    let op = store::new_id(OpId::from_uuid);
    let event = Event::begun(EventKind::RequestResolve, op, json!({"request": request.id})).task(run.task).run(run.run);
    s.store.write(Durability::Process, move |tx| tx.leaf(event).boxed()).await.map_err(store_fault)?;
    Ok(op)
}

/// Each look-up of the resolver is in the log before it leaves.
fn lookups(s: &Shared, run: RunRef, request: RequestId) -> LookupFn {
    let store = s.store.clone();
    Arc::new(move |lookup: Lookup| {
        let store = store.clone();
        async move {
            let data =
                json!({"request": request, "ecosystem": lookup.ecosystem, "method": lookup.method, "url": lookup.url});
            let event = Event::point(EventKind::RequestLookup, data).task(run.task).run(run.run);
            store
                .write(Durability::Process, move |tx| tx.leaf(event).boxed())
                .await
                .map(drop)
                .map_err(|e| e.to_string())
        }
        .boxed()
    })
}

async fn settle(
    s: &Shared,
    run: RunRef,
    request: &Request,
    op: OpId,
    result: Result<Resolved, ResolveError>,
) -> Result<(), Fault> {
    let id = request.id;
    let ended = |outcome, data| Event::ended(EventKind::RequestResolve, op, outcome, data).task(run.task).run(run.run);
    let done = match result {
        Ok(resolved) if resolved.new.is_empty() => {
            let event = ended(Outcome::NotDone, json!({"request": id, "code": "already_there"}));
            let sentence = "everything you asked for is in your image already; just use it";
            let work = store::work(move |tx| {
                async move {
                    tx.leaf(event).await?;
                    tx.request_rejected(id, sentence).await.map(drop)
                }
                .boxed()
            });
            s.store.write(Durability::Power, work).await
        }
        Ok(Resolved { candidate, lookups, .. }) => {
            let data = json!({"request": id, "artefacts": candidate.artefacts.len(), "lookups": lookups});
            let event = ended(Outcome::Done, data);
            let work = store::work(move |tx| {
                async move {
                    tx.leaf(event).await?;
                    tx.request_pending(id, &candidate).await.map(drop)
                }
                .boxed()
            });
            s.store.write(Durability::Power, work).await
        }
        Err(error) => {
            let event = ended(Outcome::NotDone, json!({"request": id, "code": error.code()}));
            let sentence = error.to_string();
            tracing::info!(request.id = %id, code = error.code(), "request could not be resolved");
            let work = store::work(move |tx| {
                async move {
                    tx.leaf(event).await?;
                    tx.request_rejected(id, &sentence).await.map(drop)
                }
                .boxed()
            });
            s.store.write(Durability::Power, work).await
        }
    };
    match done {
        // The task was ended meanwhile: nothing is left to say.
        Err(StoreError::Conflict { .. }) | Ok(()) => Ok(()),
        Err(e) => Err(store_fault(e)),
    }
}
