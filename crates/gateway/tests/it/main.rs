//! The gateway over real Unix sockets, in front of a real HTTP upstream.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test needs and does not get ends it")]

mod calls;
mod canary;
mod fake;
mod faults;
mod mcp;
mod models;
mod refusals;
mod requests;
mod sockets;
mod world;
