//! Responses of HTTP/1.1 (RFC 9112), however the stream is cut: their heads are read by httparse, their bodies passed over.

use std::borrow::Cow;

use httparse::Header;
use sha2::{Digest, Sha256};

use crate::http::{Body, Head, Malformed, NO_FIELDS, Seen, has_token, number};

/// A response that has been read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Of its body, without the framing of chunks.
    pub(super) bytes: u64,
    /// Its body has the SHA-256 it was to have, if there is one.
    pub(super) sum: bool,
    /// The server takes another request over the same connection.
    pub(super) keeps: bool,
}

/// What the next bytes of the stream have brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    More,
    Whole(Response),
    /// It is no HTTP/1.1, and what comes behind it can't be read.
    Malformed,
}

/// How far a body goes, RFC 9112 section 6.3.
#[derive(Clone, Copy, Debug)]
pub(super) enum Left {
    Known(Body),
    /// To the end of the connection.
    ToClose,
}

/// The last head, whichever connection it came over; and whether it was an answer to HEAD, which has no body.
pub(super) type SeenHead = Seen<(bool, Response, Left)>;

/// Reads the responses of one connection.
#[derive(Debug, Default)]
pub(in crate::load) struct Reader {
    head: Head,
    under_way: Option<(Response, Left)>,
    /// Of the body, where its sum is expected to be something.
    hash: Option<Box<Sha256>>,
}

impl Reader {
    /// Takes in the next bytes up to the end of a response, or all of them; `head_only`: it is one to HEAD; `sha256`: what its
    /// body is to have. How many were taken, and what that brought.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        head_only: bool,
        sha256: Option<&[u8; 32]>,
        seen: &mut SeenHead,
    ) -> (usize, Step) {
        let Self { under_way, hash, .. } = self;
        let (taken, step) = match under_way {
            None => {
                let (taken, step) = self.read_head(bytes, head_only, seen);
                return (taken, self.summed(step, sha256));
            }
            Some((response, left)) => {
                let hash = sha256.map(|_| hash.get_or_insert_default());
                response.pass(bytes, left, hash)
            }
        };
        if step != Step::More {
            *under_way = None;
        }
        (taken, self.summed(step, sha256))
    }

    /// With what its sum is.
    fn summed(&mut self, step: Step, sha256: Option<&[u8; 32]>) -> Step {
        match (step, sha256) {
            (Step::Whole(response), Some(wanted)) => {
                let sum = self.hash.get_or_insert_default().finalize_reset();
                Step::Whole(Response { sum: sum[..] == wanted[..], ..response })
            }
            (step, _) => step,
        }
    }

    /// The server has closed: the response that ended by that.
    pub(super) fn end(&mut self, sha256: Option<&[u8; 32]>) -> Option<Response> {
        let response = match self.under_way.take() {
            Some((response, Left::ToClose)) => response,
            _ => return None,
        };
        match self.summed(Step::Whole(response), sha256) {
            Step::Whole(response) => Some(response),
            Step::More | Step::Malformed => None,
        }
    }

    fn read_head(&mut self, bytes: &[u8], head_only: bool, seen: &mut SeenHead) -> (usize, Step) {
        let (taken, head) = self.head.read(bytes, Malformed, |whole| {
            if let Some((length, (_, response, left))) = seen.find(whole).filter(|(_, (head, ..))| *head == head_only) {
                return Ok(Some((length, (response, left))));
            }
            let (mut fields, mut parsed) = (NO_FIELDS, httparse::Response::new(&mut []));
            let mut parser = httparse::ParserConfig::default();
            parser.allow_obsolete_multiline_headers_in_responses(true);
            let done = parser.parse_response_with_uninit_headers(&mut parsed, whole, &mut fields);
            match done.map_err(|_| Malformed)? {
                httparse::Status::Complete(length) => {
                    let (response, left) = understand(&parsed, head_only)?;
                    seen.keep(&whole[..length], (head_only, response, left));
                    Ok(Some((length, (response, left))))
                }
                httparse::Status::Partial => Ok(None),
            }
        });
        let step = match head {
            // An interim one: the response is still to come.
            Ok(None | Some((Response { status: 100..=199, .. }, _))) => Step::More,
            Ok(Some((response, Left::Known(Body::Bytes(0))))) => Step::Whole(response),
            Ok(under_way) => {
                self.under_way = under_way;
                Step::More
            }
            Err(Malformed) => Step::Malformed,
        };
        (taken, step)
    }
}

