//! Connections: how they begin and end.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use anyhow::anyhow;
use fourwave::{ConnId, ConnectError, ConnectionError, Duration, Instant, Io};

use super::{CloseBy, Load};
use crate::load::client::Client;
use crate::load::connect;
use crate::load::pace::Evenly;
use crate::load::protocol::Protocol;
use crate::ping;

/// Connections begun in one turn: a burst that a SYN queue and a ring take.
const OPENS: usize = 64;
/// How long none is begun behind one that failed.
pub(super) const RETRY: Duration = Duration::from_millis(10);

/// What a connection was when it ended.
pub(super) struct Gone {
    pub(super) connected: bool,
    pub(super) last: bool,
    pub(super) unanswered: usize,
}

impl<P: Protocol> Load<P> {
    /// Lets connections in that are to be opened at last, evenly.
    pub(super) fn let_in(&mut self, now: Instant) {
        let Self { config, ramp, missing, .. } = self;
        *missing += ramp.get_or_insert_with(|| Evenly::new(config.connections, config.ramp_up, now)).due(now);
    }

    /// Begins connections that are missing.
    pub(super) fn open_missing(&mut self, io: &mut Io<'_>) {
        if self.missing == 0 || io.now() < self.retry_at || self.done || self.left.is_some() {
            return;
        }
        for _ in 0..OPENS.min(self.missing) {
            if !self.open_one(io, io.now()) {
                return;
            }
        }
    }

    /// Begins a connection, if one can be.
    pub(super) fn open_one(&mut self, io: &mut Io<'_>, intended: Instant) -> bool {
        match connect(&self.config, &mut self.source, io) {
            Ok(conn) => {
                self.missing -= 1;
                let mut client = Client::new(intended, io.now(), self.spare.pop().unwrap_or_default());
                client.timer = io.start_timer(self.timeout, conn.to_bits()).ok();
                self.clients.insert(conn, client);
                true
            }
            // Ports in TIME-WAIT come back, and so does room.
            Err(ConnectError::NoPort | ConnectError::TooMany) if self.reached => {
                self.wrong(|tally| &mut tally.connect_errors);
                self.tally.no_port += 1;
                self.retry_at = io.now() + RETRY;
                false
            }
            Err(error) => {
                let from = match &self.config.sources[..] {
                    [] => String::new(),
                    [only] => format!(" from {only}"),
                    [first, .., last] => format!(" from {first} to {last}"),
                };
                self.fail(io, anyhow!("cannot connect to {}{from}: {error}", self.config.target));
                false
            }
        }
    }

    /// A connection has done what it was there for.
    pub(super) fn close(&mut self, io: &mut Io<'_>, conn: ConnId, by: CloseBy) {
        self.retire(io, conn);
        match by {
            CloseBy::Client => {
                self.forget(io, conn);
                let _ = io.close(conn);
            }
            CloseBy::Reset => self.drop_client(io, conn),
            CloseBy::Server => {}
        }
    }

    /// Nothing more is asked over a connection: the server closes it, if we don't.
    pub(super) fn retire(&mut self, io: &Io<'_>, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn) {
            (client.last, client.since) = (true, io.now());
        }
    }

    /// Gives a connection up; another will be opened.
    pub(super) fn drop_client(&mut self, io: &mut Io<'_>, conn: ConnId) {
        self.forget(io, conn);
        let _ = io.abort(conn);
    }

    /// A connection is over, on our side at least: another takes its place.
    pub(super) fn forget(&mut self, io: &mut Io<'_>, conn: ConnId) -> Option<Gone> {
        let mut client = self.clients.remove(conn)?;
        if let Some(timer) = client.timer.take() {
            io.stop_timer(timer);
        }
        if client.connected {
            self.shared.open.fetch_sub(1, Ordering::Relaxed);
        }
        match self.think {
            // It was one to be answered.
            Some(time) if client.last => self.think(io, time, None),
            _ => self.missing += 1,
        }
        let gone = Gone { connected: client.connected, last: client.last, unanswered: client.under_way.len() };
        // One that was to ask when it was open has not.
        let owes = usize::from(self.config.close.is_some() && !gone.connected);
        self.settled((gone.unanswered + owes) as u64);
        client.under_way.clear();
        self.spare.push(client.under_way);
        Some(gone)
    }

    /// Why the server could not be reached at all, and what to do about it.
    pub(super) fn sentence(&self, error: ConnectionError) -> anyhow::Error {
        let (target, server) = (self.config.target, self.server);
        match fourwave::io_error_kind(error) {
            ErrorKind::ConnectionRefused => anyhow!(
                "{target} refused the connection: start a server there, such as `fourwave serve {server} --listen {target}`"
            ),
            kind => ping::sentence(target, &kind.into()),
        }
    }
}
