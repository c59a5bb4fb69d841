//! The body of a streamed answer: pulled by the client's connection, piece by piece.
//!
//! ```text
//! flowing ──► recording the end ──► last piece ──► over
//!     │              └─ cut, or not recorded ──► error event ──► broken off
//!     └─ dropped, stalled, shut down: recorded as cut
//! ```

use super::{
    failure::Failure,
    flow::Flow,
    live::{Live, Registration},
    spawn_tracked,
};
use crate::reply::BrokenOff;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture, task::AtomicWaker};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use store::StoreError;
use tokio::time::Sleep;
use tokio_util::task::TaskTracker;

/// How long the rest of a complete answer is waited for, so that its connection can be used again.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// The most that is read and dropped for that.
const DRAIN_BYTES: usize = 64 << 10;

/// The body of a streamed answer.
pub(crate) struct StreamBody {
    cell: Arc<Cell>,
    live: Registration,
}

/// The state of a streamed answer, also seen by those who end what stalls.
pub(crate) struct Cell {
    state: Mutex<State>,
    waker: AtomicWaker,
    /// When the client last took something and has not asked for more since, in milliseconds of [`Live`]'s clock; zero
    /// while it waits for the provider.
    handed_over_ms: AtomicU64,
}

enum State {
    Flowing(Box<Flowing>),
    /// The record of the end is being written.
    Ending {
        written: BoxFuture<'static, Result<(), StoreError>>,
        last: Last,
        rest: Option<Incoming>,
        tracker: TaskTracker,
    },
    /// The last bytes are out, and then it breaks off. Given to the connection in two steps, so that it sends them.
    BreakingOff {
        paused: bool,
    },
    Over,
}

struct Flowing {
    flow: Flow,
    body: Incoming,
    idle: Pin<Box<Sleep>>,
    deadline: Instant,
}

/// What the client gets once the end is recorded.
enum Last {
    /// The end of a good answer.
    Good(Bytes),
    /// An error event; the connection breaks off after it.
    Broken(Bytes),
}

impl StreamBody {
    pub(super) fn new(flow: Flow, body: Incoming, live: &Live) -> Self {
        let deadline = flow.idle_deadline();
        let idle = Box::pin(tokio::time::sleep_until(deadline.into()));
        let cell = Arc::new(Cell {
            state: Mutex::new(State::Flowing(Box::new(Flowing { flow, body, idle, deadline }))),
            waker: AtomicWaker::new(),
            handed_over_ms: AtomicU64::new(live.now_ms()),
        });
        let registration = live.register(&cell);
        Self { cell, live: registration }
    }

    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let mut state = self.cell.lock();
        let polled = poll_state(&mut state, cx);
        drop(state);
        let handed_over = match &polled {
            Poll::Pending => {
                self.cell.waker.register(cx.waker());
                0
            }
            Poll::Ready(_) => self.live.now_ms(),
        };
        self.cell.handed_over_ms.store(handed_over, Ordering::Relaxed);
        polled
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.cell.end(None);
    }
}

impl Cell {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long ago the client took something, if it has not asked for more since.
    pub(super) fn stalled_for(&self, now_ms: u64) -> Option<Duration> {
        match self.handed_over_ms.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Duration::from_millis(now_ms.saturating_sub(at))),
        }
    }

    /// Ends an answer that is under way, as cut; without a reason, for the reason of its being dropped.
    pub(super) fn end(&self, why: Option<Failure>) {
        let state = std::mem::replace(&mut *self.lock(), State::BreakingOff { paused: true });
        match state {
            State::Flowing(flowing) => {
                let Flowing { flow, body, .. } = *flowing;
                // The provider is let go before anything else.
                drop(body);
                let failure = why.unwrap_or_else(|| flow.open.why_dropped());
                flow.abandon(failure);
            }
            State::Ending { written, rest, tracker, .. } => {
                drop(rest);
                spawn_tracked(&tracker, written);
            }
            State::BreakingOff { .. } => {}
            State::Over => *self.lock() = State::Over,
        }
        self.waker.wake();
    }
}

