//! A good answer of a provider: whole, or as a stream.

use super::{
    begin::Begun,
    capture::{Capture, MAX_HELD_BYTES},
    end::Ending,
    failure::Failure,
    flow::{Flow, Gate, Work, judge_end},
    headers,
    ingress::Ingress,
    prepare::Back,
    stream::StreamBody,
    undisturbed,
};
use crate::reply::{Refusal, Reply, ReplyBody};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Response, StatusCode,
    body::{Body, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
};
use llm::{Answer, Echo, Format, StreamMeta, StreamReader, StreamTranslator, TranslateError, chat::UsageFilter};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use store::Received;

/// Passes an answer on.
pub(super) async fn pass(begun: Begun, response: Response<Incoming>) -> Reply {
    let (head, body) = response.into_parts();
    let streamed = headers::is_stream(&head.headers);
    // A whole answer of modest size goes out in one piece; a large one, or one of unknown size, passes as it comes.
    let modest = headers::length(&head.headers).is_some_and(|n| n <= MAX_HELD_BYTES);
    if streamed || (begun.prepared.is_same() && !modest) {
        stream(begun, head.status, &head.headers, body, streamed)
    } else {
        whole(begun, head.status, &head.headers, body).await
    }
}

fn stream(begun: Begun, status: StatusCode, answer: &HeaderMap, body: Incoming, streamed: bool) -> Reply {
    // Only a translator needs it.
    let meta = if begun.prepared.is_same() { StreamMeta::default() } else { begun.meta() };
    let Begun { mut open, prepared, .. } = begun;
    let same = prepared.is_same();
    if same && !streamed {
        open.attempt.received.hold_whole();
    }
    let work = if same {
        let reader = streamed.then(|| StreamReader::new(prepared.format).ok()).flatten();
        let gate = match (&reader, prepared.strip_usage) {
            (None, _) => Gate::Open,
            (Some(_), true) => Gate::NoCounts(UsageFilter::default()),
            (Some(_), false) => Gate::Events(llm::sse::Gate::default()),
        };
        Ok(Work::Pass { reader, gate })
    } else {
        StreamTranslator::new(prepared.format, open.asked.ingress.format(), meta)
            .map(|t| Work::Translate { translator: Box::new(t), sent: Capture::default() })
    };
    let needles = &open.attempt.target.provider.needles;
    let mut headers = headers::to_client(answer, needles, !same);
    if !same {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    }
    let live = open.who.shared().live.clone();
    let work = match work {
        Ok(work) => work,
        Err(e) => {
            // The request was translated, so its answer can be; this is a fault of ours, and the call is cut.
            tracing::error!(error = %e, "an answer cannot be translated");
            return Refusal::new(StatusCode::BAD_GATEWAY, "untranslatable", e.to_string())
                .reply_in(open.asked.ingress.format());
        }
    };
    let mut reply = Response::new(ReplyBody::stream(StreamBody::new(Flow::new(open, work), body, &live)));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    reply
}

