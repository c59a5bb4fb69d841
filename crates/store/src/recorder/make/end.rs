//! The frame of a call's end.

use super::{
    At,
    bodies::{Bodies, Named, in_leaf},
    place,
};
use crate::{
    CallStatus, MAX_TOOL_CALLS_PER_ANSWER, StoreError,
    calls::short,
    journal::{
        Journal,
        frame::Closed,
        record::{CallEnded, Place, Record, ToolEmitted},
    },
    recorder::{
        Attempting,
        gate::{Told, Unanswered},
        leaf::{LeafOwned, Members},
        types::{CallEnd, CallInner, CallRef, Caller, EmittedToolCall, Received},
    },
    tool_calls::arguments_hash,
};
use domain::{
    event::{Actor, EventKind, Phase},
    ids::CallId,
};
use serde_json::Value;
use std::sync::Arc;

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
    fn seal(bodies: &mut Bodies, end: &mut CallEnd) -> Result<Self, StoreError> {
        let response = bodies.received(std::mem::take(&mut end.last.response))?;
        let returned = bodies.received(end.response.take().unwrap_or_default())?;
        let normalised = match &end.normalised {
            Value::Null => None,
            value => Some(bodies.whole(&serde_json::to_vec(value)?)?),
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
    let room = match &end.last.response {
        Received::Whole(bytes) => bytes.len(),
        Received::Nothing | Received::Written(_) => 0,
    };
    let mut bodies = Bodies::new(journal, key, room);
    let sealed = Ended::seal(&mut bodies, &mut end)?;
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
        let (tool, leaf) = emit(&mut bodies, tool, (&id_text, turn), &at)?;
        tools.push(tool);
        leaves.push(leaf);
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
        charged: end.charged.map(|a| (a.tokens, a.micro_usd)),
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
    let frame = bodies.close(&leaves, Record::Ended(record))?;
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
    bodies: &mut Bodies,
    tool: &EmittedToolCall,
    (call, turn): (&str, Option<u32>),
    at: &At<'_>,
) -> Result<(Tool, LeafOwned), StoreError> {
    let arguments = bodies.whole(tool.arguments.as_bytes())?;
    let hash = serde_json::from_str(&tool.arguments).ok().map(arguments_hash).transpose()?;
    let hash = hash.map(|h| bodies.key.seal_small(h.as_bytes())).transpose()?;
    let (id, name) = (short(&tool.id), short(&tool.name));
    let mut data = Members::new();
    data.text("call", Some(call))?.text("stage", Some("emitted"))?.text("tool", Some(&name))?;
    data.text("tool_id", Some(&id))?.number("turn", turn.map(u64::from))?;
    let leaf = at.leaf(EventKind::ToolCall, Phase::Point, (None, None), data, &[in_leaf("arguments", &arguments)])?;
    Ok((Tool { id, name, arguments: arguments.0, hash }, leaf))
}
