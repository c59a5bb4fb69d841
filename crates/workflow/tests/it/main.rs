//! One binary for all tests of the crate.

#[cfg(test)]
mod engine;
