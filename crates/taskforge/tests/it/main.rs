//! The command line as a program, against the real API on a real store. The engine and Docker are not needed for it:
//! where a task must go on, the test makes the store say what the workflow would.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test needs and does not get ends it"
)]

mod commands;
mod decisions;
mod gateway;
mod log;
mod server;
