//! Tests of the image crate: grammars, the proxy, the store, and the real Engine.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not get ends it")]

mod engine;
mod grammar;
mod proxy;
mod pure;
