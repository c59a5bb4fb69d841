//! Tests of the audit log: vectors of the specifications, foreign implementations, tampering and crashes.

mod common;
mod crash;
mod foreign;
mod known;
mod layout;
mod tamper;
mod tamper_entries;
mod vectors;
