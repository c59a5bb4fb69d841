//! OpenAI Responses.
//!
//! Reference: <https://platform.openai.com/docs/api-reference/responses> and its streaming events
//! (<https://platform.openai.com/docs/api-reference/responses-streaming>).
//!
//! What lives at OpenAI (`previous_response_id`, conversations, prompts, items by reference, background) is refused
//! towards another provider: the conversation has to be in the request. Requests to OpenAI for clients of another format
//! are sent with `store: false` and ask for encrypted reasoning, so that the next turn can bring it back.

mod echo;
mod from_client;
mod from_provider;
mod items;
mod output;
mod to_client;
mod to_client_stream;
mod to_provider;

pub use echo::Echo;
pub(crate) use from_client::parse_request;
pub(crate) use from_provider::{Decoder, parse_response};
pub(crate) use to_client::{render_response, write_stream_error};
pub(crate) use to_client_stream::Encoder;
pub(crate) use to_provider::render_request;
