//! Requests and their responses.

use fourwave::{ConnId, Duration, Instant, Io};

use super::{CloseBy, Load};
use crate::load::client::Asked;
use crate::load::pace::OpenLoop;
use crate::load::protocol::{Answer, Protocol, Step};
use crate::load::tally::Tally;

impl<P: Protocol> Load<P> {
    /// Sends another request, or as much of it as there is room for. Its time counts from `intended` on, and it may time out
    /// from `since` on.
    pub(super) fn ask(&mut self, io: &mut Io<'_>, conn: ConnId, intended: Instant, since: Instant) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        client.ask(Asked { intended, since, tag: self.protocol.next() });
        self.tally.requests += 1;
        self.tally.bytes_sent += client.push(io, conn, &self.protocol);
    }

    /// Part of a response came, or several.
    pub(super) fn take(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) {
        self.tally.bytes_received += data.len() as u64;
        let mut rest = data;
        // What is here already answers nothing that is asked from now on.
        let mut asked = self.clients.get(conn).map_or(0, |client| client.under_way.len());
        while !rest.is_empty() && !self.done {
            let Some(client) = self.clients.get_mut(conn) else { return };
            let (taken, step) = match client.under_way.front().filter(|_| asked > 0) {
                Some(asked) => self.protocol.read(&mut client.reader, asked.tag, rest),
                None => (rest.len(), Step::Malformed),
            };
            rest = &rest[taken..];
            match step {
                Step::More => {}
                Step::Whole(answer) => {
                    asked -= 1;
                    self.answered(io, conn, answer);
                }
                Step::Malformed => {
                    self.wrong(|tally| &mut tally.malformed);
                    self.drop_client(io, conn);
                }
            }
        }
    }

    pub(super) fn answered(&mut self, io: &mut Io<'_>, conn: ConnId, answer: Answer) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let Some((asked, all_sent)) = client.answered() else { return };
        if self.count(io, asked.intended, answer.expected) {
            return self.finish(io);
        }
        match self.config.close {
            None if answer.keeps && all_sent => self.ask_again(io, conn),
            None if all_sent => self.retire(io, conn),
            None => self.drop_client(io, conn),
            Some(by) => self.close(io, conn, by),
        }
    }

    /// A connection is open and that was it.
    pub(super) fn opened(&mut self, io: &mut Io<'_>, conn: ConnId, intended: Instant) {
        self.tally.requests += 1;
        if self.count(io, intended, true) {
            return self.finish(io);
        }
        self.close(io, conn, self.config.close.unwrap_or(CloseBy::Client));
    }

    /// A connection that is kept has answered.
    fn ask_again(&mut self, io: &mut Io<'_>, conn: ConnId) {
        match self.think {
            _ if self.open.is_some() => self.has_room(conn),
            _ if self.left.is_some() => {}
            None => self.ask(io, conn, io.now(), io.now()),
            Some(time) => self.think(io, time, Some(conn)),
        }
    }

    /// An answer is there. True: that is enough.
    fn count(&mut self, io: &Io<'_>, intended: Instant, expected: bool) -> bool {
        let now = self.now(io);
        self.settled(1);
        if let Some(open) = &mut self.open {
            open.last_answer = Some(now);
            // One of the warm-up.
            if self.tally.began.is_none_or(|from| intended < from) {
                return false;
            }
        }
        self.tally.responses += 1;
        let ns = Tally::record(&mut self.tally.latency, now - intended);
        if let Some(tap) = self.tap.as_mut().filter(|_| self.tally.began.is_some()) {
            tap.record(ns, now);
        }
        if !expected {
            self.wrong(|tally| &mut tally.unexpected);
        }
        // An open loop has it once its schedule is over.
        let most = self.config.requests.filter(|_| self.open.is_none());
        let done = self.tally.responses + self.tally.failures();
        self.tally.began.is_some() && most.is_some_and(|most| done >= most)
    }

