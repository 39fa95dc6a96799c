//! Listing connections a piece at a time, so that a million of them don't stop the loop. Nobody at rest is woken for it.

use super::{Instant, Shard};
use crate::{flow::FlowKey, handle::Via, listen::Listener};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tcp::{Info, Listing, Look, State, Why};
use wheel::Duration;

/// What `fourwave ss` shows of one connection, record or listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's; of a listener the unspecified address of its family, port 0.
    pub remote: SocketAddr,
    /// The state.
    pub state: State,
    /// By which way it goes.
    pub via: Via,
    /// Bytes accepted from the application and not acknowledged.
    pub send_queue_bytes: u32,
    /// Bytes received in order and not read.
    pub receive_queue_bytes: u32,
    /// Smoothed round-trip time.
    pub srtt: Option<Duration>,
    /// Congestion window, bytes.
    pub cwnd_bytes: u32,
    /// Segments sent again.
    pub retransmits: u32,
    /// The timer that is due first, and in how long.
    pub timer: Option<(&'static str, Duration)>,
    /// Since the connection was opened; for TIME-WAIT, since that began.
    pub age: Duration,
    /// Since it came into its state. In CLOSE-WAIT: how long the application has sat on the peer's FIN.
    pub state_age: Duration,
    /// Why it is not sending; `None` of a listener, and of the kernel's connections.
    pub why: Option<Why>,
    /// Everything else.
    pub more: More,
    /// When it was looked at.
    pub at: Instant,
}

/// What only some of those listed have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // nearly all are connections
pub enum More {
    /// A record: SYN-RECEIVED, TIME-WAIT.
    Nothing,
    /// A connection, of the stack's own or over the kernel's sockets.
    Connection(Info, Listing),
    /// A listener.
    Listener(Waiting),
}

/// Who waits at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Connections nobody has accepted yet.
    pub accept_queue: u32,
    /// How many of those there may be; `None`: the application takes each at once.
    pub accept_queue_limit: Option<u32>,
    /// Connections in SYN-RECEIVED.
    pub half_open: u32,
    /// How many of those there may be.
    pub backlog: u32,
}

/// Whether one between these ends, ours first, and in this state is to be listed.
pub type Wanted<'a> = &'a dyn Fn(SocketAddr, SocketAddr, State) -> bool;

/// Where a listing goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    pub(super) connection: u32,
    pub(super) half_open: u32,
    pub(super) time_wait: u32,
    pub(super) foreign: u32,
    /// Of the kernel's connections all were listed.
    pub(super) foreign_over: bool,
    pub(super) listener: u32,
}

impl Cursor {
    /// As numbers, for who has to send it somewhere.
    #[must_use]
    pub const fn to_numbers(self) -> [u32; 6] {
        [self.connection, self.half_open, self.time_wait, self.foreign, self.foreign_over as u32, self.listener]
    }

    /// From the numbers of another one. (Those of none name a place as well, and do no harm.)
    #[must_use]
    pub const fn from_numbers(numbers: [u32; 6]) -> Self {
        let [connection, half_open, time_wait, foreign, over, listener] = numbers;
        Self { connection, half_open, time_wait, foreign, foreign_over: over != 0, listener }
    }
}

impl ConnectionInfo {
    /// Of one that has nothing but its ends, a state and an age.
    #[must_use]
    pub const fn bare(at: Instant, local: SocketAddr, remote: SocketAddr, state: State, age: Duration) -> Self {
        Self {
            local,
            remote,
            state,
            via: Via::Stack,
            send_queue_bytes: 0,
            receive_queue_bytes: 0,
            srtt: None,
            cwnd_bytes: 0,
            retransmits: 0,
            timer: None,
            age,
            state_age: age,
            why: None,
            more: More::Nothing,
            at,
        }
    }
}

impl Shard {
    /// Adds up to `max` slots' connections, then those in SYN-RECEIVED, then TIME-WAIT records, then connections over the kernel's
    /// sockets, to `out`; `None` when the listing is complete.
    pub fn list(&self, now: Instant, cursor: Cursor, max: u32, out: &mut Vec<ConnectionInfo>) -> Option<Cursor> {
        self.list_if(now, cursor, max, &|_, _, state| state != State::Listen, out)
    }

