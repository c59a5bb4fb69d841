//! Providers that were saved over the API, and the vault that seals their credentials.
//!
//! The vault's key is a file outside the database, readable by its owner alone: a copy of the database shows no
//! credential. What is sealed is bound to the provider's name, kind and address, so that a changed row does not send a
//! key elsewhere.

use crate::{Store, StoreError, Tx, body::random};
use chacha20poly1305::{
    ChaCha20Poly1305, Key, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::{Row, sqlite::SqliteRow};
use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Providers that can be saved.
pub const MAX_PROVIDERS: i64 = 200;
const NONCE_BYTES: usize = 12;

/// A saved provider. Its credentials are sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRow {
    /// Its name: the part of a model's name before the slash.
    pub name: String,
    /// What it speaks.
    pub kind: String,
    /// Where it is.
    pub base_url: String,
    /// Limits and timeouts, as JSON.
    pub settings: serde_json::Value,
    /// Names of further headers.
    pub headers: Vec<String>,
    /// Tells one key from another without showing it.
    pub fingerprint: Option<String>,
    /// What [`Vault::open`] reads.
    pub sealed: Option<Vec<u8>>,
    /// The token that saved it last.
    pub saved_by: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// The credentials of a provider. They have no `Debug`, so that they reach no log by accident.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// Further headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl Credentials {
    /// Whether there is nothing to seal.
    pub fn is_empty(&self) -> bool {
        self.api_key.is_none() && self.headers.is_empty()
    }
}

/// Tells one secret from another: the beginning of its SHA-256.
pub fn fingerprint(secret: &str) -> String {
    format!("sha256:{}", &hex::encode(Sha256::digest(secret.as_bytes()))[..12])
}

/// Seals credentials.
pub struct Vault(ChaCha20Poly1305);

impl Vault {
    /// Reads the key file, or makes it (0600). A key file that others can read is refused.
    pub fn open_or_create(path: &Path) -> Result<Self, StoreError> {
        let key: [u8; 32] = match fs::read(path) {
            Ok(bytes) => {
                if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
                    let text = format!("others can read the key of the providers: chmod 600 {}", path.display());
                    return Err(StoreError::corrupt(text));
                }
                bytes.try_into().map_err(|_| StoreError::corrupt(format!("{} is not a key", path.display())))?
            }
            Err(e) if e.kind() == ErrorKind::NotFound => make_key(path)?,
            Err(e) => return Err(e.into()),
        };
        Ok(Self(ChaCha20Poly1305::new(Key::from_slice(&key))))
    }

    /// Seals the credentials of a provider; none if there are none.
    pub fn seal(
        &self,
        name: &str,
        kind: &str,
        base_url: &str,
        secret: &Credentials,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if secret.is_empty() {
            return Ok(None);
        }
        let nonce = random::<NONCE_BYTES>()?;
        let payload = Payload { msg: &serde_json::to_vec(secret)?, aad: &bound_to(name, kind, base_url) };
        let sealed = self
            .0
            .encrypt(Nonce::from_slice(&nonce), payload)
            .map_err(|_| StoreError::corrupt("credentials could not be sealed"))?;
        Ok(Some([nonce.as_slice(), &sealed].concat()))
    }

    /// The credentials of a saved provider.
    pub fn open(&self, row: &ProviderRow) -> Result<Credentials, StoreError> {
        let Some(sealed) = &row.sealed else { return Ok(Credentials::default()) };
        let wrong = || {
            StoreError::corrupt(format!(
                "the credentials of provider {:?} do not open with keys/provider.key: save them again",
                row.name
            ))
        };
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(wrong)?;
        let payload = Payload { msg: sealed, aad: &bound_to(&row.name, &row.kind, &row.base_url) };
        let bytes = self.0.decrypt(Nonce::from_slice(nonce), payload).map_err(|_| wrong())?;
        serde_json::from_slice(&bytes).map_err(|_| wrong())
    }
}

fn bound_to(name: &str, kind: &str, base_url: &str) -> Vec<u8> {
    [name, kind, base_url].join("\n").into_bytes()
}

fn make_key(path: &Path) -> Result<[u8; 32], StoreError> {
    let key = random::<32>()?;
    let temp = path.with_extension("new");
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temp)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&temp, path)?;
    if let Some(folder) = path.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(key)
}

