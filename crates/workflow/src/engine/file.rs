//! The few statements on the engine's own tables that its library has no function for.
//!
//! This is the one place outside `store` that speaks SQL, because the library keeps its file to itself: the next due
//! time (without it a timer could only be found by polling), the leases of a dead process (without clearing them a
//! restart waits until they run out), the lease of a call that lives, starts that were accepted and not yet begun, and
//! executions that a continue-as-new left behind. The schema is pinned with the library's exact version.

use super::live::now_ms;
use duroxide::providers::sqlite::SqliteProvider;
use sqlx::SqlitePool;
use std::{path::Path, time::Duration};

/// Page cache of each connection, in KiB: the library's 64 MiB for each of five would be most of an idle server.
const CACHE_KIB: &str = "PRAGMA cache_size = -4096";

/// Opens or creates the engine's file, and frees what a dead process had locked in it.
pub(crate) async fn open(path: &Path) -> Result<SqliteProvider, sqlx::Error> {
    let text = path.to_string_lossy().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    let provider = SqliteProvider::new(&format!("sqlite:{text}?mode=rwc"), None).await?;
    clear_leases(provider.get_pool()).await?;
    Ok(provider)
}

/// Single-process installation: whoever opens the file is the only one, so every lock in it is of a dead process.
async fn clear_leases(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("DELETE FROM instance_locks").execute(&mut *tx).await?;
    sqlx::query("UPDATE orchestrator_queue SET lock_token = NULL, locked_until = NULL WHERE lock_token IS NOT NULL")
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE worker_queue SET lock_token = NULL, locked_until = NULL WHERE lock_token IS NOT NULL")
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// How long until the next delayed turn (a timer) is due.
pub(crate) async fn next_turn(pool: &SqlitePool) -> Option<Duration> {
    let now = now_ms();
    let due: Result<Option<i64>, _> =
        sqlx::query_scalar("SELECT MIN(visible_at) FROM orchestrator_queue WHERE visible_at > $1")
            .bind(now)
            .fetch_one(pool)
            .await;
    until(now, due)
}

/// Messages that are not due: timers.
pub(crate) async fn timers(pool: &SqlitePool) -> Result<u64, sqlx::Error> {
    let n: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM orchestrator_queue WHERE visible_at > $1")
        .bind(now_ms())
        .fetch_one(pool)
        .await?;
    Ok(u64::try_from(n).unwrap_or(0))
}

/// How long until the next delayed call is due.
pub(crate) async fn next_call(pool: &SqlitePool) -> Option<Duration> {
    let now = now_ms();
    let due: Result<Option<i64>, _> =
        sqlx::query_scalar("SELECT MIN(visible_at) FROM worker_queue WHERE visible_at > $1")
            .bind(now)
            .fetch_one(pool)
            .await;
    until(now, due)
}

fn until(now: i64, due: Result<Option<i64>, sqlx::Error>) -> Option<Duration> {
    match due {
        Ok(due) => due.map(|d| Duration::from_millis(u64::try_from(d - now).unwrap_or(0) + 1)),
        Err(error) => {
            tracing::warn!(%error, "cannot read the next due time of the engine");
            None
        }
    }
}

/// Extends the lease of a call that lives in this process, also when it has run out.
pub(crate) async fn revive(pool: &SqlitePool, lock: &str, lease: Duration) -> Result<bool, sqlx::Error> {
    let until = now_ms().saturating_add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX));
    let done = sqlx::query("UPDATE worker_queue SET locked_until = $1 WHERE lock_token = $2")
        .bind(until)
        .bind(lock)
        .execute(pool)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Gives a call that was fetched a second time back to the lock of the run that lives.
pub(crate) async fn give_back(pool: &SqlitePool, second: &str, first: &str) -> Result<(), sqlx::Error> {
    let sql = "UPDATE worker_queue SET lock_token = $1 WHERE lock_token = $2";
    sqlx::query(sql).bind(first).bind(second).execute(pool).await.map(|_| ())
}

/// Whether a start was accepted for this id whose run has not begun.
pub(crate) async fn start_pending(pool: &SqlitePool, id: &str) -> Result<bool, sqlx::Error> {
    let n: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM orchestrator_queue WHERE instance_id = $1")
        .bind(id)
        .fetch_one(pool)
        .await?;
    Ok(n > 0)
}

/// Messages that wait for a run plus the events of its current execution: what a flood of signals makes grow.
pub(crate) async fn weight(pool: &SqlitePool, id: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM orchestrator_queue WHERE instance_id = $1)
              + (SELECT COUNT(*) FROM history WHERE instance_id = $1 AND execution_id =
                  (SELECT current_execution_id FROM instances WHERE instance_id = $1))",
    )
    .bind(id)
    .fetch_one(pool)
    .await
}

/// Some runs that have executions which a continue-as-new left behind.
pub(crate) async fn with_old_executions(pool: &SqlitePool, limit: u32) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT DISTINCT e.instance_id FROM executions e JOIN instances i ON i.instance_id = e.instance_id
         WHERE e.execution_id < i.current_execution_id LIMIT $1",
    )
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// Bounds the page cache of the idle connections. The library sets its own size on each new one, so this is repeated.
pub(crate) async fn trim(pool: &SqlitePool) {
    let mut held = Vec::new();
    while let Some(mut conn) = pool.try_acquire() {
        for pragma in [CACHE_KIB, "PRAGMA shrink_memory"] {
            if let Err(error) = sqlx::query(pragma).execute(&mut *conn).await {
                tracing::debug!(%error, pragma, "cannot trim a connection of the engine");
            }
        }
        held.push(conn);
    }
}
