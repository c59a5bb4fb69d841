//! The beginning of a call: judged and recorded before its first byte leaves.

use super::{
    admit, attempt, headers,
    ingress::Ingress,
    judge,
    open::{Attempt, Open},
    prepare::{Carries, Prepared},
    spend, undisturbed,
    who::{Identity, Who},
};
use crate::{
    body::Held,
    budget::{Account, Refused, Reservation, ask},
    providers::{Route, Target},
    reply::Refusal,
    resilience::{Permit, Retries},
};
use bytes::Bytes;
use domain::{budget::Budget, ids::TaskId};
use futures::FutureExt;
use hyper::{HeaderMap, StatusCode};
use llm::{Splice, embeddings::EmbeddingsRequest};
use serde_json::Value;
use std::{ops::Range, sync::Arc, time::Instant};
use store::{
    Begun as Recorded, CallContext, CallRef, Caller, NewAttempt, NewCall, RefusedCaller, SeenResult, StoreError,
};

/// The most tool calls whose reasoning is looked up for one request.
const MAX_CARRIES: usize = 64;

/// What a client asks for, as far as it could be understood.
pub(super) struct Asked {
    pub(super) ingress: Ingress,
    pub(super) body: Bytes,
    /// As they are recorded.
    headers: Value,
    pub(super) view: Result<View, String>,
}

/// The fields that matter, detached from the body.
pub(super) struct View {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) wants_usage: bool,
    pub(super) max_output: Option<u64>,
    /// The service tier that is asked for: it has its own price.
    pub(super) service_tier: Option<String>,
    tools: Vec<String>,
    results: Vec<(String, Range<usize>)>,
    edit: Edit,
}

/// How the request is rewritten for a provider of its own format.
enum Edit {
    Splice(Splice),
    Embeddings(Box<EmbeddingsRequest>),
}

/// A call that may leave.
pub(super) struct Begun {
    pub(super) open: Open,
    pub(super) prepared: Prepared,
    /// The targets after the one under way.
    pub(super) further: std::vec::IntoIter<Target>,
    pub(super) retries: Retries,
    pub(super) client: HeaderMap,
    pub(super) carries: Carries,
    /// The limit of the answer that the budget sets, where the request has none.
    pub(super) limit: Option<u64>,
}

/// Where a call goes first, and what it may use.
struct Chosen {
    reservation: Option<Reservation>,
    target: Target,
    prepared: Prepared,
    permit: Permit,
    further: std::vec::IntoIter<Target>,
}

impl Chosen {
    /// The first attempt, with what the call may use of a budget.
    fn first(&self) -> NewAttempt {
        let reserved = self.reservation.as_ref().map(Reservation::held);
        NewAttempt { reserved, ..self.prepared.attempt(&self.target) }
    }
}

impl Asked {
    pub(super) fn new(ingress: Ingress, path: &str, body: Bytes, headers: &HeaderMap) -> Self {
        let view = match ingress {
            Ingress::Embeddings => View::of_embeddings(&body),
            _ => View::of_call(ingress, path, &body),
        };
        Self { ingress, body, headers: headers::recorded(headers), view }
    }

    /// A request whose body was not read to its end.
    pub(super) fn unread(ingress: Ingress, headers: &HeaderMap) -> Self {
        Self { ingress, body: Bytes::new(), headers: headers::recorded(headers), view: Err(String::new()) }
    }

    fn new_call(&self) -> NewCall {
        let view = self.view.as_ref().ok();
        let result = |(id, at): &(String, Range<usize>)| SeenResult {
            tool_id: id.clone(),
            content: self.body.get(at.clone()).map(|_| self.body.slice(at.clone())).unwrap_or_default(),
        };
        NewCall {
            ingress: self.ingress.name(),
            asked_model: view.map(|v| v.model.clone()).unwrap_or_default(),
            stream: view.is_some_and(|v| v.stream),
            headers: self.headers.clone(),
            request: self.body.clone(),
            results: view.map(|v| v.results.iter().map(result).collect()).unwrap_or_default(),
        }
    }
}

impl View {
    fn of_call(ingress: Ingress, path: &str, body: &[u8]) -> Result<Self, String> {
        let v = llm::view(ingress.format(), Some(path), body).map_err(|e| e.to_string())?;
        Ok(Self {
            edit: Edit::Splice(v.splice().clone()),
            stream: v.stream,
            wants_usage: v.include_usage,
            max_output: v.max_output_tokens,
            service_tier: spend::service_tier(body),
            tools: v.tools.iter().map(|t| (**t).to_owned()).collect(),
            results: v.tool_results.iter().map(|t| ((*t.tool_call_id).to_owned(), t.content_at.clone())).collect(),
            model: v.model.into_owned(),
        })
    }

    fn of_embeddings(body: &[u8]) -> Result<Self, String> {
        let request = EmbeddingsRequest::parse(body).map_err(|e| e.to_string())?;
        Ok(Self {
            model: request.model.clone(),
            stream: false,
            wants_usage: true,
            max_output: None,
            service_tier: None,
            tools: Vec::new(),
            results: Vec::new(),
            edit: Edit::Embeddings(Box::new(request)),
        })
    }

