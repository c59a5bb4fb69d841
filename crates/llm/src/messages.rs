//! Anthropic Messages: what clients send and expect, and what Anthropic's API takes and answers.
//!
//! Sources: <https://platform.claude.com/docs/en/api/messages>, its streaming events
//! <https://platform.claude.com/docs/en/build-with-claude/streaming>, its errors
//! <https://platform.claude.com/docs/en/api/errors>, and <https://platform.claude.com/docs/en/api/messages-count-tokens>.
//!
//! Anthropic counts cached tokens beside `input_tokens`; here, as everywhere in this crate, the input includes them.
//! Thinking blocks and their signatures go through byte for byte; reasoning of another provider is never sent as if
//! Anthropic had signed it.

mod blocks;
mod count;
mod decode;
mod encode;
mod errors;
mod parse;
mod prompt;
mod render;
mod response;
mod thinking;
mod wire;

pub use count::{parse_count, render_count, translate_count};
pub(crate) use decode::Decoder;
pub(crate) use encode::Encoder;
pub(crate) use errors::{parse_error, render_error, write_stream_error};
pub(crate) use parse::parse_request;
pub(crate) use render::render_request;
pub(crate) use response::{parse_response, render_response};
