//! Reading request bodies: bounded in size, in time, and in what one sandbox may hold at once.

use crate::reply::Refusal;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{HeaderMap, StatusCode, body::Body, header::CONTENT_LENGTH};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);
/// The unit in which held memory is counted.
const UNIT_BYTES: usize = 64 << 10;
/// What is reserved for a body whose length is not known, before more has to be.
const FIRST_RESERVE_BYTES: usize = UNIT_BYTES;

/// The memory that a sandbox's bodies may take at once.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Semaphore>);

/// A part of it, given back on drop.
pub(crate) struct Held {
    memory: Memory,
    permits: OwnedSemaphorePermit,
}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.div_ceil(UNIT_BYTES))))
    }

    /// Takes room for `bytes`, if there is.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Held> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES).max(1)).ok()?;
        let permits = Arc::clone(&self.0).try_acquire_many_owned(units).ok()?;
        Some(Held { memory: self.clone(), permits })
    }
}

impl Held {
    /// Makes sure of room for `bytes` in all; false if there is none.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let have = self.permits.num_permits() * UNIT_BYTES;
        if bytes <= have {
            return true;
        }
        match self.memory.hold(bytes - have) {
            Some(more) => {
                self.permits.merge(more.permits);
                true
            }
            None => false,
        }
    }
}

/// Reads a whole request body of at most `max` bytes.
pub(crate) async fn read<B>(memory: &Memory, headers: &HeaderMap, body: B, max: usize) -> Result<(Bytes, Held), Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let declared = headers.get(CONTENT_LENGTH).and_then(|l| l.to_str().ok()).and_then(|l| l.parse::<usize>().ok());
    if declared.is_some_and(|n| n > max) || body.size_hint().lower() > max as u64 {
        return Err(too_large(max));
    }
    let mut held = memory.hold(declared.unwrap_or(FIRST_RESERVE_BYTES)).ok_or_else(busy)?;
    match tokio::time::timeout(BODY_TIMEOUT, collect(body, declared.unwrap_or(0), max, &mut held)).await {
        Ok(bytes) => Ok((bytes?, held)),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the request body took too long")),
    }
}

async fn collect<B>(mut body: B, expected: usize, max: usize, held: &mut Held) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let broken = |e: B::Error| {
        Refusal::new(StatusCode::BAD_REQUEST, "body_broken", format!("the request body could not be read: {e}"))
    };
    let mut all: Option<Vec<u8>> = None;
    let mut first: Option<Bytes> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        // Most bodies arrive in one piece, which is then used as it is.
        if first.is_none() && all.is_none() {
            first = Some(data);
        } else {
            let head = first.take();
            let all = all.get_or_insert_with(|| Vec::with_capacity(expected));
            all.extend_from_slice(&head.unwrap_or_default());
            all.extend_from_slice(&data);
        }
        let size = first.as_ref().map_or(0, Bytes::len) + all.as_ref().map_or(0, Vec::len);
        if size > max {
            return Err(too_large(max));
        }
        if !held.grow(size) {
            return Err(busy());
        }
    }
    Ok(first.or_else(|| all.map(Bytes::from)).unwrap_or_default())
}

fn too_large(max: usize) -> Refusal {
    let message = format!("the request body is larger than {max} bytes; send less");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}

fn busy() -> Refusal {
    let message = "too many large requests of this client are under way; try again when some have ended";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too_busy", message).retry_after(1)
}
