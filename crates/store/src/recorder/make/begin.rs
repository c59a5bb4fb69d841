//! The frames of a call's beginning and of its refusal.

use super::{
    At,
    bodies::{Bodies, Named, in_leaf},
    place, target,
};
use crate::{
    CallContext, StoreError,
    calls::short,
    journal::{
        Journal,
        frame::Closed,
        record::{CallBegun, Record, Refusal, ToolResult},
    },
    new_id,
    recorder::{
        Attempting,
        gate::Unanswered,
        leaf::Members,
        seal::ScopeKey,
        types::{CallInner, CallRef, Caller, NewAttempt, NewCall, NotSent, SeenResult},
    },
};
use bytes::Bytes;
use domain::{
    event::{Actor, EventKind, Outcome, Phase},
    ids::{CallId, OpId},
};
use std::sync::{Arc, Mutex};

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

/// Who is let out, and how that follows from what was before.
pub(crate) struct Passing<'a> {
    /// The journal's.
    pub(crate) epoch: u64,
    pub(crate) caller: Caller,
    pub(crate) retry_of: Option<CallId>,
    pub(crate) seen: &'a [Matched],
}

/// A call whose request is sealed.
pub(crate) struct Prepared {
    bodies: Bodies,
    request: Named,
}

impl Prepared {
    pub(crate) fn new(journal: &Arc<Journal>, key: &Arc<ScopeKey>, request: &[u8]) -> Result<Self, StoreError> {
        let mut bodies = Bodies::new(journal, key, request.len());
        let request = bodies.whole(request)?;
        Ok(Self { bodies, request })
    }

    pub(crate) fn key(&self) -> &Arc<ScopeKey> {
        &self.bodies.key
    }

    /// The frame of a call that is let out.
    pub(crate) fn begin(
        mut self,
        passing: Passing<'_>,
        new: &NewCall,
        first: NewAttempt,
    ) -> Result<(CallRef, Closed), StoreError> {
        let Passing { epoch, caller, retry_of, seen } = passing;
        let (id, op) = (new_id(CallId::from_uuid), new_id(OpId::from_uuid));
        let (task, run, iteration, turn) = place(&caller);
        let actor = caller.actor();
        let at = At { actor: &actor, task, run, iteration };
        let sent = self.bodies.optional(first.request.as_deref())?;
        let id_text = id.to_string();
        let retry = retry_of.map(|r| r.to_string());
        let data = begun_data(&id_text, new, &first, retry.as_deref(), turn)?;
        let mut named = vec![in_leaf("request", &self.request)];
        named.extend(sent.as_ref().map(|s| in_leaf("sent", s)));
        let mut leaves = vec![at.leaf(EventKind::LlmCall, Phase::Begun, (Some(op), None), data, &named)?];
        let mut results = Vec::with_capacity(seen.len());
        for m in seen {
            let body = self.bodies.whole(&m.content)?;
            let data = result_data(&id_text, &m.waiting)?;
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
            reserved: first.reserved.map(|a| (a.tokens, a.micro_usd)),
            ..begun
        };
        let key = Arc::clone(&self.bodies.key);
        let frame = self.bodies.close(&leaves, Record::Begun(begun))?;
        let attempt = Mutex::new(Attempting::first(first, sent.map(|s| s.1)));
        Ok((CallRef(Arc::new(CallInner { id, op, caller, key, epoch, attempt })), frame))
    }

    /// The frame of a call that is not let out.
    pub(crate) fn refuse(
        self,
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
        let frame = self.bodies.close(&[leaf], Record::Refused(begun, refusal))?;
        Ok((id, frame))
    }
}

fn begun_data(
    id: &str,
    new: &NewCall,
    first: &NewAttempt,
    retry_of: Option<&str>,
    turn: Option<u32>,
) -> Result<Members, StoreError> {
    let mut data = Members::new();
    data.word("asked_model", Some(&new.asked_model))?.text("call", Some(id))?;
    data.text("format", Some(first.format))?.value("headers", &new.headers)?.text("ingress", Some(new.ingress))?;
    data.value("losses", &first.losses)?.text("model", Some(&first.model))?.text("retry_of", retry_of)?;
    data.value("sent_headers", &first.headers)?.flag("stream", new.stream);
    data.number("turn", turn.map(u64::from))?.text("upstream", Some(&first.provider))?;
    data.text("url", Some(&first.url))?;
    Ok(data)
}

fn result_data(call: &str, waiting: &Unanswered) -> Result<Members, StoreError> {
    let mut data = Members::new();
    data.text("call", Some(call))?.text("stage", Some("result"))?.text("tool", Some(&waiting.name))?;
    data.text("tool_id", Some(&waiting.tool_id))?.number("turn", Some(waiting.turn.into()))?;
    Ok(data)
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
            reserved: None,
        }
    }
}
