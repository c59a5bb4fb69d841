//! The harness of the end-to-end tests: a [`World`] is one installation of the real server with a scripted model.
//!
//! Owns the server's process, a data directory, and everything in Docker that carries the installation's label.
//!
//! Invariants:
//! - The only fake is the model, and it is served over real HTTP.
//! - A test waits on conditions with a bound ([`wait`]); nothing sleeps in order to be late enough.
//! - What the server left over is checked before anything is cleaned ([`leaks`]); then nothing of the world remains.
//! - Only objects of the world's own installation are ever touched.

pub mod agents;
pub mod client;
pub mod docker;
pub mod leaks;
pub mod points;
pub mod registry;
pub mod server;
pub mod socket;
pub mod wait;
pub mod world;

pub use client::{Client, Reply};
pub use server::{Server, Settings};
pub use world::{World, short, world};
