//! The write transaction that jobs get: leaves, bodies and the statements of each aggregate.

use crate::{
    Durability, StoreError,
    body::KeyCache,
    journal::{Journal, Position},
    now,
    recorder::gate::{Gates, Opening},
    time_text,
};
use domain::{
    event::{Event, LEAF_VERSION, Leaf, Phase},
    ids::InstallationId,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{path::PathBuf, sync::Arc};

/// Pages that the writer keeps at hand, as SQLite takes it: 16 MiB. Bodies are found by hash, so their index has no
/// warm end.
const WRITER_CACHE: &str = "-16384";
/// Pages of the write-ahead log before they go into the database: 16 MiB. Hot pages are written there once for many.
const CHECKPOINT_PAGES: &str = "4000";

/// A write transaction. Statements of the aggregates are its methods.
pub struct Tx {
    pub(crate) conn: SqliteConnection,
    pub(crate) level: Option<Durability>,
    pub(crate) blobs: PathBuf,
    pub(crate) keys: KeyCache,
    pub(crate) journal: Arc<Journal>,
    pub(crate) gates: Arc<Gates>,
    pub(crate) opening: Opening,
    pub(crate) place: Place,
    now: jiff::Timestamp,
}

/// What a rollback sets back.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) next_leaf: u64,
    /// The journal is folded up to here.
    pub(crate) folded: Position,
    /// What was folded in this transaction, by weight.
    pub(crate) weight: u64,
}

impl Tx {
    /// Opens the write connection and the journal beside it, and folds what an earlier process left.
    pub(crate) async fn open(
        options: &SqliteConnectOptions,
        blobs: PathBuf,
        calls: PathBuf,
    ) -> Result<Self, StoreError> {
        let options = options.clone().pragma("cache_size", WRITER_CACHE).pragma("wal_autocheckpoint", CHECKPOINT_PAGES);
        let mut conn = options.connect().await?;
        conn.ping().await?;
        let next: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(idx) + 1, 0) FROM leaf").fetch_one(&mut conn).await?;
        let folded = crate::fold::place_get(&mut conn).await?;
        let mut tx = Self {
            conn,
            level: None,
            blobs,
            keys: KeyCache::default(),
            journal: Arc::new(Journal::open(calls, folded)?),
            gates: Arc::default(),
            opening: Opening::default(),
            place: Place { next_leaf: next.cast_unsigned(), folded, weight: 0 },
            now: now(),
        };
        tx.fold_at_start().await?;
        Ok(tx)
    }

    /// The id of this installation, made at the first start.
    pub(crate) async fn installation(&mut self) -> Result<InstallationId, StoreError> {
        let fresh = crate::new_id(InstallationId::from_uuid).to_string();
        sqlx::query("INSERT INTO meta (key, value) VALUES ('installation', $1) ON CONFLICT DO NOTHING")
            .bind(fresh)
            .execute(&mut self.conn)
            .await?;
        let id: String =
            sqlx::query_scalar("SELECT value FROM meta WHERE key = 'installation'").fetch_one(&mut self.conn).await?;
        Ok(id.parse()?)
    }

    /// The time of this transaction.
    pub fn now(&self) -> jiff::Timestamp {
        self.now
    }

    /// The time of this transaction as text.
    pub fn now_text(&self) -> String {
        time_text(self.now)
    }

    pub(crate) fn tick(&mut self) {
        self.now = now();
    }

    pub(crate) fn leaf_count(&self) -> u64 {
        self.place.next_leaf
    }

    pub(crate) fn set_leaf_count(&mut self, count: u64) {
        self.place.next_leaf = count;
    }

    pub(crate) fn rewind(&mut self, place: Place) {
        self.place = place;
        self.keys.forget();
    }

    /// Appends a leaf to the audit log and returns its index.
    pub async fn leaf(&mut self, event: Event) -> Result<u64, StoreError> {
        let index = self.place.next_leaf;
        let leaf = Leaf { v: LEAF_VERSION, index, time: self.now_text(), event };
        let bytes = audit::canonical(&leaf).map_err(|e| StoreError::Audit(Box::new(e)))?;
        let phase = match leaf.event.phase {
            Phase::Point => "point",
            Phase::Begun => "begun",
            Phase::Ended => "ended",
        };
        sqlx::query(
            "INSERT INTO leaf (idx, time, kind, phase, op, task_id, bytes) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(index.cast_signed())
        .bind(leaf.time)
        .bind(leaf.event.kind.as_str())
        .bind(phase)
        .bind(leaf.event.op.map(|o| o.to_string()))
        .bind(leaf.event.task.map(|t| t.to_string()))
        .bind(bytes)
        .execute(&mut self.conn)
        .await?;
        self.place.next_leaf += 1;
        Ok(index)
    }
}
