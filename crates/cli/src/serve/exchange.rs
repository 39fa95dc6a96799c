//! A server of requests and responses of given sizes: so many bytes that come are answered by so many.

use fourwave::{App, Bytes, ConnId, ConnMap, ConnectionError, Instant, Io, ListenerId};

use crate::stack::Accepted;

/// What is sent is as long as this at least, of whole responses if they are not longer.
const TEXT_BYTES: usize = 64 << 10;
/// Bytes of responses that may be owed before they are sent: those to short requests that came together go together.
const MOST_OWED: u64 = 64 << 10;
/// How often a connection is sent to before others get their turn: the kernel may pass bytes on as fast as they come.
const FILLS: usize = 16;

/// How to answer, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExchangeConfig {
    /// 0: nothing is waited for; then each connection is closed behind its response.
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    /// Each connection has one response.
    pub(crate) close: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Client {
    /// Bytes of a request that have come.
    heard: u64,
    /// Bytes of responses that are still to be sent.
    owed: u64,
    /// What is owed is the last; what comes behind its request is thrown away.
    ends: bool,
    peer_closed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Exchange {
    accepted: Accepted,
    config: ExchangeConfig,
    text: Bytes,
    clients: ConnMap<Client>,
    /// Those that take more at once.
    again: Vec<ConnId>,
}

impl Exchange {
    pub(super) fn new(accepted: Accepted, config: ExchangeConfig) -> Self {
        let text = text(config.response_bytes).into();
        Self { accepted, config, text, clients: ConnMap::new(), again: Vec::new() }
    }

    /// Sends what is owed, as much as there is room for; where that was the last, or the peer has closed, closes.
    fn pay(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        for _ in 0..FILLS {
            if client.owed == 0 {
                return self.settled(io, conn);
            }
            let mut rest = next_piece(&self.text, self.config.response_bytes, client.owed);
            // Its end is told as well.
            let Ok(taken) = io.send_bytes(conn, &mut rest) else { return };
            client.owed -= taken as u64;
            if !rest.is_empty() {
                return;
            }
        }
        self.again.push(conn);
    }

    /// Nothing is owed.
    fn settled(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        if client.ends || client.peer_closed && io.unread(conn) == Ok(0) {
            self.clients.remove(conn);
            let _ = io.close(conn);
        }
    }

    /// Counts requests, up to as many as may be owed; how many bytes that took.
    fn count(&mut self, conn: ConnId, data: &[u8]) -> usize {
        let ExchangeConfig { request_bytes, response_bytes, close } = self.config;
        let Some(client) = self.clients.get_mut(conn).filter(|client| !client.ends) else { return data.len() };
        let mut taken = 0;
        while taken < data.len() && client.owed < MOST_OWED && !client.ends {
            let piece = (request_bytes - client.heard).min((data.len() - taken) as u64);
            taken += usize::try_from(piece).unwrap_or(0);
            client.heard += piece;
            if client.heard == request_bytes {
                (client.heard, client.owed, client.ends) = (0, client.owed + response_bytes, close);
            }
        }
        // Behind the last request nothing is listened to.
        if client.ends { data.len() } else { taken }
    }
}

/// Whole responses, as far as they are short, or the beginning of one.
fn text(response_bytes: u64) -> Vec<u8> {
    let letters = (b'A'..=b'Z').cycle();
    match usize::try_from(response_bytes) {
        Ok(0) => Vec::new(),
        Ok(bytes @ ..TEXT_BYTES) => {
            let response: Vec<u8> = letters.take(bytes).collect();
            response.repeat(TEXT_BYTES.div_ceil(bytes))
        }
        _ => letters.take(TEXT_BYTES).collect(),
    }
}

/// What is to be sent next where so much is owed, in one piece.
fn next_piece(text: &Bytes, response_bytes: u64, owed: u64) -> Bytes {
    let len = text.len() as u64;
    // Of the response that is under way, so much has been sent.
    let sent = (response_bytes - owed % response_bytes) % response_bytes;
    let (from, until) = match response_bytes < TEXT_BYTES as u64 {
        true => (sent, len.min(sent + owed)),
        false => (sent % len, len.min(sent % len + response_bytes - sent)),
    };
    let index = |at| usize::try_from(at).unwrap_or(0);
    text.slice(index(from)..index(until))
}

impl App for Exchange {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        let _ = io.set_nodelay(conn, true);
        self.accepted.set(io, conn);
        let unasked = self.config.request_bytes == 0;
        let owed = if unasked { self.config.response_bytes } else { 0 };
        self.clients.insert(conn, Client { owed, ends: unasked, ..Client::default() });
        if unasked {
            self.pay(io, conn);
        }
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        let mut taken = 0;
        loop {
            taken += self.count(conn, &data[taken..]);
            self.pay(io, conn);
            // While the answer has no room nothing more is read: that closes the window, and the peer waits.
            if taken == data.len() || self.clients.get(conn).is_none_or(|client| client.owed >= MOST_OWED) {
                return taken;
            }
        }
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.pay(io, conn);
        if io.unread(conn).is_ok_and(|unread| unread > 0) {
            self.on_readable(io, conn);
            // The peer may have closed before that was read.
            self.pay(io, conn);
        }
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn) {
            client.peer_closed = true;
            self.pay(io, conn);
        }
    }

    fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, _: Option<ConnectionError>) {
        self.clients.remove(conn);
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        for conn in std::mem::take(&mut self.again) {
            self.on_writable(io, conn);
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        (!self.again.is_empty()).then_some(Instant::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However much is taken of a piece, each response is the letters from A on.
    #[test]
    fn responses_begin_where_they_should() {
        for response_bytes in [1, 5, 26, 100, 65_535, 65_536, 65_537, 200_000] {
            let text: Bytes = text(response_bytes).into();
            let responses = 200_000u64.div_ceil(response_bytes) + 2;
            let (mut owed, mut sent) = (responses * response_bytes, Vec::new());
            for most in (1..).step_by(1009) {
                if owed == 0 {
                    break;
                }
                let piece = next_piece(&text, response_bytes, owed);
                assert!(!piece.is_empty() && piece.len() as u64 <= owed, "{response_bytes}: {owed}");
                let taken = piece.len().min(most);
                sent.extend_from_slice(&piece[..taken]);
                owed -= taken as u64;
            }
            let bytes = usize::try_from(response_bytes).unwrap();
            assert_eq!(sent.len() as u64, responses * response_bytes);
            // A long one begins anew with the text.
            let expected = |at: usize| b'A' + u8::try_from(at % bytes % TEXT_BYTES % 26).unwrap();
            assert!(sent.iter().enumerate().all(|(at, byte)| *byte == expected(at)), "{response_bytes}");
        }
    }
}
