//! A large language model that follows scripts, served over real HTTP in the shape of OpenAI's Chat Completions.
//!
//! It exists for demonstrations without an API key and for tests, where it is the only fake. It owns no state that
//! an answer depends on: **each answer is computed from the messages of its request alone**, so retries, restarts of
//! either side and resumed sessions need no cooperation. The counters behind `/_seen` are for observers.
//!
//! A script is a plain function over a [`Job`](job::Job), a cursor through the transcript: `job.exec("ls")?` returns
//! the result if the transcript already holds that call, and otherwise leaves the function with the next turn. The
//! model name selects the script ([`scripts::TABLE`]); only tools that the request offers are called.

pub mod job;
mod respond;
pub mod scripts;
mod server;
pub mod transcript;
mod wire;

pub use server::{Options, serve};
