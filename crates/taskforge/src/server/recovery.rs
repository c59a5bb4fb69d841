//! After a crash: acts that were begun and never ended are closed on the record.
//!
//! What the workflow takes up again (an agent's container) stays open: it is closed by its own end. Everything else is
//! closed as unknown; where it is repeated, it is repeated as an act of its own.

use anyhow::Result;
use domain::event::{Event, EventKind, Outcome};
use futures::FutureExt;
use serde_json::json;
use store::{Durability, OpenOp, Store};

pub(crate) async fn recover(store: &Store) -> Result<()> {
    let calls = store.write(Durability::Power, |tx| tx.calls_recover().boxed()).await?;
    let open: Vec<OpenOp> =
        store.open_ops().await?.into_iter().filter(|o| o.leaf.event.kind != EventKind::SandboxRun).collect();
    let closed = open.len();
    if closed > 0 || calls > 0 {
        tracing::info!(acts = closed, calls, "closing what a crash left open");
        let work = store::work(move |tx| {
            async move {
                for o in &open {
                    let mut event = Event::ended(
                        o.leaf.event.kind,
                        o.op,
                        Outcome::Unknown,
                        json!({"recovered": true, "begun": o.leaf.index}),
                    );
                    (event.task, event.run, event.iteration) =
                        (o.leaf.event.task, o.leaf.event.run, o.leaf.event.iteration);
                    tx.leaf(event).await?;
                }
                tx.leaf(Event::point(EventKind::ServerRecovered, json!({"acts": open.len(), "calls": calls}))).await
            }
            .boxed()
        });
        store.write(Durability::Power, work).await?;
    }
    Ok(())
}
