//! Makes the frames: bodies are sealed, leaves are written as text, the record says what the tables need.

use super::{
    Attempting,
    body::{seal_received, seal_whole},
    gate::{Told, Unanswered},
    leaf::{LeafData, LeafOwned, Members},
    seal::ScopeKey,
    types::{
        AttemptEnd, CallEnd, CallInner, CallRef, Caller, EmittedToolCall, NewAttempt, NewCall, NotSent, SeenResult,
    },
};
use crate::{
    CallContext, CallStatus, MAX_TOOL_CALLS_PER_ANSWER, StoreError,
    calls::short,
    journal::{
        Journal,
        frame::{Closed, Frame, Kind},
        record::{
            AttemptOver, BodyAt, CallBegun, CallEnded, Entry, LeafText, NextAttempt, Place, Record, Refusal, Target,
            ToolEmitted, ToolResult,
        },
    },
    new_id, now,
    tool_calls::arguments_hash,
};
use bytes::Bytes;
use domain::{
    event::{Actor, EventKind, Outcome, Phase},
    ids::{CallId, OpId, RunId, TaskId},
};
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// Room for the record beside the bodies.
const RECORD_ROOM: usize = 2048;

/// A result that a request carries for a tool call that was waiting for one.
pub(crate) struct Matched {
    /// Its place among those that wait.
    pub(crate) index: usize,
    waiting: Unanswered,
    content: Bytes,
}

/// Finds what the results are for. Of several results with one id the last is the newest.
pub(crate) fn match_results<'a>(
    waiting: impl IntoIterator<Item = &'a Unanswered, IntoIter: DoubleEndedIterator + ExactSizeIterator>,
    seen: &[SeenResult],
) -> Vec<Matched> {
    if seen.is_empty() {
        return Vec::new();
    }
    let names: Vec<String> = seen.iter().map(|s| short(&s.tool_id)).collect();
    let mut used = vec![false; seen.len()];
    let mut found = Vec::new();
    for (index, w) in waiting.into_iter().enumerate().rev() {
        let Some(i) = (0..seen.len()).rev().find(|i| !used[*i] && names[*i] == w.tool_id) else { continue };
        used[i] = true;
        found.push(Matched { index, waiting: w.clone(), content: seen[i].content.clone() });
    }
    found
}

/// The bodies of a frame while it is made.
struct Bodies {
    frame: Frame,
    at: Vec<BodyAt>,
}

/// A body by its number, with what a leaf says about it.
type Named = (u32, String, u64);

impl Bodies {
    fn new(room: usize) -> Self {
        Self { frame: Frame::new(room + RECORD_ROOM), at: Vec::new() }
    }

    fn whole(&mut self, journal: &Arc<Journal>, key: &Arc<ScopeKey>, bytes: &[u8]) -> Result<Named, StoreError> {
        let at = seal_whole(journal, key, self.frame.data(), bytes)?;
        Ok(self.add(at))
    }

    fn add(&mut self, at: BodyAt) -> Named {
        let named = (self.at.len() as u32, at.name(), at.size);
        self.at.push(at);
        named
    }

    fn close(self, key: &ScopeKey, leaves: &[LeafOwned], record: Record<'_>) -> Result<Closed, StoreError> {
        let leaves = leaves.iter().map(|l| LeafText {
            kind: l.kind,
            phase: l.phase,
            op: l.op.as_deref(),
            task: l.task.as_deref(),
            head: &l.head,
            middle: &l.middle,
        });
        let entry = Entry { leaves: leaves.collect(), bodies: self.at, scope: &key.scope, record };
        self.frame.close(Kind::Record, &entry)
    }
}

fn in_leaf(name: &'static str, named: &Named) -> (&'static str, String, u64) {
    (name, named.1.clone(), named.2)
}

/// Where a leaf of a call stands.
struct At<'a> {
    actor: &'a Actor,
    task: Option<TaskId>,
    run: Option<RunId>,
    iteration: Option<u32>,
}

