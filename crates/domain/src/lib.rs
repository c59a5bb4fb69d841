//! What TaskForge is about, without IO: ids, states, events and the decisions of a workflow.
//!
//! Nothing here reads a clock, a file or a random number: every function is a pure function of its arguments, so
//! that it can be tested by the thousand and replayed by a durable engine.

pub mod budget;
pub mod candidate;
pub mod event;
pub mod ids;
pub mod plan;
pub mod policy;
pub mod request;
pub mod task;
pub mod text;
