//! `GET /v1/models` and `GET /v1/models/NAME`: what the asker may use, and nothing else.
//!
//! In OpenAI's shape, or in Anthropic's for a client that names that API's version.

use crate::{
    calls::{self, Identity, Outside},
    reply::{self, Refusal, Reply},
    sandbox::Sandbox,
};
use hyper::{HeaderMap, StatusCode};
use llm::Format;
use serde_json::{Value, json};

/// When a model was made, where nobody knows.
const UNKNOWN_TIME: &str = "1970-01-01T00:00:00Z";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of them.
    List,
    /// One of them.
    One(String),
}

impl Asked {
    /// The question that a path means. A name may hold slashes, as they are or escaped.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/models")?;
        if rest.is_empty() {
            return Some(Self::List);
        }
        let name = rest.strip_prefix('/').filter(|n| !n.is_empty())?;
        Some(Self::One(unescape(name)?))
    }
}

/// The models of the task's policy.
pub(crate) async fn of_sandbox(sandbox: &Sandbox, asked: Asked, headers: &HeaderMap) -> Reply {
    match sandbox.shared.store.policy_current(sandbox.task).await {
        Ok(policy) => answer(&policy.models, asked, headers),
        Err(e) => {
            tracing::error!(task.id = %sandbox.task, error = %e, "the policy could not be read");
            Refusal::log_unwritable().reply_in(format(headers))
        }
    }
}

/// The models and aliases that a key has in its scope.
pub(crate) async fn of_caller(caller: &Outside, asked: Asked, headers: &HeaderMap) -> Reply {
    let scope = match &caller.identity {
        Identity::Key(key) => key.models.as_deref(),
        Identity::Token(_) => None,
        Identity::Unknown => return calls::unknown_key().reply_in(format(headers)),
    };
    let registry = &caller.shared.registry;
    let aliases = registry.aliases().into_iter().map(|a| a.name).filter(|a| scope.is_none_or(|s| s.contains(a)));
    let mut names: Vec<String> = aliases.collect();
    let listed = registry.models().await;
    let allowed = |m: &crate::ModelName| scope.is_none_or(|s| calls::in_scope(s, &m.provider, &m.model));
    names.extend(listed.iter().filter(|m| allowed(m)).map(ToString::to_string));
    // A provider without a list has the models that the scope names.
    let configured = registry.configured();
    for name in scope.unwrap_or_default() {
        if !name.contains('*') && configured.target(name).is_some() && !names.contains(name) {
            names.push(name.clone());
        }
    }
    answer(&names, asked, headers)
}

fn is_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

fn format(headers: &HeaderMap) -> Format {
    if is_anthropic(headers) { Format::Messages } else { Format::Chat }
}

fn answer(names: &[String], asked: Asked, headers: &HeaderMap) -> Reply {
    let one: fn(&str) -> Value = if is_anthropic(headers) { anthropic } else { openai };
    match asked {
        Asked::List => {
            let data: Vec<Value> = names.iter().map(|n| one(n)).collect();
            let list = if is_anthropic(headers) {
                json!({ "data": data, "has_more": false, "first_id": names.first(), "last_id": names.last() })
            } else {
                json!({ "object": "list", "data": data })
            };
            reply::json(StatusCode::OK, &list)
        }
        Asked::One(name) => match names.iter().find(|n| **n == name) {
            Some(known) => reply::json(StatusCode::OK, &one(known)),
            None => {
                let near = crate::providers::near(&name, names.iter().cloned());
                let hint = if near.is_empty() { String::new() } else { format!("; near ones: {}", near.join(", ")) };
                let shown: String = domain::text::visible_line(&name).chars().take(200).collect();
                let message = format!("there is no model {shown:?} here{hint}");
                Refusal::new(StatusCode::NOT_FOUND, "model_not_found", message).reply_in(format(headers))
            }
        },
    }
}

fn openai(name: &str) -> Value {
    let owner = name.split_once('/').map_or("taskforge", |(p, _)| p);
    json!({ "id": name, "object": "model", "created": 0, "owned_by": owner })
}

fn anthropic(name: &str) -> Value {
    json!({ "type": "model", "id": name, "display_name": name, "created_at": UNKNOWN_TIME })
}

fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_all_models_or_one() {
        let one = |name: &str| Some(Asked::One(name.to_owned()));
        assert_eq!(Asked::of_path("/v1/models"), Some(Asked::List));
        assert_eq!(Asked::of_path("/v1/models/openai/gpt-4o"), one("openai/gpt-4o"));
        assert_eq!(Asked::of_path("/v1/models/openai%2Fgpt-4o%3a1"), one("openai/gpt-4o:1"));
        for path in ["/v1/models/", "/v1/modelsx", "/v1/models/%", "/v1/models/%zz", "/v1/models/%ff"] {
            assert_eq!(Asked::of_path(path), None, "{path}");
        }
    }
}