impl At<'_> {
    fn leaf(
        &self,
        kind: EventKind,
        phase: Phase,
        (op, outcome): (Option<OpId>, Option<Outcome>),
        data: Members,
        bodies: &[(&'static str, String, u64)],
    ) -> Result<LeafOwned, StoreError> {
        let Self { actor, task, run, iteration } = *self;
        LeafData { kind, phase, actor, op, outcome, task, run, iteration, data: data.end(), bodies }.text()
    }
}

fn place(caller: &Caller) -> (Option<TaskId>, Option<RunId>, Option<u32>, Option<u32>) {
    match caller {
        Caller::Task { task, run, iteration, turn } => (Some(*task), Some(*run), Some(*iteration), Some(*turn)),
        Caller::Key { .. } | Caller::Token { .. } => (None, None, None, None),
    }
}

fn target(first: &NewAttempt, sent: Option<u32>) -> Target<'_> {
    Target { provider: &first.provider, model: &first.model, format: first.format, url: &first.url, sent }
}

/// A call whose request is sealed.
pub(crate) struct Prepared {
    key: Arc<ScopeKey>,
    bodies: Bodies,
    request: Named,
}

impl Prepared {
    pub(crate) fn new(journal: &Arc<Journal>, key: Arc<ScopeKey>, request: &[u8]) -> Result<Self, StoreError> {
        let mut bodies = Bodies::new(request.len().min(super::body::PIECE));
        let request = bodies.whole(journal, &key, request)?;
        Ok(Self { key, bodies, request })
    }

    pub(crate) fn key(&self) -> &Arc<ScopeKey> {
        &self.key
    }

    /// The frame of a call that is let out.
    pub(crate) fn begin(
        mut self: Box<Self>,
        journal: &Arc<Journal>,
        caller: Caller,
        new: &NewCall,
        first: NewAttempt,
        retry_of: Option<CallId>,
        seen: &[Matched],
    ) -> Result<(CallRef, Closed), StoreError> {
        let (id, op) = (new_id(CallId::from_uuid), new_id(OpId::from_uuid));
        let (task, run, iteration, turn) = place(&caller);
        let actor = caller.actor();
        let at = At { actor: &actor, task, run, iteration };
        let sent = match &first.request {
            None => None,
            Some(sent) => Some(self.bodies.whole(journal, &self.key, sent)?),
        };
        let id_text = id.to_string();
        let retry = retry_of.map(|r| r.to_string());
        let mut data = Members::new();
        data.word("asked_model", Some(&new.asked_model))?.text("call", Some(&id_text))?;
        data.text("format", Some(first.format))?.value("headers", &new.headers)?.text("ingress", Some(new.ingress))?;
        data.value("losses", &first.losses)?.text("model", Some(&first.model))?.text("retry_of", retry.as_deref())?;
        data.value("sent_headers", &first.headers)?.flag("stream", new.stream);
        data.number("turn", turn.map(u64::from))?.text("upstream", Some(&first.provider))?;
        data.text("url", Some(&first.url))?;
        let mut named = vec![in_leaf("request", &self.request)];
        named.extend(sent.as_ref().map(|s| in_leaf("sent", s)));
        let mut leaves = vec![at.leaf(EventKind::LlmCall, Phase::Begun, (Some(op), None), data, &named)?];
        let mut results = Vec::with_capacity(seen.len());
        for m in seen {
            let body = self.bodies.whole(journal, &self.key, &m.content)?;
            let mut data = Members::new();
            data.text("call", Some(&id_text))?.text("stage", Some("result"))?.text("tool", Some(&m.waiting.name))?;
            data.text("tool_id", Some(&m.waiting.tool_id))?.number("turn", Some(m.waiting.turn.into()))?;
            leaves.push(at.leaf(EventKind::ToolCall, Phase::Point, (None, None), data, &[in_leaf("result", &body)])?);
            results.push(ToolResult { call: &m.waiting.call, position: m.waiting.position, body: body.0 });
        }
        let ids = Ids::new(&caller, &id_text, op);
        let begun = ids.begun(new, retry.as_deref(), self.request.0, results);
        let asked_model = short(&new.asked_model);
        let begun = CallBegun {
            asked_model: &asked_model,
            iteration,
            turn,
            first: Some(target(&first, sent.as_ref().map(|s| s.0))),
            ..begun
        };
        let frame = self.bodies.close(&self.key, &leaves, Record::Begun(begun))?;
        let attempt = Mutex::new(Attempting::first(first, sent.map(|s| s.1)));
        Ok((CallRef(Arc::new(CallInner { id, op, caller, key: self.key, epoch: journal.epoch(), attempt })), frame))
    }

