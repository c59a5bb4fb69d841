//! The driver of one call: owns the upstream connection, the answer on its way, and the record of the end.

use super::upstream;
use crate::{
    body::Held,
    reply::{BrokenOff, Refusal, Reply, ReplyBody},
    sandbox::Sandbox,
    secret::Masker,
    upstreams::Upstream,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{HeaderMap, Response, StatusCode, body::Incoming, header};
use llm::{
    Answer,
    chat::{StreamReader, UsageFilter, read_answer},
};
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use store::{AttemptEnd, BodyWriter, CallEnd, CallRef, CallStatus, EmittedToolCall, Received, StoreError, Tokens};
use tokio::sync::{mpsc, oneshot};

/// Pieces of an answer that wait for the sandbox; then the upstream waits too.
const PIECES: usize = 4;
/// How long the rest of a complete answer is waited for, so that its connection can be used again.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// The most that is read and dropped for that.
const DRAIN_BYTES: usize = 64 << 10;

/// The media type of a streamed answer.
const SSE: &[u8] = b"text/event-stream";

/// A begun call.
pub(super) struct Call {
    pub(super) call: CallRef,
    pub(super) upstream: Arc<Upstream>,
    pub(super) body: Bytes,
    pub(super) strip_usage: bool,
    pub(super) headers: HeaderMap,
    /// What the request takes in memory; grows with the answer.
    pub(super) held: Held,
    pub(super) started: Instant,
}

/// Why a call did not end well.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: CallStatus,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// What the sandbox hears, if it has heard nothing yet.
    pub(super) http: StatusCode,
    /// The upstream's status, if it answered.
    pub(super) answered: Option<StatusCode>,
}

impl Failure {
    /// Whether the answer arrived to its end all the same.
    fn is_whole(&self) -> bool {
        !matches!(self.status, CallStatus::Cut | CallStatus::TimedOut)
    }
}

/// What has arrived so far.
struct Arrived {
    http_status: Option<StatusCode>,
    first_byte: Option<Duration>,
    received: Received,
    answer: Answer,
}

/// Runs a begun call to its end.
pub(super) async fn drive(sandbox: Arc<Sandbox>, call: Call, mut head: oneshot::Sender<Reply>) {
    let sent = tokio::select! {
        biased;
        () = sandbox.cancel.cancelled() => Err(closed()),
        () = head.closed() => Err(client_gone()),
        sent = upstream::send(&sandbox, &call) => sent,
    };
    let response = match sent {
        Ok(response) => response,
        Err(failure) => {
            let arrived = Arrived {
                http_status: failure.answered,
                first_byte: None,
                received: Received::Nothing,
                answer: Answer::default(),
            };
            let refusal = Refusal::new(failure.http, failure.code, failure.message.clone());
            let written = end(&sandbox, &call, arrived, Some(failure)).await;
            let refusal = if written.is_ok() { refusal } else { Refusal::log_unwritable() };
            // A client that has gone needs no answer.
            return drop(head.send(refusal.reply()));
        }
    };
    let (pieces, stream) = mpsc::channel(PIECES);
    let mut reply = Response::new(ReplyBody::Stream(stream));
    *reply.status_mut() = response.status();
    *reply.headers_mut() = upstream::passed_back(&call, response.headers());
    // If nobody takes the head, the closed channel of pieces tells the pump.
    drop(head.send(reply));
    pump(&sandbox, call, response, pieces).await;
}

