//! taskforge.
fn main() {}
