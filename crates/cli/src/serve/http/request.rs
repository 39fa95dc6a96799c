//! Requests of HTTP/1.1 (RFC 9112), however the stream is cut: their heads are read by httparse, their bodies passed over.

use httparse::{Error, Header};

use crate::http::{Body, Head, Malformed, NO_FIELDS, Seen, has_token, number};

/// A request that has been read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// It asks for the head of the answer alone.
    pub(super) head_only: bool,
    /// The client's next request may come over the same connection.
    pub(super) keeps: bool,
    /// HTTP/1.0, whose clients have to be told that.
    pub(super) old: bool,
}

/// Why a request is not answered as it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 400
    Malformed,
    /// 417
    Expectation,
    /// 431
    HeadTooLarge,
    /// 501
    Coding,
    /// 505
    Version,
}

/// What the next bytes of the stream have brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    More,
    /// The client waits for a word before it sends the body (RFC 9110 section 10.1.1).
    Expects,
    Whole(Request),
    /// What comes behind it can't be read.
    Refused(Refusal),
}

/// The last head, whichever connection it came over.
pub(super) type SeenHead = Seen<(Request, Option<Body>, bool)>;

/// Reads the requests of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    head: Head,
    /// The request whose body is being passed over, and what is left of that.
    under_way: Option<(Request, Body)>,
}

impl Reader {
    /// Whether the client is between two requests.
    pub(super) const fn is_idle(&self) -> bool {
        self.head.is_empty() && self.under_way.is_none()
    }

    /// Takes in the next bytes up to the end of a request, or all of them. How many were taken, and what that brought.
    pub(super) fn read(&mut self, bytes: &[u8], seen: &mut SeenHead) -> (usize, Step) {
        let (taken, step) = match &mut self.under_way {
            None => self.read_head(bytes, seen),
            Some((request, body)) => match body.pass(bytes, |_| ()) {
                (taken, Ok(true)) => (taken, Step::Whole(*request)),
                (taken, Ok(false)) => (taken, Step::More),
                (taken, Err(Malformed)) => (taken, Step::Refused(Refusal::Malformed)),
            },
        };
        if matches!(step, Step::Whole(_) | Step::Refused(_)) {
            self.under_way = None;
        }
        (taken, step)
    }

    fn read_head(&mut self, bytes: &[u8], seen: &mut SeenHead) -> (usize, Step) {
        let (taken, head) = self.head.read(bytes, Refusal::HeadTooLarge, |whole| {
            if let Some(same) = seen.find(whole) {
                return Ok(Some(same));
            }
            let (mut fields, mut parsed) = (NO_FIELDS, httparse::Request::new(&mut []));
            match parsed.parse_with_uninit_headers(whole, &mut fields).map_err(refusal)? {
                httparse::Status::Complete(length) => {
                    let meaning = understand(&parsed)?;
                    seen.keep(&whole[..length], meaning);
                    Ok(Some((length, meaning)))
                }
                httparse::Status::Partial => Ok(None),
            }
        });
        let step = match head {
            Ok(None) => Step::More,
            Ok(Some((request, None, _))) => Step::Whole(request),
            Ok(Some((request, Some(body), expects))) => {
                self.under_way = Some((request, body));
                if expects { Step::Expects } else { Step::More }
            }
            Err(refusal) => Step::Refused(refusal),
        };
        (taken, step)
    }
}

const fn refusal(error: Error) -> Refusal {
    match error {
        Error::TooManyHeaders => Refusal::HeadTooLarge,
        Error::Version => Refusal::Version,
        _ => Refusal::Malformed,
    }
}

