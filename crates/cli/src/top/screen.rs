//! A terminal that is written over, and given back as it was.

use std::io::Write;

use rustix::termios::tcgetwinsize;

/// Lines that are not connections': the summary, two heads, an empty one, and the cursor's.
const OTHERS: usize = 5;
const USUAL: (usize, usize) = (24, 80);

/// The alternate screen (xterm's 1049), without a cursor. Left on drop, so by an error and a panic as well.
pub(super) struct Screen(());

impl Screen {
    pub(super) fn enter() -> Self {
        write("\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J");
        Self(())
    }

    /// Connections that fit beside so many shards; at least one.
    #[expect(clippy::unused_self, reason = "there must be one")]
    #[expect(clippy::unnecessary_wraps, reason = "as the other sources of this number")]
    pub(super) fn room(&self, shards: usize) -> Option<usize> {
        Some(size().0.saturating_sub(OTHERS + shards).max(1))
    }

    /// Writes a frame over the one before.
    #[expect(clippy::unused_self, reason = "there must be one")]
    pub(super) fn draw(&mut self, lines: &[String]) {
        write(&drawn(lines, size()));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write("\x1b[?25h\x1b[?1049l");
    }
}

/// What a terminal of so many lines and columns is sent: no more than fits, so that nothing scrolls.
fn drawn(lines: &[String], (rows, columns): (usize, usize)) -> String {
    let mut text = String::from("\x1b[H");
    let shown = lines.len().min(rows.saturating_sub(1));
    for line in &lines[..shown] {
        text.extend(line.chars().take(columns));
        text.push_str("\x1b[K\r\n");
    }
    text.push_str("\x1b[J");
    text
}

fn size() -> (usize, usize) {
    match tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => USUAL,
    }
}

/// A terminal that is gone is no failure: the signal that tells of it ends the command.
fn write(text: &str) {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wider_or_longer_than_the_terminal() {
        let lines = ["0123456789".to_owned(), "µs".into(), "third".into(), "fourth".into()];
        assert_eq!(drawn(&lines, (4, 5)), "\x1b[H01234\x1b[K\r\nµs\x1b[K\r\nthird\x1b[K\r\n\x1b[J");
        assert_eq!(drawn(&[], (1, 1)), "\x1b[H\x1b[J");
    }
}