    /// The request with the provider's own name of the model; a Chat stream is also asked for its token counts.
    pub(super) fn rewrite(&self, body: &[u8], model: &str) -> Vec<u8> {
        match &self.edit {
            Edit::Splice(splice) => splice.rewrite(body, model, true),
            Edit::Embeddings(request) => request.rewrite(body, model),
        }
    }

    /// The request for embeddings, if it is one.
    pub(super) fn embeddings(&self) -> Option<&EmbeddingsRequest> {
        match &self.edit {
            Edit::Splice(_) => None,
            Edit::Embeddings(request) => Some(request),
        }
    }
}

/// Records the beginning of a call, or why it is refused. If that cannot be recorded, the call is refused.
pub(super) async fn begin(
    who: Who,
    asked: Asked,
    client: HeaderMap,
    held: Held,
    started: Instant,
) -> Result<Begun, Refusal> {
    let tracker = who.shared().tracker.clone();
    let begun = async move {
        let carries = carries(&who, &asked).await?;
        let account = spend::account(&who).await.map_err(|e| unwritable(&who, &e))?;
        let asking = Asking { who, asked: Arc::new(asked), client, carries, account };
        let (call, chosen) = match &asking.who {
            Who::Sandbox(_) => begin_sandbox(&asking).await?,
            Who::Caller(_) => begin_caller(&asking).await?,
        };
        let Asking { who, asked, client, carries, .. } = asking;
        let Chosen { reservation, target, prepared, permit, further } = chosen;
        let retries = who.shared().config.retry.start(started);
        let attempt = Attempt::new(target, &prepared, permit);
        let limit = reservation.as_ref().and_then(Reservation::limit_to_set);
        let mut open = Open { attempt, who, asked, started, first_byte: None, held, record: Some(call), reservation };
        if let Some(reservation) = &mut open.reservation {
            reservation.sent();
        }
        Ok(Begun { open, prepared, further, retries, client, carries, limit })
    };
    // A begun call that nobody takes is dropped, and thereby ended.
    undisturbed(&tracker, begun).await.unwrap_or_else(|| Err(Refusal::log_unwritable()))
}

/// What is asked, by whom and with what.
struct Asking {
    who: Who,
    asked: Arc<Asked>,
    client: HeaderMap,
    carries: Carries,
    account: Option<Arc<Account>>,
}

async fn begin_caller(asking: &Asking) -> Result<(CallRef, Chosen), Refusal> {
    let Asking { who, asked, .. } = asking;
    let Who::Caller(outside) = who else { return Err(Refusal::log_unwritable()) };
    let caller = match &outside.identity {
        Identity::Key(key) => Caller::Key { key: key.id },
        Identity::Token(name) => Caller::Token { name: name.clone() },
        Identity::Unknown => return Err(refuse(who, asked, admit::unknown_key()).await),
    };
    let chosen = match &asked.view {
        Err(e) => Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_request", e.clone())),
        Ok(view) => match admit::of_caller(outside, &view.model).await {
            Ok(route) => {
                let budget = match &outside.identity {
                    Identity::Key(key) => key.budget.unwrap_or_default(),
                    Identity::Token(_) | Identity::Unknown => Budget::default(),
                };
                asking.choose(route, view, &budget).map_err(|e| e.refusal(false))
            }
            Err(refusal) => Err(refusal),
        },
    };
    let chosen = match chosen {
        Ok(chosen) => chosen,
        Err(refusal) => return Err(refuse(who, asked, refusal).await),
    };
    let first = chosen.first();
    let begun = who.shared().recorder.begin(caller, asked.new_call(), first).await;
    Ok((begun.map_err(|e| unwritable(who, &e))?, chosen))
}

async fn begin_sandbox(asking: &Asking) -> Result<(CallRef, Chosen), Refusal> {
    let Asking { who, asked, .. } = asking;
    let Who::Sandbox(sandbox) = who else { return Err(Refusal::log_unwritable()) };
    let mut verdict = None;
    let judge = |context: &CallContext| {
        // A reservation of an earlier judgement is given back before the next one is made.
        verdict = None;
        let judged = asking.judge_sandbox(context);
        let answer = match &judged {
            Ok(chosen) => Ok(chosen.first()),
            Err(no) => Err(no.refusal(true).not_sent()),
        };
        verdict = Some((judged, context.iteration));
        answer
    };
    let begun = who.shared().recorder.begin_task(sandbox.task, asked.new_call(), judge).await;
    match (begun, verdict) {
        (Err(e), _) => Err(unwritable(who, &e)),
        (Ok(Recorded::Sent(call)), Some((Ok(chosen), _))) => Ok((call, chosen)),
        (Ok(Recorded::Refused(..)), Some((Err(no), iteration))) => {
            let refusal = no.refusal(true);
            who.shared().metrics.refused(refusal.code);
            if refusal.code == judge::TOOLS_MISSING {
                tools_missing(who, sandbox.task).await?;
            }
            if let (No::Budget(Refused::OverBudget(over)), Some(iteration)) = (&no, iteration) {
                let (store, ttl) = (&who.shared().store, who.shared().config.request_ttl);
                ask::ask_for_more(store, sandbox.task, iteration, over, ttl).await;
            }
            Err(refusal)
        }
        (Ok(_), _) => Err(Refusal::log_unwritable()),
    }
}

