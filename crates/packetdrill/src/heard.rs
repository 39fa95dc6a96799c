//! What the shard tells: noted here, looked at when the shard has returned.

use stack::{App, ConnId, Error, Io, ListenerId};
use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) enum Event {
    /// Connections wait to be accepted.
    Acceptable(ListenerId),
    Connected(ConnId),
    /// More bytes are queued.
    Readable(ConnId),
    Writable(ConnId),
    PeerClosed(ConnId),
    /// The end, and what was left unread: the handle is dead.
    Closed(ConnId, Option<Error>, Vec<u8>),
}

/// The application of the shard: it takes nothing and closes nothing, the calls do.
#[derive(Debug, Default)]
pub(crate) struct Heard(pub(crate) VecDeque<Event>);

impl App for Heard {
    fn on_acceptable(&mut self, _: &mut Io<'_>, listener: ListenerId) {
        self.0.push_back(Event::Acceptable(listener));
    }

    fn on_connected(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.0.push_back(Event::Connected(conn));
    }

    fn on_data(&mut self, _: &mut Io<'_>, conn: ConnId, _: &[u8]) -> usize {
        self.0.push_back(Event::Readable(conn));
        0
    }

    fn on_readable(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.0.push_back(Event::Readable(conn));
    }

    fn on_writable(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.0.push_back(Event::Writable(conn));
    }

    fn on_peer_closed(&mut self, _: &mut Io<'_>, conn: ConnId) {
        self.0.push_back(Event::PeerClosed(conn));
    }

    fn on_closed(&mut self, io: &mut Io<'_>, conn: ConnId, error: Option<Error>) {
        let mut rest = vec![0; io.unread(conn).unwrap_or(0)];
        let n = io.read(conn, &mut rest).unwrap_or(0);
        rest.truncate(n);
        self.0.push_back(Event::Closed(conn, error, rest));
    }
}