    /// The frame of a call that is not let out.
    pub(crate) fn refuse(
        self: Box<Self>,
        new: &NewCall,
        caller: Option<&Caller>,
        context: Option<&CallContext>,
        why: &NotSent,
    ) -> Result<(CallId, Closed), StoreError> {
        let (id, op) = (new_id(CallId::from_uuid), new_id(OpId::from_uuid));
        let id_text = id.to_string();
        let actor = match (caller, context) {
            (Some(caller), _) => caller.actor(),
            (None, Some(_)) => Actor::Sandbox,
            (None, None) => Actor::System,
        };
        let (task, run) = (context.map(|c| c.task), context.and_then(|c| c.run));
        let iteration = context.and_then(|c| c.iteration);
        let mut data = Members::new();
        data.word("asked_model", Some(&new.asked_model))?.text("call", Some(&id_text))?;
        data.text("code", Some(why.code))?.value("headers", &new.headers)?;
        data.number("http_status", Some(why.http_status.into()))?.text("ingress", Some(new.ingress))?;
        let at = At { actor: &actor, task, run, iteration };
        let outcome = Some(Outcome::Refused);
        let bodies = [in_leaf("request", &self.request)];
        let leaf = at.leaf(EventKind::LlmRefused, Phase::Point, (None, outcome), data, &bodies)?;
        let mut ids = Ids { id: &id_text, op: op.to_string(), ..Ids::default() };
        if let Some(caller) = caller {
            ids = Ids::new(caller, &id_text, op);
        }
        ids.task = task.map(|t| t.to_string());
        ids.run = run.map(|r| r.to_string());
        let asked_model = short(&new.asked_model);
        let begun = ids.begun(new, None, self.request.0, Vec::new());
        let begun = CallBegun { asked_model: &asked_model, iteration, ..begun };
        let refusal = Refusal { http_status: why.http_status, code: why.code, error: &why.message };
        let frame = self.bodies.close(&self.key, &[leaf], Record::Refused(begun, refusal))?;
        Ok((id, frame))
    }
}

/// Whose a call is, as text.
#[derive(Default)]
struct Ids<'a> {
    id: &'a str,
    op: String,
    task: Option<String>,
    run: Option<String>,
    key: Option<String>,
    token: Option<String>,
}

impl<'a> Ids<'a> {
    fn new(caller: &Caller, id: &'a str, op: OpId) -> Self {
        let mut ids = Self { id, op: op.to_string(), ..Self::default() };
        match caller {
            Caller::Task { task, run, .. } => (ids.task, ids.run) = (Some(task.to_string()), Some(run.to_string())),
            Caller::Key { key } => ids.key = Some(key.to_string()),
            Caller::Token { name } => ids.token = Some(name.clone()),
        }
        ids
    }

    fn begun<'b>(
        &'b self,
        new: &'b NewCall,
        retry_of: Option<&'b str>,
        request: u32,
        results: Vec<ToolResult<'b>>,
    ) -> CallBegun<'b> {
        CallBegun {
            id: self.id,
            op: &self.op,
            task: self.task.as_deref(),
            run: self.run.as_deref(),
            iteration: None,
            turn: None,
            key: self.key.as_deref(),
            token: self.token.as_deref(),
            ingress: new.ingress,
            asked_model: "",
            stream: new.stream,
            retry_of,
            request,
            first: None,
            results,
        }
    }
}

