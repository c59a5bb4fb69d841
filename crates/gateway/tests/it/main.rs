//! The gateway over real Unix sockets, in front of a real HTTP upstream.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test needs and does not get ends it")]

mod budgets;
mod callers;
mod calls;
mod canary;
mod fake;
mod faults;
mod matrix;
mod mcp;
mod models;
mod outside;
mod refusals;
mod requests;
mod retries;
mod sockets;
mod streams;
mod world;