/// Fails the run whose agent does not know our tools.
async fn tools_missing(who: &Who, task: TaskId) -> Result<(), Refusal> {
    let shared = who.shared();
    let written = shared.store.write(shared.config.call_durability, move |tx| {
        async move {
            let context = tx.call_context(task).await?;
            tx.call_tools_missing(&context, judge::TOOLS_MISSING).await
        }
        .boxed()
    });
    written.await.map_err(|e| unwritable(who, &e))
}

/// Why a call may not leave.
enum No {
    Refused(Refusal),
    Budget(Refused),
}

impl No {
    /// What the client hears; `asks`: a person is asked for more budget.
    fn refusal(&self, asks: bool) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal.clone(),
            Self::Budget(refused) => ask::refusal(refused, asks),
        }
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Asking {
    fn judge_sandbox(&self, context: &CallContext) -> Result<Chosen, No> {
        let bad = |e: &String| Refusal::new(StatusCode::BAD_REQUEST, "bad_request", e.clone());
        let view = self.asked.view.as_ref().map_err(bad)?;
        if let Some(refusal) = judge::stopping(context) {
            return Err(refusal.into());
        }
        let configured = self.who.shared().registry.configured();
        let route = admit::of_policy(&context.policy, &view.model, &configured)?;
        judge::tools(context, &view.tools)?;
        self.choose(route, view, &context.policy.budget.unwrap_or_default())
    }

    /// The first target that is not left alone and to which the request can be carried, with room for it in the budget.
    fn choose(&self, mut route: Route, view: &View, budget: &Budget) -> Result<Chosen, No> {
        let prices = self.who.shared().prices();
        let ask = (self.asked.ingress, view, &self.asked.body[..]);
        let reservation = match &self.account {
            Some(account) => {
                Some(spend::reserve(account, budget, prices.as_deref(), &mut route, ask).map_err(No::Budget)?)
            }
            None => None,
        };
        let limit = reservation.as_ref().and_then(Reservation::limit_to_set);
        let mut further = route.targets.into_iter();
        let mut why = None;
        while let Some(target) = further.next() {
            match attempt::admit(&self.asked, view, &target, &self.client, &self.carries, limit) {
                Ok((prepared, permit)) => return Ok(Chosen { reservation, target, prepared, permit, further }),
                Err(refusal) => {
                    why.get_or_insert(refusal);
                }
            }
        }
        let nowhere = "the alias has no model whose provider is configured";
        Err(why.unwrap_or_else(|| Refusal::new(StatusCode::BAD_GATEWAY, "no_target", nowhere)).into())
    }
}

/// Records a refusal; if that cannot be, the refusal is that.
pub(super) async fn refuse(who: &Who, asked: &Asked, refusal: Refusal) -> Refusal {
    who.shared().metrics.refused(refusal.code);
    let by = match who {
        Who::Sandbox(s) => RefusedCaller::Task(s.task),
        Who::Caller(c) => match &c.identity {
            Identity::Key(key) => RefusedCaller::Key(key.id),
            Identity::Token(name) => RefusedCaller::Token(name.clone()),
            Identity::Unknown => {
                if !c.shared.unknown_keys.take() {
                    // Nobody fills the disk with wrong keys.
                    return refusal;
                }
                RefusedCaller::Unknown
            }
        },
    };
    let new = asked.new_call();
    let (recorder, why) = (who.shared().recorder.clone(), refusal.not_sent());
    let refused = undisturbed(&who.shared().tracker, async move { recorder.refuse(by, new, why).await }).await;
    match refused {
        Some(Ok(_)) => refusal,
        Some(Err(e)) => unwritable(who, &e),
        None => Refusal::log_unwritable(),
    }
}

fn unwritable(who: &Who, e: &StoreError) -> Refusal {
    tracing::error!(caller = %who.label(), error = %e, "a model call could not be recorded and was refused");
    Refusal::log_unwritable()
}

/// Reasoning that earlier answers had before the tool calls whose results the request carries.
async fn carries(who: &Who, asked: &Asked) -> Result<Carries, Refusal> {
    let mut found = Carries::default();
    let Ok(view) = &asked.view else { return Ok(found) };
    let format = asked.ingress.format();
    let configured = who.shared().registry.configured();
    if view.results.is_empty() || configured.all.iter().all(|p| p.kind.format_for(format) == format) {
        return Ok(found);
    }
    let Some(scope) = who.carry_scope() else { return Ok(found) };
    for (id, _) in view.results.iter().rev().take(MAX_CARRIES) {
        match who.shared().recorder.carry(&scope, id).await {
            Ok(Some(kept)) => drop(found.insert(id.clone(), kept)),
            Ok(None) => {}
            Err(e) => return Err(unwritable(who, &e)),
        }
    }
    Ok(found)
}
