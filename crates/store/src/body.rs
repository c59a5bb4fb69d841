//! Bodies: prompts, answers, files. Encrypted under a key per task, referred to by a salted commitment. Those of model
//! calls lie in the journal, under keys of any scope; the rest in the database or the blob folder.
//!
//! Erasing a scope's key makes its bodies unreadable for good ([`erase`]); the salts go with them, so that a commitment
//! cannot be tested against guesses. The log, which holds commitments only, stays valid. What the scope records later is
//! encrypted under the next generation of its key: `SCOPE`, then `SCOPE#2`, `SCOPE#3`, each with a row of its own.

mod erase;
mod stored;

pub use erase::ErasedBodies;

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

/// Keys made or read before, by scope, with the names of their generations; forgotten when a transaction that may have made one is rolled back.
#[derive(Default)]
pub(crate) struct KeyCache(HashMap<String, (String, [u8; 32])>);

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
        let (scope, key) = self.body_key(scope).await?;
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

    /// The key under which bodies of a scope are encrypted now, with the name of its generation; a fresh one where there
    /// is none, or the last was erased.
    pub(crate) async fn body_key(&mut self, scope: &str) -> Result<(String, [u8; 32]), StoreError> {
        if let Some(known) = self.keys.0.get(scope) {
            return Ok(known.clone());
        }
        let newest: Option<(String, Option<Vec<u8>>)> = sqlx::query_as(
            "SELECT scope, key FROM body_key WHERE scope = $1 OR (scope > $1 || '#' AND scope < $1 || '$')
             ORDER BY length(scope) DESC, scope DESC LIMIT 1",
        )
        .bind(scope)
        .fetch_optional(&mut self.conn)
        .await?;
        let known = match newest {
            Some((name, Some(key))) => (name, to_key(Some(key))?),
            Some((name, None)) => self.body_key_make(generation_after(&name)?).await?,
            None => self.body_key_make(scope.to_owned()).await?,
        };
        if self.keys.0.len() >= CACHED_KEYS {
            self.keys.forget();
        }
        self.keys.0.insert(scope.to_owned(), known.clone());
        Ok(known)
    }

    async fn body_key_make(&mut self, name: String) -> Result<(String, [u8; 32]), StoreError> {
        let key = random::<32>()?;
        sqlx::query("INSERT INTO body_key (scope, key) VALUES ($1, $2)")
            .bind(&name)
            .bind(key.as_slice())
            .execute(&mut self.conn)
            .await?;
        Ok((name, key))
    }

    /// The key of this very generation; fails if it was erased.
    pub(crate) async fn body_key_of(&mut self, name: &str) -> Result<[u8; 32], StoreError> {
        if let Some((known, key)) = self.keys.0.get(base_of(name))
            && known == name
        {
            return Ok(*key);
        }
        let key: Option<Option<Vec<u8>>> = sqlx::query_scalar("SELECT key FROM body_key WHERE scope = $1")
            .bind(name)
            .fetch_optional(&mut self.conn)
            .await?;
        to_key(key.flatten())
    }
}

/// Stands between a scope and the number of its key's generation, from the second on. No scope has it in its name.
const GENERATION: char = '#';

/// The scope of a generation of its key.
pub(crate) fn base_of(name: &str) -> &str {
    name.split_once(GENERATION).map_or(name, |(scope, _)| scope)
}

/// The name of the generation after this one.
fn generation_after(name: &str) -> Result<String, StoreError> {
    let (scope, number) = name.split_once(GENERATION).unwrap_or((name, "1"));
    let next = number.parse::<u32>().ok().and_then(|n| n.checked_add(1));
    let next = next.ok_or_else(|| StoreError::corrupt(format!("the body key {name:?} has no number")))?;
    Ok(format!("{scope}{GENERATION}{next}"))
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
            let found = match found.await.map_err(|_| StoreError::Closed)? {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(StoreError::Corrupt(_)) if self.segment_erased(segment).await? => return Err(StoreError::Erased),
                Err(e) => return Err(e),
            };
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
