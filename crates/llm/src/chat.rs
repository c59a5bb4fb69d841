//! OpenAI Chat Completions, as spoken by OpenAI, Ollama and most others.

mod request;
mod response;

pub use request::{ChatRequest, RequestError, ToolResult};
pub use response::{StreamReader, read_answer};

#[cfg(test)]
mod tests;
