//! The one writer: takes jobs in order, commits those that wait together at once, and folds the journal of calls
//! before each and whenever there is nothing else to do.

use crate::{Durability, Store, StoreError, Tx, tx::Place};
use futures::{FutureExt, future::BoxFuture};
use sqlx::{Connection, Executor};
use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// Jobs that may wait for the writer; further ones hold back their callers.
pub(crate) const QUEUE: usize = 1024;
/// Jobs that share one commit at the most.
const BATCH: usize = 256;
/// How long the writer lets calls gather before it folds again by itself.
const FOLD_PAUSE: Duration = Duration::from_millis(20);
/// How long it waits after it could not.
const FOLD_RETRY: Duration = Duration::from_secs(1);

type Value = Box<dyn Any + Send>;
type Work = Box<dyn for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<Value, StoreError>> + Send>;

pub(crate) struct Job {
    durability: Durability,
    work: Work,
    reply: oneshot::Sender<Result<Value, StoreError>>,
}

/// Tells the compiler what work in a transaction looks like, where it is not given to [`Store::write`] at once.
pub fn work<T, F>(work: F) -> F
where
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
{
    work
}

impl Store {
    /// Runs `work` in a transaction and returns its value once the commit is as durable as asked.
    ///
    /// An error of `work` undoes what it wrote, and nothing else.
    pub async fn write<T, F>(&self, durability: Durability, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |tx| work(tx).map(|r| r.map(|v| Box::new(v) as Value)).boxed());
        self.0.jobs.send(Job { durability, work, reply }).await.map_err(|_| StoreError::Closed)?;
        let value = answer.await.map_err(|_| StoreError::Closed)??;
        value.downcast::<T>().map(|v| *v).map_err(|_| StoreError::corrupt("a write returned another type"))
    }

    /// Like [`Store::write`] for what stops something: when the disk is full, the reserve is freed and it is tried again.
    pub async fn write_stopping<T, F>(&self, make: impl Fn() -> F + Send) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        match self.write(Durability::Power, make()).await {
            Err(StoreError::DiskFull) if self.reserve_free() => {
                tracing::warn!("the disk is full: the reserve was freed to record a stop");
                self.write(Durability::Power, make()).await
            }
            other => other,
        }
    }
}

/// Runs until every handle of the store is gone.
pub(crate) async fn run(mut tx: Tx, mut queue: mpsc::Receiver<Job>, changed: watch::Sender<u64>) {
    let mut batch = Vec::with_capacity(BATCH);
    let journal = Arc::clone(&tx.journal);
    let mut next_fold = Instant::now();
    loop {
        let waiting = async {
            if !journal.is_behind() {
                journal.waiting.notified().await;
            }
            tokio::time::sleep_until(next_fold).await;
        };
        let open = tokio::select! {
            biased;
            taken = queue.recv_many(&mut batch, BATCH) => taken > 0,
            () = waiting => true,
        };
        if !batch.is_empty() || journal.is_behind() {
            let ok = commit_batch(&mut tx, &mut batch, &changed).await;
            next_fold = Instant::now() + if ok { FOLD_PAUSE } else { FOLD_RETRY };
        }
        if !open {
            break;
        }
    }
    if let Err(e) = tx.conn.close().await {
        tracing::warn!(error = %e, "the database was not closed well");
    }
}

type Done = Vec<(oneshot::Sender<Result<Value, StoreError>>, Value)>;

/// Runs a batch, which may be empty, in one transaction; false if it was rolled back.
async fn commit_batch(tx: &mut Tx, batch: &mut Vec<Job>, changed: &watch::Sender<u64>) -> bool {
    let durability = batch.iter().map(|j| j.durability).max().unwrap_or(Durability::Process);
    let before = tx.place;
    let mut done = Vec::with_capacity(batch.len());
    if let Err(e) = transact(tx, durability, batch, &mut done).await {
        rollback(tx, before).await;
        tx.opening.drop_all();
        tx.journal.folded(0, false);
        fail_all(done.into_iter().map(|(reply, _)| reply).chain(batch.drain(..).map(|j| j.reply)), e);
        return false;
    }
    let gates = Arc::clone(&tx.gates);
    tx.opening.commit(&gates);
    tx.journal.folded(std::mem::take(&mut tx.place.weight), true);
    // Before the replies: who seals once its write has returned must find its own leaf to seal.
    let count = tx.leaf_count();
    changed.send_if_modified(|seen| std::mem::replace(seen, count) != count);
    for (reply, value) in done {
        drop(reply.send(Ok(value)));
    }
    true
}