fn poll_state(state: &mut State, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
    loop {
        match state {
            State::Flowing(flowing) => match ready!(flowing.poll(cx)) {
                Step::Piece(piece) => return Poll::Ready(Some(Ok(piece))),
                Step::End(failure, last) => {
                    let State::Flowing(flowing) = std::mem::replace(state, State::Over) else {
                        return Poll::Ready(None);
                    };
                    *state = flowing.end(failure, last);
                }
            },
            State::Ending { written, .. } => {
                let recorded = ready!(written.poll_unpin(cx)).is_ok();
                let State::Ending { last, rest, tracker, .. } = std::mem::replace(state, State::Over) else {
                    return Poll::Ready(None);
                };
                if let Some(rest) = rest {
                    drain(rest, &tracker);
                }
                let (bytes, next) = match last {
                    Last::Good(bytes) if recorded => (bytes, State::Over),
                    // Without a record of its end an answer must not look whole.
                    Last::Good(_) => (Bytes::new(), State::BreakingOff { paused: true }),
                    Last::Broken(bytes) => (bytes, State::BreakingOff { paused: false }),
                };
                *state = next;
                if !bytes.is_empty() {
                    return Poll::Ready(Some(Ok(bytes)));
                }
            }
            State::BreakingOff { paused: paused @ false } => {
                // The connection sends what it has while the body has no more.
                *paused = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            State::BreakingOff { paused: true } => {
                *state = State::Over;
                return Poll::Ready(Some(Err(BrokenOff)));
            }
            State::Over => return Poll::Ready(None),
        }
    }
}

enum Step {
    Piece(Bytes),
    End(Option<Failure>, Bytes),
}

impl Flowing {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    ready!(self.poll_idle(cx));
                    let limit = self.flow.idle_limit();
                    let message = format!("the provider was silent for {limit:?} within its answer (idle timeout)");
                    return Poll::Ready(Step::End(
                        Some(Failure::timed_out("upstream_idle_timeout", message)),
                        Bytes::new(),
                    ));
                }
            };
            self.deadline = self.flow.idle_deadline();
            let taken = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.flow.take(data),
                    Err(_trailers) => continue,
                },
                Some(Err(e)) => Err(Failure::cut("upstream_cut", format!("the provider broke off: {e}"))),
                None => {
                    return Poll::Ready(match self.flow.rest() {
                        Ok(last) => Step::End(None, last),
                        Err(failure) => Step::End(Some(failure), Bytes::new()),
                    });
                }
            };
            match taken {
                Err(failure) => return Poll::Ready(Step::End(Some(failure), Bytes::new())),
                Ok(out) if self.flow.is_done() => {
                    let last = self.flow.flush(out);
                    return Poll::Ready(Step::End(None, last));
                }
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Poll::Ready(Step::Piece(out)),
            }
        }
    }

    /// Ready when the provider was silent for too long. The timer is only moved when it has run out.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.idle.as_mut().poll(cx));
            if Instant::now() >= self.deadline {
                return Poll::Ready(());
            }
            let deadline = self.deadline.into();
            self.idle.as_mut().reset(deadline);
        }
    }

    fn end(self: Box<Self>, failure: Option<Failure>, last: Bytes) -> State {
        let Self { mut flow, body, .. } = *self;
        // Where the rest is not wanted any more the provider is let go at once.
        let rest = failure.is_none().then_some(body);
        let event = failure.as_ref().map(|f| flow.interrupt(f));
        if failure.is_some() {
            // What was held back goes into the record.
            drop(flow.rest());
        }
        let translated = flow.is_translated();
        let ending = flow.ending(failure);
        let event = match (&ending.failure, event) {
            (_, Some(event)) => Some(event),
            // The stream came to an end that is none. A translator has said so already.
            (Some(f), None) if !f.is_whole() && translated => Some(Bytes::new()),
            (Some(f), None) if !f.is_whole() => Some(flow.stream_error(f)),
            (_, None) => None,
        };
        let last = match event {
            None => Last::Good(last),
            Some(event) if last.is_empty() => Last::Broken(event),
            Some(event) => Last::Broken(Bytes::from([last, event].concat())),
        };
        let tracker = flow.open.who.shared().tracker.clone();
        State::Ending { written: flow.open.end(ending), last, rest, tracker }
    }
}

/// Reads what is left of an answer, so that its connection goes back to the pool instead of being closed.
fn drain(mut body: Incoming, tracker: &TaskTracker) {
    // Most often the end is there already.
    if body.is_end_stream() {
        return;
    }
    spawn_tracked(tracker, async move {
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
    });
}