/// Passes the answer on, piece by piece, and ends the record.
async fn pump(
    sandbox: &Sandbox,
    mut call: Call,
    response: Response<Incoming>,
    pieces: mpsc::Sender<Result<Bytes, BrokenOff>>,
) {
    let (head, mut body) = response.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
    let streamed = content_type.get(..SSE.len()).is_some_and(|t| t.eq_ignore_ascii_case(SSE));
    let writer = match streamed.then(|| sandbox.shared.recorder.body(&call.call)).transpose() {
        Ok(writer) => writer,
        Err(e) => {
            tracing::error!(call.id = %call.call.id(), error = %e, "an answer cannot be recorded");
            // The call stays open in the record: nothing of the answer is passed on.
            return drop(pieces.send(Err(BrokenOff)).await);
        }
    };
    let mut flow = Flow {
        masker: Masker::new(call.upstream.needles.clone()),
        reader: streamed.then(StreamReader::default),
        filter: (streamed && call.strip_usage).then(UsageFilter::default),
        writer,
        bytes: Vec::new(),
        size: 0,
        first_byte: None,
    };
    let mut last = Bytes::new();
    let failure = loop {
        match next(sandbox, &mut body, &pieces).await {
            Ok(Some(piece)) => {
                flow.first_byte.get_or_insert_with(|| call.started.elapsed());
                let out = flow.take(piece);
                if flow.size > sandbox.shared.config.max_response_bytes
                    || !call.held.grow(call.body.len() + flow.bytes.len())
                {
                    break Some(Failure::cut(
                        "response_too_large",
                        "the answer is larger than can be held and recorded",
                    ));
                }
                if flow.is_done() {
                    last = out;
                    break None;
                }
                if let Err(failure) = pass_on(sandbox, &pieces, out).await {
                    break Some(failure);
                }
            }
            Ok(None) => {
                last = flow.rest();
                break None;
            }
            Err(failure) => {
                flow.rest();
                break Some(failure);
            }
        }
    };
    // Dropped at once where it is not wanted any more: the upstream stops, and the record can take its time.
    let rest = failure.is_none().then_some(body);
    let arrived = flow.arrived(head.status);
    let failure = failure.or_else(|| judge_end(&arrived, streamed));
    let whole = failure.as_ref().is_none_or(Failure::is_whole);
    let written = end(sandbox, &call, arrived, failure).await;
    let ending = if whole && written.is_ok() { Ok(last) } else { Err(BrokenOff) };
    if !ending.as_ref().is_ok_and(Bytes::is_empty) {
        // A sandbox that went away at the very end misses nothing that is not recorded.
        drop(pieces.send(ending).await);
    }
    drop(pieces);
    if let Some(rest) = rest {
        drain(rest).await;
    }
}

/// The next piece of the answer; none at its end.
async fn next(
    sandbox: &Sandbox,
    body: &mut Incoming,
    pieces: &mpsc::Sender<Result<Bytes, BrokenOff>>,
) -> Result<Option<Bytes>, Failure> {
    let limit = sandbox.shared.config.idle_timeout;
    loop {
        let frame = tokio::select! {
            biased;
            frame = tokio::time::timeout(limit, body.frame()) => frame,
            () = sandbox.cancel.cancelled() => return Err(closed()),
            () = pieces.closed() => return Err(client_gone()),
        };
        match frame {
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(_trailers) => {}
            },
            Ok(Some(Err(e))) => return Err(Failure::cut("upstream_cut", format!("the provider broke off: {e}"))),
            Ok(None) => return Ok(None),
            Err(_) => {
                let message = format!("the provider was silent for {limit:?} within its answer (idle timeout)");
                return Err(Failure::timed_out("upstream_idle_timeout", message));
            }
        }
    }
}

async fn pass_on(
    sandbox: &Sandbox,
    pieces: &mpsc::Sender<Result<Bytes, BrokenOff>>,
    piece: Bytes,
) -> Result<(), Failure> {
    if piece.is_empty() {
        return Ok(());
    }
    let limit = sandbox.shared.config.client_stall_timeout;
    tokio::select! {
        biased;
        sent = tokio::time::timeout(limit, pieces.send(Ok(piece))) => match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(client_gone()),
            Err(_) => Err(Failure::cut("client_stalled", format!("the sandbox took nothing for {limit:?}"))),
        },
        () = sandbox.cancel.cancelled() => Err(closed()),
    }
}

/// What becomes of the bytes on their way.
struct Flow {
    masker: Masker,
    reader: Option<StreamReader>,
    filter: Option<UsageFilter>,
    /// Where a stream is recorded while it comes; other answers are held whole, to be read at their end.
    writer: Option<BodyWriter>,
    bytes: Vec<u8>,
    size: usize,
    first_byte: Option<Duration>,
}

impl Flow {
    /// Masks, records and reads a piece; returns what the sandbox gets of it.
    fn take(&mut self, piece: Bytes) -> Bytes {
        let piece = self.masker.feed(piece);
        self.note(piece)
    }

    /// What was held back, at the end.
    fn rest(&mut self) -> Bytes {
        let piece = self.masker.finish();
        let mut out = self.note(piece);
        if let Some(filter) = &mut self.filter {
            let rest = filter.finish();
            if !rest.is_empty() {
                out = Bytes::from([out, rest].concat());
            }
        }
        out
    }