    /// What fails counts towards the requests there are to be: a server that answers none would be asked for ever.
    pub(super) fn has_enough(&self) -> bool {
        let (tally, most) = (&self.tally, self.config.requests);
        let failed = tally.began.is_some() && tally.failures() > 0;
        failed && most.is_some_and(|most| tally.responses + tally.failures() >= most)
    }

    /// So many that were under way are answered, or lost.
    pub(super) fn settled(&mut self, count: u64) {
        let outstanding = match &mut self.open {
            Some(open) => Some(&mut open.outstanding),
            None => self.left.as_mut(),
        };
        outstanding.into_iter().for_each(|outstanding| *outstanding = outstanding.saturating_sub(count));
    }

    /// An open loop may use a connection, if it may.
    pub(super) fn has_room(&mut self, conn: ConnId) {
        let (Some(open), Some(client)) = (&mut self.open, self.clients.get_mut(conn)) else { return };
        if !client.free && self.config.close.is_none() && client.has_room(self.config.pipeline) {
            client.free = true;
            open.free(conn, self.config.connections, |conn| self.clients.get(conn).is_some());
        }
    }

    /// The connection that has had room for longest.
    fn with_room(&mut self) -> Option<ConnId> {
        loop {
            let conn = self.open.as_mut()?.take_free()?;
            let Some(client) = self.clients.get_mut(conn) else { continue };
            client.free = false;
            if client.has_room(self.config.pipeline) {
                return Some(conn);
            }
        }
    }

    /// Sends what has become due in an open loop.
    pub(super) fn send_due(&mut self, io: &mut Io<'_>) {
        if self.config.close.is_none() {
            self.open_missing(io);
        }
        if self.open.as_ref().is_some_and(OpenLoop::waits) {
            let now = self.now(io);
            self.open.iter_mut().for_each(|open| open.looks(now));
        }
        while !self.done {
            let now = self.now(io);
            let Some((intended, measured)) = self.due(now) else { return };
            let begun = self.begin_due(io, intended);
            let Some(open) = self.open.as_mut() else { return };
            if !begun {
                return open.finds_no_room(now);
            }
            open.outstanding += 1;
            open.advance(measured);
            if measured {
                self.tally.sending.begun(intended, now, open.held());
            }
        }
    }

    /// The arrival that is due by now, and whether it is measured.
    fn due(&self, now: Instant) -> Option<(Instant, bool)> {
        let (open, start) = (self.open.as_ref()?, *self.shared.start.get()?);
        let (due, from) = (open.next().filter(|due| *due <= now)?, start + self.config.warmup.into());
        // The clock goes on within a turn: what is measured waits for the one in which measuring begins.
        (due < from || self.tally.began.is_some()).then_some((due, due >= from))
    }

    /// Begins what is due, if there is room for it.
    fn begin_due(&mut self, io: &mut Io<'_>, intended: Instant) -> bool {
        if self.config.close.is_some() {
            return self.missing > 0 && io.now() >= self.retry_at && self.open_one(io, intended);
        }
        let Some(conn) = self.with_room() else { return false };
        self.ask(io, conn, intended, io.now());
        self.has_room(conn);
        true
    }

    /// Nothing is asked for so long: over a connection, or before one is opened.
    pub(super) fn think(&mut self, io: &Io<'_>, time: Duration, conn: Option<ConnId>) {
        // Those of connections that ended meanwhile are dead.
        if self.thinking.len() > 2 * self.config.connections + 64 {
            let clients = &self.clients;
            self.thinking.retain(|(_, conn)| conn.is_none_or(|conn| clients.get(conn).is_some()));
        }
        self.thinking.push_back((io.now() + time, conn));
    }

    /// Whoever has thought for long enough asks.
    pub(super) fn think_on(&mut self, io: &mut Io<'_>) {
        while self.thinking.front().is_some_and(|(until, _)| *until <= io.now()) {
            match self.thinking.pop_front().and_then(|(_, conn)| conn) {
                None => self.missing += 1,
                Some(conn) if self.clients.get(conn).is_some_and(|client| client.has_room(1)) => {
                    self.ask(io, conn, io.now(), io.now());
                }
                Some(_) => {}
            }
        }
    }
}
