//! `POST /v1/chat/completions`.
//!
//! ```text
//! read body → view → [the task's gate: what is known of the task → judge → begun | refused] → driver
//! driver: upstream with key → masked pieces to the sandbox as they come → [ended] → end of the answer
//! ```
//! The end of an answer (its `[DONE]`, or its last byte) is held back until the record of the call's end is written,
//! so that whatever the agent does next was recorded before.

mod begin;
mod drive;
mod judge;
mod upstream;

pub(crate) use judge::stopping;

use crate::{
    body,
    reply::{Refusal, Reply},
    sandbox::Sandbox,
};
use begin::{Asked, Begun};
use drive::Call;
use hyper::{Request, StatusCode, body::Incoming};
use std::{sync::Arc, time::Instant};
use tokio::sync::oneshot;

/// Answers one model call.
pub(crate) async fn chat(sandbox: &Arc<Sandbox>, request: Request<Incoming>) -> Reply {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let max = sandbox.shared.config.max_request_bytes;
    let (bytes, held) = match body::read(&sandbox.memory, &parts.headers, body, max).await {
        Ok(read) => read,
        Err(refusal) => return begin::refuse_unread(sandbox, &parts.headers, refusal).await.reply(),
    };
    fail::fail_point!("gateway.call.before_begun");
    let begun = match begin::begin(sandbox, Asked::new(bytes, &parts.headers)).await {
        Ok(begun) => begun,
        Err(refusal) => return refusal.reply(),
    };
    fail::fail_point!("gateway.call.after_begun");
    let Begun { call, upstream, body, strip_usage } = begun;
    let (head, answered) = oneshot::channel();
    let call = Call { call, upstream, body, strip_usage, headers: parts.headers, held, started };
    sandbox.shared.tracker.spawn(drive::drive(Arc::clone(sandbox), call, head));
    answered.await.unwrap_or_else(|_| {
        Refusal::new(StatusCode::BAD_GATEWAY, "interrupted", "the call was interrupted; try again")
            .retry_after(1)
            .reply()
    })
}