impl Attempting {
    fn first(new: NewAttempt, sent: Option<String>) -> Self {
        Self::numbered(1, new, sent)
    }

    fn numbered(number: u32, new: NewAttempt, sent: Option<String>) -> Self {
        let begun_ms = now().as_millisecond();
        let NewAttempt { provider, model, format, url, .. } = new;
        Self { number, begun_ms, provider, model, format, url, sent, over: false }
    }

    fn over<'a>(&'a self, end: &'a AttemptEnd, response: Option<u32>) -> AttemptOver<'a> {
        AttemptOver {
            number: self.number,
            begun_ms: self.begun_ms,
            provider: &self.provider,
            model: &self.model,
            format: self.format,
            url: &self.url,
            sent: self.sent.as_deref(),
            status: end.status.as_str(),
            http_status: end.http_status,
            error_code: end.error.as_ref().map(|e| e.0),
            error: end.error.as_ref().map(|e| e.1.as_str()),
            response,
            first_byte_ms: end.first_byte_ms,
            total_ms: end.total_ms,
        }
    }
}

/// The frame of an attempt that is over and of the next one; and the next one.
pub(crate) fn attempt(
    journal: &Arc<Journal>,
    call: &CallRef,
    now: &Attempting,
    mut end: AttemptEnd,
    next: NewAttempt,
) -> Result<(Closed, Attempting), StoreError> {
    let CallInner { id, key, caller, .. } = &*call.0;
    let mut bodies = Bodies::new(0);
    let received = std::mem::take(&mut end.response);
    let response = seal_received(journal, key, bodies.frame.data(), received)?.map(|b| bodies.add(b));
    let sent = match &next.request {
        None => None,
        Some(sent) => Some(bodies.whole(journal, key, sent)?),
    };
    let (task, run, iteration, turn) = place(caller);
    let id_text = id.to_string();
    let mut data = Members::new();
    data.number("attempt", Some(u64::from(now.number) + 1))?.text("call", Some(&id_text))?;
    data.text("error", end.error.as_ref().map(|e| e.0))?.known("first_byte_ms", end.first_byte_ms)?;
    data.text("format", Some(next.format))?.number("http_status", end.http_status.map(u64::from))?;
    data.value("losses", &next.losses)?.text("model", Some(&next.model))?.value("sent_headers", &next.headers)?;
    data.text("status", Some(end.status.as_str()))?.number("total_ms", Some(end.total_ms))?;
    data.number("turn", turn.map(u64::from))?.text("upstream", Some(&next.provider))?.text("url", Some(&next.url))?;
    let mut named = Vec::with_capacity(2);
    named.extend(response.as_ref().map(|r| in_leaf("response", r)));
    named.extend(sent.as_ref().map(|s| in_leaf("sent", s)));
    let at = At { actor: &Actor::System, task, run, iteration };
    let leaf = at.leaf(EventKind::LlmAttempt, Phase::Point, (None, None), data, &named)?;
    let record = NextAttempt {
        call: &id_text,
        over: now.over(&end, response.map(|r| r.0)),
        next: target(&next, sent.as_ref().map(|s| s.0)),
    };
    let frame = bodies.close(key, &[leaf], Record::Attempt(record))?;
    Ok((frame, Attempting::numbered(now.number + 1, next, sent.map(|s| s.1))))
}

/// The frame of a call's end, and what the task's gate is to be told.
pub(crate) struct Ending {
    pub(crate) frame: Closed,
    pub(crate) told: Option<Told>,
}

/// The bodies of a call's end.
struct Ended {
    response: Option<Named>,
    returned: Option<Named>,
    normalised: Option<Named>,
}

