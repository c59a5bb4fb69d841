//! Ollama's `/api/chat`.
//!
//! Sources: <https://docs.ollama.com/api/chat>, <https://docs.ollama.com/capabilities/thinking>,
//! <https://docs.ollama.com/capabilities/tool-calling>, <https://docs.ollama.com/api/streaming>.
//!
//! - A stream is one JSON object a line; the last has `done` and the counts. Without `stream: false` Ollama streams.
//! - A whole tool call arrives in one line, in most versions without an id, and several in one line or in several: each
//!   gets an id of its own, so that two calls are never taken for one.
//! - Images are bytes; Ollama fetches no addresses.

mod decode;
mod errors;
mod lines;
mod prompt;
mod render;

pub(crate) use decode::{Decoder, parse_response};
pub(crate) use errors::{parse_error, render_error};
pub(crate) use render::render_request;
