//! Kinds of traffic with servers that answer: `serve http`, and `serve exchange`.

use std::thread;
use std::time::Duration;

use crate::conn::{Conn, Failure, Went};
use crate::echo::{Client, Lane, closed};

/// Bytes of a body of `serve http` here; more than go with the head, and several segments.
pub(crate) const BODY_BYTES: usize = 20_000;
/// After so long without a word `serve http` closes a connection here: longer than a request takes that the path has lost several
/// times, or that waits for a link. It would be asked in vain.
pub(crate) const SILENCE_S: &str = "12";
/// What `serve exchange` is asked for and answers here.
pub(crate) const REQUEST_BYTES: u64 = 1000;
pub(crate) const RESPONSE_BYTES: usize = 300_000;

/// The line of which a body of `serve http` is made.
const LINE: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n";
/// An answer of `serve exchange` is the alphabet again and again, from its beginning in every piece of so many bytes.
const TEXT_BYTES: usize = 64 << 10;

pub(crate) const HTTP: [Lane; 4] = [
    Lane { kind: "kept", round: kept, pause_ms: (80, 500) },
    Lane { kind: "closed by the server", round: server_closes, pause_ms: (30, 200) },
    Lane { kind: "silent", round: silent, pause_ms: (100, 1000) },
    Lane { kind: "abort", round: http_abort, pause_ms: (100, 700) },
];

pub(crate) const EXCHANGE: [Lane; 4] = [
    Lane { kind: "download", round: download, pause_ms: (300, 1500) },
    Lane { kind: "half-closed", round: half_closed, pause_ms: (500, 2500) },
    Lane { kind: "slow reader", round: slow_download, pause_ms: (200, 1000) },
    Lane { kind: "abort", round: download_abort, pause_ms: (100, 700) },
];

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: soak\r\n\r\n";
const GET_AND_CLOSE: &[u8] = b"GET / HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n";

/// Some requests over one connection, which the client closes.
fn kept(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    let requests = client.between(1, 15);
    conn.finish_by(|conn| {
        for _ in 0..requests {
            conn.send_bytes(GET)?;
            response(conn)?;
        }
        closed(conn)
    });
}

/// One request; the server closes first, and has the TIME-WAIT record.
fn server_closes(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    conn.finish_by(|conn| {
        conn.send_bytes(GET_AND_CLOSE)?;
        response(conn)?;
        conn.expect_end().map(|()| Went::Whole)
    });
}

/// Says nothing, or has said something before, until the server closes.
fn silent(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    let asks = client.rng.percent(50);
    conn.finish_by(|conn| {
        if asks {
            conn.send_bytes(GET)?;
            response(conn)?;
        }
        conn.expect_end().map(|()| Went::Whole)
    });
}

/// Several requests, and a reset amid their answers.
fn http_abort(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    let bytes = usize::try_from(client.between(1, 30_000)).unwrap_or(1);
    conn.finish_by(|conn| {
        conn.send_bytes(&GET.repeat(3))?;
        conn.read_exact(&mut vec![0; bytes])?;
        conn.linger_not().map(|()| Went::Reset)
    });
}

/// A whole response with the body that it should have.
fn response(conn: &Conn) -> Result<(), Failure> {
    let mut head = Vec::new();
    let mut body = loop {
        let before = head.len();
        head.resize(before + 2048, 0);
        let count = conn.read_some(&mut head[before..])?;
        head.truncate(before + count);
        if let Some(at) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break head.split_off(at + 4);
        }
        if head.len() > 4096 {
            return Err(Failure::Changed("a response has no end of its head".into()));
        }
    };
    if !head.starts_with(b"HTTP/1.1 200 OK\r\n") || body.len() > BODY_BYTES {
        return Err(Failure::Changed(format!("a response begins with {}", head[..16].escape_ascii())));
    }
    let came = body.len();
    body.resize(BODY_BYTES, 0);
    conn.read_exact(&mut body[came..])?;
    let expected = LINE.iter().cycle();
    match body.iter().zip(expected).position(|(came, expected)| came != expected) {
        None => Ok(()),
        Some(at) => Err(Failure::Changed(format!("byte {at} of a body is not the one that was sent"))),
    }
}

/// Some requests, each with its whole answer.
fn download(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    let requests = client.between(1, 4);
    conn.finish_by(|conn| {
        for _ in 0..requests {
            conn.send(REQUEST_BYTES)?;
            letters(conn, RESPONSE_BYTES, Duration::ZERO)?;
        }
        closed(conn)
    });
}

/// Several requests and our FIN; then all the answers.
fn half_closed(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    let requests = client.between(1, 4);
    conn.finish_by(|conn| {
        conn.send(REQUEST_BYTES * requests)?;
        conn.half_close()?;
        for _ in 0..requests {
            letters(conn, RESPONSE_BYTES, Duration::ZERO)?;
        }
        conn.expect_end().map(|()| Went::Whole)
    });
}

/// Requests at once, and a window that is closed for some seconds.
fn slow_download(client: &mut Client) {
    let Some(conn) = client.open_with(Some(8 << 10)) else { return };
    let wait = client.ms(500, 4000);
    conn.finish_by(|conn| {
        conn.send(REQUEST_BYTES * 2)?;
        thread::sleep(wait);
        for _ in 0..2 {
            letters(conn, RESPONSE_BYTES, Duration::from_millis(4))?;
        }
        closed(conn)
    });
}

fn download_abort(client: &mut Client) {
    let Some(conn) = client.open() else { return };
    let bytes = usize::try_from(client.between(1, 200_000)).unwrap_or(1);
    conn.finish_by(|conn| {
        conn.send(REQUEST_BYTES * 2)?;
        letters(conn, bytes, Duration::ZERO)?;
        conn.linger_not().map(|()| Went::Reset)
    });
}

/// The first so many bytes of an answer of `serve exchange`, `pace` for each piece.
fn letters(conn: &Conn, bytes: usize, pace: Duration) -> Result<(), Failure> {
    let mut piece = [0; 16 << 10];
    let mut at = 0;
    while at < bytes {
        let most = piece.len().min(bytes - at);
        let count = conn.read_some(&mut piece[..most])?;
        let expected = (at..).map(|place| b'A' + u8::try_from(place % TEXT_BYTES % 26).unwrap_or(0));
        if let Some(wrong) = piece[..count].iter().zip(expected).position(|(came, expected)| *came != expected) {
            return Err(Failure::Changed(format!("byte {} of an answer is not the one that was sent", at + wrong)));
        }
        at += count;
        thread::sleep(pace);
    }
    Ok(())
}
