//! The gateway over real Unix sockets, in front of a real HTTP upstream.

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