fn provider(r: &SqliteRow) -> Result<ProviderRow, StoreError> {
    Ok(ProviderRow {
        name: r.try_get("name")?,
        kind: r.try_get("kind")?,
        base_url: r.try_get("base_url")?,
        settings: serde_json::from_str(r.try_get("settings")?)?,
        headers: serde_json::from_str(r.try_get("headers")?)?,
        fingerprint: r.try_get("fingerprint")?,
        sealed: r.try_get("sealed")?,
        saved_by: r.try_get("saved_by")?,
        created_at: r.try_get("created_at")?,
        updated_at: r.try_get("updated_at")?,
    })
}

impl Tx {
    /// The saved provider by that name.
    pub async fn provider_find(&mut self, name: &str) -> Result<Option<ProviderRow>, StoreError> {
        let row =
            sqlx::query("SELECT * FROM provider WHERE name = $1").bind(name).fetch_optional(&mut self.conn).await?;
        row.as_ref().map(provider).transpose()
    }

    /// Saves a provider, in the place of one by that name; its times are set here.
    pub async fn provider_save(&mut self, row: &ProviderRow) -> Result<ProviderRow, StoreError> {
        let others: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM provider WHERE name <> $1")
            .bind(&row.name)
            .fetch_one(&mut self.conn)
            .await?;
        if others >= MAX_PROVIDERS {
            return Err(StoreError::conflict("too_many_tokens", format!("there are already {others} providers")));
        }
        let row = sqlx::query(
            "INSERT INTO provider (name, kind, base_url, settings, headers, fingerprint, sealed, saved_by, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
             ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, base_url = excluded.base_url,
                settings = excluded.settings, headers = excluded.headers, fingerprint = excluded.fingerprint,
                sealed = excluded.sealed, saved_by = excluded.saved_by, updated_at = excluded.updated_at
             RETURNING *",
        )
        .bind(&row.name)
        .bind(&row.kind)
        .bind(&row.base_url)
        .bind(row.settings.to_string())
        .bind(serde_json::to_string(&row.headers)?)
        .bind(&row.fingerprint)
        .bind(&row.sealed)
        .bind(&row.saved_by)
        .bind(self.now_text())
        .fetch_one(&mut self.conn)
        .await?;
        provider(&row)
    }

    /// Removes a saved provider with its credentials.
    pub async fn provider_remove(&mut self, name: &str) -> Result<ProviderRow, StoreError> {
        let row = sqlx::query("DELETE FROM provider WHERE name = $1 RETURNING *")
            .bind(name)
            .fetch_optional(&mut self.conn)
            .await?
            .ok_or_else(|| StoreError::not_found("saved provider", name))?;
        provider(&row)
    }
}

impl Store {
    /// The saved providers, by name.
    pub async fn provider_list(&self) -> Result<Vec<ProviderRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM provider ORDER BY name").fetch_all(self.reader()).await?;
        rows.iter().map(provider).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(base_url: &str, sealed: Option<Vec<u8>>) -> ProviderRow {
        ProviderRow {
            name: "lab".into(),
            kind: "openai".into(),
            base_url: base_url.into(),
            settings: serde_json::json!({}),
            headers: vec![],
            fingerprint: None,
            sealed,
            saved_by: String::new(),
            created_at: String::new(),
            updated_at: String::new(),
        }
    }

    #[test]
    fn credentials_open_for_their_own_provider_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("provider.key");
        let vault = Vault::open_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let secret = Credentials { api_key: Some("sk-secret".into()), ..Credentials::default() };
        let sealed = vault.seal("lab", "openai", "https://a/v1", &secret).unwrap();
        assert!(!sealed.as_ref().unwrap().windows(9).any(|w| w == b"sk-secret"));
        let again = Vault::open_or_create(&path).unwrap();
        assert!(again.open(&row("https://a/v1", sealed.clone())).unwrap() == secret);
        assert!(again.open(&row("https://evil/v1", sealed.clone())).is_err());
        assert!(again.open(&row("https://a/v1", Some(vec![1, 2]))).is_err());
        assert!(again.open(&row("https://a/v1", None)).unwrap().is_empty());
        assert!(vault.seal("lab", "openai", "x", &Credentials::default()).unwrap().is_none());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Vault::open_or_create(&path).is_err());
    }
}