    /// As [`list`](Self::list), of those that are wanted; at the end come listeners. No more is done for one that is not wanted than
    /// to see who it is.
    pub fn list_if(
        &self,
        now: Instant,
        cursor: Cursor,
        max: u32,
        wanted: Wanted<'_>,
        out: &mut Vec<ConnectionInfo>,
    ) -> Option<Cursor> {
        let piece = |from: u32, slots: u32| (from < slots).then(|| from..from.saturating_add(max).min(slots));
        if let Some(slots) = piece(cursor.connection, self.conns.slots()) {
            let end = slots.end;
            out.extend(slots.filter_map(|slot| self.connection_info(now, slot, wanted)));
            return Some(Cursor { connection: end, ..cursor });
        }
        if let Some(slots) = piece(cursor.half_open, self.half_opens.slots()) {
            let end = slots.end;
            out.extend(slots.filter_map(|slot| self.half_open_info(now, slot, wanted)));
            return Some(Cursor { half_open: end, ..cursor });
        }
        if let Some(slots) = piece(cursor.time_wait, self.time_waits.slots()) {
            let end = slots.end;
            out.extend(slots.filter_map(|slot| self.time_wait_info(now, slot, wanted)));
            return Some(Cursor { time_wait: end, ..cursor });
        }
        if let Some(foreign) = self.foreign.as_ref().filter(|_| !cursor.foreign_over) {
            let (first, next) = (out.len(), foreign.list(now, cursor.foreign, max, out));
            let unwanted = |info: &ConnectionInfo| !wanted(info.local, info.remote, info.state);
            let mut at = first;
            while let Some(info) = out.get(at) {
                if unwanted(info) {
                    out.swap_remove(at);
                } else {
                    at += 1;
                }
            }
            return Some(Cursor { foreign: next.unwrap_or(0), foreign_over: next.is_none(), ..cursor });
        }
        let slots = piece(cursor.listener, self.listeners.slots())?;
        let end = slots.end;
        out.extend(slots.filter_map(|slot| self.listener_info(now, slot, wanted)));
        (end < self.listeners.slots()).then_some(Cursor { listener: end, ..cursor })
    }

    /// Who is in a slot, and in which state, if that is a connection to be shown.
    pub(super) fn listed(&self, slot: u32) -> Option<(FlowKey, State)> {
        let (key, state) = match self.conns.awake(slot) {
            Some(entry) if entry.over || entry.unread_end => return None,
            Some(entry) => (entry.key, entry.conn.state()),
            None => self.conns.resting_state(slot)?,
        };
        // One that is closed was reset before it was accepted.
        (state != State::Closed).then_some((key, state))
    }

    fn connection_info(&self, now: Instant, slot: u32, wanted: Wanted<'_>) -> Option<ConnectionInfo> {
        let (key, state) = self.listed(slot)?;
        if !wanted(key.local(), key.remote(), state) {
            return None;
        }
        let (info, listing) = match self.conns.awake(slot) {
            Some(entry) => {
                let look = Look { now, config: &self.config.tcp, pool: &self.pool };
                (entry.conn.info(), entry.conn.listing(look))
            }
            None => self.conns.resting_info(slot)?,
        };
        let why = self.why(slot, &key).unwrap_or(listing.why);
        Some(ConnectionInfo {
            send_queue_bytes: info.send_queue_bytes,
            receive_queue_bytes: info.receive_queue_bytes,
            srtt: info.srtt,
            cwnd_bytes: info.cwnd_bytes,
            retransmits: info.retransmits,
            timer: info.timer.map(|(name, at)| (name, at - now)),
            state_age: now - info.since,
            why: Some(why),
            more: More::Connection(info, listing),
            ..ConnectionInfo::bare(now, key.local(), key.remote(), state, now - info.opened)
        })
    }

    /// Why a connection is not sending, if it is not for TCP's reasons.
    pub(super) fn why(&self, slot: u32, key: &FlowKey) -> Option<Why> {
        self.conns.awake(slot).filter(|entry| entry.waits)?;
        let absent = self.absent.contains(&key.local().ip());
        let routed = !absent && self.routes.next_hop(key.remote().ip()).is_some();
        Some(if routed { Why::Neighbour } else { Why::Route })
    }

    fn half_open_info(&self, now: Instant, slot: u32, wanted: Wanted<'_>) -> Option<ConnectionInfo> {
        let record = self.half_opens.get(slot)?;
        let (local, remote, state) = (record.key.local(), record.key.remote(), State::SynReceived);
        wanted(local, remote, state).then(|| ConnectionInfo {
            retransmits: record.half.timeouts().into(),
            timer: self.half_opens.deadline(slot).map(|at| ("retransmit", at - now)),
            why: Some(Why::Handshake),
            ..ConnectionInfo::bare(now, local, remote, state, now - record.half.began())
        })
    }

    fn time_wait_info(&self, now: Instant, slot: u32, wanted: Wanted<'_>) -> Option<ConnectionInfo> {
        let record = self.time_waits.get(slot)?;
        let (local, remote, state) = (record.key.local(), record.key.remote(), State::TimeWait);
        if !wanted(local, remote, state) {
            return None;
        }
        let left = self.time_waits.until(slot).map_or(Duration::ZERO, |until| until - now);
        Some(ConnectionInfo {
            timer: Some(("time-wait", left)),
            why: Some(Why::Closed),
            ..ConnectionInfo::bare(now, local, remote, state, record.lasts - left)
        })
    }

    fn listener_info(&self, now: Instant, slot: u32, wanted: Wanted<'_>) -> Option<ConnectionInfo> {
        let listener = self.listeners.at(slot)?;
        let local = listener.address();
        let nobody = if local.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let remote = SocketAddr::new(nobody, 0);
        wanted(local, remote, State::Listen).then(|| ConnectionInfo {
            more: More::Listener(listener.waiting()),
            ..ConnectionInfo::bare(now, local, remote, State::Listen, Duration::ZERO)
        })
    }
}

impl Listener {
    fn waiting(&self) -> Waiting {
        Waiting {
            accept_queue: u32::try_from(self.queue.len()).unwrap_or(u32::MAX),
            accept_queue_limit: self.options.accept_queue,
            half_open: self.opening(),
            backlog: self.options.backlog,
        }
    }
}
