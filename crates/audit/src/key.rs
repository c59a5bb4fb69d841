//! Keys: the log's Ed25519 signing key (a file that only its owner reads) and the public key in C2SP text form.
//!
//! The secret seed never appears in an error, a `Debug` output or a copy of the log.

use crate::AuditError;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::{
    fmt, fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    str::FromStr,
};

/// Signature type byte of Ed25519 in C2SP signed-note.
const ED25519: u8 = 1;

/// The signing key of a log.
pub struct LogKey(SigningKey);

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogKey(secret)")
    }
}

impl LogKey {
    /// The key in `path`, made there (mode 0600) if there is none. A key that others can read is refused.
    pub fn open_or_create(path: &Path) -> Result<Self, AuditError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::check_mode(path).and_then(|()| Self::from_text(&text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Self::create(path),
            Err(e) => Err(AuditError::io("read the log key", path)(e)),
        }
    }

    /// A key from its 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public key under a name, which is the log's origin.
    pub fn verifier(&self, name: &str) -> Result<VerifierKey, AuditError> {
        VerifierKey::new(name, self.0.verifying_key())
    }

    pub(crate) fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.0.sign(text).to_bytes()
    }

    fn create(path: &Path) -> Result<Self, AuditError> {
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed).map_err(|e| AuditError::Random(e.to_string()))?;
        let temp = path.with_extension("key.tmp");
        if let Err(e) = fs::remove_file(&temp)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            return Err(AuditError::io("remove", &temp)(e));
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temp)
            .map_err(AuditError::io("create", &temp))?;
        file.write_all(format!("{}\n", hex::encode(seed)).as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(AuditError::io("write", &temp))?;
        // A link, unlike a rename, never replaces a key that appeared in the meantime.
        fs::hard_link(&temp, path).map_err(AuditError::io("create the log key", path))?;
        fs::remove_file(&temp).map_err(AuditError::io("remove", &temp))?;
        if let Some(parent) = path.parent() {
            crate::writer::sync_dir(parent)?;
        }
        Ok(Self::from_seed(&seed))
    }

    fn check_mode(path: &Path) -> Result<(), AuditError> {
        let mode = fs::metadata(path).map_err(AuditError::io("inspect", path))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(AuditError::Key(format!(
                "{} can be read by others (mode {:o}); run: chmod 600 {}",
                path.display(),
                mode & 0o777,
                path.display()
            )));
        }
        Ok(())
    }

    fn from_text(text: &str) -> Result<Self, AuditError> {
        let seed = hex::decode(text.trim_end()).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
        let seed = seed.ok_or_else(|| AuditError::Key("a key file holds 64 hexadecimal digits".to_owned()))?;
        Ok(Self::from_seed(&seed))
    }
}

/// The public key of a log, in text `name+hash+base64` (C2SP signed-note verifier key).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl VerifierKey {
    fn new(name: &str, key: VerifyingKey) -> Result<Self, AuditError> {
        check_origin(name)?;
        let hash =
            Sha256::new().chain_update(name).chain_update([b'\n', ED25519]).chain_update(key.as_bytes()).finalize();
        let id = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        Ok(Self { name: name.to_owned(), id, key })
    }

    /// The key's name: the origin of the log that it signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The four-byte id that stands before each signature.
    pub fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn verifies(&self, text: &[u8], signature: &[u8; 64]) -> bool {
        // Strict: a signature has one valid form only, so a changed byte is always noticed.
        self.key.verify_strict(text, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, self.id, BASE64.encode(bytes))
    }
}

impl FromStr for VerifierKey {
    type Err = AuditError;

    fn from_str(text: &str) -> Result<Self, AuditError> {
        let bad = |why: &str| AuditError::Key(format!("{why}; a verifier key looks like name+1234abcd+base64"));
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("it does not have three parts"));
        };
        let bytes = BASE64.decode(key).map_err(|_| bad("its last part is not base64"))?;
        let [ED25519, key @ ..] = bytes.as_slice() else { return Err(bad("it is not an Ed25519 key")) };
        let key: [u8; 32] = key.try_into().map_err(|_| bad("it does not hold 32 bytes"))?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| bad("it is not a point of the curve"))?;
        let parsed = Self::new(name, key)?;
        if format!("{:08x}", parsed.id) != id {
            return Err(bad("its hash does not belong to its name and key"));
        }
        Ok(parsed)
    }
}

/// Accepts what can stand both as an origin line and as a key name.
pub(crate) fn check_origin(name: &str) -> Result<(), AuditError> {
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+') {
        return Err(AuditError::Origin(name.to_owned()));
    }
    Ok(())
}
