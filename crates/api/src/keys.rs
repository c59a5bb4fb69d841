//! Making and revoking callers' keys. A key is `tfk_` and 64 hexadecimal digits, shown once, stored as SHA-256.

use crate::{ApiError, ApiResult, access, wire};
use domain::{
    budget::Budget,
    event::{Actor, Event, EventKind},
    ids::KeyId,
};
use futures::FutureExt;
use serde_json::json;
use store::{CallerKey, Durability, KEY_PREFIX, KeyRow, Store};

/// Models that a key may name, at the most.
const MAX_MODELS: usize = 100;
/// The longest name of a model.
const MAX_MODEL_CHARS: usize = 200;

/// Makes a key and returns it with its secret, which is not kept.
pub async fn issue_key(store: &Store, new: &wire::NewKey, by: &str) -> ApiResult<(KeyRow, String)> {
    access::check_name(&new.name)?;
    let models = new.models.as_deref().map(scope).transpose()?;
    let budget = new
        .budget
        .as_deref()
        .map(str::parse::<Budget>)
        .transpose()
        .map_err(|e| ApiError::value(domain::text::visible_line(&e.to_string())))?;
    let expires_ms = new.expires.as_deref().map(|t| expiry(t, store::now())).transpose()?;
    let key = CallerKey { id: store::new_id(KeyId::from_uuid), name: new.name.clone(), models, budget, expires_ms };
    let secret = format!("{KEY_PREFIX}{}", access::random_hex()?);
    let (kept, by) = (secret.clone(), by.to_owned());
    let row = store
        .write(Durability::Power, move |tx| {
            async move {
                let row = tx.key_insert(key, &kept, &by).await?;
                let k = &row.key;
                let data = json!({"id": k.id, "name": k.name, "models": k.models, "budget": k.budget,
                    "expires_ms": k.expires_ms});
                tx.leaf(Event::point(EventKind::KeyCreated, data).by(Actor::Token { name: by })).await?;
                Ok(row)
            }
            .boxed()
        })
        .await?;
    store.keys_refresh().await?;
    Ok((row, secret))
}

/// Revokes the key in force by that name or id; it works for nobody once this returns.
pub async fn revoke_key(store: &Store, name: &str, by: &str) -> ApiResult<KeyRow> {
    let (name, by) = (name.to_owned(), by.to_owned());
    let make = move || {
        let (name, by) = (name.clone(), by.clone());
        store::work(move |tx| {
            async move {
                let row = tx.key_revoke(&name).await?;
                let data = json!({"id": row.key.id, "name": row.key.name});
                tx.leaf(Event::point(EventKind::KeyRevoked, data).by(Actor::Token { name: by })).await?;
                Ok(row)
            }
            .boxed()
        })
    };
    let row = store.write_stopping(make).await?;
    store.keys_forget(&row).await?;
    Ok(row)
}

/// Checks what a key may call: names, aliases, and globs that end in `*`.
fn scope(models: &[String]) -> ApiResult<Vec<String>> {
    if models.is_empty() || models.len() > MAX_MODELS {
        return Err(ApiError::value(format!("models has 1 to {MAX_MODELS} names; without it every model is allowed")));
    }
    for name in models {
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() && c != ',');
        let stars = name.trim_end_matches('*').contains('*') || name.ends_with("**");
        if !plain || stars || name.len() > MAX_MODEL_CHARS {
            let name = domain::text::visible_line(name);
            return Err(ApiError::value(format!(
                "{name:?} names no model: write `provider/model`, an alias, or a beginning such as `openai/*`"
            )));
        }
    }
    Ok(models.to_vec())
}

/// Reads when a key ends: a time, or a span from `now` such as `30d`.
fn expiry(text: &str, now: jiff::Timestamp) -> ApiResult<i64> {
    let wrong = || {
        let text = domain::text::visible_line(text);
        ApiError::value(format!("{text:?} is no end: write a span such as `12h` or `30d`, or a time as RFC 3339"))
    };
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at.as_millisecond(),
        Err(_) => {
            let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
            let seconds: i64 = match unit.trim() {
                "m" | "min" => 60,
                "h" => 3600,
                "d" | "days" => 86_400,
                "w" => 7 * 86_400,
                _ => return Err(wrong()),
            };
            let span = digits.parse::<i64>().ok().and_then(|n| n.checked_mul(seconds * 1000)).ok_or_else(wrong)?;
            now.as_millisecond().checked_add(span).filter(|_| span > 0).ok_or_else(wrong)?
        }
    };
    if at <= now.as_millisecond() {
        return Err(ApiError::value("expires lies in the past"));
    }
    jiff::Timestamp::from_millisecond(at).map(|_| at).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_times_or_spans() {
        let now = "2026-11-25T10:00:00Z".parse().unwrap();
        let day = 86_400_000;
        assert_eq!(expiry("1d", now).unwrap() - day, expiry("2026-11-26T10:00:00Z", now).unwrap() - day);
        for bad in ["", "d", "0d", "-1d", "1y", "2026-11-24T10:00:00Z", "99999999999999999d", "soon"] {
            assert!(expiry(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn scopes_are_names_and_beginnings() {
        let check = |m: &str| scope(&[m.to_owned()]).is_ok();
        for good in ["openai/gpt-4o", "fast", "openai/*", "*", "ollama/qwen3:8b"] {
            assert!(check(good), "{good}");
        }
        for bad in ["", "a b", "*/gpt", "openai/**", "a,b", "é"] {
            assert!(!check(bad), "{bad}");
        }
        assert!(scope(&[]).is_err());
    }
}
