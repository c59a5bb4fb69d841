//! The embedded engine, on real files, with processes that are really killed.
mod bed;
mod cancel;
mod faults;
mod history;
mod kill;
mod lease;
mod provider;
mod scenarios;
mod signals;
mod waiters;