/// What a head says: the request, its body if it has one, and whether the client waits for a word before it sends that.
fn understand(parsed: &httparse::Request<'_, '_>) -> Result<(Request, Option<Body>, bool), Refusal> {
    let old = parsed.version == Some(0);
    let (mut close, mut keep_alive, mut expects) = (false, false, false);
    let (mut hosts, mut length, mut chunked) = (0, None, false);
    for Header { name, value } in parsed.headers.iter() {
        if name.eq_ignore_ascii_case("connection") {
            close |= has_token(value, b"close");
            keep_alive |= has_token(value, b"keep-alive");
        } else if name.eq_ignore_ascii_case("host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case("content-length") {
            // The same once more does no harm, RFC 9112 section 6.3; another one would be for somebody to smuggle by.
            let this = number(value).ok_or(Refusal::Malformed)?;
            if length.replace(this).is_some_and(|before| before != this) {
                return Err(Refusal::Malformed);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::Coding);
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case("expect") {
            if !value.trim_ascii().eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal::Expectation);
            }
            expects = !old;
        }
    }
    // One host, RFC 9112 section 3.2; one way to tell where the body ends, section 6.1.
    if (!old && hosts == 0) || hosts > 1 || (chunked && (length.is_some() || old)) {
        return Err(Refusal::Malformed);
    }
    let body = match (chunked, length) {
        (true, _) => Some(Body::chunked()),
        (false, Some(bytes @ 1..)) => Some(Body::Bytes(bytes)),
        (false, _) => None,
    };
    let request = Request { head_only: parsed.method == Some("HEAD"), keeps: !close && (!old || keep_alive), old };
    Ok((request, body, expects))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{MOST_HEAD, MOST_LINE};

    /// All that a stream brings, in pieces of `piece` bytes.
    fn read(stream: &[u8], piece: usize) -> Vec<Step> {
        let (mut reader, mut seen, mut steps) = (Reader::default(), SeenHead::new(), Vec::new());
        for mut bytes in stream.chunks(piece) {
            while !bytes.is_empty() {
                let (taken, step) = reader.read(bytes, &mut seen);
                assert!(taken > 0 && taken <= bytes.len(), "{taken} of {}", bytes.len());
                bytes = &bytes[taken..];
                if step != Step::More {
                    steps.push(step);
                }
                if matches!(step, Step::Refused(_)) {
                    return steps;
                }
            }
        }
        steps
    }

    /// The same in all pieces.
    fn brings(stream: &str, expected: &[Step]) {
        for piece in [1, 2, 3, 7, 64, stream.len()] {
            assert_eq!(read(stream.as_bytes(), piece), expected, "{stream:?} in pieces of {piece}");
        }
    }

    const KEPT: Request = Request { head_only: false, keeps: true, old: false };
    const LAST: Request = Request { keeps: false, ..KEPT };

    /// RFC 9112 section 9.3: who keeps a connection, by version and by what he says.
    #[test]
    fn what_keeps_a_connection() {
        let host = "Host: a\r\n";
        for (head, keeps, old) in [
            (format!("GET / HTTP/1.1\r\n{host}\r\n"), true, false),
            (format!("GET / HTTP/1.1\r\n{host}Connection: Close\r\n\r\n"), false, false),
            (format!("GET / HTTP/1.1\r\n{host}Connection: upgrade, close\r\n\r\n"), false, false),
            (format!("GET / HTTP/1.1\r\n{host}connection: closed\r\n\r\n"), true, false),
            ("GET / HTTP/1.0\r\n\r\n".into(), false, true),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".into(), true, true),
            ("GET / HTTP/1.0\nConnection: keep-alive, close\n\n".into(), false, true),
        ] {
            brings(&head, &[Step::Whole(Request { head_only: false, keeps, old })]);
        }
        brings("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", &[Step::Whole(Request { head_only: true, ..KEPT })]);
    }

    #[test]
    fn requests_behind_each_other_with_bodies_of_both_kinds() {
        let stream = "\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /GET / HTTP/1.1\r\nhost: a\r\n\r\n\
            PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
            5\r\nabcde\r\n1A;x=\"y\"\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nX: y\r\n\r\n\
            GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        brings(stream, &[Step::Whole(KEPT), Step::Whole(KEPT), Step::Whole(KEPT), Step::Whole(LAST)]);
    }

    /// RFC 9110 section 10.1.1: only with a body, and never to HTTP/1.0.
    #[test]
    fn who_waits_for_a_word_is_told() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok";
        brings(head, &[Step::Expects, Step::Whole(KEPT)]);
        brings("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", &[Step::Whole(KEPT)]);
        let old = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok";
        brings(old, &[Step::Whole(Request { keeps: false, old: true, ..KEPT })]);
        brings("GET / HTTP/1.1\r\nHost: a\r\nExpect: cake\r\n\r\n", &[Step::Refused(Refusal::Expectation)]);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let refused =
            |fields: &str, refusal| brings(&format!("GET / HTTP/1.1\r\n{fields}\r\n"), &[Step::Refused(refusal)]);
        refused("", Refusal::Malformed);
        refused("Host: a\r\nHost: b\r\n", Refusal::Malformed);
        for length in ["-1", "1, 2", "0x10", "", "18446744073709551616"] {
            refused(&format!("Host: a\r\nContent-Length: {length}\r\n"), Refusal::Malformed);
        }
        refused("Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n", Refusal::Malformed);
        refused("Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", Refusal::Malformed);
        refused("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", Refusal::Coding);
        refused("Host : a\r\n", Refusal::Malformed);
        brings("GET / HTTP/2.0\r\nHost: a\r\n\r\n", &[Step::Refused(Refusal::Version)]);
        brings("nonsense\r\n\r\n", &[Step::Refused(Refusal::Malformed)]);
        let chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in ["x\r\n", "\r\n", "\n", "10000000000000000\r\n", "1\r\nab\r\n"] {
            brings(&format!("{chunks}{body}"), &[Step::Refused(Refusal::Malformed)]);
        }
    }

    #[test]
    fn a_head_has_a_limit_and_so_have_its_fields_and_a_line_of_chunks() {
        let of = |bytes: usize| {
            let rest = bytes - "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(rest))
        };
        brings(&of(MOST_HEAD), &[Step::Whole(KEPT)]);
        brings(&of(MOST_HEAD + 2), &[Step::Refused(Refusal::HeadTooLarge)]);
        let fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(NO_FIELDS.len()));
        brings(&fields, &[Step::Refused(Refusal::HeadTooLarge)]);
        let chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let line = format!("{chunks}1;{}\r\n", "x".repeat(usize::from(MOST_LINE)));
        brings(&line, &[Step::Refused(Refusal::Malformed)]);
        let trailer = format!("{chunks}0\r\nX: {}\r\n\r\n", "x".repeat(usize::from(MOST_LINE)));
        brings(&trailer, &[Step::Refused(Refusal::Malformed)]);
    }
}
