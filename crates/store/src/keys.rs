//! Keys of callers: who may use the gateway over TCP, for which models, and how much.
//!
//! Only a hash of a secret is stored. A call asks the [`KeyRing`], which is in memory and holds every key in force; the
//! ring is read again after each change, before the change is answered.

use crate::{SecretHash, Store, StoreError, Tx, access::hash};
use domain::{budget::Budget, ids::KeyId};
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::{Row, SqlitePool, sqlite::SqliteRow};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};
use subtle::ConstantTimeEq;

/// Keys in force at the most, and keys listed at once.
pub const MAX_KEYS: i64 = 10_000;
/// What a key's secret begins with.
pub const KEY_PREFIX: &str = "tfk_";
/// Hexadecimal digits of a secret after the prefix.
const SECRET_DIGITS: usize = 64;
/// Of those, the digits by which it is found.
const LOOKUP_DIGITS: usize = 16;

/// A caller's key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallerKey {
    /// Its id.
    pub id: KeyId,
    /// Its name, which stands in the record of its calls.
    pub name: String,
    /// What it may call: `provider/model`, aliases, and globs such as `openai/*`; none: everything.
    pub models: Option<Vec<String>>,
    /// How much it may use.
    pub budget: Option<Budget>,
    /// When it ends, in milliseconds since 1970; none: when it is revoked.
    pub expires_ms: Option<i64>,
}

/// A caller's key as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyRow {
    /// The key.
    pub key: CallerKey,
    /// The public part of its secret.
    pub lookup: String,
    /// The token that made it.
    pub created_by: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; none: in force.
    pub revoked_at: Option<String>,
}

struct Entry {
    key: Arc<CallerKey>,
    hash: SecretHash,
}

/// The keys in force, in memory. Cheap to clone; all clones see every change.
#[derive(Clone, Default)]
pub struct KeyRing(Arc<Ring>);

#[derive(Default)]
struct Ring {
    entries: RwLock<HashMap<String, Entry>>,
    /// Held while the ring is read again: an older reading must not replace a newer one.
    loading: tokio::sync::Mutex<()>,
}

impl KeyRing {
    /// The key that a secret belongs to, unless it has ended.
    pub fn find(&self, secret: &str) -> Option<Arc<CallerKey>> {
        let lookup = key_lookup(secret)?;
        let digest: SecretHash = Sha256::digest(secret.as_bytes()).into();
        let ring = self.0.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = ring.get(lookup)?;
        let same: bool = entry.hash.ct_eq(&digest).into();
        let ended = entry.key.expires_ms.is_some_and(|at| at <= crate::now().as_millisecond());
        (same && !ended).then(|| Arc::clone(&entry.key))
    }

