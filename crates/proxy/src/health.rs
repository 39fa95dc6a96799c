//! Whether a backend is well: answers in, changes out.

use std::ops::RangeInclusive;

/// The most bytes of a status line.
const MOST_STATUS_BYTES: usize = 1024;

/// What the last checks say of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    up: bool,
    /// Checks in a row that say the opposite.
    against: u32,
    /// There was no check yet: the first one decides alone.
    fresh: bool,
}

impl Machine {
    pub(crate) const fn new(up: bool) -> Self {
        Self { up, against: 0, fresh: true }
    }

    /// A check was good, or not. The change that this brings, if any.
    pub(crate) fn record(&mut self, good: bool, rise: u32, fall: u32) -> Option<bool> {
        let needed = if std::mem::take(&mut self.fresh) {
            1
        } else if self.up {
            fall
        } else {
            rise
        };
        if good == self.up {
            self.against = 0;
            return None;
        }
        self.against += 1;
        (self.against >= needed).then(|| {
            (self.up, self.against) = (good, 0);
            good
        })
    }
}

/// Reads the status of an HTTP answer.
#[derive(Debug, Default)]
pub(crate) struct StatusLine(Vec<u8>);

impl StatusLine {
    /// Takes bytes of the answer. Once the status is there: whether it is one of `expect`; at once `false` if it is no HTTP.
    pub(crate) fn push(&mut self, bytes: &[u8], expect: &RangeInclusive<u16>) -> Option<bool> {
        let room = MOST_STATUS_BYTES - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let Some(end) = self.0.iter().position(|b| *b == b'\n') else {
            return (self.0.len() >= MOST_STATUS_BYTES).then_some(false);
        };
        // RFC 9112 section 4: HTTP-version SP status-code SP [ reason-phrase ] CRLF.
        let line = std::str::from_utf8(&self.0[..end]).ok();
        let status = line.filter(|line| line.starts_with("HTTP/")).and_then(|line| {
            let code = line.split_ascii_whitespace().nth(1)?;
            (code.len() == 3).then(|| code.parse::<u16>().ok()).flatten()
        });
        Some(status.is_some_and(|status| expect.contains(&status)))
    }
}

/// The request of a check. HTTP/1.0 is answered with the connection closed and without chunks, by everybody.
pub(crate) fn request(path: &str, host: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: fourwave-proxy\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_check_decides_alone_then_rise_and_fall_count_in_a_row() {
        let mut machine = Machine::new(true);
        assert_eq!(machine.record(false, 2, 3), Some(false));
        let mut record = |good| machine.record(good, 2, 3);
        assert_eq!([record(true), record(false), record(true), record(true)], [None, None, None, Some(true)]);
        assert_eq!([record(false), record(false), record(true)], [None; 3]);
        assert_eq!([record(false), record(false), record(false)], [None, None, Some(false)]);
        let mut machine = Machine::new(true);
        assert_eq!([machine.record(true, 2, 2), machine.record(false, 2, 2)], [None; 2]);
        assert_eq!(machine.record(false, 2, 2), Some(false));
    }

    #[test]
    fn a_status_is_read_in_pieces() {
        let read = |answer: &str, size: usize| {
            let mut line = StatusLine::default();
            answer.as_bytes().chunks(size).find_map(|piece| line.push(piece, &(200..=399)))
        };
        for size in [1, 5, 1000] {
            assert_eq!(read("HTTP/1.1 200 OK\r\nServer: x\r\n", size), Some(true));
            assert_eq!(read("HTTP/1.0 399\r\n", size), Some(true));
            assert_eq!(read("HTTP/1.1 503 Service Unavailable\r\n", size), Some(false));
            assert_eq!(read("SSH-2.0-OpenSSH_9.2\r\n", size), Some(false));
            assert_eq!(read("HTTP/1.1 2000 OK\r\n", size), Some(false));
            assert_eq!(read("HTTP/1.1\r\n", size), Some(false));
            assert_eq!(read("HTTP/1.1 200", size), None);
            assert_eq!(read(&"x".repeat(2000), size), Some(false));
        }
    }

    #[test]
    fn a_request_is_http() {
        let text = String::from_utf8(request("/up", "a:80")).unwrap();
        assert_eq!(text, "GET /up HTTP/1.0\r\nHost: a:80\r\nUser-Agent: fourwave-proxy\r\nConnection: close\r\n\r\n");
    }
}