impl Response {
    /// Passes over the next bytes of its body.
    fn pass(&mut self, bytes: &[u8], left: &mut Left, mut hash: Option<&mut Box<Sha256>>) -> (usize, Step) {
        let mut data = |data: &[u8]| {
            self.bytes += data.len() as u64;
            if let Some(hash) = &mut hash {
                hash.update(data);
            }
        };
        let (taken, over) = match left {
            Left::Known(body) => body.pass(bytes, data),
            Left::ToClose => {
                data(bytes);
                (bytes.len(), Ok(false))
            }
        };
        let step = match over {
            Ok(true) => Step::Whole(*self),
            Ok(false) => Step::More,
            Err(Malformed) => Step::Malformed,
        };
        (taken, step)
    }
}

/// A line that is folded as it may be no more, as one: who reads a response puts spaces there, RFC 9112 section 5.2.
fn unfolded(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'\n') {
        return value.into();
    }
    let byte = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
    value.iter().map(byte).collect::<Vec<_>>().into()
}

/// What a head says: the response, and how far its body goes.
fn understand(parsed: &httparse::Response<'_, '_>, head_only: bool) -> Result<(Response, Left), Malformed> {
    let old = parsed.version == Some(0);
    let (mut close, mut keep_alive, mut length, mut coded, mut chunked) = (false, false, None, false, false);
    for Header { name, value } in parsed.headers.iter() {
        let value = &*unfolded(value);
        if name.eq_ignore_ascii_case("connection") {
            close |= has_token(value, b"close");
            keep_alive |= has_token(value, b"keep-alive");
        } else if name.eq_ignore_ascii_case("content-length") {
            let this = number(value).ok_or(Malformed)?;
            if length.replace(this).is_some_and(|before| before != this) {
                return Err(Malformed);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            coded = true;
            // The last coding counts.
            chunked = value.rsplit(|&byte| byte == b',').next().is_some_and(|last| has_token(last, b"chunked"));
        }
    }
    let status = parsed.code.ok_or(Malformed)?;
    // RFC 9112 section 6.3, in its order.
    let left = match length {
        _ if head_only || matches!(status, 100..=199 | 204 | 304) => Left::Known(Body::Bytes(0)),
        _ if chunked => Left::Known(Body::chunked()),
        Some(bytes) if !coded => Left::Known(Body::Bytes(bytes)),
        _ => Left::ToClose,
    };
    let keeps = !close && (!old || keep_alive) && !matches!(left, Left::ToClose);
    Ok((Response { status, bytes: 0, sum: true, keeps }, left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::MOST_HEAD;

    /// What a stream brings in pieces of so many bytes, and its end.
    fn read(stream: &str, piece: usize, head_only: bool) -> (Vec<Step>, Option<Response>) {
        let (mut reader, mut seen, mut steps) = (Reader::default(), SeenHead::new(), Vec::new());
        for mut bytes in stream.as_bytes().chunks(piece) {
            while !bytes.is_empty() {
                let (taken, step) = reader.read(bytes, head_only, None, &mut seen);
                assert!(taken > 0 && taken <= bytes.len());
                bytes = &bytes[taken..];
                if step != Step::More {
                    steps.push(step);
                }
                if step == Step::Malformed {
                    return (steps, None);
                }
            }
        }
        (steps, reader.end(None))
    }

    fn brings(stream: &str, expected: &[Response], end: Option<Response>) {
        let expected: Vec<_> = expected.iter().map(|&response| Step::Whole(response)).collect();
        for piece in [1, 2, 5, 64, stream.len()] {
            assert_eq!(read(stream, piece, false), (expected.clone(), end), "{stream:?} in pieces of {piece}");
        }
    }

    const fn response(status: u16, bytes: u64, keeps: bool) -> Response {
        Response { status, bytes, sum: true, keeps }
    }

    /// RFC 9112 section 6.3: by length, by chunks, by nothing, and to the end of the connection.
    #[test]
    fn each_body_ends_where_it_does() {
        let stream = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/\
            HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na;x\r\n0123456789\r\n0\r\nX: y\r\n\r\n\
            HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n\
            HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\nx\
            HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 2\r\n\r\nxx";
        let kept = [(200, 5), (404, 0), (200, 13), (204, 0), (304, 0), (200, 1)];
        let mut expected: Vec<_> = kept.map(|(status, bytes)| response(status, bytes, true)).into();
        expected.push(response(500, 2, false));
        brings(stream, &expected, None);
        brings("HTTP/1.1 200 OK\r\n\r\nall of this", &[], Some(response(200, 11, false)));
        brings("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", &[response(200, 1, false)], None);
        brings("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\ntoo short", &[], None);
    }

    /// RFC 9112 section 5.2: a line that begins with a space or a tab goes on with the one before.
    #[test]
    fn a_folded_line_is_one() {
        let kept = [response(200, 5, true), response(200, 3, true)];
        let stream = "HTTP/1.1 200 OK\r\nServer: a\r\n  b\r\n\tc\r\nContent-Length:\r\n 5\r\n\r\nHTTP/\
            HTTP/1.1 200 OK\r\nX: a\r\n Content-Length: 9\r\nTransfer-Encoding: gzip,\r\n\tchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        brings(stream, &kept, None);
        let closes = "HTTP/1.1 200 OK\r\nConnection: x,\r\n  close\r\nContent-Length: 1\r\n\r\nx";
        brings(closes, &[response(200, 1, false)], None);
        // No value goes on before there is one.
        let first = "HTTP/1.1 200 OK\r\n X: a\r\n\r\n";
        assert_eq!(read(first, first.len(), false), (vec![Step::Malformed], None));
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let stream =
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let whole = Step::Whole(response(200, 0, true));
        assert_eq!(read(stream, 3, true), (vec![whole, whole], None));
    }

    /// FIPS 180-2, appendix B.1, and of nothing; however the body is framed and cut.
    #[test]
    fn bodies_have_their_sums() {
        let hex = |text: &str| {
            let digits: Vec<_> = (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect();
            <[u8; 32]>::try_from(digits).unwrap()
        };
        let abc = hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let nothing = hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let stream = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabc";
        for piece in [1, 2, 5, 64, stream.len()] {
            for wanted in [abc, nothing] {
                let (mut reader, mut seen, mut sums) = (Reader::default(), SeenHead::new(), Vec::new());
                for mut bytes in stream.as_bytes().chunks(piece) {
                    while !bytes.is_empty() {
                        let (taken, step) = reader.read(bytes, false, Some(&wanted), &mut seen);
                        bytes = &bytes[taken..];
                        if let Step::Whole(response) = step {
                            sums.push(response.sum);
                        }
                    }
                }
                sums.extend(reader.end(Some(&wanted)).map(|response| response.sum));
                assert_eq!(sums, [wanted == abc, wanted != abc, wanted == abc, wanted == abc], "pieces of {piece}");
            }
        }
    }

    #[test]
    fn nonsense_is_told() {
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for stream in [
            "SSH-2.0-OpenSSH\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
            format!("{chunks}x\r\n"),
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(MOST_HEAD)),
        ] {
            for piece in [1, 7, stream.len()] {
                assert_eq!(read(&stream, piece, false), (vec![Step::Malformed], None), "{stream:.60}");
            }
        }
    }

    /// The same head again means the same, but not as an answer to another method; one that only begins alike is another.
    #[test]
    fn a_head_that_was_seen_means_what_it_meant() {
        let five = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let (mut reader, mut seen) = (Reader::default(), SeenHead::new());
        let mut whole = |stream: &str, head_only| match reader.read(stream.as_bytes(), head_only, None, &mut seen) {
            (taken, Step::More) => reader.read(&stream.as_bytes()[taken..], head_only, None, &mut seen).1,
            (_, step) => step,
        };
        for _ in 0..3 {
            assert_eq!(whole(&format!("{five}hello"), false), Step::Whole(response(200, 5, true)));
            assert_eq!(whole(five, true), Step::Whole(response(200, 0, true)));
            let six = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!";
            assert_eq!(whole(six, false), Step::Whole(response(200, 6, true)));
            let closes = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
            assert_eq!(whole(closes, false), Step::Whole(response(200, 5, false)));
        }
    }
}
