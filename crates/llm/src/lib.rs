//! Wire formats of model providers, without IO.
//!
//! - A call in the format of its upstream passes through byte by byte: [`chat::ChatRequest`] is a *view* of the fields
//!   that TaskForge touches, and a rewrite is a splice at their place, so that unknown fields survive as they were sent.
//! - An answer is read while it passes: [`sse::Scanner`] finds the events of a stream in whatever pieces it arrives,
//!   a format turns each into [`Delta`]s, and [`Answer`] adds them up. Nothing here holds a stream back or keeps it whole.
//!
//! A further format is a module like [`chat`]: a request view, and a decoder from its events to `Delta`s.

mod answer;
pub mod chat;
pub mod sse;

pub use answer::{Answer, Delta, MAX_TOOL_CALLS, ToolCall, Usage};
