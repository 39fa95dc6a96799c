//! Passive opens: a SYN becomes a record or a cookie, the last ACK of the handshake a connection, and that is told, or waits
//! to be accepted.

use super::{
    App, ConnId, Entry, Env, FlowKey, Instant, IpAddr, NO_VLAN, RECORDS_PER_TURN, Refusal, Shard,
    input::Link,
    life::{later, new_entry},
};
use crate::{
    causes::ResetCause,
    half_open::Record,
    listen::{Admission, ListenError, Listener, ListenerId},
    neighbour::Hop,
    placement::Way,
    reply::{Body, Reply},
    table::Owner,
    time_wait,
};
use alloc::boxed::Box;
use tcp::{Connection, DropReason, Family, HalfOpen, HalfOpenAnswer, IcmpError, Profile, State};
use wire::{
    MacAddr, SeqNum,
    tcp::{Flags, Header, Segment},
};

/// What a passive open comes from.
pub(super) struct Knocker<'s> {
    pub(super) key: FlowKey,
    pub(super) hash: u32,
    pub(super) link: Link,
    pub(super) segment: &'s Segment<'s>,
    /// The incarnation in TIME-WAIT and its end: the new ISS must lie behind its SND.NXT (RFC 9293 MAY-2).
    pub(super) old: Option<(time_wait::Record, Instant)>,
}

const fn family(key: &FlowKey) -> Family {
    if key.is_ipv4() { Family::V4 } else { Family::V6 }
}

impl Shard {
    /// A SYN for a listener: SYN-RECEIVED, if there is room for it, or a cookie.
    pub(super) fn open(&mut self, now: Instant, listener: ListenerId, knocker: &Knocker<'_>) -> Result<(), Refusal> {
        self.way_back(&knocker.key)?;
        if self.own_connections() >= self.config.max_connections as usize {
            return Err(Refusal::ConnectionsFull);
        }
        let crowded = self.half_opens.is_full();
        match self.listeners.get(listener).map_or(Admission::BacklogFull, |l| l.admit(crowded)) {
            Admission::AcceptQueueFull => return Err(Refusal::AcceptQueueFull),
            // A peer whose last connection is in TIME-WAIT is real, and takes no more than that did: as in Linux the backlog is
            // not for it.
            Admission::BacklogFull | Admission::Cookie if knocker.old.is_some() && !crowded => {}
            Admission::BacklogFull => return Err(Refusal::BacklogFull),
            Admission::Cookie if knocker.old.is_some() => return Err(Refusal::BacklogFull),
            Admission::Cookie => {
                self.answer_by_cookie(now, listener, knocker);
                return Ok(());
            }
            Admission::Record => {}
        }
        if knocker.link.way == Way::Unclaimed {
            self.plans.on_new_flow(knocker.key.local(), knocker.key.remote());
        }
        let mut start = self.start(now, &knocker.key);
        if let Some((old, _)) = &knocker.old {
            start.iss = later(start.iss, old.time_wait.snd_nxt);
        }
        let env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        let half = HalfOpen::new(&env, start, knocker.segment);
        let header = half.syn_ack(&env, start.timestamp_offset);
        let Link { src: mac, vlan, .. } = knocker.link;
        let record = Record::new(knocker.key, half, listener, (mac, vlan), knocker.old.map(Box::new));
        let slot = self.half_opens.add(now, record, half.deadline(&self.config.tcp)).ok_or(Refusal::BacklogFull)?;
        self.table.insert(knocker.hash, Owner::HalfOpen(slot));
        self.listeners.begin(listener);
        self.counters.opened += 1;
        self.counters.count_state(&mut { State::Closed }, State::SynReceived);
        self.answer(&knocker.key, mac, vlan, header);
        Ok(())
    }

