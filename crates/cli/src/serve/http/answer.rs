//! The answers, made once a second with the date in them, and sent whole.

use std::time::{Duration, SystemTime};

use fourwave::{Bytes, Instant};

use super::request::{Refusal, Request};

/// A body is sent from the same buffer as its head up to here.
const TOGETHER: usize = 4096;
/// What body and head are made of; `Content-Type` says so.
const LINE: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n";

/// What a client is told of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// Nothing: it is kept.
    Kept,
    /// To one of HTTP/1.0 that has asked for it.
    KeptOld,
    Closed,
}

/// What is sent: the first part whole, then the second.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) head: Bytes,
    pub(super) body: Bytes,
}

/// All answers there are.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    body: Bytes,
    /// By [`Connection`], each with the head alone, and with a short body behind it.
    kept: [(Bytes, Bytes); 3],
    date: String,
    /// When the date is to be another.
    stale: Instant,
}

impl Answers {
    /// With a body of so many bytes.
    pub(super) fn new(body_bytes: usize) -> Self {
        let body: Vec<u8> = LINE.iter().copied().cycle().take(body_bytes).collect();
        Self { body: body.into(), kept: Default::default(), date: String::new(), stale: Instant::ZERO }
    }

    /// The answer to a request; `closes`: the last over its connection.
    pub(super) fn to(&mut self, now: Instant, request: Request, closes: bool) -> Answer {
        self.keep_date(now);
        let connection = match (closes, request.old) {
            (true, _) => Connection::Closed,
            (false, true) => Connection::KeptOld,
            (false, false) => Connection::Kept,
        };
        let (head, whole) = &self.kept[connection as usize];
        match (request.head_only, self.body.len() > TOGETHER) {
            (true, _) => Answer { head: head.clone(), body: Bytes::new() },
            (false, true) => Answer { head: head.clone(), body: self.body.clone() },
            (false, false) => Answer { head: whole.clone(), body: Bytes::new() },
        }
    }

    /// The last one over a connection, to what can't be understood.
    pub(super) fn refusal(&mut self, now: Instant, refusal: Refusal) -> Answer {
        self.keep_date(now);
        let (status, why) = match refusal {
            Refusal::Malformed => ("400 Bad Request", "this is no request of HTTP/1.1"),
            Refusal::Expectation => ("417 Expectation Failed", "only 100-continue can be expected"),
            Refusal::HeadTooLarge => ("431 Request Header Fields Too Large", "the head is too large"),
            Refusal::Coding => ("501 Not Implemented", "of the transfer codings there is only chunked"),
            Refusal::Version => ("505 HTTP Version Not Supported", "there are HTTP/1.0 and HTTP/1.1"),
        };
        let head = self.head(status, why.len() + 1, Connection::Closed);
        Answer { head: format!("{head}{why}\n").into_bytes().into(), body: Bytes::new() }
    }

    /// RFC 9110 section 10.1.1: go on.
    pub(super) const CONTINUE: &'static [u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

    fn keep_date(&mut self, now: Instant) {
        if now < self.stale {
            return;
        }
        let time = SystemTime::now();
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Anew with the clock's next second.
        let left = Duration::from_secs(1).saturating_sub(Duration::from_nanos(since.subsec_nanos().into()));
        self.stale = now + left.into();
        self.date = httpdate::fmt_http_date(time);
        self.kept = [Connection::Kept, Connection::KeptOld, Connection::Closed].map(|connection| {
            let head = self.head("200 OK", self.body.len(), connection).into_bytes();
            let body = if self.body.len() > TOGETHER { &[][..] } else { &self.body };
            (head.clone().into(), [&head, body].concat().into())
        });
    }

    fn head(&self, status: &str, length: usize, connection: Connection) -> String {
        let connection = match connection {
            Connection::Kept => "",
            Connection::KeptOld => "Connection: keep-alive\r\n",
            Connection::Closed => "Connection: close\r\n",
        };
        let date = &self.date;
        format!(
            "HTTP/1.1 {status}\r\nServer: fourwave\r\nDate: {date}\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\n{connection}\r\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Request = Request { head_only: false, keeps: true, old: false };
    const NOW: Instant = Instant::from_nanos(1);

    fn text(answer: &Answer) -> String {
        String::from_utf8([&answer.head[..], &answer.body].concat()).unwrap()
    }

    #[test]
    fn an_answer_has_its_length_and_says_what_becomes_of_the_connection() {
        for bytes in [0, 12, TOGETHER, TOGETHER + 1, 100_000] {
            let mut answers = Answers::new(bytes);
            for (request, closes, says) in [
                (GET, false, None),
                (GET, true, Some("Connection: close")),
                (Request { old: true, ..GET }, false, Some("Connection: keep-alive")),
                (Request { old: true, ..GET }, true, Some("Connection: close")),
            ] {
                let answer = text(&answers.to(NOW, request, closes));
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                assert_eq!(body.len(), bytes);
                let length = format!("Content-Length: {bytes}");
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.lines().any(|line| line == length));
                assert_eq!(head.lines().find(|line| line.starts_with("Connection")), says);
                let asked = Request { head_only: true, ..request };
                assert_eq!(
                    text(&answers.to(NOW, asked, closes)),
                    format!("{head}\r\n\r\n"),
                    "HEAD: the same without it"
                );
            }
        }
    }

    /// RFC 9110 section 5.6.7, and no later than a second.
    #[test]
    fn the_date_is_of_this_second() {
        let mut answers = Answers::new(0);
        let mut date = |now| {
            let text = text(&answers.to(now, GET, false));
            let line = text.lines().find_map(|line| line.strip_prefix("Date: ")).unwrap();
            httpdate::parse_http_date(line).unwrap()
        };
        let before = SystemTime::now() - Duration::from_secs(1);
        assert!((before..=SystemTime::now()).contains(&date(NOW)));
        let later = date(NOW + Duration::from_secs(1).into());
        assert!((before..=SystemTime::now()).contains(&later));
        assert!(answers.stale <= NOW + Duration::from_secs(2).into());
    }

    #[test]
    fn a_refusal_is_the_last_word() {
        let mut answers = Answers::new(12);
        for (refusal, status) in
            [(Refusal::Malformed, "400"), (Refusal::HeadTooLarge, "431"), (Refusal::Version, "505")]
        {
            let answer = text(&answers.refusal(NOW, refusal));
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status} ")) && head.ends_with("\r\nConnection: close"),
                "{head}"
            );
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");
        }
    }
}
