//! Erasing the bodies of a task, a caller's key or an API token.
//!
//! - The key goes, and with it every body that it encrypts: in the database, the blob folder and the call journal. What
//!   reasoning was kept for clients goes too. Rows of calls and the log stay, so totals, budgets and proofs do.
//! - Nothing is erased under a task that has not ended, or under a call: they would need it again. A key that is erased is
//!   retired first, so that no call begins under it meanwhile; one that comes now waits and gets the next generation.
//! - The leaf is in the same transaction. Files and the write-ahead log are cleaned after its commit; what a crash leaves
//!   of them is encrypted under a key that is gone.

use super::blob_path;
use crate::{CallScope, Durability, Store, StoreError, Tx, journal::segment};
use domain::event::{Actor, Event, EventKind};
use futures::FutureExt;
use serde_json::json;

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedBodies {
    /// How many bodies.
    pub bodies: u64,
    /// The entry of the log that says so.
    pub leaf: u64,
    /// The files that held some of them.
    blobs: Vec<String>,
}

impl Tx {
    /// Erases every body of a scope for good, and records who did and why. Fails with `bodies_in_use` while something
    /// may need them.
    pub async fn bodies_erase(
        &mut self,
        scope: &CallScope,
        reason: &str,
        by: Actor,
    ) -> Result<ErasedBodies, StoreError> {
        let name = scope.name();
        self.gates.retire_key(&name);
        self.opening.retire_key(&name);
        match scope {
            CallScope::Task(task) => self.gate_close(*task).await?,
            CallScope::Key(_) | CallScope::Token(_) => self.fold().await?,
        }
        self.bodies_unused(scope).await?;
        let in_journal = self.bodies_in_journal(&name).await?;
        let (in_tables, blobs) = self.bodies_wipe(&name).await?;
        if let CallScope::Task(task) = scope {
            self.tool_calls_forget(*task).await?;
        }
        let bodies = in_journal + in_tables;
        let (kind, whose) = match scope {
            CallScope::Task(task) => ("task", task.to_string()),
            CallScope::Key(key) => ("key", key.to_string()),
            CallScope::Token(token) => ("token", token.clone()),
        };
        let data = json!({"bodies": bodies, "reason": reason, "scope": kind, "whose": whose});
        let mut event = Event::point(EventKind::BodyErased, data).by(by);
        if let CallScope::Task(task) = scope {
            event = event.task(*task);
        }
        Ok(ErasedBodies { bodies, leaf: self.leaf(event).await?, blobs })
    }

    /// Fails while a task has not ended, or a call is under way.
    async fn bodies_unused(&mut self, scope: &CallScope) -> Result<(), StoreError> {
        if let CallScope::Task(task) = scope {
            let task = self.task_get(*task).await?;
            if !task.status.is_final() {
                let (id, status) = (task.id, task.status.as_str());
                return Err(StoreError::conflict("bodies_in_use", format!("{id} is {status} and needs its bodies")));
            }
        }
        let open: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM call WHERE scope = $1 AND status = 'open'")
            .bind(scope.name())
            .fetch_one(&mut self.conn)
            .await?;
        if open > 0 {
            return Err(StoreError::conflict("bodies_in_use", format!("model calls are under way: {open}")));
        }
        Ok(())
    }

    /// How many bodies of the journal were recorded since the last erasure.
    async fn bodies_in_journal(&mut self, name: &str) -> Result<u64, StoreError> {
        // The last call that this was asked after.
        let mark = format!("erased:{name}");
        let count: i64 = sqlx::query_scalar(
            "WITH mine AS (
                SELECT id, request, response, normalised, sent FROM call WHERE scope = $1 AND seq > COALESCE(
                    (SELECT CAST(value AS INTEGER) FROM meta WHERE key = $2), 0)),
            tools AS (SELECT t.arguments, t.result FROM tool_call t JOIN mine ON mine.id = t.call_id),
            tries AS (SELECT a.sent, a.response FROM attempt a JOIN mine ON mine.id = a.call_id)
            SELECT COUNT(body) FROM (
                SELECT request AS body FROM mine UNION SELECT response FROM mine UNION SELECT normalised FROM mine
                UNION SELECT sent FROM mine UNION SELECT arguments FROM tools UNION SELECT result FROM tools
                UNION SELECT sent FROM tries UNION SELECT response FROM tries)",
        )
        .bind(name)
        .bind(&mark)
        .fetch_one(&mut self.conn)
        .await?;
        sqlx::query(
            "INSERT INTO meta (key, value) SELECT $1, CAST(COALESCE(MAX(seq), 0) AS TEXT) FROM call WHERE true
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(&mark)
        .execute(&mut self.conn)
        .await?;
        Ok(count.cast_unsigned())
    }

