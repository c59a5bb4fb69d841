//! Who may use the API: named tokens, single-use sign-in codes, browser sessions, and keys of repeated creates.
//!
//! Only hashes of secrets are stored. A revoked token takes its codes and sessions with it; the last token in force
//! cannot be revoked, because nobody could make another.

use crate::{Store, StoreError, Tx};
use domain::ids::TaskId;
use serde::Serialize;
use sqlx::{Row, sqlite::SqliteRow};

/// SHA-256 of a secret.
pub type SecretHash = [u8; 32];

/// Tokens read at once, and tokens in force at the most.
pub const MAX_TOKENS: i64 = 500;
/// How long a repeated create is recognised, in milliseconds (7 days).
const IDEMPOTENCY_TTL_MS: i64 = 7 * 24 * 3600 * 1000;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// The public part, by which it is found.
    pub key: String,
    /// Its name: what decisions are signed with.
    pub name: String,
    /// The token that made it.
    pub created_by: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; none: in force.
    pub revoked_at: Option<String>,
}

/// A create that was made before with the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// SHA-256 of the body that it had.
    pub body_hash: SecretHash,
    /// The task that it made.
    pub task: TaskId,
}

fn token(r: &SqliteRow) -> Result<Token, StoreError> {
    Ok(Token {
        key: r.try_get("key")?,
        name: r.try_get("name")?,
        created_by: r.try_get("created_by")?,
        created_at: r.try_get("created_at")?,
        revoked_at: r.try_get("revoked_at")?,
    })
}

pub(crate) fn hash(bytes: Vec<u8>) -> Result<SecretHash, StoreError> {
    bytes.try_into().map_err(|_| StoreError::corrupt("a hash has the wrong length"))
}

impl Tx {
    /// Stores a token; fails with `name_taken` if one in force has the name.
    pub async fn token_insert(
        &mut self,
        key: &str,
        name: &str,
        secret: &SecretHash,
        by: &str,
    ) -> Result<Token, StoreError> {
        let active: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM token WHERE revoked_at IS NULL").fetch_one(&mut self.conn).await?;
        if active >= MAX_TOKENS {
            return Err(StoreError::conflict("too_many_tokens", format!("there are already {active} tokens in force")));
        }
        let added = sqlx::query(
            "INSERT INTO token (key, name, hash, created_by, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        )
        .bind(key)
        .bind(name)
        .bind(secret.as_slice())
        .bind(by)
        .bind(self.now_text())
        .execute(&mut self.conn)
        .await?;
        if added.rows_affected() == 0 {
            return Err(StoreError::conflict("name_taken", format!("a token named {name:?} is in force")));
        }
        Ok(Token {
            key: key.to_owned(),
            name: name.to_owned(),
            created_by: by.to_owned(),
            created_at: self.now_text(),
            revoked_at: None,
        })
    }

    /// Revokes the token in force by that name, with its codes and sessions.
    pub async fn token_revoke(&mut self, name: &str) -> Result<Token, StoreError> {
        let row = sqlx::query("SELECT * FROM token WHERE name = $1 AND revoked_at IS NULL")
            .bind(name)
            .fetch_optional(&mut self.conn)
            .await?
            .ok_or_else(|| StoreError::not_found("token", name))?;
        let mut found = token(&row)?;
        let others: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM token WHERE revoked_at IS NULL AND name <> $1")
            .bind(name)
            .fetch_one(&mut self.conn)
            .await?;
        if others == 0 {
            return Err(StoreError::conflict("last_token", format!("{name:?} is the last token in force")));
        }
        found.revoked_at = Some(self.now_text());
        sqlx::query("UPDATE token SET revoked_at = $2 WHERE key = $1")
            .bind(&found.key)
            .bind(&found.revoked_at)
            .execute(&mut self.conn)
            .await?;
        sqlx::query("DELETE FROM session WHERE token_key = $1").bind(&found.key).execute(&mut self.conn).await?;
        sqlx::query("DELETE FROM sign_in_code WHERE token_key = $1").bind(&found.key).execute(&mut self.conn).await?;
        Ok(found)
    }

    /// Stores a sign-in code; forgets codes that have expired.
    pub async fn sign_in_code_insert(
        &mut self,
        code: &SecretHash,
        token_key: &str,
        expires_ms: i64,
    ) -> Result<(), StoreError> {
        let now = self.now().as_millisecond();
        sqlx::query("DELETE FROM sign_in_code WHERE expires_ms <= $1").bind(now).execute(&mut self.conn).await?;
        sqlx::query("INSERT INTO sign_in_code (hash, token_key, expires_ms) VALUES ($1, $2, $3)")
            .bind(code.as_slice())
            .bind(token_key)
            .bind(expires_ms)
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }

    /// Uses a sign-in code up; none if there is no such code in force.
    pub async fn sign_in_code_take(&mut self, code: &SecretHash) -> Result<Option<Token>, StoreError> {
        let now = self.now().as_millisecond();
        let key: Option<String> =
            sqlx::query_scalar("DELETE FROM sign_in_code WHERE hash = $1 AND expires_ms > $2 RETURNING token_key")
                .bind(code.as_slice())
                .bind(now)
                .fetch_optional(&mut self.conn)
                .await?;
        let Some(key) = key else { return Ok(None) };
        let row = sqlx::query("SELECT * FROM token WHERE key = $1 AND revoked_at IS NULL")
            .bind(key)
            .fetch_optional(&mut self.conn)
            .await?;
        row.as_ref().map(token).transpose()
    }

    /// Stores a session; forgets those that have expired.
    pub async fn session_insert(
        &mut self,
        session: &SecretHash,
        token_key: &str,
        expires_ms: i64,
    ) -> Result<(), StoreError> {
        let now = self.now().as_millisecond();
        sqlx::query("DELETE FROM session WHERE expires_ms <= $1").bind(now).execute(&mut self.conn).await?;
        sqlx::query("INSERT INTO session (hash, token_key, created_at, expires_ms) VALUES ($1, $2, $3, $4)")
            .bind(session.as_slice())
            .bind(token_key)
            .bind(self.now_text())
            .bind(expires_ms)
            .execute(&mut self.conn)
            .await?;
        Ok(())
    }

    /// Ends a session.
    pub async fn session_delete(&mut self, session: &SecretHash) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM session WHERE hash = $1").bind(session.as_slice()).execute(&mut self.conn).await?;
        Ok(())
    }

