//! The servers, over either stack.

use super::exchange::Exchange;
use super::http::Http;
use super::sockperf::Messages;
use super::{Config, Service, chargen_text, ready};
use crate::args::Stack;
use crate::stack::{self, Accepted};
use crate::stop::Stop;
use fourwave::{App, Bytes, ConnId, ConnMap, ConnectionError, Instant, Io, ListenerId, Running};

/// How often characters are sent to one reader before others get their turn: the kernel may pass them on as fast as they come.
const FILLS: usize = 16;

pub(super) fn run(config: &Config, stop: &Stop) -> anyhow::Result<()> {
    let accepted = Accepted::of(&config.at.tcp);
    match config.service {
        Service::Echo => serve(config, stop, Echo { accepted, ending: ConnMap::new() }),
        Service::Http => serve(config, stop, Http::new(accepted, config.http)),
        Service::Discard => serve(config, stop, Discard { accepted }),
        Service::Sockperf => serve(config, stop, Sockperf { accepted, clients: ConnMap::new(), answer: Vec::new() }),
        Service::Chargen => serve(config, stop, Chargen::new(accepted)),
        Service::Exchange => serve(config, stop, Exchange::new(accepted, config.exchange)),
    }
}

fn serve<A: App + Clone + Send + 'static>(config: &Config, stop: &Stop, app: A) -> anyhow::Result<()> {
    let stack = stack::of_choice(&config.at, config.listen.ip(), config.kernel_wait)?;
    let stack = stack.listen(config.listen).drain_time(stack::duration(config.drain_time));
    stack::run(stack, app, stop, |running: &Running<A>| {
        let how = match config.at.stack {
            Stack::Kernel => format!("kernel, {}", config.kernel_wait.name()),
            _ => stack::place(running),
        };
        // The port may have been left open.
        ready(running.listening().first().copied().unwrap_or(config.listen), &how);
    })
}

/// Sends back what comes; after the peer's FIN the rest of it, then ours.
#[derive(Clone, Debug)]
struct Echo {
    accepted: Accepted,
    /// Those whose peer has closed.
    ending: ConnMap<()>,
}

impl Echo {
    /// Sends back what is queued, and closes when all of it is and no more will come.
    fn pump(&mut self, io: &mut Io<'_>, conn: ConnId) {
        if io.forward(conn, conn).is_ok() && self.ending.get(conn).is_some() && io.unread(conn) == Ok(0) {
            self.ending.remove(conn);
            let _ = io.close(conn);
        }
    }
}

impl App for Echo {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        let _ = io.set_nodelay(conn, true);
        self.accepted.set(io, conn);
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        // What there is no room for stays queued: that closes the window, and the peer waits.
        io.send(conn, data).unwrap_or(data.len())
    }

    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.pump(io, conn);
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.pump(io, conn);
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.ending.insert(conn, ());
        self.pump(io, conn);
    }

    fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, _: Option<ConnectionError>) {
        self.ending.remove(conn);
    }
}

/// Reads what was queued, such as what came behind a gap, and throws it away.
fn discard(io: &mut Io<'_>, conn: ConnId) {
    while let Ok(true) = io.read_with(conn, |data| (data.len(), !data.is_empty())) {}
}

/// Sends back sockperf's messages that ask for it, marked as a server's.
#[derive(Clone, Debug)]
struct Sockperf {
    accepted: Accepted,
    clients: ConnMap<Asking>,
    /// What goes back of the bytes that are looked at.
    answer: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Asking {
    messages: Messages,
    /// What there was no room for. Until it has gone nothing more is taken: that closes the window.
    unsent: Vec<u8>,
}

impl App for Sockperf {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        let _ = io.set_nodelay(conn, true);
        self.accepted.set(io, conn);
        self.clients.insert(conn, Asking::default());
    }

    fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
        let Some(client) = self.clients.get_mut(conn) else { return data.len() };
        let mut taken = 0;
        for piece in data.chunks(4096) {
            if !client.unsent.is_empty() {
                break;
            }
            self.answer.clear();
            client.messages.take(piece, &mut self.answer);
            taken += piece.len();
            if !self.answer.is_empty() {
                let sent = io.send(conn, &self.answer).unwrap_or(self.answer.len());
                client.unsent.extend_from_slice(&self.answer[sent..]);
            }
        }
        taken
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let sent = io.send(conn, &client.unsent).unwrap_or(client.unsent.len());
        client.unsent.drain(..sent);
        if client.unsent.is_empty() {
            self.on_readable(io, conn);
            if io.info(conn).is_ok_and(|info| info.state == fourwave::State::CloseWait) {
                self.on_peer_closed(io, conn);
            }
        }
    }

    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let done = self.clients.get(conn).is_none_or(|client| client.unsent.is_empty());
        if done && io.unread(conn).is_ok_and(|n| n == 0) {
            self.clients.remove(conn);
            let _ = io.close(conn);
        }
    }

    fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, _: Option<ConnectionError>) {
        self.clients.remove(conn);
    }
}

/// Throws away what comes.
#[derive(Clone, Debug)]
struct Discard {
    accepted: Accepted,
}

impl App for Discard {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.accepted.set(io, conn);
    }

    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }

    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        discard(io, conn);
    }
}

/// Sends characters without end, to everybody at the pace they read.
#[derive(Clone, Debug)]
struct Chargen {
    accepted: Accepted,
    text: Bytes,
    /// Where in the text a connection goes on.
    at: ConnMap<usize>,
    /// Those that take more at once.
    again: Vec<ConnId>,
}

impl Chargen {
    fn new(accepted: Accepted) -> Self {
        Self { accepted, text: chargen_text().into(), at: ConnMap::new(), again: Vec::new() }
    }

    fn fill(&mut self, io: &mut Io<'_>, conn: ConnId) {
        let at = self.at.get_or_insert_with(conn, || 0);
        for _ in 0..FILLS {
            let mut rest = self.text.slice(*at..);
            let Ok(_) = io.send_bytes(conn, &mut rest) else { return };
            if !rest.is_empty() {
                *at = self.text.len() - rest.len();
                return;
            }
            *at = 0;
        }
        self.again.push(conn);
    }
}

impl App for Chargen {
    fn on_accept(&mut self, io: &mut Io<'_>, conn: ConnId, _: ListenerId) {
        self.accepted.set(io, conn);
        self.fill(io, conn);
    }

    fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
        data.len()
    }

    fn on_readable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        discard(io, conn);
    }

    fn on_writable(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.fill(io, conn);
    }

    /// The reader has gone: what it has not acknowledged is of no use to it (RFC 864 lets the user end it).
    fn on_peer_closed(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.at.remove(conn);
        let _ = io.abort(conn);
    }

    fn on_closed(&mut self, _: &mut Io<'_>, conn: ConnId, error: Option<ConnectionError>) {
        self.at.remove(conn);
        tracing::debug!(connection = conn.index(), ?error, "chargen");
    }

    fn on_turn(&mut self, io: &mut Io<'_>) {
        for conn in std::mem::take(&mut self.again) {
            // Not of one that has ended meanwhile.
            if self.at.get(conn).is_some() {
                self.fill(io, conn);
            }
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        (!self.again.is_empty()).then_some(Instant::ZERO)
    }
}