impl Ended {
    fn seal(
        journal: &Arc<Journal>,
        key: &Arc<ScopeKey>,
        bodies: &mut Bodies,
        end: &mut CallEnd,
    ) -> Result<Self, StoreError> {
        let received = std::mem::take(&mut end.last.response);
        let response = seal_received(journal, key, bodies.frame.data(), received)?.map(|b| bodies.add(b));
        let returned = match end.response.take() {
            None => None,
            Some(returned) => seal_received(journal, key, bodies.frame.data(), returned)?.map(|b| bodies.add(b)),
        };
        let normalised = match &end.normalised {
            Value::Null => None,
            value => Some(bodies.whole(journal, key, &serde_json::to_vec(value)?)?),
        };
        Ok(Self { response, returned, normalised })
    }

    fn in_leaf(&self) -> Vec<(&'static str, String, u64)> {
        let all = [("normalised", &self.normalised), ("response", &self.response), ("returned", &self.returned)];
        all.into_iter().filter_map(|(name, body)| body.as_ref().map(|b| in_leaf(name, b))).collect()
    }
}

/// The end of a call.
pub(crate) fn end(
    journal: &Arc<Journal>,
    call: &CallRef,
    now: &Attempting,
    mut end: CallEnd,
) -> Result<Ending, StoreError> {
    let CallInner { id, op, key, caller, .. } = &*call.0;
    let mut bodies = Bodies::new(match &end.last.response {
        super::Received::Whole(bytes) => bytes.len().min(super::body::PIECE),
        super::Received::Nothing | super::Received::Written(_) => 0,
    });
    let sealed = Ended::seal(journal, key, &mut bodies, &mut end)?;
    let (task, run, iteration, turn) = place(caller);
    let id_text = id.to_string();
    let at = At { actor: &Actor::System, task, run, iteration };
    let data = end_data(&end, &id_text, now.number, turn)?;
    let outcome = Some(end.status.outcome());
    let mut leaves = vec![at.leaf(EventKind::LlmCall, Phase::Ended, (Some(*op), outcome), data, &sealed.in_leaf())?];
    let emitted = match caller {
        Caller::Task { .. } => end.tool_calls.as_slice(),
        Caller::Key { .. } | Caller::Token { .. } => &[],
    };
    let emitted = emitted.get(..MAX_TOOL_CALLS_PER_ANSWER).unwrap_or(emitted);
    let at = At { actor: &Actor::Sandbox, ..at };
    let mut tools = Vec::with_capacity(emitted.len());
    for tool in emitted {
        tools.push(emit(journal, key, &mut bodies, tool, (&id_text, turn), &at, &mut leaves)?);
    }
    let carries: Vec<(&str, Vec<u8>)> =
        end.carries.iter().map(|(id, c)| Ok((id.as_str(), key.seal_small(c)?))).collect::<Result<_, StoreError>>()?;
    let place = places(caller);
    let last = end.last;
    let finish_reason = end.finish_reason.as_deref().map(short);
    let record = CallEnded {
        call: &id_text,
        status: end.status.as_str(),
        http_status: last.http_status,
        error_code: end.error.as_ref().map(|e| e.0),
        error: end.error.as_ref().map(|e| e.1.as_str()),
        first_byte_ms: end.first_byte_ms,
        total_ms: end.total_ms,
        response: sealed.returned.as_ref().or(sealed.response.as_ref()).map(|r| r.0),
        normalised: sealed.normalised.as_ref().map(|n| n.0),
        finish_reason: finish_reason.as_deref(),
        prompt: end.tokens.prompt,
        completion: end.tokens.completion,
        cached: end.tokens.cached,
        cache_write: end.tokens.cache_write,
        reasoning: end.tokens.reasoning,
        cost_micro_usd: end.cost_micro_usd,
        price: end.price.as_deref(),
        last: (now.number > 1 || sealed.returned.is_some())
            .then(|| now.over(&last, sealed.response.as_ref().map(|r| r.0))),
        tools: tools.iter().map(|t: &Tool| t.record()).collect(),
        carries: carries.iter().map(|(id, c)| (*id, c.as_slice())).collect(),
        place: place.as_ref().map(|(task, run, iteration, turn)| Place {
            task,
            run,
            iteration: *iteration,
            turn: *turn,
        }),
    };
    let frame = bodies.close(key, &leaves, Record::Ended(record))?;
    let told = told(*id, end.status, &id_text, turn, &tools);
    Ok(Ending { frame, told: turn.map(|_| told) })
}

