//! Secrets of access: tokens, sign-in codes, sessions. They are random, shown once, and stored as SHA-256.
//!
//! A token is `tf_` and 64 hexadecimal digits; the first 16 digits find it, the hash of the whole proves it.

use crate::{ApiError, ApiResult};
use domain::event::{Actor, Event, EventKind};
use futures::FutureExt;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{io::Write, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};
use store::{Durability, SecretHash, Store, Token};
use subtle::ConstantTimeEq;

/// How long a sign-in code works.
pub const CODE_TTL: Duration = Duration::from_secs(600);
/// How long a session lasts.
pub const SESSION_TTL: Duration = Duration::from_secs(12 * 3600);
/// The name of the session's cookie.
pub(crate) const COOKIE: &str = "taskforge_session";
/// The name of the token that the first start makes.
pub const FIRST_TOKEN: &str = "owner";
/// The longest name of a token.
pub(crate) const MAX_NAME: usize = 64;

const TOKEN_PREFIX: &str = "tf_";
const KEY_DIGITS: usize = 16;
const TOKEN_DIGITS: usize = 64;

pub(crate) fn hash(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
}

pub(crate) fn random_hex() -> ApiResult<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(hex::encode(bytes))
}

fn key_of(secret: &str) -> Option<&str> {
    let digits = secret.strip_prefix(TOKEN_PREFIX)?;
    let sound =
        digits.len() == TOKEN_DIGITS && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    sound.then(|| &digits[..KEY_DIGITS])
}

/// Checks a token's name: it stands in decisions and logs.
pub fn check_name(name: &str) -> ApiResult<()> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(sound) {
        return Err(ApiError::value(format!(
            "a token's name has 1 to {MAX_NAME} letters, digits, '.', '_', '-' or '@'"
        )));
    }
    Ok(())
}

/// Makes a token and returns it with its secret, which is not kept.
pub async fn issue_token(store: &Store, name: &str, by: Actor) -> ApiResult<(Token, String)> {
    check_name(name)?;
    let secret = format!("{TOKEN_PREFIX}{}", random_hex()?);
    let key = key_of(&secret).ok_or_else(|| ApiError::internal("a fresh token has no key"))?.to_owned();
    let (name, digest) = (name.to_owned(), hash(&secret));
    let token = store
        .write(Durability::Power, move |tx| {
            async move {
                let by_name = match &by {
                    Actor::Token { name } => name.clone(),
                    Actor::Key { key } => key.to_string(),
                    Actor::System | Actor::Sandbox => "system".to_owned(),
                };
                let token = tx.token_insert(&key, &name, &digest, &by_name).await?;
                let event = Event::point(EventKind::TokenCreated, json!({"name": token.name, "key": token.key}));
                tx.leaf(event.by(by)).await?;
                Ok(token)
            }
            .boxed()
        })
        .await?;
    Ok((token, secret))
}

/// Makes the first token of an installation and writes it to `path` (0600), unless there are tokens.
pub async fn first_token(store: &Store, path: &Path) -> ApiResult<()> {
    if store.token_list().await?.iter().any(|t| t.revoked_at.is_none()) {
        return Ok(());
    }
    let (_, secret) = issue_token(store, FIRST_TOKEN, Actor::System).await?;
    let temp = path.with_extension("new");
    let written = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temp)
        .and_then(|mut f| f.write_all(format!("{secret}\n").as_bytes()).and_then(|()| f.sync_all()))
        .and_then(|()| std::fs::rename(&temp, path));
    written.map_err(|e| ApiError::from(store::StoreError::from(e)))
}

/// Revokes the token in force by that name.
pub async fn revoke_token(store: &Store, name: &str, by: &str) -> ApiResult<Token> {
    let (name, by) = (name.to_owned(), by.to_owned());
    let make = move || {
        let (name, by) = (name.clone(), by.clone());
        store::work(move |tx| {
            async move {
                let token = tx.token_revoke(&name).await?;
                let event = Event::point(EventKind::TokenRevoked, json!({"name": token.name, "key": token.key}));
                tx.leaf(event.by(Actor::Token { name: by })).await?;
                Ok(token)
            }
            .boxed()
        })
    };
    Ok(store.write_stopping(make).await?)
}

/// Finds the token that a secret belongs to.
pub(crate) async fn token_of(store: &Store, secret: &str) -> ApiResult<Option<Token>> {
    let Some(key) = key_of(secret) else { return Ok(None) };
    let Some((token, stored)) = store.token_find(key).await? else { return Ok(None) };
    let same: bool = stored.ct_eq(&hash(secret)).into();
    Ok(same.then_some(token))
}

/// Makes a single-use sign-in code for the token by that name.
pub async fn sign_in_code(store: &Store, token_name: &str) -> ApiResult<(String, jiff::Timestamp)> {
    let tokens = store.token_list().await?;
    let token = tokens.into_iter().find(|t| t.name == token_name && t.revoked_at.is_none());
    let token = token.ok_or_else(|| ApiError::not_found("token", token_name))?;
    let code = random_hex()?;
    let digest = hash(&code);
    let expires = store::now() + CODE_TTL;
    store
        .write(Durability::Power, move |tx| {
            async move {
                tx.sign_in_code_insert(&digest, &token.key, expires.as_millisecond()).await?;
                let event = Event::point(EventKind::SignInCode, json!({"name": token.name, "key": token.key}));
                tx.leaf(event.by(Actor::Token { name: token.name })).await?;
                Ok(())
            }
            .boxed()
        })
        .await?;
    Ok((code, expires))
}

/// Exchanges a code for the secret of a session; none if the code is not in force.
pub(crate) async fn sign_in(store: &Store, code: &str) -> ApiResult<Option<String>> {
    let secret = random_hex()?;
    let (code, session) = (hash(code), hash(&secret));
    let signed_in = store
        .write(Durability::Power, move |tx| {
            async move {
                let Some(token) = tx.sign_in_code_take(&code).await? else { return Ok(false) };
                let expires = (tx.now() + SESSION_TTL).as_millisecond();
                tx.session_insert(&session, &token.key, expires).await?;
                let event = Event::point(EventKind::SignIn, json!({"name": token.name, "key": token.key}));
                tx.leaf(event.by(Actor::Token { name: token.name })).await?;
                Ok(true)
            }
            .boxed()
        })
        .await?;
    Ok(signed_in.then_some(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_tokens_have_a_key() {
        let token = format!("tf_{}", "0123456789abcdef".repeat(4));
        assert_eq!(key_of(&token), Some("0123456789abcdef"));
        for bad in ["", "tf_", &token[..66], &format!("{token}0"), &token.to_uppercase(), &token.replace('0', "g")] {
            assert_eq!(key_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_plain() {
        for good in ["anna", "ci@build-1", "a.b_c"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\n", "é", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
