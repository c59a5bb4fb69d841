//! Model calls, from sandboxes and from callers with a key alike.
//!
//! ```text
//! read body → view → who may use what → route → budget → slot → [begun | refused] → attempts → answer → [ended]
//! ```
//! - Nothing leaves before the record of the call's beginning is durable; each further attempt is recorded before it
//!   leaves too.
//! - The end of an answer (its `[DONE]`, or its last byte) is held back until the record of the call's end is written,
//!   so that whatever an agent does next was recorded before.
//! - There is no task per call. Everything runs where the client's connection runs; when the client goes away, its
//!   connection drops the call, whose open half then records the end as cut, with what had arrived. That closes the
//!   connection to the provider at once.
//! - An answer is pulled by the client's connection: a client that does not read holds back the provider.
//!
//! A retry or a fallback happens only while nothing of an answer has been passed on.

mod admit;
mod answer;
mod attempt;
mod begin;
mod capture;
mod count;
mod end;
mod failure;
mod flow;
mod headers;
mod ingress;
mod judge;
mod live;
mod open;
mod prepare;
mod send;
mod spend;
mod stream;
mod who;

pub(crate) use admit::{in_scope, unknown_key};
pub(crate) use ingress::Ingress;
pub(crate) use judge::stopping;
pub(crate) use live::Live;
pub(crate) use stream::StreamBody;
pub(crate) use who::{Identity, Outside, Who};

use crate::{body, reply::Reply};
use bytes::Bytes;
use hyper::{body::Body, http::request::Parts};
use std::{sync::Arc, time::Instant};

/// Answers one model call.
pub(crate) async fn serve<B>(who: Who, ingress: Ingress, parts: Parts, body: B) -> Reply
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let started = Instant::now();
    let format = ingress.format();
    if who.is_unknown() {
        // Nobody without a key makes us hold a body.
        let asked = begin::Asked::unread(ingress, &parts.headers);
        return begin::refuse(&who, &asked, unknown_key()).await.reply_in(format);
    }
    let max = who.shared().config.max_request_bytes;
    let (bytes, held) = match body::read(who.memory(), &parts.headers, body, max).await {
        Ok(read) => read,
        Err(refusal) => {
            let asked = begin::Asked::unread(ingress, &parts.headers);
            return begin::refuse(&who, &asked, refusal).await.reply_in(format);
        }
    };
    fail::fail_point!("gateway.call.before_begun");
    let asked = begin::Asked::new(ingress, parts.uri.path(), bytes, &parts.headers);
    if let Some(counted) = count::locally(&who, &asked).await {
        return counted;
    }
    let begun = match begin::begin(who, asked, parts.headers, held, started).await {
        Ok(begun) => begun,
        Err(refusal) => return refusal.reply_in(format),
    };
    fail::fail_point!("gateway.call.after_begun");
    attempt::run(begun).await
}

/// Runs a future to its end also where the one who waits for it goes away: what it records is not left half done.
///
/// Most records are written before the first wait, and then nothing is spawned.
pub(crate) async fn undisturbed<T: Send + 'static>(
    tracker: &tokio_util::task::TaskTracker,
    future: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let mut future = Box::pin(future);
    match futures::poll!(&mut future) {
        std::task::Poll::Ready(done) => Some(done),
        // Only a panic inside or the end of the runtime loses it.
        std::task::Poll::Pending => tracker.spawn(future).await.ok(),
    }
}

/// Spawns what must come to its end; nothing where the runtime itself is going away.
pub(crate) fn spawn_tracked<T: Send + 'static>(
    tracker: &tokio_util::task::TaskTracker,
    future: impl Future<Output = T> + Send + 'static,
) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        drop(tracker.spawn_on(future, &runtime));
    }
}

/// What a call keeps of its request while it runs.
pub(crate) type Shared = Arc<crate::sandbox::Shared>;
