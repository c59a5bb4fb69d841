//! The scripted model over real HTTP, driven by a small agent that keeps a transcript as agents do.
#![cfg(test)]

mod agent;
mod http;
mod scripts;
