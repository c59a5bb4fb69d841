//! The end of a call, as it is recorded.

use super::{failure::Failure, open::Open, spend};
use crate::{metrics::Ended, resilience, secret::Needles};
use futures::future::BoxFuture;
use llm::{Answer, Loss};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use store::{AttemptEnd, CallEnd, CallRef, CallStatus, EmittedToolCall, Received, StoreError, Tokens};

/// How a call ended.
#[derive(Default)]
pub(super) struct Ending {
    pub(super) failure: Option<Failure>,
    pub(super) answer: Answer,
    /// What the client got; none: what the provider sent.
    pub(super) sent: Option<Received>,
    /// Reasoning to keep by tool-call id.
    pub(super) carries: Vec<(String, Vec<u8>)>,
    /// Whether the answer is worth to be kept in its normalised form: where it cannot be read from the bytes as they are.
    pub(super) normalise: bool,
    /// What of the answer the client did not get.
    pub(super) losses: Vec<Loss>,
}

impl Ending {
    pub(super) fn failed(failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::default() }
    }

    /// Ends the attempt and the call.
    pub(super) fn record(self, open: &mut Open, call: CallRef) -> BoxFuture<'static, Result<(), StoreError>> {
        fail::fail_point!("gateway.call.before_ended");
        let shared = Arc::clone(open.who.shared());
        let needles = open.attempt.target.provider.needles.clone();
        let whole = self.failure.as_ref().is_none_or(Failure::is_whole);
        open.attempt.close(self.failure.as_ref().map(verdict).as_ref());
        let last = match open.attempt_end(self.failure.as_ref()) {
            Ok(last) => last,
            Err(e) => return Box::pin(async { Err(e) }),
        };
        let clean = |text| needles.mask_text(text);
        let mut answer = self.answer;
        // What was cut off was never whole, so nothing of it was carried out.
        let emitted = if whole { std::mem::take(&mut answer.tool_calls) } else { Vec::new() };
        let mut losses = std::mem::take(&mut open.attempt.losses);
        losses.extend(self.losses);
        let normalised = if self.normalise || !losses.is_empty() {
            normalised(&answer, &emitted, &losses, &needles)
        } else {
            Value::Null
        };
        let usage = answer.usage;
        let view = open.asked.view.as_ref().ok();
        let cost = view.and_then(|v| spend::cost(shared.prices().as_deref(), (v, &open.attempt.target), &usage));
        let http_ok = open.attempt.http_status.map(|s| s.is_success());
        let actual = spend::actual(self.failure.as_ref(), http_ok, &usage, cost.as_ref().map(|(c, _)| *c));
        let charged = open.reservation.take().map(|r| r.settle(actual));
        let end = CallEnd {
            status: self.failure.as_ref().map_or(CallStatus::Done, |f| f.status),
            error: self.failure.map(|f| (f.code, f.message)),
            first_byte_ms: open.first_byte.map(millis),
            total_ms: millis(open.started.elapsed()),
            last,
            response: self.sent,
            normalised,
            finish_reason: answer.finish_reason.take().map(clean),
            tokens: Tokens {
                prompt: usage.prompt,
                completion: usage.completion,
                cached: usage.cached,
                cache_write: usage.cache_write,
                reasoning: usage.reasoning,
            },
            cost_micro_usd: cost.as_ref().and_then(|(c, _)| i64::try_from(*c).ok()),
            price: cost.map(|(_, row)| row),
            charged,
            // A secret may have been split between two deltas, where no masking of bytes can see it.
            tool_calls: emitted
                .into_iter()
                .map(|t| EmittedToolCall { id: clean(t.id), name: clean(t.name), arguments: clean(t.arguments) })
                .collect(),
            carries: if whole { self.carries } else { Vec::new() },
        };
        shared.metrics.ended(&Ended {
            provider: &open.attempt.target.provider.name,
            model: &open.attempt.target.model,
            status: end.status,
            tokens: &end.tokens,
            cost_micro_usd: actual.micro_usd,
            duration: open.started.elapsed(),
            first_byte: open.first_byte,
        });
        Box::pin(async move {
            let written = shared.recorder.end(&call, end).await;
            if let Err(e) = &written {
                tracing::error!(call.id = %call.id(), error = %e, "the end of a model call could not be recorded");
            }
            fail::fail_point!("gateway.call.after_ended");
            written
        })
    }
}

impl Open {
    /// The end of the attempt under way.
    pub(super) fn attempt_end(&mut self, failure: Option<&Failure>) -> Result<AttemptEnd, StoreError> {
        let attempt = &mut self.attempt;
        let failure = failure.or(attempt.failure.as_ref());
        Ok(AttemptEnd {
            status: failure.map_or(CallStatus::Done, |f| f.status),
            http_status: attempt.http_status.or(failure.and_then(|f| f.answered)).map(|s| s.as_u16()),
            error: failure.map(|f| (f.code, f.message.clone())),
            response: attempt.received.finish()?,
            first_byte_ms: attempt.first_byte.map(millis),
            total_ms: millis(attempt.ended.unwrap_or_else(|| attempt.started.elapsed())),
        })
    }
}

/// What the end of a call says of its provider.
fn verdict(failure: &Failure) -> resilience::Failure {
    match failure.code {
        // The client's doing says nothing of the provider.
        "client_gone" | "client_stalled" | "sandbox_closed" | "response_too_large" | "log_unwritable" => {
            resilience::Failure::answered(200, resilience::RetryHint::default())
        }
        _ => match failure.answered {
            Some(status) => resilience::Failure::answered(status.as_u16(), resilience::RetryHint::default()),
            None if failure.is_whole() => resilience::Failure::NoAnswer,
            None => resilience::Failure::Cut,
        },
    }
}

/// The answer as it was read, and what was left out on the way there and back.
fn normalised(answer: &Answer, tool_calls: &[llm::ToolCall], losses: &[Loss], needles: &Needles) -> Value {
    let mut value = serde_json::to_value(answer).unwrap_or(Value::Null);
    if let Some(object) = value.as_object_mut() {
        object.insert("tool_calls".to_owned(), serde_json::to_value(tool_calls).unwrap_or(Value::Null));
        if !losses.is_empty() {
            object.insert("losses".to_owned(), serde_json::to_value(losses).unwrap_or(Value::Null));
        }
    }
    needles.mask_json(value)
}

pub(super) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
