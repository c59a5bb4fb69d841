//! Tests of the audit log: vectors of the specifications, foreign implementations, tampering and crashes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;
mod crash;
mod foreign;
mod known;
mod layout;
mod tamper;
mod tamper_entries;
mod vectors;
