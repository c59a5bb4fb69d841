//! The wire formats against files: fixtures of one format, and what becomes of them in every other.

#![cfg(test)]

mod errors;
mod properties;
mod round_trips;
mod signatures;
mod snapshots;
mod streams;
mod world;
