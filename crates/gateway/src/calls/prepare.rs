//! From a client's request to the request of a provider.

use super::{begin::{Asked, View}, headers, ingress::Ingress};
use crate::{
    providers::{Operation, Target},
    reply::Refusal,
};
use bytes::Bytes;
use hyper::{HeaderMap, StatusCode, Uri};
use llm::{ErrorKind, Format, Loss, TranslateError};
use serde_json::Value;
use store::NewAttempt;

/// A request, ready to be sent to one target.
pub(super) struct Prepared {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The provider's format.
    pub(super) format: Format,
    /// Whether the closing token counts of a stream are ours alone to see.
    pub(super) strip_usage: bool,
    /// How the answer comes to be the client's.
    back: Back,
    /// Whether the body is the client's own.
    unchanged: bool,
    losses: Vec<Loss>,
}

/// How an answer comes to be the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    /// It passes as it is, and is an answer of a model.
    Answer,
    /// It passes as it is, and is something else.
    Plain,
    /// It is put into the client's format.
    Translated,
}

/// Reasoning that an earlier answer had, by tool-call id.
pub(super) type Carries = std::collections::HashMap<String, Vec<u8>>;

/// Makes the request for one target.
pub(super) fn prepare(
    asked: &Asked,
    view: &View,
    target: &Target,
    client: &HeaderMap,
    carries: &Carries,
) -> Result<Prepared, Refusal> {
    let provider = &target.provider;
    let ingress = asked.ingress;
    let operation = ingress.operation();
    let format = provider.kind.format_for(ingress.format());
    let uri = provider
        .uri(operation, format, &target.model, view.stream)
        .map_err(|e| Refusal::new(StatusCode::BAD_GATEWAY, "bad_provider", e.to_string()))?
        .ok_or_else(|| no_such_operation(ingress, target))?;
    let same = format == ingress.format();
    let back = match (same, operation) {
        (true, Operation::Generate) => Back::Answer,
        (true, Operation::CountTokens | Operation::Embed) => Back::Plain,
        (false, _) => Back::Translated,
    };
    let strip_usage = same && format == Format::Chat && view.stream && !view.wants_usage;
    let (body, unchanged, losses) = if same {
        if view.model == target.model && !strip_usage {
            (asked.body.clone(), true, Vec::new())
        } else {
            (Bytes::from(view.rewrite(&asked.body, &target.model)), false, Vec::new())
        }
    } else {
        let carry = |id: &str| carries.get(id).cloned();
        let translated = llm::translate_request(ingress.format(), format, &asked.body, &target.model, &carry)
            .map_err(|e| cannot_carry(&e))?;
        (Bytes::from(translated.body), false, translated.losses)
    };
    let headers = headers::to_provider(client, provider, same);
    Ok(Prepared { uri, headers, body, format, strip_usage, back, unchanged, losses })
}

impl Prepared {
    /// Whether the answer passes as it is.
    pub(super) fn is_same(&self) -> bool {
        self.back != Back::Translated
    }

    /// Whether the answer is none of a model.
    pub(super) fn is_plain(&self) -> bool {
        self.back == Back::Plain
    }

    /// What is recorded of it.
    pub(super) fn attempt(&self, target: &Target) -> NewAttempt {
        NewAttempt {
            provider: target.provider.name.clone(),
            model: target.model.clone(),
            format: self.format.as_str(),
            url: self.uri.to_string(),
            headers: headers::recorded_sent(&self.headers, &target.provider),
            request: (!self.unchanged).then(|| self.body.clone()),
            losses: if self.losses.is_empty() {
                Value::Null
            } else {
                serde_json::to_value(&self.losses).unwrap_or(Value::Null)
            },
        }
    }
}

fn no_such_operation(ingress: Ingress, target: &Target) -> Refusal {
    let message =
        format!("the provider of {} ({}) has no {}; use another model", target.name(), target.provider.kind, ingress.name());
    Refusal::new(StatusCode::BAD_REQUEST, "unsupported_operation", message)
}

fn cannot_carry(e: &TranslateError) -> Refusal {
    let error = e.to_api_error();
    let code = if error.kind == ErrorKind::InvalidRequest && matches!(e, TranslateError::Unsupported { .. }) {
        "unsupported_parameter"
    } else {
        "bad_request"
    };
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    Refusal::new(status, code, error.message)
}
