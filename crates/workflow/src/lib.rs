//! The durable life of a task: workflows over a small engine-neutral trait, and the engines that run them.
//!
//! - [`durable`]: what a workflow may do. Names no engine.
//! - [`recovery`]: what became of acts that a crash left open.
//! - [`engine`]: the embedded engine (a SQLite file, no server).

pub mod activities;
pub mod dispatch;
pub mod durable;
pub mod engine;
pub mod flow;
pub mod prompts;
pub mod recovery;
