//! Standard error as indicatif's terminal: a frame is one write, and the cursor is left room for what the terminal
//! itself echoes.
//!
//! indicatif fills every line to the right edge, so that the next one begins where the terminal wraps. Left there, the
//! cursor would go to a new row when Ctrl-C is echoed as `^C`, and the next frame would miss the first line of the last.
//! So the fill of a frame's last line is not written.

use indicatif::TermLike;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// Columns that stay free at the right: `^C`, and the last one, after which some terminals wrap.
pub const MARGIN: usize = 3;

/// A terminal written to through `W`.
#[derive(Debug)]
pub struct Screen<W> {
    frame: Mutex<(Vec<u8>, W)>,
    size: fn() -> (usize, usize),
}

impl<W: Write> Screen<W> {
    /// A screen on `to`, whose columns and rows `size` tells.
    pub fn new(to: W, size: fn() -> (usize, usize)) -> Screen<W> {
        Screen { frame: Mutex::new((Vec::new(), to)), size }
    }

    fn put(&self, text: &str) -> io::Result<()> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner).0.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn step(&self, count: usize, direction: char) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.put(&format!("\x1b[{count}{direction}")) }
    }
}

/// Columns and rows of the terminal on standard error.
pub fn size() -> (usize, usize) {
    rustix::termios::tcgetwinsize(io::stderr())
        .ok()
        .filter(|size| size.ws_col > 0 && size.ws_row > 0)
        .map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}

impl<W: Write + Send + std::fmt::Debug> TermLike for Screen<W> {
    fn width(&self) -> u16 {
        u16::try_from((self.size)().0).unwrap_or(u16::MAX)
    }

    fn height(&self) -> u16 {
        u16::try_from((self.size)().1).unwrap_or(u16::MAX)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.step(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.step(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.step(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.step(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.put(s)?;
        self.put("\n")
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.put(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, to) = &mut *frame;
        let text = bytes.iter().rposition(|b| *b != b' ').map_or(0, |at| at + 1);
        let filled = text < bytes.len();
        bytes.truncate(text);
        if filled {
            bytes.extend_from_slice(b"\x1b[K");
        }
        let written = to.write_all(bytes).and_then(|()| to.flush());
        bytes.clear();
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_write_without_the_last_lines_fill() {
        let screen = Screen::new(Vec::new(), || (10, 5));
        assert_eq!((screen.width(), screen.height()), (10, 5));
        screen.move_cursor_up(0).unwrap();
        screen.move_cursor_up(2).unwrap();
        screen.clear_line().unwrap();
        screen.write_str("one").unwrap();
        screen.write_str("       ").unwrap();
        screen.write_str("two").unwrap();
        screen.write_str("       ").unwrap();
        assert!(screen.frame.lock().unwrap().1.is_empty());
        screen.flush().unwrap();
        assert_eq!(screen.frame.lock().unwrap().1, b"\x1b[2A\r\x1b[2Kone       two\x1b[K");
    }
}