    fn note(&mut self, piece: Bytes) -> Bytes {
        self.size += piece.len();
        match &mut self.writer {
            Some(writer) => writer.push(&piece),
            None => self.bytes.extend_from_slice(&piece),
        }
        if let Some(reader) = &mut self.reader {
            reader.feed(&piece);
        }
        match &mut self.filter {
            Some(filter) => filter.feed(piece),
            None => piece,
        }
    }

    fn is_done(&self) -> bool {
        self.reader.as_ref().is_some_and(|r| r.answer().done)
    }

    fn arrived(self, status: StatusCode) -> Arrived {
        let answer = match self.reader {
            Some(reader) => reader.finish(),
            None => read_answer(&self.bytes),
        };
        let received = match self.writer {
            Some(writer) => writer.finish(),
            None => Received::Whole(self.bytes.into()),
        };
        Arrived { http_status: Some(status), first_byte: self.first_byte, received, answer }
    }
}

/// Why an answer that arrived to its end is not a good one.
fn judge_end(arrived: &Arrived, streamed: bool) -> Option<Failure> {
    let status = arrived.http_status.unwrap_or(StatusCode::OK);
    if !status.is_success() {
        return Some(Failure::failed("upstream_status", format!("the provider answered {status}")));
    }
    if arrived.answer.error.is_some() {
        return Some(Failure::failed("upstream_error", "the provider reported an error within its answer"));
    }
    if streamed && !arrived.answer.is_complete() {
        return Some(Failure::cut("upstream_cut", "the answer ended without an end mark or a finish reason"));
    }
    let malformed = !streamed && arrived.answer.malformed > 0;
    malformed.then(|| Failure::failed("upstream_malformed", "the answer is not a chat completion"))
}

/// Records the end of a call with all that arrived.
async fn end(sandbox: &Sandbox, call: &Call, arrived: Arrived, failure: Option<Failure>) -> Result<(), StoreError> {
    fail::fail_point!("gateway.call.before_ended");
    let written = sandbox.shared.recorder.end(&call.call, call_end(call, arrived, failure)).await;
    if let Err(e) = &written {
        tracing::error!(call.id = %call.call.id(), error = %e, "the end of a model call could not be recorded");
    }
    fail::fail_point!("gateway.call.after_ended");
    written
}

fn call_end(call: &Call, arrived: Arrived, failure: Option<Failure>) -> CallEnd {
    let Arrived { http_status, first_byte, received, answer } = arrived;
    let status = failure.as_ref().map_or(CallStatus::Done, |f| f.status);
    // What was cut off was never whole, so nothing of it was carried out.
    let whole = failure.as_ref().is_none_or(Failure::is_whole);
    let error = failure.map(|f| (f.code, f.message));
    let (first_byte_ms, total_ms) = (first_byte.map(millis), millis(call.started.elapsed()));
    // A secret may have been split between two deltas, where no masking of bytes can see it.
    let clean = |text| call.upstream.needles.mask_text(text);
    let emitted = answer.tool_calls.into_iter().filter(|_| whole).map(|t| EmittedToolCall {
        id: clean(t.id),
        name: clean(t.name),
        arguments: clean(t.arguments),
    });
    CallEnd {
        status,
        error: error.clone(),
        first_byte_ms,
        total_ms,
        last: AttemptEnd {
            status,
            http_status: http_status.map(|s| s.as_u16()),
            error,
            response: received,
            first_byte_ms,
            total_ms,
        },
        response: None,
        normalised: Value::Null,
        finish_reason: answer.finish_reason.clone(),
        tokens: Tokens {
            prompt: answer.usage.prompt,
            completion: answer.usage.completion,
            cached: answer.usage.cached,
            ..Tokens::default()
        },
        cost_micro_usd: None,
        price: None,
        tool_calls: emitted.collect(),
        carries: Vec::new(),
    }
}

/// Reads what is left of an answer, so that its connection goes back to the pool instead of being closed.
async fn drain(mut body: Incoming) {
    let rest = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    drop(tokio::time::timeout(DRAIN_TIMEOUT, rest).await);
}

fn client_gone() -> Failure {
    Failure::cut("client_gone", "the sandbox closed its connection before the answer was complete")
}

fn closed() -> Failure {
    Failure::cut("sandbox_closed", "the sandbox was closed or the server stopped before the answer was complete")
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
