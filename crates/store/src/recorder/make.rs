//! Makes the frames: bodies are sealed, leaves are written as text, the record says what the tables need.

mod begin;
mod bodies;
mod end;

pub(crate) use begin::{Passing, Prepared, match_results};
pub(crate) use end::{Ending, end};

use super::{
    Attempting,
    leaf::{LeafData, LeafOwned, Members},
    types::{AttemptEnd, CallInner, CallRef, Caller, NewAttempt},
};
use crate::{
    StoreError,
    journal::{
        Journal,
        frame::Closed,
        record::{AttemptOver, NextAttempt, Record, Target},
    },
    now,
};
use bodies::{Bodies, in_leaf};
use domain::{
    event::{Actor, EventKind, Outcome, Phase},
    ids::{OpId, RunId, TaskId},
};
use std::sync::Arc;

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
    let mut bodies = Bodies::new(journal, key, 0);
    let response = bodies.received(std::mem::take(&mut end.response))?;
    let sent = bodies.optional(next.request.as_deref())?;
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
    let frame = bodies.close(&[leaf], Record::Attempt(record))?;
    Ok((frame, Attempting::numbered(now.number + 1, next, sent.map(|s| s.1))))
}