    /// Wipes keys, bodies and reasoning; returns how many bodies, and which of them lie in files.
    async fn bodies_wipe(&mut self, name: &str) -> Result<(u64, Vec<String>), StoreError> {
        // What is replaced is overwritten in the file, not only freed.
        sqlx::query("PRAGMA secure_delete = ON").execute(&mut self.conn).await?;
        sqlx::query(
            "UPDATE body_key SET key = NULL, erased_at = $2
             WHERE (scope = $1 OR (scope > $1 || '#' AND scope < $1 || '$')) AND key IS NOT NULL",
        )
        .bind(name)
        .bind(self.now_text())
        .execute(&mut self.conn)
        .await?;
        self.keys.0.remove(name);
        let blobs = sqlx::query_scalar(
            "SELECT commitment FROM body WHERE (scope = $1 OR (scope > $1 || '#' AND scope < $1 || '$'))
             AND data IS NULL AND length(nonce) > 0",
        )
        .bind(name)
        .fetch_all(&mut self.conn)
        .await?;
        let wiped = sqlx::query(
            "UPDATE body SET salt = x'', nonce = x'', data = NULL
             WHERE (scope = $1 OR (scope > $1 || '#' AND scope < $1 || '$')) AND length(nonce) > 0",
        )
        .bind(name)
        .execute(&mut self.conn)
        .await?;
        sqlx::query("DELETE FROM reasoning_carry WHERE scope = $1 OR (scope > $1 || '#' AND scope < $1 || '$')")
            .bind(name)
            .execute(&mut self.conn)
            .await?;
        sqlx::query("PRAGMA secure_delete = OFF").execute(&mut self.conn).await?;
        Ok((wiped.rows_affected(), blobs))
    }
}

impl Store {
    /// Erases every body of a scope for good ([`Tx::bodies_erase`]), with what lies of them in files.
    pub async fn bodies_erase(&self, scope: CallScope, reason: String, by: Actor) -> Result<ErasedBodies, StoreError> {
        let erase = crate::work(move |tx| async move { tx.bodies_erase(&scope, &reason, by).await }.boxed());
        let erased = self.write(Durability::Power, erase).await?;
        let dir = self.0.data_dir.join("blobs");
        for blob in &erased.blobs {
            match tokio::fs::remove_file(blob_path(&dir, blob)).await {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(error = %e, "an erased body's file could not be removed; nobody can read it");
                }
                _ => {}
            }
        }
        // The log of the database still has pages with the key.
        if let Err(e) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(self.reader()).await {
            tracing::warn!(error = %e, "the database's log could not be cut; it is with the next erasure or start");
        }
        Ok(erased)
    }

    /// Whether a segment is gone because everything in it was erased.
    pub(super) async fn segment_erased(&self, number: u32) -> Result<bool, StoreError> {
        if segment::path(self.0.journal.dir(), number).exists() {
            return Ok(false);
        }
        let (all, live): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), COUNT(k.key) FROM segment_scope s LEFT JOIN body_key k ON k.scope = s.scope
             WHERE s.segment = $1",
        )
        .bind(number)
        .fetch_one(self.reader())
        .await?;
        Ok(all > 0 && live == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn holds(dir: &Path, needle: &[u8]) -> bool {
        std::fs::read_dir(dir).unwrap().flatten().any(|f| {
            if f.path().is_dir() {
                return holds(&f.path(), needle);
            }
            std::fs::read(f.path()).unwrap().windows(needle.len()).any(|w| w == needle)
        })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_file_has_the_key_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let recorder = store.recorder(Durability::Power);
        let why = crate::NotSent { http_status: 429, code: "no", message: "no".into() };
        let new = crate::NewCall {
            ingress: "chat",
            asked_model: "m".into(),
            stream: false,
            headers: serde_json::Value::Null,
            request: bytes::Bytes::from_static(b"ask"),
            results: Vec::new(),
        };
        recorder.refuse(crate::RefusedCaller::Token("ada".into()), new, why).await.unwrap();
        let key: Vec<u8> = sqlx::query_scalar("SELECT key FROM body_key WHERE scope = 'token:ada'")
            .fetch_one(store.reader())
            .await
            .unwrap();
        assert!(key.len() == 32 && holds(dir.path(), &key));
        let erased = store.bodies_erase(CallScope::Token("ada".into()), "test".into(), Actor::System).await.unwrap();
        assert_eq!(erased.bodies, 1);
        assert!(!holds(dir.path(), &key));
    }
}
