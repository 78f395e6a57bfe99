//! Golden-file tests.
fn main() {}
