//! All SQL, and the one writer of the audit log's leaves.
//!
//! - A change of state, its audit leaf and its intent for the engine are one transaction ([`Store::write`]).
//! - One task owns the write connection; writes that wait together share one commit (group commit). Readers use a pool.
//! - [`Durability::Process`] returns when the commit has reached the OS (survives `kill -9`); [`Durability::Power`]
//!   when it has reached the disk.
//! - Model calls are recorded in a journal beside the database and folded into it ([`Recorder`]): each transaction
//!   folds first, so it sees every call acknowledged before it.
//! - Leaves hold metadata and salted commitments; bodies are encrypted under a key per task ([`Tx::body`]).
//! - The tile files of the log are derived from the leaves by [`Store::seal`], which also signs checkpoints.
//!
//! One file per aggregate; statements are static SQL.

mod access;
mod body;
mod budget;
mod calls;
mod error;
mod events;
mod files;
mod fold;
mod images;
mod intents;
mod iterations;
mod journal;
mod keys;
mod messages;
mod policies;
mod providers;
mod recorder;
mod requests;
mod runs;
mod seal;
mod snapshot;
mod tasks;
mod tool_calls;
mod tx;
mod writer;

pub use access::*;
pub use body::{ErasedBodies, LARGE_BODY_BYTES, MAX_BODY_BYTES};
pub use budget::BudgetShort;
pub use calls::*;
pub use error::StoreError;
pub use events::{EventFilter, EventRecord, OpenOp};
pub use files::{InputFile, OutputFile};
pub use images::ImageRow;
pub use intents::{Intent, IntentKind, IntentRow};
pub use iterations::{Iteration, IterationStart};
pub use keys::{CallerKey, KEY_PREFIX, KeyRing, KeyRow, MAX_KEYS, key_lookup};
pub use messages::Message;
pub use providers::{Credentials, MAX_PROVIDERS, ProviderRow, Vault, fingerprint};
pub use recorder::{
    AttemptEnd, Begun, BodyWriter, CallEnd, CallError, CallRef, Caller, EmittedToolCall, NewAttempt, NewCall, NotSent,
    Received, Recorder, RefusedCaller, SeenResult, Tokens, Written,
};
pub use requests::{NewRequest, RequestFilter, RequestPage};
pub use runs::Run;

pub use tasks::{NewTask, TaskFilter, TaskPage};
pub use tool_calls::*;
pub use tx::Tx;
pub use writer::work;

use audit::Log;
use domain::ids::InstallationId;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

/// How long a statement waits for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections for reading.
const READERS: u32 = 4;
/// Size of the file that is freed when the disk is full, so that stopping can still be recorded.
const RESERVE_BYTES: u64 = 8 << 20;

/// How far a write must have come before the caller goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Handed to the OS: survives a kill of the process, not a power failure.
    Process,
    /// On disk: survives a power failure. Writes that wait together share one flush.
    Power,
}

impl Durability {
    /// The value of a setting: `process` or `power`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "process" => Some(Self::Process),
            "power" => Some(Self::Power),
            _ => None,
        }
    }
}

/// The store of one installation. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    read: SqlitePool,
    jobs: mpsc::Sender<writer::Job>,
    changes: watch::Receiver<u64>,
    log: Mutex<Option<Log>>,
    journal: Arc<journal::Journal>,
    gates: Arc<recorder::gate::Gates>,
    log_dir: PathBuf,
    data_dir: PathBuf,
    installation: InstallationId,
    keys: KeyRing,
    writer: AbortOnDropHandle<()>,
}

impl Store {
    /// Opens (or creates) the store in `data_dir`. The caller holds the lock of that folder.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let blobs = data_dir.join("blobs");
        body::create_private_dir(&blobs)?;
        let options = SqliteConnectOptions::new()
            .filename(data_dir.join("state.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(256);
        let read =
            SqlitePoolOptions::new().max_connections(READERS).min_connections(1).connect_with(options.clone()).await?;
        sqlx::migrate!("./migrations").run(&read).await?;
        let mut tx = Tx::open(&options, blobs, data_dir.join("calls")).await?;
        let installation = tx.installation().await?;
        let keys = KeyRing::default();
        keys.load(&read, None).await?;
        let (changed, changes) = watch::channel(tx.leaf_count());
        let (journal, gates) = (Arc::clone(&tx.journal), Arc::clone(&tx.gates));
        let (jobs, queue) = mpsc::channel(writer::QUEUE);
        let task = tokio::spawn(writer::run(tx, queue, changed));
        let store = Self(Arc::new(Inner {
            read,
            jobs,
            changes,
            log: Mutex::new(None),
            journal,
            gates,
            log_dir: data_dir.join("audit"),
            data_dir: data_dir.to_owned(),
            installation,
            keys,
            writer: AbortOnDropHandle::new(task),
        }));
        store.reserve_restore()?;
        Ok(store)
    }

    /// Closes the database, and returns once its files are at rest. Where other handles of the store still live, only
    /// their readers are closed.
    pub async fn close(self) {
        self.0.read.close().await;
        let Some(Inner { jobs, writer, .. }) = Arc::into_inner(self.0) else { return };
        drop(jobs);
        if let Err(e) = writer.await {
            tracing::error!(error = %e, "the writer of the store ended badly");
        }
    }

    /// The id of this installation: the label of everything it makes.
    pub fn installation(&self) -> InstallationId {
        self.0.installation
    }

    /// The number of leaves so far; changes whenever something was recorded.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.clone()
    }

    /// The folder that holds the audit log's files.
    pub fn log_dir(&self) -> &Path {
        &self.0.log_dir
    }

    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.0.read
    }

    fn reserve_path(&self) -> PathBuf {
        self.0.data_dir.join("reserve")
    }

    /// Makes sure of the reserve, where there is room for it.
    pub fn reserve_restore(&self) -> Result<(), StoreError> {
        let path = self.reserve_path();
        if std::fs::metadata(&path).is_ok_and(|m| m.len() >= RESERVE_BYTES) {
            return Ok(());
        }
        let space = rustix::fs::statvfs(&self.0.data_dir).map_err(std::io::Error::from)?;
        if space.f_bavail.saturating_mul(space.f_frsize) < 4 * RESERVE_BYTES {
            return Ok(());
        }
        std::fs::write(&path, vec![0x5a; RESERVE_BYTES as usize])?;
        Ok(())
    }

    /// Frees the reserve; true if there was one to free.
    fn reserve_free(&self) -> bool {
        std::fs::remove_file(self.reserve_path()).is_ok()
    }
}

/// The present moment.
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// A moment as stored and shown: RFC 3339, UTC, milliseconds.
pub fn time_text(t: jiff::Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A fresh id: `new_id(TaskId::from_uuid)`.
pub fn new_id<T>(make: fn(uuid::Uuid) -> T) -> T {
    make(uuid::Uuid::now_v7())
}
