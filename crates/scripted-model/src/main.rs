//! scripted-model.
fn main() {}
