//! OpenAI Chat Completions, as spoken by OpenAI, Ollama and most others.
//!
//! Reference: <https://platform.openai.com/docs/api-reference/chat> and its streaming page.

mod from_client;
mod from_provider;
mod grammar;
mod response;
mod settings;
mod thinking;
mod to_client;
mod to_provider;
mod usage_filter;
mod wire;

pub use crate::view::{RequestError, Splice, ToolResult, View as ChatRequest};
pub(crate) use from_client::{cache_mark, parse_request};
pub(crate) use from_provider::{Decoder, parse_response};
pub use response::{StreamReader, read_answer};
pub(crate) use to_client::{Encoder, render_response, write_stream_error};
pub(crate) use to_provider::render_request;
pub use usage_filter::UsageFilter;

#[cfg(test)]
mod tests;
