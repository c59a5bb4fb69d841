//! The beginning of a call: judged and recorded in one transaction, before its first byte leaves.

use super::judge::{TOOLS_MISSING, judge};
use crate::{
    budget::{Account, Estimate, OutputBound, OverBudget, Refused, Reservation, ask, estimate_tokens},
    reply::Refusal,
    sandbox::Sandbox,
    upstreams::Upstream,
};
use bytes::Bytes;
use futures::FutureExt;
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName},
};
use llm::chat::{ChatRequest, Splice};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
};
use store::{CallContext, CallRef, Durability, NewCall, SeenResult, StoreError, Tx};

/// Headers whose values are recorded.
const KEPT_HEADERS: [HeaderName; 4] =
    [header::USER_AGENT, header::CONTENT_TYPE, header::ACCEPT, HeaderName::from_static("traceparent")];
/// Headers that carry credentials: recorded as fingerprints.
const CREDENTIAL_HEADERS: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];
/// The most of a header's value that is recorded.
const MAX_HEADER_CHARS: usize = 200;

/// What the sandbox asks for, as far as it could be understood.
pub(super) struct Asked {
    body: Bytes,
    headers: Value,
    view: Result<View, String>,
}

/// The fields that matter, detached from the body.
struct View {
    model: String,
    stream: bool,
    splice: Splice,
    wants_usage: bool,
    tools: Vec<String>,
    results: Vec<(String, Range<usize>)>,
}

/// A call that may leave.
pub(super) struct Begun {
    pub(super) call: CallRef,
    pub(super) upstream: Arc<Upstream>,
    /// The request as the upstream gets it.
    pub(super) body: Bytes,
    /// Whether the closing token counts of a stream are ours alone to see.
    pub(super) strip_usage: bool,
    /// What it may use of the task's budget.
    pub(super) reservation: Reservation,
}

/// How the transaction ended.
enum Judged {
    Sent {
        call: CallRef,
        model: String,
        upstream: Arc<Upstream>,
        reservation: Reservation,
    },
    Refused(Refusal),
    /// No room in the budget of the task, for a call of this iteration.
    OverBudget(Refusal, OverBudget, u32),
}

impl Asked {
    pub(super) fn new(body: Bytes, headers: &HeaderMap) -> Self {
        let view = ChatRequest::parse(&body).map_err(|e| e.to_string()).map(|r| View {
            splice: r.splice().clone(),
            wants_usage: r.include_usage,
            stream: r.stream,
            tools: r.tools.iter().map(|t| (**t).to_owned()).collect(),
            results: r.tool_results.iter().map(|t| ((*t.tool_call_id).to_owned(), t.content_at.clone())).collect(),
            model: r.model.into_owned(),
        });
        Self { body, headers: recorded_headers(headers), view }
    }

    fn new_call(&self) -> NewCall<'_> {
        let (asked_model, stream) = self.view.as_ref().map_or(("", false), |v| (v.model.as_str(), v.stream));
        NewCall { asked_model, stream, body: &self.body, headers: &self.headers }
    }
}

/// Records the beginning of a call, or why it is refused. If that cannot be recorded, the call is refused.
pub(super) async fn begin(sandbox: &Arc<Sandbox>, asked: Asked) -> Result<Begun, Refusal> {
    let asked = Arc::new(asked);
    let (inside, owner) = (Arc::clone(&asked), Arc::clone(sandbox));
    let account = Arc::clone(sandbox.account().await.map_err(|e| unwritable(sandbox, &e))?);
    let durability = sandbox.shared.config.call_durability;
    let judged = sandbox.shared.store.write(durability, move |tx| begin_in(tx, owner, inside, account).boxed()).await;
    let (call, upstream, model, mut reservation) = match judged {
        Ok(Judged::Sent { call, model, upstream, reservation }) => (call, upstream, model, reservation),
        Ok(Judged::OverBudget(refusal, over, iteration)) => {
            let shared = &sandbox.shared;
            ask::ask_for_more(&shared.store, sandbox.task, iteration, &over, shared.config.request_ttl).await;
            return Err(refusal);
        }
        Ok(Judged::Refused(refusal)) => return Err(refusal),
        Err(e) => return Err(unwritable(sandbox, &e)),
    };
    let view = asked.view.as_ref().map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, "bad_request", e.clone()))?;
    let strip_usage = view.stream && !view.wants_usage;
    let body = if view.model == model && !strip_usage {
        asked.body.clone()
    } else {
        Bytes::from(view.splice.rewrite(&asked.body, &model, true))
    };
    reservation.sent();
    Ok(Begun { call, upstream, body, strip_usage, reservation })
}

