//! Standard output: what commands answer. Writing to it may fail (a pipe whose reader has gone), and then the command
//! ends quietly, which `println!` would turn into a panic.

use std::io::{self, Write};

/// Writes bytes.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Writes a line.
pub fn line(text: &str) -> io::Result<()> {
    write(format!("{text}\n").as_bytes())
}
