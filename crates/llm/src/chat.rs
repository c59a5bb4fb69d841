//! OpenAI Chat Completions, as spoken by OpenAI, Ollama and most others.

mod request;
mod response;
mod usage_filter;

pub use request::{ChatRequest, RequestError, Splice, ToolResult};
pub use response::{StreamReader, read_answer};
pub use usage_filter::UsageFilter;

#[cfg(test)]
mod tests;