/// Records a refusal of a call whose body was not read to its end.
pub(super) async fn refuse_unread(sandbox: &Arc<Sandbox>, headers: &HeaderMap, refusal: Refusal) -> Refusal {
    let asked = Asked { body: Bytes::new(), headers: recorded_headers(headers), view: Err(refusal.message.clone()) };
    let (task, inside) = (sandbox.task, refusal.clone());
    let written = sandbox.shared.store.write(Durability::Process, move |tx| {
        async move {
            let context = tx.call_context(task).await?;
            let error = (inside.code, inside.message.as_str());
            tx.call_refuse(&context, asked.new_call(), inside.status.as_u16(), error).await.map(drop)
        }
        .boxed()
    });
    written.await.map_or_else(|e| unwritable(sandbox, &e), |()| refusal)
}

async fn begin_in(
    tx: &mut Tx,
    sandbox: Arc<Sandbox>,
    asked: Arc<Asked>,
    account: Arc<Account>,
) -> Result<Judged, StoreError> {
    let context = tx.call_context(sandbox.task).await?;
    let judged =
        asked.view.as_ref().map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, "bad_request", e.clone())).and_then(
            |view| {
                let (upstream, model) = judge(&context, &view.model, &view.tools)?;
                let upstream = sandbox.shared.upstreams.get(upstream).ok_or_else(|| unconfigured(upstream))?;
                Ok((view, Arc::clone(upstream), model))
            },
        );
    let (view, upstream, model) = match judged {
        Ok(sent) => sent,
        Err(refusal) => {
            if refusal.code == TOOLS_MISSING {
                tx.call_tools_missing(&context, TOOLS_MISSING).await?;
            }
            let error = (refusal.code, refusal.message.as_str());
            tx.call_refuse(&context, asked.new_call(), refusal.status.as_u16(), error).await?;
            return Ok(Judged::Refused(refusal));
        }
    };
    let reservation = match reserve(&account, &context, &asked.body) {
        Ok(reservation) => reservation,
        Err(refused) => {
            let refusal = ask::refusal(&refused, true);
            let error = (refusal.code, refusal.message.as_str());
            tx.call_refuse(&context, asked.new_call(), refusal.status.as_u16(), error).await?;
            return Ok(match (refused, context.iteration) {
                (Refused::OverBudget(over), Some(iteration)) => Judged::OverBudget(refusal, over, iteration),
                _ => Judged::Refused(refusal),
            });
        }
    };
    let call = tx.call_begin(&context, asked.new_call(), &upstream.name, model).await?;
    if sandbox.unanswered.load(Ordering::Relaxed) {
        let seen: Vec<_> = view
            .results
            .iter()
            .map(|(id, at)| SeenResult { tool_id: id, content: asked.body.get(at.clone()).unwrap_or_default() })
            .collect();
        // Set here, where the one writer keeps the order: an answer recorded later sets it again.
        sandbox.unanswered.store(tx.tool_results_insert(&call, &seen).await?, Ordering::Relaxed);
    }
    Ok(Judged::Sent { call, model: model.to_owned(), upstream, reservation })
}

fn reserve(account: &Arc<Account>, context: &CallContext, body: &[u8]) -> Result<Reservation, Refused> {
    let budget = context.policy.budget.unwrap_or_default();
    let estimate =
        Estimate { input_tokens: estimate_tokens(body), output: OutputBound::Open, price: None, service_tier: None };
    account.reserve(&budget, &estimate, store::now().as_millisecond())
}

fn unconfigured(name: &str) -> Refusal {
    let message = format!("the provider {name:?} of this task's model is not configured on the server");
    Refusal::new(StatusCode::BAD_GATEWAY, "upstream_not_configured", message)
}

fn unwritable(sandbox: &Sandbox, e: &StoreError) -> Refusal {
    tracing::error!(task.id = %sandbox.task, error = %e, "a model call could not be recorded and was refused");
    Refusal::log_unwritable()
}

fn recorded_headers(headers: &HeaderMap) -> Value {
    let mut out = Map::new();
    for name in KEPT_HEADERS {
        if let Some(value) = headers.get(&name).and_then(|v| v.to_str().ok()) {
            out.insert(name.to_string(), value.chars().take(MAX_HEADER_CHARS).collect::<String>().into());
        }
    }
    for name in CREDENTIAL_HEADERS {
        if let Some(value) = headers.get(&name) {
            let digest = hex::encode(Sha256::digest(value.as_bytes()));
            out.insert(name.to_string(), format!("sha256:{}", &digest[..16]).into());
        }
    }
    Value::Object(out)
}
