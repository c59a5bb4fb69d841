//! A begun call. Whatever happens to it, its end is recorded once.

use super::{
    begin::Asked, capture::Capture, end::Ending, failure::Failure, prepare::Prepared, spawn_tracked, who::Who,
};
use crate::{
    body::Held,
    budget::Reservation,
    providers::Target,
    resilience::{self, Permit, Slot},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::StatusCode;
use llm::{Format, Loss};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use store::{CallRef, StoreError};

/// A begun call. Dropped without an end, it is recorded as cut.
pub(super) struct Open {
    pub(super) who: Who,
    pub(super) asked: Arc<Asked>,
    pub(super) started: Instant,
    /// From the call's beginning to the first byte for the client.
    pub(super) first_byte: Option<Duration>,
    pub(super) attempt: Attempt,
    /// What it takes in memory.
    pub(super) held: Held,
    pub(super) record: Option<CallRef>,
    /// What it may use of a budget; settled with its end.
    pub(super) reservation: Option<Reservation>,
}

/// The attempt under way.
pub(super) struct Attempt {
    pub(super) target: Target,
    pub(super) format: Format,
    pub(super) started: Instant,
    pub(super) http_status: Option<StatusCode>,
    pub(super) first_byte: Option<Duration>,
    pub(super) ended: Option<Duration>,
    /// What the provider sent so far, without secrets.
    pub(super) received: Capture,
    pub(super) failure: Option<Failure>,
    pub(super) permit: Option<Permit>,
    pub(super) slot: Option<Slot>,
    /// What of the request the provider did not get.
    pub(super) losses: Vec<Loss>,
}

impl Attempt {
    pub(super) fn new(target: Target, prepared: &Prepared, permit: Permit) -> Self {
        Self {
            target,
            format: prepared.format,
            losses: prepared.losses.clone(),
            started: Instant::now(),
            http_status: None,
            first_byte: None,
            ended: None,
            received: Capture::default(),
            failure: None,
            permit: Some(permit),
            slot: None,
        }
    }

    /// Tells the breaker how it went, and lets the next call have the slot.
    pub(super) fn close(&mut self, failure: Option<&resilience::Failure>) {
        self.ended.get_or_insert_with(|| self.started.elapsed());
        self.slot = None;
        let Some(permit) = self.permit.take() else { return };
        match failure {
            None => permit.succeeded(Instant::now()),
            Some(failure) => permit.failed(failure, Instant::now()),
        }
    }
}

impl Open {
    /// Adds a piece of the provider's answer to the record.
    pub(super) fn receive(&mut self, piece: &Bytes) -> Result<(), Failure> {
        let Some(call) = &self.record else { return Ok(()) };
        let shared = self.who.shared();
        let max = shared.config.max_response_bytes;
        if self.attempt.received.len() + piece.len() > max {
            let message = format!("the answer is larger than {max} bytes");
            return Err(Failure::cut("response_too_large", message));
        }
        let holding = self.asked.body.len() + self.attempt.received.held() + piece.len();
        if !self.held.grow(holding) {
            self.attempt.received.let_go();
        }
        self.attempt.received.push(piece, &shared.recorder, call).map_err(|e| unrecorded(&e))
    }

    /// Ends the record. The future is to be polled to its end ([`super::undisturbed`]).
    pub(super) fn end(&mut self, ending: Ending) -> BoxFuture<'static, Result<(), StoreError>> {
        let Some(call) = self.record.take() else { return Box::pin(async { Ok(()) }) };
        ending.record(self, call)
    }

    /// Ends the record of a call that nobody waits for any more.
    pub(super) fn abandon(&mut self, ending: Ending) {
        if self.record.is_some() {
            let ended = self.end(ending);
            spawn_tracked(&self.who.shared().tracker, ended);
        }
    }

    /// Why it is dropped, if it is.
    pub(super) fn why_dropped(&self) -> Failure {
        if self.who.cancel().is_cancelled() { Failure::closed() } else { Failure::client_gone() }
    }
}

pub(super) fn unrecorded(e: &StoreError) -> Failure {
    tracing::error!(error = %e, "a piece of an answer could not be recorded");
    Failure::cut("log_unwritable", "the answer could not be recorded any further")
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.record.is_some() {
            let failure = self.why_dropped();
            self.abandon(Ending::failed(failure));
        }
    }
}