    /// How many keys are in force.
    pub fn len(&self) -> usize {
        self.0.entries.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the ring again. A key that was revoked is gone even where that fails.
    pub(crate) async fn load(&self, read: &SqlitePool, revoked: Option<&str>) -> Result<(), StoreError> {
        let _loading = self.0.loading.lock().await;
        if let Some(lookup) = revoked {
            self.0.entries.write().unwrap_or_else(PoisonError::into_inner).remove(lookup);
        }
        let rows = sqlx::query("SELECT * FROM gateway_key WHERE revoked_at IS NULL").fetch_all(read).await?;
        let mut ring = HashMap::with_capacity(rows.len());
        for row in &rows {
            let found = key_row(row)?;
            let entry = Entry { key: Arc::new(found.key), hash: hash(row.try_get("hash")?)? };
            ring.insert(found.lookup, entry);
        }
        *self.0.entries.write().unwrap_or_else(PoisonError::into_inner) = ring;
        Ok(())
    }
}

/// The public part of a secret; none if it is not of the form of one.
pub fn key_lookup(secret: &str) -> Option<&str> {
    let digits = secret.strip_prefix(KEY_PREFIX)?;
    let sound =
        digits.len() == SECRET_DIGITS && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    sound.then(|| &digits[..LOOKUP_DIGITS])
}

fn key_row(r: &SqliteRow) -> Result<KeyRow, StoreError> {
    let json = |name| r.try_get::<Option<String>, _>(name);
    Ok(KeyRow {
        key: CallerKey {
            id: r.try_get::<&str, _>("id")?.parse()?,
            name: r.try_get("name")?,
            models: json("models")?.map(|t| serde_json::from_str(&t)).transpose()?,
            budget: json("budget")?.map(|t| serde_json::from_str(&t)).transpose()?,
            expires_ms: r.try_get("expires_ms")?,
        },
        lookup: r.try_get("lookup")?,
        created_by: r.try_get("created_by")?,
        created_at: r.try_get("created_at")?,
        revoked_at: r.try_get("revoked_at")?,
    })
}

impl Tx {
    /// Stores a key; fails with `name_taken` if one in force has the name. The caller refreshes the ring afterwards
    /// ([`Store::keys_refresh`]).
    pub async fn key_insert(&mut self, key: CallerKey, secret: &str, by: &str) -> Result<KeyRow, StoreError> {
        let lookup = key_lookup(secret).ok_or_else(|| StoreError::corrupt("a key of another form"))?.to_owned();
        let active: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM gateway_key WHERE revoked_at IS NULL")
            .fetch_one(&mut self.conn)
            .await?;
        if active >= MAX_KEYS {
            return Err(StoreError::conflict("too_many_tokens", format!("there are already {active} keys in force")));
        }
        let digest: SecretHash = Sha256::digest(secret.as_bytes()).into();
        let added = sqlx::query(
            "INSERT INTO gateway_key (id, lookup, name, hash, models, budget, expires_ms, created_by, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .bind(key.id.to_string())
        .bind(&lookup)
        .bind(&key.name)
        .bind(digest.as_slice())
        .bind(key.models.as_ref().map(serde_json::to_string).transpose()?)
        .bind(key.budget.as_ref().map(serde_json::to_string).transpose()?)
        .bind(key.expires_ms)
        .bind(by)
        .bind(self.now_text())
        .execute(&mut self.conn)
        .await?;
        if added.rows_affected() == 0 {
            return Err(StoreError::conflict("name_taken", format!("a key named {:?} is in force", key.name)));
        }
        Ok(KeyRow { key, lookup, created_by: by.to_owned(), created_at: self.now_text(), revoked_at: None })
    }

    /// Revokes the key in force by that name or id.
    pub async fn key_revoke(&mut self, name: &str) -> Result<KeyRow, StoreError> {
        let row = sqlx::query(
            "UPDATE gateway_key SET revoked_at = $2 WHERE (name = $1 OR id = $1) AND revoked_at IS NULL RETURNING *",
        )
        .bind(name)
        .bind(self.now_text())
        .fetch_optional(&mut self.conn)
        .await?
        .ok_or_else(|| StoreError::not_found("key", name))?;
        key_row(&row)
    }
}

impl Store {
    /// The keys in force, in memory.
    pub fn keys(&self) -> KeyRing {
        self.0.keys.clone()
    }

    /// Reads the ring again, after a key was made.
    pub async fn keys_refresh(&self) -> Result<(), StoreError> {
        self.0.keys.load(self.reader(), None).await
    }

    /// Takes a revoked key out of the ring.
    pub async fn keys_forget(&self, row: &KeyRow) -> Result<(), StoreError> {
        self.0.keys.load(self.reader(), Some(&row.lookup)).await
    }

    /// All keys, those in force first, by name.
    pub async fn key_list(&self) -> Result<Vec<KeyRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM gateway_key ORDER BY revoked_at IS NOT NULL, name, created_at DESC LIMIT $1")
                .bind(MAX_KEYS)
                .fetch_all(self.reader())
                .await?;
        rows.iter().map(key_row).collect()
    }

    /// The key by that id or name; of several with a name, the one in force, else the newest.
    pub async fn key_get(&self, name: &str) -> Result<KeyRow, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM gateway_key WHERE name = $1 OR id = $1
             ORDER BY revoked_at IS NOT NULL, created_at DESC LIMIT 1",
        )
        .bind(name)
        .fetch_optional(self.reader())
        .await?
        .ok_or_else(|| StoreError::not_found("key", name))?;
        key_row(&row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_secrets_have_a_lookup() {
        let secret = format!("tfk_{}", "0123456789abcdef".repeat(4));
        assert_eq!(key_lookup(&secret), Some("0123456789abcdef"));
        for bad in ["", "tfk_", &secret[1..], &format!("{secret}0"), &secret.to_uppercase(), "tf_0123"] {
            assert_eq!(key_lookup(bad), None, "{bad}");
        }
    }
}