async fn whole(mut begun: Begun, status: StatusCode, answer: &HeaderMap, body: Incoming) -> Reply {
    let format = begun.open.asked.ingress.format();
    let same = begun.prepared.is_same();
    let collected = begun.collect(body).await;
    let needles = begun.open.attempt.target.provider.needles.clone();
    let read = match collected {
        Ok(bytes) => {
            let bytes = needles.mask_bytes(bytes);
            begun.open.receive(&bytes).and_then(|()| begun.read(bytes, status))
        }
        Err(failure) => Err(failure),
    };
    let (ending, out) = match read {
        Ok((ending, out, status)) => (ending, Ok((out, status))),
        Err(failure) => {
            let refusal = failure.refusal();
            (Ending::failed(failure), Err(refusal))
        }
    };
    let ended = begun.open.end(ending);
    let recorded = undisturbed(&begun.open.who.shared().tracker, ended).await;
    match (recorded, out) {
        (Some(Ok(())), Ok((out, status))) => {
            let mut reply = Response::new(ReplyBody::full(out));
            *reply.status_mut() = status;
            *reply.headers_mut() = headers::to_client(answer, &needles, !same);
            if !same {
                reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            reply
        }
        (Some(Ok(())), Err(refusal)) => refusal.reply_in(format),
        _ => Refusal::log_unwritable().reply_in(format),
    }
}

impl Begun {
    /// Reads an answer to its end.
    async fn collect(&mut self, mut body: Incoming) -> Result<Bytes, Failure> {
        let limit = self.idle_limit();
        let max = self.open.who.shared().config.max_response_bytes;
        let mut first: Option<Bytes> = None;
        let mut all = BytesMut::new();
        loop {
            let frame = match tokio::time::timeout(limit, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(e))) => {
                    self.keep(first, all);
                    return Err(Failure::cut("upstream_cut", format!("the provider broke off: {e}")));
                }
                Ok(None) => break,
                Err(_) => {
                    self.keep(first, all);
                    let message = format!("the provider was silent for {limit:?} within its answer (idle timeout)");
                    return Err(Failure::timed_out("upstream_idle_timeout", message));
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            let open = &mut self.open;
            if open.first_byte.is_none() {
                open.first_byte = Some(open.started.elapsed());
                open.attempt.first_byte = Some(open.attempt.started.elapsed());
            }
            if first.is_none() && all.is_empty() {
                first = Some(data);
                if body.is_end_stream() {
                    break;
                }
                continue;
            }
            if let Some(first) = first.take() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
            if all.len() > max || !open.held.grow(open.asked.body.len() + all.len()) {
                return Err(Failure::cut("response_too_large", "the answer is larger than can be held"));
            }
        }
        Ok(first.unwrap_or_else(|| all.freeze()))
    }

    /// Records what had arrived of an answer that broke off.
    fn keep(&mut self, first: Option<Bytes>, all: BytesMut) {
        let bytes = first.unwrap_or_else(|| all.freeze());
        let bytes = self.open.attempt.target.provider.needles.mask_bytes(bytes);
        // It has failed already; the record says with what.
        drop(self.open.receive(&bytes));
    }

    /// Reads a whole answer, and puts it into the client's format.
    fn read(&mut self, bytes: Bytes, status: StatusCode) -> Result<(Ending, Bytes, StatusCode), Failure> {
        let format = self.prepared.format;
        let malformed = |e: TranslateError| Failure::failed("upstream_malformed", e.to_string());
        let (mut answer, out, status) = match self.prepared.back.clone() {
            Back::Answer => {
                let answer = llm::read_answer(format, &bytes);
                let failure = judge_end(&answer, status, false);
                return Ok((Ending { failure, answer, ..Ending::default() }, bytes, status));
            }
            Back::Plain => {
                let mut answer = Answer::default();
                answer.usage.prompt = self.prompt_tokens(&bytes);
                return Ok((Ending { answer, ..Ending::default() }, bytes, status));
            }
            Back::Embeddings(method) => {
                let asked = Arc::clone(&self.open.asked);
                let view = asked.view.as_ref().ok().and_then(|v| Some((v.embeddings()?, &v.model)));
                let (request, model) = view.ok_or_else(|| Failure::failed("upstream_malformed", "no such request"))?;
                let translated = request.translate_answer(method, &bytes, model).map_err(malformed)?;
                let mut answer = Answer::default();
                answer.usage.prompt = translated.prompt_tokens;
                (answer, translated.body, status)
            }
            Back::Count => {
                let tokens = llm::messages::parse_count(format, &bytes)
                    .ok_or_else(|| Failure::failed("upstream_malformed", "the provider's count cannot be read"))?;
                (Answer::default(), llm::messages::render_count(tokens), status)
            }
            Back::Translated(_) => {
                let to = self.open.asked.ingress.format();
                let translated = llm::translate_response(format, to, &bytes, &self.meta()).map_err(malformed)?;
                let told = translated.error.as_ref().and_then(|e| StatusCode::from_u16(e.status).ok());
                let out = Bytes::from(translated.body);
                let ending = Ending {
                    failure: judge_end(&translated.answer, status, false),
                    answer: translated.answer,
                    sent: Some(Received::Whole(out.clone())),
                    carries: translated.carries,
                    normalise: true,
                    losses: translated.losses,
                };
                return Ok((ending, out, told.unwrap_or(status)));
            }
        };
        answer.done = true;
        let out = Bytes::from(out);
        let ending = Ending { answer, sent: Some(Received::Whole(out.clone())), ..Ending::default() };
        Ok((ending, out, status))
    }

    /// The token count of an answer that is none of a model.
    fn prompt_tokens(&self, bytes: &[u8]) -> Option<u64> {
        #[derive(serde::Deserialize)]
        struct Counted {
            usage: Option<Usage>,
        }
        #[derive(serde::Deserialize)]
        struct Usage {
            prompt_tokens: Option<u64>,
        }
        if self.open.asked.ingress != Ingress::Embeddings {
            return None;
        }
        serde_json::from_slice::<Counted>(bytes).ok()?.usage?.prompt_tokens
    }

    fn meta(&self) -> StreamMeta {
        let view = self.open.asked.view.as_ref().ok();
        let (translated, format) = (!self.prepared.is_same(), self.open.asked.ingress.format());
        let id = self.open.record.as_ref().map(|c| c.id().to_string()).unwrap_or_default();
        StreamMeta {
            id,
            model: view.map(|v| v.model.clone()).unwrap_or_default(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            include_usage: view.is_some_and(|v| v.wants_usage),
            estimated_prompt: (translated && format == Format::Messages)
                .then(|| llm::count_tokens_estimate(format, &self.open.asked.body)),
            echo: match &self.prepared.back {
                Back::Translated(echo) => echo.clone(),
                _ => Echo::default(),
            },
        }
    }
}
