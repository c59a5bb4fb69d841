//! After a crash: what was begun and never ended is closed on the record.
//!
//! What became of an act is established by [`workflow::recovery`], which looks for its effect. What the workflow takes up
//! again (an agent's container) stays open: it is closed by its own end. Where a closed act is repeated, it is repeated as
//! an act of its own.

use anyhow::Result;
use domain::event::{Event, EventKind, Outcome};
use futures::FutureExt;
use image::Images;
use sandbox::Sandboxes;
use serde_json::json;
use store::{Durability, Store};
use workflow::recovery::Look;

/// Closes what a crash left open of calls and of acts. Called before anything is taken up or tidied again.
pub(crate) async fn recover(store: &Store, sandboxes: &Sandboxes, images: &Images) -> Result<()> {
    let calls = store.write(Durability::Power, |tx| tx.calls_recover().boxed()).await?;
    let look = Look::new(store, sandboxes, images);
    let mut ended = Vec::new();
    for open in store.open_ops().await? {
        let Some(found) = look.at(&open).await else { continue };
        let (kind, outcome) = (open.leaf.event.kind.as_str(), found.outcome());
        tracing::info!(act = kind, begun = open.leaf.index, ?outcome, "closing what a crash left open");
        ended.push(found.ended(&open));
    }
    close(store, calls, ended).await
}

/// Closes calls only: a gateway alone has no Engine to ask, and leaves acts of sandboxes to the server that has.
pub(crate) async fn recover_calls(store: &Store) -> Result<()> {
    let calls = store.write(Durability::Power, |tx| tx.calls_recover().boxed()).await?;
    close(store, calls, Vec::new()).await
}

async fn close(store: &Store, calls: u64, ended: Vec<Event>) -> Result<()> {
    if ended.is_empty() && calls == 0 {
        return Ok(());
    }
    let count = |outcome| ended.iter().filter(|e| e.outcome == Some(outcome)).count();
    let data = json!({
        "acts": ended.len(), "calls": calls,
        "done": count(Outcome::Done), "not_done": count(Outcome::NotDone), "unknown": count(Outcome::Unknown),
    });
    let work = store::work(move |tx| {
        async move {
            for event in ended {
                tx.leaf(event).await?;
            }
            tx.leaf(Event::point(EventKind::ServerRecovered, data)).await
        }
        .boxed()
    });
    store.write(Durability::Power, work).await?;
    Ok(())
}
