//! The command line as a program, against the real API on a real store. The engine and Docker are not needed for it:
//! where a task must go on, the test makes the store say what the workflow would.

mod commands;
mod decisions;
mod log;
mod server;
