//! What a sandbox can reach: models, the tools by which its agent asks, and nothing else. And the same models for people
//! and tools with a key ([`Gateway::serve_callers`]).
//!
//! - One Unix socket per sandbox ([`Gateway::open`]); the socket *is* the identity, so nothing inside can claim another.
//! - A fixed list of routes (`routes.rs`); none of them decides anything.
//! - A model call is let out only after the record of its beginning is durable, and its answer ends only after the
//!   record of its end: what the agent acts on has been recorded. If the record cannot be written the answer is no.
//! - Keys of providers are added here, on the way out, and masked in what comes back.
//!
//! - Whatever API a client speaks, any configured provider answers: same formats pass byte by byte, others are
//!   translated (`calls`, and the crate `llm`).
//!
//! ```text
//! Gateway ── accept loop per sandbox ── connection ── handler: a model call runs where its client's connection runs
//!                                                      └─ job per MCP tool call (ends its record if the client goes)
//! ```
//! Every task is owned by the gateway's tracker; closing a sandbox cancels what belongs to it.

mod body;
pub mod budget;
mod callers;
mod calls;
mod client;
mod config;
mod error;
mod events;
mod mcp;
mod metrics;
mod models;
pub mod prices;
mod providers;
mod rate;
mod reply;
pub mod resilience;
mod routes;
mod sandbox;
mod secret;
mod server;
mod socket;

pub use config::Config;
pub use error::GatewayError;
pub use providers::{
    AliasConfig, ModelName, ProviderConfig, ProviderHealth, ProviderKind, Registry, ResolveError, Route,
};
pub use reply::{BrokenOff, Reply, ReplyBody};
pub use secret::Secret;
pub use server::{Gateway, Socket};
