//! The beginning of a call: judged at its task's gate and recorded, before its first byte leaves.

use super::judge::{TOOLS_MISSING, judge};
use crate::{reply::Refusal, sandbox::Sandbox, upstreams::Upstream};
use bytes::Bytes;
use futures::FutureExt;
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName},
};
use llm::chat::{ChatRequest, Splice};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{ops::Range, sync::Arc};
use store::{CallContext, CallRef, Durability, NewAttempt, NewCall, NotSent, RefusedCaller, SeenResult, StoreError};

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
}

/// Where a call goes and with what, as its task's gate let it pass.
struct Passed {
    upstream: Arc<Upstream>,
    body: Bytes,
    strip_usage: bool,
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

    fn new_call(&self) -> NewCall {
        let (asked_model, stream) = self.view.as_ref().map_or(("", false), |v| (v.model.as_str(), v.stream));
        let results = self.view.as_ref().map_or(&[][..], |v| &v.results);
        let seen = results.iter().map(|(id, at)| SeenResult {
            tool_id: id.clone(),
            content: if at.end <= self.body.len() { self.body.slice(at.clone()) } else { Bytes::new() },
        });
        NewCall {
            ingress: "chat",
            asked_model: asked_model.to_owned(),
            stream,
            headers: self.headers.clone(),
            request: self.body.clone(),
            results: seen.collect(),
        }
    }

    /// Whether and where the call may go. Runs at the task's gate.
    fn judge(&self, sandbox: &Sandbox, context: &CallContext) -> Result<(Passed, NewAttempt), Refusal> {
        let view = self.view.as_ref().map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, "bad_request", e.clone()))?;
        let (upstream, model) = judge(context, &view.model, &view.tools)?;
        let upstream = sandbox.shared.upstreams.get(upstream).ok_or_else(|| unconfigured(upstream))?;
        let strip_usage = view.stream && !view.wants_usage;
        let as_it_came = view.model == model && !strip_usage;
        let body = if as_it_came { self.body.clone() } else { view.splice.rewrite(&self.body, model, true).into() };
        let attempt = NewAttempt {
            provider: upstream.name.clone(),
            model: model.to_owned(),
            format: "chat",
            url: upstream.chat_uri.to_string(),
            headers: fingerprints(&upstream.headers),
            request: (!as_it_came).then(|| body.clone()),
            losses: Value::Null,
        };
        Ok((Passed { upstream: Arc::clone(upstream), body, strip_usage }, attempt))
    }
}

/// Records the beginning of a call, or why it is refused. If that cannot be recorded, the call is refused.
pub(super) async fn begin(sandbox: &Arc<Sandbox>, asked: Asked) -> Result<Begun, Refusal> {
    let (mut passed, mut refused) = (None, None);
    let judge = |context: &CallContext| match asked.judge(sandbox, context) {
        Ok((pass, attempt)) => {
            passed = Some(pass);
            Ok(attempt)
        }
        Err(refusal) => {
            let why = not_sent(&refusal);
            refused = Some(refusal);
            Err(why)
        }
    };
    let begun = sandbox.shared.recorder.begin_task(sandbox.task, asked.new_call(), judge).await;
    match (begun, passed, refused) {
        (Ok(store::Begun::Sent(call)), Some(Passed { upstream, body, strip_usage }), _) => {
            Ok(Begun { call, upstream, body, strip_usage })
        }
        (Ok(store::Begun::Refused(..)), _, Some(refusal)) => {
            if refusal.code == TOOLS_MISSING {
                tools_missing(sandbox).await.map_err(|e| unwritable(sandbox, &e))?;
            }
            Err(refusal)
        }
        (Ok(_), ..) => Err(Refusal::log_unwritable()),
        (Err(e), ..) => Err(unwritable(sandbox, &e)),
    }
}

/// Records a refusal of a call whose body was not read to its end.
pub(super) async fn refuse_unread(sandbox: &Arc<Sandbox>, headers: &HeaderMap, refusal: Refusal) -> Refusal {
    let asked = Asked { body: Bytes::new(), headers: recorded_headers(headers), view: Err(refusal.message.clone()) };
    let by = RefusedCaller::Task(sandbox.task);
    let written = sandbox.shared.recorder.refuse(by, asked.new_call(), not_sent(&refusal)).await;
    written.map_or_else(|e| unwritable(sandbox, &e), |_| refusal)
}

/// Tells the workflow that the agent runs without our tools; once for each iteration, whatever crashes between.
async fn tools_missing(sandbox: &Sandbox) -> Result<(), StoreError> {
    let task = sandbox.task;
    let written = sandbox.shared.store.write(Durability::Process, move |tx| {
        async move {
            let context = tx.call_context(task).await?;
            tx.call_tools_missing(&context, TOOLS_MISSING).await
        }
        .boxed()
    });
    written.await
}

fn not_sent(refusal: &Refusal) -> NotSent {
    NotSent { http_status: refusal.status.as_u16(), code: refusal.code, message: refusal.message.clone() }
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
            out.insert(name.to_string(), fingerprint(value.as_bytes()).into());
        }
    }
    Value::Object(out)
}

/// What the operator configured for a provider: any of it may be a secret.
fn fingerprints(headers: &HeaderMap) -> Value {
    Value::Object(headers.iter().map(|(n, v)| (n.to_string(), fingerprint(v.as_bytes()).into())).collect())
}

fn fingerprint(value: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(value));
    format!("sha256:{}", &digest[..16])
}
