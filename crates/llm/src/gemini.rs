//! Gemini's `generateContent` and `streamGenerateContent`.
//!
//! Sources: <https://ai.google.dev/api/generate-content>, <https://ai.google.dev/gemini-api/docs/function-calling>,
//! <https://ai.google.dev/gemini-api/docs/thought-signatures>, <https://ai.google.dev/gemini-api/docs/thinking>.
//!
//! - The model and whether the answer is streamed stand in the path, not in the body.
//! - A stream comes as server-sent events (`alt=sse`) or as one JSON array that grows; both are read.
//! - Calls of functions may have no id: each gets one that is made from the call's own, so that a repetition of the same
//!   stream gives the same ids, and no two calls ever share one.
//! - A thought signature stands on a part. On a function call it is the call's seal; on a text it is a block of
//!   reasoning that has nothing but its seal, and goes back as an empty text with the signature. A client of this format
//!   gets another provider's seal on an empty thought, which ends the thoughts before it.

mod decode;
mod encode;
mod errors;
mod generation;
mod json_stream;
mod parse;
mod prompt;
mod render;
mod schema;
mod seal;
mod wire;

pub(crate) use decode::{Decoder, parse_response};
pub(crate) use encode::{Encoder, render_response};
pub(crate) use errors::{parse_error, render_error, write_stream_error};
pub(crate) use parse::parse_request;
pub(crate) use render::{render_count, render_request};
