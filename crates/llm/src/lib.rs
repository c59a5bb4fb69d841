//! Wire formats of model providers, without IO.
//!
//! - A call in the format of its provider passes through byte by byte: [`view()`] reads the fields that TaskForge
//!   touches, and a rewrite is a splice at their place, so that unknown fields survive as they were sent.
//!   [`StreamReader`] reads the answer while it passes.
//! - A call between formats goes through the internal representation ([`ir`]): [`translate_request`],
//!   [`translate_response`], [`StreamTranslator`]. What cannot be carried is refused if it would change what is asked
//!   for, and reported as a [`Loss`] otherwise.
//! - Nothing here holds a stream back or keeps it whole.
//!
//! A format is a module with both sides: requests of clients and answers to them, requests to providers and answers of
//! them, streams and errors. [`Format`] names them.

mod answer;
mod assemble;
mod carry;
pub mod chat;
mod codec;
pub mod embeddings;
mod error;
mod estimate;
mod format;
mod gemini;
mod ids;
pub mod ir;
mod loss;
pub mod messages;
pub mod models;
mod ollama;
mod openai;
mod read;
mod responses;
mod schema;
pub mod sse;
mod stream;
mod tools;
mod translate;
mod view;
mod write;

pub use answer::{Answer, Delta, MAX_KEPT_BYTES, MAX_TOOL_CALLS, ToolCall, Usage};
pub use carry::MAX_CARRY_BYTES;
pub use codec::{parse_error, render_error, render_stream_error};
pub use error::{ApiError, ErrorKind, MAX_ERROR_CHARS};
pub use estimate::count_tokens_estimate;
pub use format::Format;
pub use loss::{Loss, Losses, MAX_LOSSES, TranslateError};
pub use responses::Echo;
pub use stream::{StreamMeta, StreamReader, StreamTranslator};
pub use translate::{
    TranslatedRequest, TranslatedResponse, read_answer, translate_gemini_request, translate_request, translate_response,
};
pub use view::{RequestError, Splice, ToolResult, View, view};
