//! Callers' keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A caller's key, without its secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// Its name, which stands in the record of its calls.
    pub name: String,
    /// The beginning of its secret.
    #[schema(example = "tfk_0123456789abcdef")]
    pub prefix: String,
    /// What it may call; none: every model.
    pub models: Option<Vec<String>>,
    /// How much it may use; none: no limit.
    #[schema(example = "5 USD/month")]
    pub budget: Option<String>,
    /// RFC 3339; none: until it is revoked.
    pub expires_at: Option<String>,
    /// `in_force`, `expired` or `revoked`.
    pub state: String,
    /// The token that made it.
    pub created_by: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; none: not revoked.
    pub revoked_at: Option<String>,
}

impl From<store::KeyRow> for Key {
    fn from(row: store::KeyRow) -> Self {
        let store::KeyRow { key, lookup, created_by, created_at, revoked_at } = row;
        let expired = key.expires_ms.is_some_and(|at| at <= store::now().as_millisecond());
        let state = match (&revoked_at, expired) {
            (Some(_), _) => "revoked",
            (None, true) => "expired",
            (None, false) => "in_force",
        };
        let time = |ms| jiff::Timestamp::from_millisecond(ms).ok().map(store::time_text);
        Self {
            id: key.id.to_string(),
            name: key.name,
            prefix: format!("{}{lookup}", store::KEY_PREFIX),
            models: key.models,
            budget: key.budget.map(|b| b.to_string()),
            expires_at: key.expires_ms.and_then(time),
            state: state.to_owned(),
            created_by,
            created_at,
            revoked_at,
        }
    }
}

/// A key with what it has used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeyDetail {
    /// The key.
    #[serde(flatten)]
    pub key: Key,
    /// Sums over all its calls.
    pub usage: super::Usage,
}

/// A key to be made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Its name: letters, digits, `.`, `_`, `-`, `@`.
    #[schema(example = "ci", max_length = 64)]
    pub name: String,
    /// What it may call: `provider/model`, aliases, and beginnings such as `openai/*`. Without it: every model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// How much it may use: money, tokens or calls, in total, by day or by month (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "5 USD/month")]
    pub budget: Option<String>,
    /// When it ends: a span such as `30d`, or a time as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "30d")]
    pub expires: Option<String>,
}

/// A fresh key: the only time its secret is shown.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// The secret: `Authorization: Bearer`, `x-api-key` or `x-goog-api-key`.
    pub key: String,
    /// The rest.
    #[serde(flatten)]
    pub info: Key,
}