fn places(caller: &Caller) -> Option<(String, String, u32, u32)> {
    match caller {
        Caller::Task { task, run, iteration, turn } => Some((task.to_string(), run.to_string(), *iteration, *turn)),
        Caller::Key { .. } | Caller::Token { .. } => None,
    }
}

fn told(call: CallId, status: CallStatus, text: &str, turn: Option<u32>, tools: &[Tool]) -> Told {
    let tools = tools.iter().enumerate().map(|(position, t)| Unanswered {
        call: text.to_owned(),
        position: position as u32,
        turn: turn.unwrap_or(0),
        tool_id: t.id.clone(),
        name: t.name.clone(),
    });
    Told { call, status, tools: tools.collect() }
}

fn end_data(end: &CallEnd, id: &str, attempts: u32, turn: Option<u32>) -> Result<Members, StoreError> {
    let t = &end.tokens;
    let mut data = Members::new();
    data.known("attempts", (attempts > 1).then_some(attempts.into()))?.known("cache_write_tokens", t.cache_write)?;
    data.number("cached_tokens", t.cached)?.text("call", Some(id))?.number("completion_tokens", t.completion)?;
    data.known("cost_micro_usd", end.cost_micro_usd.and_then(|c| c.try_into().ok()))?;
    data.text("error", end.error.as_ref().map(|e| e.0))?.word("finish_reason", end.finish_reason.as_deref())?;
    data.number("first_byte_ms", end.first_byte_ms)?;
    data.number("http_status", end.last.http_status.map(u64::from))?;
    if let Some(price) = &end.price {
        data.text("price", Some(price))?;
    }
    data.number("prompt_tokens", t.prompt)?.known("reasoning_tokens", t.reasoning)?;
    data.text("status", Some(end.status.as_str()))?.number("total_ms", Some(end.total_ms))?;
    data.number("turn", turn.map(u64::from))?;
    Ok(data)
}

/// An emitted tool call, as it is recorded.
struct Tool {
    id: String,
    name: String,
    arguments: u32,
    hash: Option<Vec<u8>>,
}

impl Tool {
    fn record(&self) -> ToolEmitted<'_> {
        ToolEmitted { id: &self.id, name: &self.name, arguments: self.arguments, hash: self.hash.as_deref() }
    }
}

fn emit(
    journal: &Arc<Journal>,
    key: &Arc<ScopeKey>,
    bodies: &mut Bodies,
    tool: &EmittedToolCall,
    (call, turn): (&str, Option<u32>),
    at: &At<'_>,
    leaves: &mut Vec<LeafOwned>,
) -> Result<Tool, StoreError> {
    let arguments = bodies.whole(journal, key, tool.arguments.as_bytes())?;
    let hash = serde_json::from_str(&tool.arguments).ok().map(arguments_hash).transpose()?;
    let hash = hash.map(|h| key.seal_small(h.as_bytes())).transpose()?;
    let (id, name) = (short(&tool.id), short(&tool.name));
    let mut data = Members::new();
    data.text("call", Some(call))?.text("stage", Some("emitted"))?.text("tool", Some(&name))?;
    data.text("tool_id", Some(&id))?.number("turn", turn.map(u64::from))?;
    leaves.push(at.leaf(EventKind::ToolCall, Phase::Point, (None, None), data, &[in_leaf("arguments", &arguments)])?);
    Ok(Tool { id, name, arguments: arguments.0, hash })
}
