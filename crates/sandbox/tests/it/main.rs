//! The sandbox crate against a real Docker Engine.

mod agents;
mod fixture;
mod lifecycle;
mod limits;
mod supervisor;
mod workspace;