    fn answer_by_cookie(&mut self, now: Instant, listener: ListenerId, knocker: &Knocker<'_>) {
        let start = self.start(now, &knocker.key);
        let env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        let flow = (&knocker.key, family(&knocker.key));
        let header = HalfOpen::cookie_syn_ack(&env, start, knocker.segment, &self.cookies, flow);
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.note_cookie(now);
        }
        self.counters.cookies_sent += 1;
        self.answer(&knocker.key, knocker.link.src, knocker.link.vlan, header);
    }

    /// An acknowledgment at a listener: true if it returned a cookie, and a connection came of it. `record`: the one that is
    /// there for another SYN-ACK, whose place the connection takes.
    pub(super) fn take_cookie(
        &mut self,
        now: Instant,
        listener: ListenerId,
        knocker: &Knocker<'_>,
        record: Option<u32>,
        app: &mut impl App,
    ) -> Result<bool, Refusal> {
        let flags = knocker.segment.header.flags;
        let believes = self.listeners.get(listener).is_some_and(|l| l.takes_cookies(now));
        if !believes || flags.contains(Flags::SYN) {
            return Ok(false);
        }
        let start = self.start(now, &knocker.key);
        let env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        let flow = (&knocker.key, family(&knocker.key));
        let half = HalfOpen::from_cookie(&env, start, knocker.segment, &self.cookies, flow);
        let half = half.ok_or(Refusal::CookieInvalid)?;
        self.has_room(listener)?;
        let next_hop = self.way_back(&knocker.key)?;
        if let Some(slot) = record {
            self.remove_half_open(slot, knocker.hash);
        }
        self.counters.cookies_accepted += 1;
        self.complete(now, listener, knocker, (&half, next_hop), app)?;
        Ok(true)
    }

    /// The station that what we send to the peer goes to.
    #[inline]
    fn way_back(&self, key: &FlowKey) -> Result<IpAddr, Refusal> {
        self.routes.next_hop(key.addresses().1).ok_or(Refusal::NoRoute)
    }

    /// Whether a connection that is open now can be kept.
    #[inline]
    fn has_room(&self, listener: ListenerId) -> Result<(), Refusal> {
        if self.own_connections() >= self.config.max_connections as usize {
            return Err(Refusal::ConnectionsFull);
        }
        match self.listeners.get(listener) {
            Some(listener) if !listener.is_full() => Ok(()),
            _ => Err(Refusal::AcceptQueueFull),
        }
    }

    /// A segment of a connection in SYN-RECEIVED.
    pub(super) fn in_syn_received(
        &mut self,
        now: Instant,
        slot: u32,
        knocker: &Knocker<'_>,
        app: &mut impl App,
    ) -> Result<(), Refusal> {
        let Some(record) = self.half_opens.get_mut(slot) else { return Ok(()) };
        let env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        let answer = record.half.on_segment(&env, knocker.segment);
        let (half, listener) = (record.half, record.listener);
        let offset = || self.isn.timestamp_offset(&knocker.key);
        let (key, Link { src: mac, vlan, .. }) = (&knocker.key, knocker.link);
        match answer {
            HalfOpenAnswer::Complete => {
                // As in Linux (tcp_abort_on_overflow = 0): without room, or without a route, the ACK is dropped, and our SYN-ACK
                // goes out again.
                self.has_room(listener)?;
                let next_hop = self.way_back(key)?;
                self.remove_half_open(slot, knocker.hash);
                return self.complete(now, listener, knocker, (&half, next_hop), app);
            }
            HalfOpenAnswer::Ignore(reason) => self.counters.dropped(reason),
            HalfOpenAnswer::Ack(reason) => {
                let header = half.ack(&env, offset());
                self.counters.dropped(reason);
                self.answer(key, mac, vlan, header);
            }
            HalfOpenAnswer::SynAckAgain => {
                let header = half.syn_ack(&env, offset());
                self.counters.dropped(DropReason::OutOfWindow);
                self.answer(key, mac, vlan, header);
            }
            HalfOpenAnswer::Reset(reset) => {
                // The peer's SYN may have come twice, and its first answer been a cookie. As in Linux that one is as good.
                match self.take_cookie(now, listener, knocker, Some(slot), app) {
                    Ok(true) => return Ok(()),
                    Ok(false) | Err(Refusal::CookieInvalid) => {}
                    Err(refusal) => return Err(refusal),
                }
                self.counters.dropped(DropReason::AckUnacceptable);
                self.reset((mac, vlan), (key.local(), key.remote()), reset, ResetCause::Opening);
            }
            HalfOpenAnswer::Forget => self.forget(now, slot, knocker.hash),
        }
        self.counters.segments_in += 1;
        Ok(())
    }

    /// An ICMP error about our SYN-ACK: a hard one ends the handshake (RFC 9293 SHLD-26), any other is only counted.
    pub(super) fn icmp_in_syn_received(
        &mut self,
        now: Instant,
        slot: u32,
        hash: u32,
        seq: SeqNum,
        error: IcmpError,
    ) -> Result<(), Refusal> {
        if self.half_opens.get(slot).is_none_or(|record| record.half.iss() != seq) {
            return Err(Refusal::IcmpStale);
        }
        self.counters.icmp_in += 1;
        if error.is_hard() {
            self.forget(now, slot, hash);
        }
        Ok(())
    }

    /// The handshake is complete: a connection, which gets the segment that completed it.
    fn complete(
        &mut self,
        now: Instant,
        listener: ListenerId,
        knocker: &Knocker<'_>,
        (half, next_hop): (&HalfOpen, IpAddr),
        app: &mut impl App,
    ) -> Result<(), Refusal> {
        let start = self.start(now, &knocker.key);
        let env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        let conn = Connection::from_half_open(&env, start, half);
        let own = self.listeners.get(listener).and_then(|l| l.options.time_wait);
        let secs = own.map_or(0, |time| u8::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u8::MAX));
        let entry = Entry {
            listener: Some(listener),
            time_wait_secs: secs,
            vlan: knocker.link.vlan.unwrap_or(NO_VLAN),
            // Until its next hop is resolved a reset goes back to where its segments come from.
            mac: knocker.link.src,
            ..new_entry(knocker.key, knocker.hash, conn)
        };
        let slot = self.insert(entry).ok_or(Refusal::ConnectionsFull)?;
        // Most often its next segment is the next that comes.
        self.table.remember(knocker.key, slot);
        self.begin_with_path(now, slot);
        self.note_opened(now, slot, true, start.mss, half.timeouts());
        if self.neighbours.known(Hop::new(next_hop, knocker.link.vlan)).is_none() {
            // It has nothing to send, but a neighbour to ask for.
            self.mark(slot);
        }
        self.segment(now, &knocker.link, slot, knocker.segment, app);
        Ok(())
    }

    /// SYN-ACKs that nobody acknowledged are sent again, or given up. While the replies' queue is full they wait.
    pub(super) fn advance_half_opens(&mut self, now: Instant) {
        for _ in 0..RECORDS_PER_TURN {
            if !self.replies.has_room() {
                return;
            }
            let Some(slot) = self.half_opens.poll(now) else { return };
            let Some(record) = self.half_opens.get_mut(slot) else { continue };
            let deadline = record.half.deadline(&self.config.tcp);
            if deadline > now {
                self.half_opens.arm(slot, deadline);
                continue;
            }
            let young = record.half.timeouts() == 0;
            let patience = self.listeners.get(record.listener).map_or(0, Listener::patience);
            let env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
            if record.half.timeouts() >= patience || !record.half.on_timeout(&env) {
                self.counters.half_open_expired += 1;
                let hash = self.table.hash(&record.key);
                self.forget(now, slot, hash);
                continue;
            }
            if young {
                self.listeners.grow_old(record.listener);
            }
            let (key, mac, vlan) = (record.key, record.mac, record.vlan());
            let deadline = record.half.deadline(&self.config.tcp);
            let header = record.half.syn_ack(&env, self.isn.timestamp_offset(&key));
            self.half_opens.arm(slot, deadline);
            if self.absent.contains(&key.local().ip()) {
                // Another station may have the address by now. It waits for it to come back.
                continue;
            }
            self.counters.syn_acks_again += 1;
            self.answer(&key, mac, vlan, header);
        }
    }

    fn remove_half_open(&mut self, slot: u32, hash: u32) -> Option<Record> {
        let record = self.half_opens.remove(slot)?;
        self.take_from_table(&record.key, hash, Owner::HalfOpen(slot));
        self.listeners.end(record.listener, record.half.timeouts() == 0);
        self.counters.count_state(&mut { State::SynReceived }, State::Closed);
        Some(record)
    }

    /// Nothing comes of a passive open: the incarnation in TIME-WAIT whose place it took is back.
    pub(super) fn forget(&mut self, now: Instant, slot: u32, hash: u32) {
        if let Some(record) = self.remove_half_open(slot, hash) {
            self.resume_time_wait(now, hash, record.old.map(|old| *old));
        }
    }

    /// Forgets the `many` passive opens that are meant: there may be room for millions, and none to be found.
    fn forget_half_opens(&mut self, now: Instant, mut many: usize, which: impl Fn(&Record) -> bool) {
        for slot in 0..self.half_opens.slots() {
            if many == 0 {
                return;
            }
            if let Some(record) = self.half_opens.look_at(slot).filter(|record| which(record)) {
                many -= 1;
                let hash = self.table.hash(&record.key);
                self.forget(now, slot, hash);
            }
        }
    }

    /// All of them.
    pub(super) fn forget_all_half_opens(&mut self, now: Instant) {
        self.forget_half_opens(now, self.half_open(), |_| true);
    }

    /// All listeners.
    pub(super) fn close_listeners(&mut self, now: Instant) {
        // At once, not for each listener anew.
        self.forget_all_half_opens(now);
        for listener in self.listeners.ids() {
            let _ = self.close_listener(now, listener);
        }
    }

    /// Queues a segment that leaves from our side of `key`.
    fn answer(&mut self, key: &FlowKey, dst: MacAddr, vlan: Option<u16>, mut header: Header) {
        let (local, remote) = (key.local(), key.remote());
        (header.src_port, header.dst_port) = (local.port(), remote.port());
        self.reply(Reply { dst, vlan, body: Body::Tcp { src: local.ip(), dst: remote.ip(), header } });
    }

    /// A passive open has come to an end, well: it is told, or queued to be accepted.
    pub(super) fn on_opened(&mut self, now: Instant, slot: u32, listener: ListenerId, app: &mut impl App) {
        self.counters.accepted += 1;
        let id = self.id(slot);
        let profile = self.listeners.get_mut(listener).map_or(Profile::Balanced, |l| l.options.profile);
        if profile != Profile::Balanced
            && let Some(entry) = self.conns.get_mut(slot)
        {
            entry.conn.set_profile(&Env { now, config: &self.config.tcp, pool: &mut self.pool }, profile);
        }
        let queues = |l: &Listener| l.options.accept_queue.is_some();
        let Some(queue) = self.listeners.get_mut(listener).filter(|l| queues(l)).map(|l| &mut l.queue) else {
            if let Some(entry) = self.entry(slot) {
                entry.told = true;
            }
            return self.tell(now, slot, app, |app, io, conn| app.on_accept(io, conn, listener));
        };
        queue.push_back(id);
        let first = queue.len() == 1;
        if let Some(entry) = self.entry(slot) {
            entry.queued = true;
        }
        if first {
            self.call(now, |io| app.on_acceptable(io, listener));
            if let Some(entry) = self.current(id) {
                // Who is accepted at once has missed nothing.
                entry.fresh = false;
            }
        }
    }

    /// The connection that has waited longest.
    pub(crate) fn accept(&mut self, listener: ListenerId) -> Option<ConnId> {
        let conn = loop {
            let conn = self.listeners.get_mut(listener)?.queue.pop_front()?;
            if self.current(conn).is_some() {
                break conn;
            }
        };
        let entry = self.current(conn)?;
        entry.queued = false;
        entry.told = true;
        entry.fresh = true;
        self.call_at_once(conn.slot);
        Some(conn)
    }

    /// Tells what happened to a connection while it waited to be accepted.
    pub(super) fn catch_up(&mut self, now: Instant, slot: u32, app: &mut impl App) {
        if self.entry(slot).is_some_and(|e| e.conn.unread() > 0) {
            self.tell(now, slot, app, |app, io, conn| app.on_readable(io, conn));
        }
        self.dispatch(now, slot, app);
    }

    /// Nobody has accepted the connection yet: its events wait. One that was reset leaves the table for another.
    pub(super) fn park(&mut self, slot: u32) {
        let Some(entry) = self.entry(slot).filter(|e| e.conn.state() == State::Closed) else { return };
        let hash = entry.hash;
        self.leave_table(slot, hash);
    }

    /// As Linux: handshakes are forgotten without a word (the ACK that completes one finds nobody, and draws a reset), who was
    /// not accepted is reset.
    pub(crate) fn close_listener(&mut self, now: Instant, id: ListenerId) -> Result<(), ListenError> {
        let listener = self.listeners.remove(id).ok_or(ListenError::Closed)?;
        self.forget_half_opens(now, listener.opening() as usize, |record| record.listener == id);
        for conn in listener.queue {
            if let Some(entry) = self.current(conn) {
                entry.queued = false;
                let _ = self.abort(now, conn);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{App, LocalAddress, ShardConfig};
    use core::net::SocketAddr;
    use std::{vec, vec::Vec};
    use wire::{eth, ipv4};

    struct Nobody;
    impl App for Nobody {
        fn on_data(&mut self, _: &mut crate::Io<'_>, _: ConnId, data: &[u8]) -> usize {
            data.len()
        }
    }

    const MAC: MacAddr = MacAddr([2; 6]);
    const LISTENERS: u16 = 50;
    const MANY: u16 = 2000;

    /// A SYN to the port.
    fn syn(from: u16, port: u16) -> Vec<u8> {
        let (src, dst) = ([10, 0, 0, 9].into(), [10, 0, 0, 1].into());
        let link = eth::Header { dst: MAC, src: MacAddr([4; 6]), vlan: None, ethertype: eth::ETHERTYPE_IPV4 };
        let header = Header { src_port: from, dst_port: port, flags: Flags::SYN, ..Header::default() };
        let mut frame = vec![0; 14 + 20 + 20];
        link.emit(&mut frame);
        let ip = ipv4::Header {
            src,
            dst,
            protocol: 6,
            ttl: 64,
            tos: 0,
            ident: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
        };
        ip.emit(20, &mut frame[14..]);
        header.emit(src.into(), dst.into(), &mut frame[34..]);
        frame
    }

    /// Records are looked for as often as there are some: not for each listener, where a flood has left room for many.
    #[test]
    fn closing_listeners_looks_through_the_records_once() {
        let ends: [fn(&mut Shard, Instant); 3] = [
            |shard, now| shard.drain(now),
            |shard, now| shard.begin_drain(now, &mut Nobody),
            |shard, now| {
                for listener in shard.listeners.ids() {
                    shard.close_listener(now, listener).expect("open");
                }
            },
        ];
        for (end, left) in ends.into_iter().zip([MANY, MANY, 1]) {
            let addresses = vec![LocalAddress { ip: [10, 0, 0, 1].into(), prefix_len: 24, owned: true }];
            let now = Instant::ZERO;
            let mut shard = Shard::new(ShardConfig::new(MAC, 1500, addresses, [[7; 16]; 4]), now).expect("valid");
            for port in 1..=LISTENERS {
                shard.listen(SocketAddr::new([10, 0, 0, 1].into(), port), 10_000).expect("free");
            }
            for n in 1..=MANY {
                shard.on_frame(now, &syn(n, 1 + n % LISTENERS), &mut Nobody);
            }
            assert_eq!(shard.half_open(), usize::from(MANY));
            for n in left..MANY {
                let key = FlowKey::new(
                    SocketAddr::new([10, 0, 0, 1].into(), 1 + n % LISTENERS),
                    SocketAddr::new([10, 0, 0, 9].into(), n),
                );
                let hash = shard.table.hash(&key);
                let Some(Owner::HalfOpen(slot)) = shard.table.find(hash, |_| true) else { panic!("there") };
                shard.forget(now, slot, hash);
            }
            assert_eq!(shard.half_open(), usize::from(left));
            end(&mut shard, now);
            assert_eq!((shard.half_open(), shard.listening().count()), (0, 0));
            assert!(shard.half_opens.looked_at() <= 2 * usize::from(MANY), "{}", shard.half_opens.looked_at());
        }
    }
}