async fn transact(
    tx: &mut Tx,
    durability: Durability,
    batch: &mut Vec<Job>,
    done: &mut Done,
) -> Result<(), StoreError> {
    begin(tx, durability).await?;
    tx.fold().await?;
    // Nothing that is recorded now is older than what was found in the journal.
    tx.tick();
    let mut jobs = batch.drain(..);
    while let Some(job) = jobs.next() {
        match run_job(tx, job.work).await {
            Ok(value) => done.push((job.reply, value)),
            Err(Undone::Alone(e)) => drop(job.reply.send(Err(e))),
            Err(Undone::WithAll(e)) => {
                // Nothing of the batch is left, and without its transaction each further job would commit by itself.
                fail_all(jobs.map(|j| j.reply).chain([job.reply]), e.alike());
                return Err(e);
            }
        }
    }
    drop(jobs);
    if durability == Durability::Power
        && let Err(e) = tx.journal.flush_all().await
    {
        // The rows are safe all the same, and a stop must be; nothing further is let out.
        tracing::error!(error = %e, "the call journal could not be flushed");
    }
    tx.conn.execute("COMMIT").await?;
    Ok(())
}

async fn begin(tx: &mut Tx, durability: Durability) -> Result<(), StoreError> {
    if tx.level != Some(durability) {
        let pragma = match durability {
            Durability::Process => "PRAGMA synchronous = NORMAL",
            Durability::Power => "PRAGMA synchronous = FULL",
        };
        tx.conn.execute(pragma).await?;
        tx.level = Some(durability);
    }
    fail::fail_point!("store.begin", |_| Err(StoreError::DiskFull));
    tx.conn.execute("BEGIN IMMEDIATE").await?;
    Ok(())
}

/// What a failed job took with it.
enum Undone {
    /// What it wrote itself.
    Alone(StoreError),
    /// The whole transaction: SQLite itself rolls all of it back when, for example, the disk is full.
    WithAll(StoreError),
}

async fn run_job(tx: &mut Tx, work: Work) -> Result<Value, Undone> {
    let before = tx.place;
    if let Err(e) = tx.conn.execute("SAVEPOINT job").await {
        return Err(Undone::WithAll(e.into()));
    }
    let result = AssertUnwindSafe(async {
        let value = work(tx).await?;
        tx.conn.execute("RELEASE job").await?;
        Ok(value)
    })
    .catch_unwind()
    .await
    .unwrap_or_else(|_| Err(StoreError::corrupt("a write panicked")));
    let error = match result {
        Ok(value) => return Ok(value),
        Err(e) => e,
    };
    tx.rewind(before);
    match tx.conn.execute("ROLLBACK TO job; RELEASE job").await {
        Ok(_) => Err(Undone::Alone(error)),
        Err(e) => {
            tracing::warn!(error = %e, "a failed write took its whole transaction with it");
            Err(Undone::WithAll(error))
        }
    }
}

async fn rollback(tx: &mut Tx, before: Place) {
    tx.rewind(before);
    if let Err(e) = tx.conn.execute("ROLLBACK").await {
        tracing::debug!(error = %e, "nothing to roll back");
    }
}

fn fail_all(replies: impl Iterator<Item = oneshot::Sender<Result<Value, StoreError>>>, error: StoreError) {
    tracing::error!(error = %error, source = ?std::error::Error::source(&error), "a commit failed");
    for reply in replies {
        drop(reply.send(Err(error.alike())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::event::{Event, EventKind};
    use serde_json::json;

    fn leaf(n: u32) -> Event {
        Event::point(EventKind::ServerStarted, json!({ "n": n }))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_that_loses_the_transaction_takes_its_batch_with_it_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let ((hold, held), (entered, inside)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
        // Keeps the writer busy, so that the next three share a batch.
        let busy = store.clone();
        let first = tokio::spawn(async move {
            let work = busy.write(Durability::Process, |tx| {
                async move {
                    entered.send(()).unwrap();
                    held.await.unwrap();
                    tx.leaf(leaf(0)).await
                }
                .boxed()
            });
            work.await
        });
        inside.await.unwrap();
        let good = |n| store.write(Durability::Process, move |tx| tx.leaf(leaf(n)).boxed());
        let full = store.write(Durability::Process, |tx| {
            async move {
                tx.leaf(leaf(2)).await?;
                // What SQLite does by itself when a page of a large transaction finds no room.
                tx.conn.execute("ROLLBACK").await?;
                Err::<u64, _>(StoreError::DiskFull)
            }
            .boxed()
        });
        let release = async {
            while store.0.jobs.capacity() > QUEUE - 3 {
                tokio::task::yield_now().await;
            }
            hold.send(()).unwrap();
        };
        let (before, full, after, ()) = tokio::join!(good(1), full, good(3), release);
        assert_eq!(first.await.unwrap().unwrap(), 0);
        for lost in [before, full, after] {
            assert!(matches!(lost, Err(StoreError::DiskFull)), "{lost:?}");
        }
        assert_eq!(good(4).await.unwrap(), 1, "the next leaf follows the last one that was kept");
        let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM leaf").fetch_one(store.reader()).await.unwrap();
        assert_eq!(kept, 2, "what was answered as failed is not there");
    }
}
