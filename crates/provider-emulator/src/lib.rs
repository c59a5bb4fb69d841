//! Five model providers over real HTTP, for tests: OpenAI, Anthropic, Gemini, Ollama and any OpenAI-compatible server.
//!
//! Owns the providers' published shapes as a test needs them: requests are checked as strictly as the provider checks
//! them and refused in its error shape, and answers follow its streams event by event. **Each answer is computed from
//! its request alone**; what is kept (the journal behind `/_seen`, the count of failures behind `err-…-then-ok`) no
//! answer's content depends on. The model's name chooses the behaviour: [`model`] lists the names.
//!
//! Paths choose the provider: `/openai/v1/…`, `/anthropic/v1/…`, `/gemini/v1beta/…`, `/ollama/api/…` and
//! `/compatible/v1/…`. Without the first part the path itself tells, and `/v1/models` is Anthropic's if the request has
//! `anthropic-version`.
//!
//! The shapes are those of these pages:
//! - OpenAI: `platform.openai.com/docs/api-reference/{chat,chat-streaming,responses,responses-streaming,embeddings,models}`
//!   and `/docs/guides/error-codes`.
//! - Anthropic: `platform.claude.com/docs/en/api/{messages,messages-count-tokens,models-list,errors}` and
//!   `/docs/en/build-with-claude/{streaming,extended-thinking,structured-outputs}`.
//! - Gemini: `ai.google.dev/api/{generate-content,tokens,embeddings,models}`, `/gemini-api/docs/thought-signatures` and
//!   `/gemini-api/docs/troubleshooting`.
//! - Ollama: `docs.ollama.com/api/{chat,embed,tags,errors}`.
//! - Compatible: OpenAI's Chat Completions with `reasoning_content` as `api-docs.deepseek.com/guides/thinking_mode` has it.

mod answer;
mod chat;
mod chat_check;
mod delivery;
mod fault;
mod gemini;
mod gemini_check;
mod journal;
mod listing;
mod messages;
mod messages_check;
pub mod model;
mod ollama;
mod provider;
mod responses;
mod responses_stream;
mod route;
mod sample;
mod server;
mod shape;
mod signature;

pub use server::{Emulator, serve};
