//! The `rbuild` program.
fn main() {}
