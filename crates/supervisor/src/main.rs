//! supervisor.
fn main() {}
