//! From a client's request to the request of a provider.

use super::{
    begin::{Asked, View},
    headers,
    ingress::Ingress,
    spend,
};
use crate::{
    providers::{Operation, Target},
    reply::Refusal,
};
use bytes::Bytes;
use hyper::{HeaderMap, StatusCode, Uri};
use llm::{Echo, Format, Loss, TranslateError, embeddings::Method};
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
    pub(super) back: Back,
    /// Whether the body is the client's own.
    unchanged: bool,
    /// What of the request was left out.
    pub(super) losses: Vec<Loss>,
}

/// How an answer comes to be the client's.
#[derive(Debug, Clone)]
pub(super) enum Back {
    /// It passes as it is, and is an answer of a model.
    Answer,
    /// It passes as it is, and is something else.
    Plain,
    /// It is put into the client's format.
    Translated(Echo),
    /// It becomes OpenAI's list of embeddings.
    Embeddings(Method),
    /// It becomes Anthropic's count of tokens.
    Count,
}

/// Reasoning that an earlier answer had, by tool-call id.
pub(super) type Carries = std::collections::HashMap<String, Vec<u8>>;

/// What goes out, and how its answer comes back.
struct Translation {
    body: Bytes,
    back: Back,
    operation: Operation,
    unchanged: bool,
    losses: Vec<Loss>,
}

/// Makes the request for one target; `limit` is put on its answer, where it has none.
pub(super) fn prepare(
    asked: &Asked,
    view: &View,
    target: &Target,
    client: &HeaderMap,
    carries: &Carries,
    limit: Option<u64>,
) -> Result<Prepared, Refusal> {
    let provider = &target.provider;
    let ingress = asked.ingress;
    let format = provider.kind.format_for(ingress.format());
    let same = format == ingress.format();
    let strip_usage = ingress == Ingress::Chat && same && view.stream && !view.wants_usage;
    let translation = match ingress.operation() {
        Operation::Embed | Operation::EmbedOne => embeddings(asked, view, format, target)?,
        Operation::CountTokens => count(asked, format, target)?,
        Operation::Generate if same => {
            if view.model == target.model && !strip_usage && limit.is_none() {
                Translation::same(asked.body.clone(), true)
            } else {
                let body = view.rewrite(&asked.body, &target.model);
                let limited = limit.and_then(|tokens| spend::with_limit(ingress, &body, tokens));
                Translation::same(Bytes::from(limited.unwrap_or(body)), false)
            }
        }
        Operation::Generate => {
            let limited = limit.and_then(|tokens| spend::with_limit(ingress, &asked.body, tokens));
            let body = limited.as_deref().unwrap_or(&asked.body);
            translate(ingress, view, body, (format, &target.model), carries)?
        }
    };
    let uri = provider
        .uri(translation.operation, format, &target.model, view.stream)
        .map_err(|e| Refusal::new(StatusCode::BAD_GATEWAY, "bad_provider", e.to_string()))?
        .ok_or_else(|| no_such_operation(ingress, target))?;
    let headers = headers::to_provider(client, provider, same);
    let Translation { body, back, unchanged, losses, .. } = translation;
    Ok(Prepared { uri, headers, body, format, strip_usage, back, unchanged, losses })
}

impl Translation {
    fn same(body: Bytes, unchanged: bool) -> Self {
        Self { body, back: Back::Answer, operation: Operation::Generate, unchanged, losses: Vec::new() }
    }
}

fn translate(
    ingress: Ingress,
    view: &View,
    body: &[u8],
    to: (Format, &str),
    carries: &Carries,
) -> Result<Translation, Refusal> {
    let carry = |id: &str| carries.get(id).cloned();
    let (format, model) = to;
    let translated = if ingress == Ingress::Gemini {
        llm::translate_gemini_request(format, body, model, view.stream, &carry)
    } else {
        llm::translate_request(ingress.format(), format, body, model, &carry)
    };
    let translated = translated.map_err(|e| cannot_carry(&e))?;
    Ok(Translation {
        body: Bytes::from(translated.body),
        back: Back::Translated(translated.echo),
        operation: Operation::Generate,
        unchanged: false,
        losses: translated.losses,
    })
}

fn embeddings(asked: &Asked, view: &View, format: Format, target: &Target) -> Result<Translation, Refusal> {
    let request = view.embeddings().ok_or_else(|| no_such_operation(asked.ingress, target))?;
    let translated = request.translate(format, &asked.body, &target.model).map_err(|e| cannot_carry(&e))?;
    Ok(Translation {
        body: Bytes::from(translated.body),
        back: if translated.method == Method::OpenAi { Back::Plain } else { Back::Embeddings(translated.method) },
        operation: if translated.method == Method::GeminiOne { Operation::EmbedOne } else { Operation::Embed },
        unchanged: false,
        losses: translated.losses,
    })
}

fn count(asked: &Asked, format: Format, target: &Target) -> Result<Translation, Refusal> {
    let body = llm::messages::translate_count(format, &asked.body, &target.model)
        .map_err(|e| cannot_carry(&e))?
        .ok_or_else(|| no_such_operation(asked.ingress, target))?;
    Ok(Translation {
        body: Bytes::from(body),
        back: if format == Format::Messages { Back::Plain } else { Back::Count },
        operation: Operation::CountTokens,
        unchanged: false,
        losses: Vec::new(),
    })
}

impl Prepared {
    /// Whether the answer passes as it is.
    pub(super) const fn is_same(&self) -> bool {
        matches!(self.back, Back::Answer | Back::Plain)
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
            reserved: None,
        }
    }
}

fn no_such_operation(ingress: Ingress, target: &Target) -> Refusal {
    let (name, kind) = (target.name(), target.provider.kind);
    let message = format!("the provider of {name} ({kind}) has no {}; use another model", ingress.name());
    Refusal::new(StatusCode::BAD_REQUEST, "unsupported_operation", message)
}

fn cannot_carry(e: &TranslateError) -> Refusal {
    let code = match e {
        TranslateError::Unsupported { .. } => "unsupported_parameter",
        TranslateError::Malformed { .. } => "bad_request",
    };
    Refusal::new(StatusCode::BAD_REQUEST, code, e.to_string())
}
