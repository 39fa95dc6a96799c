//! One connection of the generator, and what is under way on it.

use std::collections::VecDeque;

use fourwave::{ConnId, Instant, Io, TimerId};

use super::protocol::Protocol;

/// A request that is not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<T> {
    /// When it was to go: from here on its time counts.
    pub(super) intended: Instant,
    /// When it was given to the stack: from here on it may time out.
    pub(super) since: Instant,
    pub(super) tag: T,
}

/// Requests that are not answered, oldest first.
pub(super) type UnderWay<T> = VecDeque<Asked<T>>;

#[derive(Debug)]
pub(super) struct Client<P: Protocol> {
    /// When its SYN went, and when it was to.
    pub(super) since: Instant,
    pub(super) intended: Instant,
    pub(super) connected: bool,
    /// The server has said that it will take no more.
    pub(super) last: bool,
    /// An open loop has it among those with room.
    pub(super) free: bool,
    pub(super) reader: P::Reader,
    pub(super) under_way: UnderWay<P::Tag>,
    /// So many of them, the youngest, the send buffer had no room for yet; and of the first of those it has so many bytes.
    unsent: usize,
    begun: usize,
    pub(super) timer: Option<TimerId>,
}

impl<P: Protocol> Client<P> {
    /// `under_way` is an empty one.
    pub(super) fn new(intended: Instant, since: Instant, under_way: UnderWay<P::Tag>) -> Self {
        Self {
            since,
            intended,
            connected: false,
            last: false,
            free: false,
            reader: P::Reader::default(),
            under_way,
            unsent: 0,
            begun: 0,
            timer: None,
        }
    }

    /// Another request may be sent, if so many may be under way.
    pub(super) fn has_room(&self, pipeline: usize) -> bool {
        self.connected && !self.last && self.unsent == 0 && self.under_way.len() < pipeline
    }

    /// Another request is under way, of which nothing is sent.
    pub(super) fn ask(&mut self, asked: Asked<P::Tag>) {
        self.under_way.push_back(asked);
        self.unsent += 1;
    }

    /// Sends as much as there is room for. How many bytes that was.
    pub(super) fn push(&mut self, io: &mut Io<'_>, conn: ConnId, protocol: &P) -> u64 {
        let mut bytes = 0;
        while let Some(asked) = self.under_way.len().checked_sub(self.unsent).and_then(|at| self.under_way.get(at)) {
            let rest = &protocol.bytes(asked.tag)[self.begun..];
            // Its end is told as well, with the reason.
            let Ok(sent) = io.send(conn, rest) else { break };
            bytes += sent as u64;
            if sent < rest.len() {
                self.begun += sent;
                break;
            }
            (self.begun, self.unsent) = (0, self.unsent - 1);
        }
        bytes
    }

    /// The oldest is answered; and whether all of it was sent, without which no other request can follow. `None`: nothing was asked.
    pub(super) fn answered(&mut self) -> Option<(Asked<P::Tag>, bool)> {
        let all_sent = self.unsent < self.under_way.len();
        Some((self.under_way.pop_front()?, all_sent))
    }

    /// Since when something is waited for that may time out.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        match self.under_way.front() {
            Some(oldest) if self.connected => Some(oldest.since),
            // For the connection, or for the server to close it.
            _ => (!self.connected || self.last).then_some(self.since),
        }
    }
}
