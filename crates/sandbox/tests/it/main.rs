//! The sandbox crate against a real Docker Engine.

#![expect(clippy::expect_used, clippy::panic, reason = "what a test needs and does not get ends it")]

mod agents;
#[cfg(feature = "failpoints")]
mod crash;
mod fixture;
mod lifecycle;
mod limits;
mod supervisor;
mod workspace;
