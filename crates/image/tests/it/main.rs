//! Tests of the image crate: grammars, the proxy, the store, and the real Engine.

mod engine;
mod grammar;
mod proxy;
mod pure;
