//! Tokens and signing in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its name: what decisions are signed with.
    pub name: String,
    /// Its public part: the beginning of the token.
    pub key: String,
    /// The token that made it.
    pub created_by: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; none: in force.
    pub revoked_at: Option<String>,
}

impl From<store::Token> for Token {
    fn from(t: store::Token) -> Self {
        let store::Token { key, name, created_by, created_at, revoked_at } = t;
        Self { name, key, created_by, created_at, revoked_at }
    }
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name: letters, digits, `.`, `_`, `-`, `@`.
    #[schema(example = "anna", max_length = 64)]
    pub name: String,
}

/// A fresh token: the only time its secret is shown.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// The secret, to be sent as `Authorization: Bearer ...`.
    pub secret: String,
}

/// A single-use code for a browser.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SignInCode {
    /// The code.
    pub code: String,
    /// The page that takes it.
    #[schema(example = "/sign-in")]
    pub path: String,
    /// RFC 3339.
    pub expires_at: String,
}

/// A code to be exchanged for a session cookie.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The code.
    pub code: String,
}
