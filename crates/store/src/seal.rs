//! Sealing: leaves into tile files, signed checkpoints.
//!
//! The database decides what a leaf is and which index it has; the tile files are derived from it and can be made
//! again from any point, so a crash between the two loses nothing.

use crate::{Durability, Store, StoreError, Tx, now};
use audit::{Checkpoint, Log, VerifierKey};
use futures::FutureExt;

/// Leaves integrated at once.
const STRIDE: i64 = 4096;

fn audit_error(e: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Audit(Box::new(e))
}

impl Store {
    /// Hands the store the log that it seals into. Called once, before the first [`Store::seal`].
    ///
    /// A log that is ahead of the database belongs to another state of it: new leaves would contradict signed ones.
    pub async fn log_attach(&self, log: Log) -> Result<(), StoreError> {
        let (signed, recorded) = (log.size(), *self.changes().borrow());
        if signed > recorded {
            return Err(StoreError::conflict(
                "log_ahead",
                format!(
                    "the audit log holds {signed} entries, the database {recorded}: an older database was put beside it"
                ),
            ));
        }
        *self.0.log.lock().await = Some(log);
        Ok(())
    }

    /// Integrates every leaf recorded so far and signs a checkpoint over them, if there is something new.
    ///
    /// A decision takes effect only after a seal that covers its leaf.
    pub async fn seal(&self) -> Result<Option<Checkpoint>, StoreError> {
        let mut guard = self.0.log.lock().await;
        let log = guard.as_mut().ok_or_else(|| StoreError::corrupt("no log is attached"))?;
        self.integrate(log).await
    }

    /// The public key of the log.
    pub async fn log_key(&self) -> Result<VerifierKey, StoreError> {
        let guard = self.0.log.lock().await;
        guard.as_ref().map(|l| l.verifier().clone()).ok_or_else(|| StoreError::corrupt("no log is attached"))
    }

    /// The newest signed checkpoint, as text.
    pub async fn log_newest(&self) -> Result<Option<String>, StoreError> {
        let guard = self.0.log.lock().await;
        Ok(guard.as_ref().and_then(|l| l.newest()).map(|c| c.note().to_owned()))
    }

    async fn integrate(&self, log: &mut Log) -> Result<Option<Checkpoint>, StoreError> {
        fail::fail_point!("store.seal.before", |_| Err(StoreError::DiskFull));
        self.caught_up().await;
        if log.size() == *self.changes().borrow() {
            return Ok(None);
        }
        // What is signed must outlast what it was signed from: leaves recorded at `process` reach the disk first,
        // and so does the journal that holds their bodies.
        self.write(Durability::Power, |tx| tx.sealing().boxed()).await?;
        loop {
            let leaves: Vec<Vec<u8>> =
                sqlx::query_scalar("SELECT bytes FROM leaf WHERE idx >= $1 ORDER BY idx LIMIT $2")
                    .bind(log.size().cast_signed())
                    .bind(STRIDE)
                    .fetch_all(self.reader())
                    .await?;
            if leaves.is_empty() {
                break;
            }
            let slices: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
            tokio::task::block_in_place(|| log.append(&slices)).map_err(audit_error)?;
        }
        let sealed = tokio::task::block_in_place(|| log.checkpoint(now())).map_err(audit_error)?;
        fail::fail_point!("store.seal.after");
        Ok(sealed)
    }
}

impl Tx {
    /// A write for the sake of its flush: an empty transaction would not reach the disk.
    async fn sealing(&mut self) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO meta (key, value) VALUES ('sealing', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
            .bind(self.leaf_count().to_string())
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }
}
