//! Bodies: prompts, answers, files. Encrypted under a key per task, referred to by a salted commitment. Those of model
//! calls lie in the journal, under keys of any scope; the rest in the database or the blob folder.
//!
//! Erasing a task's key makes its bodies unreadable for good; the salts go with them, so that a commitment cannot be
//! tested against guesses. The log, which holds commitments only, stays valid.

mod stored;

use crate::{Store, StoreError, Tx, journal::Position, recorder::seal::ScopeKey};
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce, aead::Aead};
use domain::{event::BodyRef, ids::TaskId};
use sqlx::Row;
use std::{
    collections::HashMap,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The largest body that is recorded.
pub const MAX_BODY_BYTES: u64 = 4 << 30;
/// Bodies larger than this lie in the blob folder instead of the database.
pub const LARGE_BODY_BYTES: usize = 256 << 10;

/// Keys that are kept at hand.
const CACHED_KEYS: usize = 1024;

/// Keys made or read before; forgotten when a transaction that may have made one is rolled back.
#[derive(Default)]
pub(crate) struct KeyCache(HashMap<String, [u8; 32]>);

impl KeyCache {
    /// Forgets all keys.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

impl Tx {
    /// Stores a body of a task and returns its reference for a leaf.
    pub async fn body(&mut self, task: &TaskId, bytes: &[u8]) -> Result<BodyRef, StoreError> {
        self.body_in(&task.to_string(), bytes).await
    }

    /// Stores a body that belongs to no task.
    pub async fn body_of_system(&mut self, bytes: &[u8]) -> Result<BodyRef, StoreError> {
        self.body_in("system", bytes).await
    }

    async fn body_in(&mut self, scope: &str, bytes: &[u8]) -> Result<BodyRef, StoreError> {
        let size = bytes.len() as u64;
        if size > MAX_BODY_BYTES {
            return Err(StoreError::TooLarge { size, max: MAX_BODY_BYTES });
        }
        let key = self.body_key(scope).await?;
        let (salt, nonce) = (random::<32>()?, random::<12>()?);
        let commitment = audit::commitment(&salt, bytes);
        let sealed = ChaCha20Poly1305::new(Key::from_slice(&key))
            .encrypt(Nonce::from_slice(&nonce), bytes)
            .map_err(|_| StoreError::corrupt("a body could not be encrypted"))?;
        let inline = sealed.len() <= LARGE_BODY_BYTES;
        if !inline {
            write_blob(&blob_path(&self.blobs, &commitment), &sealed)?;
        }
        sqlx::query("INSERT INTO body (commitment, scope, salt, nonce, size, data) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(&commitment)
            .bind(scope)
            .bind(salt.as_slice())
            .bind(nonce.as_slice())
            .bind(size.cast_signed())
            .bind(inline.then_some(sealed))
            .execute(&mut self.conn)
            .await?;
        Ok(BodyRef { commitment, size })
    }

    pub(crate) async fn body_key(&mut self, scope: &str) -> Result<[u8; 32], StoreError> {
        if let Some(key) = self.keys.0.get(scope) {
            return Ok(*key);
        }
        sqlx::query("INSERT INTO body_key (scope, key) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(scope)
            .bind(random::<32>()?.as_slice())
            .execute(&mut self.conn)
            .await?;
        let key: Option<Vec<u8>> = sqlx::query_scalar("SELECT key FROM body_key WHERE scope = $1")
            .bind(scope)
            .fetch_one(&mut self.conn)
            .await?;
        let key = to_key(key)?;
        if self.keys.0.len() >= CACHED_KEYS {
            self.keys.forget();
        }
        self.keys.0.insert(scope.to_owned(), key);
        Ok(key)
    }

    /// Erases every body of a task for good. The caller records why in the same transaction.
    pub async fn bodies_erase(&mut self, task: &TaskId) -> Result<u64, StoreError> {
        let scope = task.to_string();
        self.gate_close(*task).await?;
        self.gates.forget_key(&scope);
        sqlx::query("UPDATE body_key SET key = NULL, erased_at = $2 WHERE scope = $1")
            .bind(&scope)
            .bind(self.now_text())
            .execute(&mut self.conn)
            .await?;
        let erased = sqlx::query("UPDATE body SET salt = x'', nonce = x'', data = NULL WHERE scope = $1")
            .bind(&scope)
            .execute(&mut self.conn)
            .await?;
        let in_journal: i64 = sqlx::query_scalar("SELECT COUNT(request) + COUNT(response) FROM call WHERE scope = $1")
            .bind(&scope)
            .fetch_one(&mut self.conn)
            .await?;
        self.keys.0.remove(&scope);
        self.tool_calls_forget(*task).await?;
        Ok(erased.rows_affected() + in_journal.cast_unsigned())
    }
}

impl Store {
    /// The bytes of a body; fails if it was erased or no longer matches its commitment.
    pub async fn body(&self, commitment: &str) -> Result<Vec<u8>, StoreError> {
        let row = sqlx::query(
            "SELECT b.salt, b.nonce, b.data, k.key FROM body b JOIN body_key k ON k.scope = b.scope WHERE b.commitment = $1",
        )
        .bind(commitment)
        .fetch_optional(self.reader())
        .await?;
        let Some(row) = row else { return self.body_in_journal(commitment).await };
        let key = to_key(row.try_get("key")?)?;
        let (salt, nonce): (Vec<u8>, Vec<u8>) = (row.try_get("salt")?, row.try_get("nonce")?);
        let sealed = match row.try_get::<Option<Vec<u8>>, _>("data")? {
            Some(data) => data,
            None => tokio::fs::read(blob_path(&self.0.data_dir.join("blobs"), commitment)).await?,
        };
        if nonce.len() != 12 {
            return Err(StoreError::Erased);
        }
        let bytes = ChaCha20Poly1305::new(Key::from_slice(&key))
            .decrypt(Nonce::from_slice(&nonce), sealed.as_slice())
            .map_err(|_| StoreError::corrupt(format!("body {commitment} does not decrypt")))?;
        let salt: [u8; 32] = salt.try_into().map_err(|_| StoreError::corrupt("a salt has the wrong length"))?;
        if !audit::commitment_matches(commitment, &salt, &bytes) {
            return Err(StoreError::corrupt(format!("body {commitment} does not match its commitment")));
        }
        Ok(bytes)
    }

    /// A body that lies in the journal.
    async fn body_in_journal(&self, commitment: &str) -> Result<Vec<u8>, StoreError> {
        let missing = || StoreError::not_found("body", commitment);
        let bytes: [u8; 32] = hex::decode(commitment).ok().and_then(|b| b.try_into().ok()).ok_or_else(missing)?;
        self.caught_up().await;
        let places: Vec<(u32, i64)> = sqlx::query_as("SELECT segment, offset FROM call_body WHERE key = $1")
            .bind(crate::fold::body_key(&bytes))
            .fetch_all(self.reader())
            .await?;
        for (segment, offset) in places {
            let (journal, at) = (Arc::clone(&self.0.journal), Position { segment, offset: offset.cast_unsigned() });
            let found = tokio::task::spawn_blocking(move || stored::find(journal.dir(), at, &bytes));
            let Some(found) = found.await.map_err(|_| StoreError::Closed)?? else { continue };
            let key: Option<Option<Vec<u8>>> = sqlx::query_scalar("SELECT key FROM body_key WHERE scope = $1")
                .bind(&found.scope)
                .fetch_optional(self.reader())
                .await?;
            let key = ScopeKey::new(&found.scope, &to_key(key.flatten())?)?;
            let journal = Arc::clone(&self.0.journal);
            let opened = tokio::task::spawn_blocking(move || found.open(journal.dir(), &key));
            return opened.await.map_err(|_| StoreError::Closed)?;
        }
        Err(missing())
    }

    /// A body as text, for showing; lossy where it is not UTF-8.
    pub async fn body_text(&self, commitment: &str) -> Result<String, StoreError> {
        Ok(String::from_utf8_lossy(&self.body(commitment).await?).into_owned())
    }
}

fn to_key(key: Option<Vec<u8>>) -> Result<[u8; 32], StoreError> {
    key.ok_or(StoreError::Erased)?.try_into().map_err(|_| StoreError::corrupt("a body key has the wrong length"))
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| StoreError::Io(std::io::Error::other(e.to_string())))?;
    Ok(bytes)
}

fn blob_path(dir: &Path, commitment: &str) -> PathBuf {
    dir.join(commitment.get(..2).unwrap_or("00")).join(commitment)
}

/// Writes a blob so that it is whole under its name, or not there.
fn write_blob(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    use std::io::Write;
    let dir = path.parent().ok_or_else(|| StoreError::corrupt("a blob has no folder"))?;
    create_private_dir(dir)?;
    let temp = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temp)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&temp, path)?;
    std::fs::File::open(dir)?.sync_all()?;
    Ok(())
}

pub(crate) fn create_private_dir(dir: &Path) -> Result<(), StoreError> {
    Ok(std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?)
}