    /// The create that this token made before with this key, if it is not too old.
    pub async fn idempotency_get(&mut self, token_key: &str, key: &str) -> Result<Option<Repeated>, StoreError> {
        let oldest = self.now().as_millisecond() - IDEMPOTENCY_TTL_MS;
        sqlx::query("DELETE FROM idempotency WHERE created_ms < $1").bind(oldest).execute(&mut self.conn).await?;
        let row = sqlx::query("SELECT body_hash, task_id FROM idempotency WHERE token_key = $1 AND key = $2")
            .bind(token_key)
            .bind(key)
            .fetch_optional(&mut self.conn)
            .await?;
        row.map(|r| {
            Ok(Repeated { body_hash: hash(r.try_get("body_hash")?)?, task: r.try_get::<&str, _>("task_id")?.parse()? })
        })
        .transpose()
    }

    /// Remembers a create by its key.
    pub async fn idempotency_put(&mut self, token_key: &str, key: &str, made: &Repeated) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO idempotency (token_key, key, body_hash, task_id, created_ms) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(token_key)
        .bind(key)
        .bind(made.body_hash.as_slice())
        .bind(made.task.to_string())
        .bind(self.now().as_millisecond())
        .execute(&mut self.conn)
        .await?;
        Ok(())
    }
}

impl Store {
    /// The token in force with that public part, and the hash of its secret.
    pub async fn token_find(&self, key: &str) -> Result<Option<(Token, SecretHash)>, StoreError> {
        let row = sqlx::query("SELECT * FROM token WHERE key = $1 AND revoked_at IS NULL")
            .bind(key)
            .fetch_optional(self.reader())
            .await?;
        row.map(|r| Ok((token(&r)?, hash(r.try_get("hash")?)?))).transpose()
    }

    /// All tokens, those in force first, by name.
    pub async fn token_list(&self) -> Result<Vec<Token>, StoreError> {
        let rows = sqlx::query("SELECT * FROM token ORDER BY revoked_at IS NOT NULL, name, created_at DESC LIMIT $1")
            .bind(MAX_TOKENS)
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(token).collect()
    }

    /// The token that a session in force stands for.
    pub async fn session_find(&self, session: &SecretHash) -> Result<Option<Token>, StoreError> {
        let row = sqlx::query(
            "SELECT t.* FROM session s JOIN token t ON t.key = s.token_key \
             WHERE s.hash = $1 AND s.expires_ms > $2 AND t.revoked_at IS NULL",
        )
        .bind(session.as_slice())
        .bind(crate::now().as_millisecond())
        .fetch_optional(self.reader())
        .await?;
        row.as_ref().map(token).transpose()
    }
}
