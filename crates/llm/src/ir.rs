//! The internal representation: the union of what the formats can say.
//!
//! A request or an answer of one format is parsed into it and rendered from it in another. Same-format calls never come
//! here. What is opaque stays opaque: tool arguments, schemas and metadata are kept as the text they arrived in
//! ([`Json`]), and a provider's signature ([`Seal`]) names the format that it belongs to, since no other can read it.
//! A field that only one format has is not here; its parser reports it as a [`crate::Loss`] or refuses the request.
//!
//! Renderers destructure these types without `..`, so that a new field cannot be forgotten by one of them.

mod event;
mod json;
mod message;
mod request;
mod seal;

pub use event::{Event, Finish, Response};
pub use json::Json;
pub(crate) use json::compact;
pub use message::{CacheMark, Content, Message, Opaque, Part, Reasoning, Role, Source, ToolCallPart, ToolResultPart};
pub use request::{
    CacheHint, Effort, Function, Identity, Logprobs, ReasoningConfig, Request, ResponseFormat, Sampling, Tool,
    ToolChoice,
};
pub use seal::Seal;
