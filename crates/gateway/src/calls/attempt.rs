//! The attempts of a call: again where that is safe and may help, then the next target, each recorded before it leaves.

use super::{
    answer,
    begin::{Asked, Begun, View},
    end::Ending,
    failure::Failure,
    headers,
    open::Attempt,
    prepare::{Carries, Prepared, prepare},
    send::send,
    undisturbed,
};
use crate::{
    providers::Target,
    reply::{self, Refusal, Reply, ReplyBody},
    resilience::{self, Next, Permit, RetryHint},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{HeaderMap, Response, StatusCode, body::Incoming};
use llm::ErrorKind;
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};
use store::Received;

/// The most of an error answer that is read.
const MAX_ERROR_BYTES: usize = 1 << 20;

/// An attempt that brought no good answer.
struct Failed {
    failure: Failure,
    kind: resilience::Failure,
    /// What the provider said, if it answered.
    answered: Option<Answered>,
}

/// An error answer of a provider, without secrets.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Makes the request for a target, unless that endpoint of its provider is left alone for now.
pub(super) fn admit(
    asked: &Asked,
    view: &View,
    target: &Target,
    client: &HeaderMap,
    carries: &Carries,
    limit: Option<u64>,
) -> Result<(Prepared, Permit), Refusal> {
    let ingress = asked.ingress;
    let breaker = target.provider.breakers.of(ingress.operation(), target.provider.kind.format_for(ingress.format()));
    let permit = breaker.admit(Instant::now()).map_err(|open| {
        let seconds = u32::try_from(open.retry_after.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let message = format!(
            "the provider {:?} failed repeatedly and is left alone for {seconds} s; try again then",
            target.provider.name
        );
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable", message).retry_after(seconds)
    })?;
    Ok((prepare(asked, view, target, client, carries, limit)?, permit))
}

/// Runs a begun call.
pub(super) async fn run(mut begun: Begun) -> Reply {
    loop {
        let failed = match begun.attempt().await {
            Ok(response) => return answer::pass(begun, response).await,
            Err(failed) => failed,
        };
        begun.open.attempt.close(Some(&failed.kind));
        begun.open.attempt.failure = Some(failed.failure.clone());
        match begun.next(&failed.kind).await {
            Ok(true) => {}
            Ok(false) => return begun.give_up(failed).await,
            Err(refusal) => {
                let ending = Ending::failed(failed.failure);
                let ended = begun.open.end(ending);
                drop(undisturbed(&begun.open.who.shared().tracker, ended).await);
                return refusal.reply_in(begun.open.asked.ingress.format());
            }
        }
    }
}

impl Begun {
    /// One attempt, up to the head of a good answer.
    async fn attempt(&mut self) -> Result<Response<Incoming>, Failed> {
        let provider = Arc::clone(&self.open.attempt.target.provider);
        if let Some(slots) = &provider.slots {
            let slot = slots.take().await.map_err(|full| Failed {
                failure: busy(&provider.name, &full.to_string()),
                // Of no use to try again there, and no fault of the provider's.
                kind: resilience::Failure::answered(429, RetryHint::default()).out_of_credit(),
                answered: None,
            })?;
            self.open.attempt.slot = Some(slot);
        }
        let shared = Arc::clone(self.open.who.shared());
        let sent = send(&shared.config, &self.open.attempt.target, &self.prepared).await;
        let response = sent.map_err(|(failure, kind)| Failed { failure, kind, answered: None })?;
        self.open.attempt.http_status = Some(response.status());
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.read_error(response).await)
    }

    async fn read_error(&mut self, response: Response<Incoming>) -> Failed {
        let (head, mut body) = response.into_parts();
        let limit = self.idle_limit();
        let mut all = BytesMut::new();
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(limit, body.frame()).await {
            if let Some(data) = frame.data_ref() {
                let room = MAX_ERROR_BYTES - all.len();
                all.extend_from_slice(&data[..data.len().min(room)]);
                if all.len() == MAX_ERROR_BYTES {
                    break;
                }
            }
        }
        let attempt = &mut self.open.attempt;
        attempt.first_byte.get_or_insert_with(|| attempt.started.elapsed());
        let body = attempt.target.provider.needles.mask_bytes(all.freeze());
        let mut failure = Failure::failed("upstream_status", format!("the provider answered {}", head.status));
        failure.http = head.status;
        failure.answered = Some(head.status);
        let hint = RetryHint::read(&head.headers, SystemTime::now());
        let mut kind = resilience::Failure::answered(head.status.as_u16(), hint);
        let said = llm::parse_error(self.prepared.format, head.status.as_u16(), &body);
        if said.kind == ErrorKind::Quota {
            kind = kind.out_of_credit();
        }
        if let Err(unrecorded) = self.open.receive(&body) {
            failure = unrecorded;
        }
        Failed { failure, kind, answered: Some(Answered { status: head.status, headers: head.headers, body }) }
    }

    /// Goes on with another attempt, if there is one to make. It is recorded before it leaves.
    async fn next(&mut self, kind: &resilience::Failure) -> Result<bool, Refusal> {
        let target = match self.retries.next(kind, Instant::now(), resilience::random()) {
            Next::Stop => return Ok(false),
            Next::Elsewhere => None,
            Next::Again { after } => {
                tokio::time::sleep(after).await;
                Some(self.open.attempt.target.clone())
            }
        };
        let Some((target, prepared, permit)) = self.admitted(target) else { return Ok(false) };
        let unwritable = |e: &store::StoreError| {
            tracing::error!(error = %e, "a further attempt could not be recorded and was not made");
            Refusal::log_unwritable()
        };
        let end = self.open.attempt_end(None).map_err(|e| unwritable(&e))?;
        let Some(call) = self.open.record.clone() else { return Ok(false) };
        let (recorder, new) = (self.open.who.shared().recorder.clone(), prepared.attempt(&target));
        fail::fail_point!("gateway.call.before_attempt");
        let recorded =
            undisturbed(&self.open.who.shared().tracker, async move { recorder.attempt_end(&call, end, new).await });
        match recorded.await {
            Some(Ok(())) => {}
            Some(Err(e)) => return Err(unwritable(&e)),
            None => return Err(Refusal::log_unwritable()),
        }
        self.open.who.shared().metrics.retried();
        self.open.attempt = Attempt::new(target, &prepared, permit);
        self.prepared = prepared;
        Ok(true)
    }

    /// The same target again, or the first of the further ones that takes the call.
    fn admitted(&mut self, again: Option<Target>) -> Option<(Target, Prepared, Permit)> {
        let asked = Arc::clone(&self.open.asked);
        let view = asked.view.as_ref().ok()?;
        let mut candidate = again;
        loop {
            let target = match candidate.take() {
                Some(target) => target,
                None => {
                    self.retries.next_target();
                    self.further.next()?
                }
            };
            if let Ok((prepared, permit)) = admit(&asked, view, &target, &self.client, &self.carries, self.limit) {
                return Some((target, prepared, permit));
            }
        }
    }

    /// The last failure is the answer.
    async fn give_up(mut self, failed: Failed) -> Reply {
        let Failed { failure, kind, answered } = failed;
        let near = self.near_names(answered.as_ref());
        let format = self.open.asked.ingress.format();
        let same = self.prepared.is_same();
        let needles = self.open.attempt.target.provider.needles.clone();
        let (reply, sent) = match answered {
            Some(answered) if same && near.is_empty() => {
                let mut reply = Response::new(ReplyBody::full(answered.body));
                *reply.status_mut() = answered.status;
                *reply.headers_mut() = headers::to_client(&answered.headers, &needles, false);
                (reply, None)
            }
            Some(answered) => {
                let mut error = llm::parse_error(self.prepared.format, answered.status.as_u16(), &answered.body);
                if let resilience::Failure::Answered { hint: RetryHint { after: Some(after), .. }, .. } = kind {
                    error.retry_after = Some(after.as_secs().max(1));
                }
                if !near.is_empty() {
                    error.message.truncate(error.message.trim_end_matches('.').len());
                    error.message.push_str(&near);
                }
                let bytes = Bytes::from(llm::render_error(format, &error));
                let mut reply = reply::error_reply(format, &error);
                reply.headers_mut().extend(headers::to_client(&answered.headers, &needles, true));
                (reply, Some(Received::Whole(bytes)))
            }
            None => (failure.refusal().reply_in(format), None),
        };
        let mut ending = Ending::failed(failure);
        ending.sent = sent;
        let ended = self.open.end(ending);
        match undisturbed(&self.open.who.shared().tracker, ended).await {
            Some(Ok(())) => reply,
            _ => Refusal::log_unwritable().reply_in(format),
        }
    }

    /// Names that somebody may have meant whose model the provider does not know and does not list.
    fn near_names(&self, answered: Option<&Answered>) -> String {
        if answered.is_none_or(|a| a.status != StatusCode::NOT_FOUND) {
            return String::new();
        }
        let who = &self.open.who;
        let configured = who.shared().registry.configured();
        configured.suggestion(&self.open.attempt.target, |m| who.may_name(&m.provider, &m.model))
    }

    pub(super) fn idle_limit(&self) -> std::time::Duration {
        let config = &self.open.who.shared().config;
        self.open.attempt.target.provider.idle_timeout.unwrap_or(config.idle_timeout)
    }
}

fn busy(provider: &str, why: &str) -> Failure {
    let mut failure = Failure::failed("provider_busy", format!("provider {provider:?}: {why}; try again shortly"));
    failure.http = StatusCode::SERVICE_UNAVAILABLE;
    failure
}
