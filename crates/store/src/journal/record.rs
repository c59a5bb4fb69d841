//! What a frame's record says: leaves without their index, and what the tables need. Its form on disk is that of
//! postcard, so fields are only ever added as a new variant of [`Record`].

use serde::{Deserialize, Serialize};

/// A record of the journal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry<'a> {
    /// In the order in which they get their index.
    #[serde(borrow)]
    pub(crate) leaves: Vec<LeafText<'a>>,
    /// The bodies whose ends are the frame's data, in that order.
    pub(crate) bodies: Vec<BodyAt>,
    /// The scope under whose key they are encrypted.
    pub(crate) scope: &'a str,
    /// What happened.
    pub(crate) record: Record<'a>,
}

/// A leaf, but for its index and its time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LeafText<'a> {
    pub(crate) kind: &'a str,
    pub(crate) phase: &'a str,
    pub(crate) op: Option<&'a str>,
    pub(crate) task: Option<&'a str>,
    /// Up to the index.
    pub(crate) head: &'a str,
    /// From behind the index up to the time.
    pub(crate) middle: &'a str,
}

/// Where a body is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BodyAt {
    pub(crate) commitment: [u8; 32],
    pub(crate) size: u64,
    /// Frames that hold what came before its end, in order: segment and offset.
    pub(crate) pieces: Vec<(u32, u64)>,
    /// Bytes of its end in the frame's data.
    pub(crate) sealed: u32,
}

impl BodyAt {
    pub(crate) fn name(&self) -> String {
        hex::encode(self.commitment)
    }
}

/// What happened. A body is named by its number in [`Entry::bodies`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Record<'a> {
    #[serde(borrow)]
    Begun(CallBegun<'a>),
    Refused(CallBegun<'a>, Refusal<'a>),
    Attempt(NextAttempt<'a>),
    Ended(CallEnded<'a>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CallBegun<'a> {
    pub(crate) id: &'a str,
    pub(crate) op: &'a str,
    pub(crate) task: Option<&'a str>,
    pub(crate) run: Option<&'a str>,
    pub(crate) iteration: Option<u32>,
    pub(crate) turn: Option<u32>,
    pub(crate) key: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
    pub(crate) ingress: &'a str,
    pub(crate) asked_model: &'a str,
    pub(crate) stream: bool,
    pub(crate) retry_of: Option<&'a str>,
    pub(crate) request: u32,
    pub(crate) first: Option<Target<'a>>,
    pub(crate) results: Vec<ToolResult<'a>>,
    /// What it may use of a budget: tokens and micro-dollars.
    pub(crate) reserved: Option<(u64, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal<'a> {
    pub(crate) http_status: u16,
    pub(crate) code: &'a str,
    pub(crate) error: &'a str,
}

/// Where an attempt goes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Target<'a> {
    pub(crate) provider: &'a str,
    pub(crate) model: &'a str,
    pub(crate) format: &'a str,
    pub(crate) url: &'a str,
    /// The body as sent, where it is not the call's request.
    pub(crate) sent: Option<u32>,
}

/// A result of a tool call that was emitted before.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ToolResult<'a> {
    pub(crate) call: &'a str,
    pub(crate) position: u32,
    pub(crate) body: u32,
}

/// An attempt that is over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AttemptOver<'a> {
    pub(crate) number: u32,
    pub(crate) begun_ms: i64,
    pub(crate) provider: &'a str,
    pub(crate) model: &'a str,
    pub(crate) format: &'a str,
    pub(crate) url: &'a str,
    /// The commitment of the body as sent, where it is not the call's request.
    pub(crate) sent: Option<&'a str>,
    pub(crate) status: &'a str,
    pub(crate) http_status: Option<u16>,
    pub(crate) error_code: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
    pub(crate) response: Option<u32>,
    pub(crate) first_byte_ms: Option<u64>,
    pub(crate) total_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NextAttempt<'a> {
    pub(crate) call: &'a str,
    #[serde(borrow)]
    pub(crate) over: AttemptOver<'a>,
    pub(crate) next: Target<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CallEnded<'a> {
    pub(crate) call: &'a str,
    pub(crate) status: &'a str,
    pub(crate) http_status: Option<u16>,
    pub(crate) error_code: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
    pub(crate) first_byte_ms: Option<u64>,
    pub(crate) total_ms: u64,
    pub(crate) response: Option<u32>,
    pub(crate) normalised: Option<u32>,
    pub(crate) finish_reason: Option<&'a str>,
    pub(crate) prompt: Option<u64>,
    pub(crate) completion: Option<u64>,
    pub(crate) cached: Option<u64>,
    pub(crate) cache_write: Option<u64>,
    pub(crate) reasoning: Option<u64>,
    pub(crate) cost_micro_usd: Option<i64>,
    pub(crate) price: Option<&'a str>,
    /// What it took of a budget: tokens and micro-dollars.
    pub(crate) charged: Option<(u64, u64)>,
    /// The last attempt, where there was more than one.
    #[serde(borrow)]
    pub(crate) last: Option<AttemptOver<'a>>,
    pub(crate) tools: Vec<ToolEmitted<'a>>,
    /// Tool-call id and sealed signature.
    pub(crate) carries: Vec<(&'a str, &'a [u8])>,
    pub(crate) place: Option<Place<'a>>,
}

/// Where in a task a call was made.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Place<'a> {
    pub(crate) task: &'a str,
    pub(crate) run: &'a str,
    pub(crate) iteration: u32,
    pub(crate) turn: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ToolEmitted<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) arguments: u32,
    /// The hash of the arguments as JSON, sealed: it could be tested against guesses.
    pub(crate) hash: Option<&'a [u8]>,
}
