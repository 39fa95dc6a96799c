//! How a connection is made, told of, turned into a TIME-WAIT record, and freed.

use super::{App, ConnId, ConnectError, Entry, Env, Error, FlowKey, Instant, Io, NO_EPOCH, NO_VLAN, Refusal, Shard};
use crate::{
    causes::ResetCause,
    config::{LocalAddress, is_nobodys},
    ports::Use,
    reply::{Body, Reply},
    source,
    table::Owner,
    time_wait::Record,
};
use core::net::{IpAddr, SocketAddr};
use tcp::{Connection, Event, Half, Reset, SoftError, Start, TimeWait};
use wheel::Duration;
use wire::{MacAddr, SeqNum};

impl Shard {
    /// The most a connection between these families may send and announce: the way's MTU less both headers.
    pub(super) fn start(&self, now: Instant, key: &FlowKey) -> Start {
        let (headers, default_peer_mss) = if key.remote().is_ipv4() { (40, 536) } else { (60, 1220) };
        let mtu = self.routes.mtu(key.remote().ip(), self.config.mtu);
        let mss = mtu.saturating_sub(headers).max(64);
        let (iss, timestamp_offset) = self.isn.isn_and_offset(now, key);
        Start { iss, mss, default_peer_mss, timestamp_offset }
    }

    /// RFC 9293 MUST-46: no connection to a broadcast or multicast address; nor to nobody's, our own, or port 0.
    fn can_be_peer(&self, remote: SocketAddr) -> bool {
        let ip = remote.ip();
        remote.port() != 0 && !is_nobodys(ip) && self.address(ip).is_none() && !self.broadcasts(ip)
    }

    /// Active OPEN, from `local` or, without one, from the address that suits the way to the peer (MUST-43, MUST-44).
    pub(crate) fn connect(
        &mut self,
        now: Instant,
        local: Option<IpAddr>,
        remote: SocketAddr,
    ) -> Result<ConnId, ConnectError> {
        if !self.can_be_peer(remote) {
            return Err(ConnectError::BadAddress);
        }
        let local_ip = self.local_for(local, remote.ip())?;
        let (key, old) = self.choose_port(now, local_ip, remote).ok_or(ConnectError::NoPort)?;
        if self.own_connections() >= self.config.max_connections as usize {
            return Err(ConnectError::TooMany);
        }
        let mut start = self.start(now, &key);
        if let Some(old) = old.and_then(|slot| self.take_time_wait(slot)) {
            start.iss = later(start.iss, old.time_wait.snd_nxt);
        }
        let env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        let conn = Connection::connect(&env, start);
        let hash = self.table.hash(&key);
        let (vlan, plan) = (self.config.vlan.unwrap_or(NO_VLAN), self.plans.number());
        let entry = Entry { told: true, vlan, plan, ..new_entry(key, hash, conn) };
        let slot = self.insert(entry).ok_or(ConnectError::TooMany)?;
        self.begin_with_path(now, slot);
        self.note_opened(now, slot, false, start.mss, 0);
        self.counters.connected += 1;
        self.mark(slot);
        Ok(self.id(slot))
    }

    /// The address that an open leaves from: `local`, or the one chosen.
    fn local_for(&self, local: Option<IpAddr>, remote: IpAddr) -> Result<IpAddr, ConnectError> {
        let present = |a: &&LocalAddress| a.ip.is_ipv4() == remote.is_ipv4() && !self.absent.contains(&a.ip);
        let ours = self.config.addresses.iter().filter(present);
        let candidates = ours.filter(|a| local.is_none_or(|local| a.ip == local));
        let none = if local.is_some() { ConnectError::NotOurs } else { ConnectError::NoRoute };
        candidates.clone().next().ok_or(none)?;
        let usable = candidates.filter(|a| self.claims.usable(a.ip));
        usable.clone().next().ok_or(ConnectError::Tentative)?;
        let route = self.routes.find(remote).ok_or(ConnectError::NoRoute)?;
        source::choose(usable, route, remote, &self.avoided).ok_or(ConnectError::NoRoute)
    }

    /// A source port that no connection to `remote` uses, rather one whose reply lands here. When none is free near where the
    /// search begins, that of a connection in TIME-WAIT for which a new one is safe: both sides used timestamps, and the clock
    /// has moved on since (RFC 6191 in the other direction; Linux's tcp_tw_reuse). Returns its record's slot with it.
    fn choose_port(&mut self, now: Instant, local: IpAddr, remote: SocketAddr) -> Option<(FlowKey, Option<u32>)> {
        if self.ports.are_full(now, local, remote) {
            return None;
        }
        let (table, conns, time_waits, half_opens) = (&self.table, &self.conns, &self.time_waits, &self.half_opens);
        let used = |key: &FlowKey| {
            let same = |owner| match owner {
                Owner::Connection(slot) => conns.is(slot, key),
                Owner::TimeWait(slot) => time_waits.is(slot, key),
                Owner::HalfOpen(slot) => half_opens.get(slot).is_some_and(|r| r.key == *key),
            };
            match table.find(table.hash(key), same) {
                None => Use::Free,
                Some(Owner::TimeWait(slot)) => match time_waits.reusable_from(slot) {
                    Some(from) if from <= now => Use::Reusable(slot),
                    Some(from) => Use::Later(from),
                    None => Use::Taken,
                },
                Some(_) => Use::Taken,
            }
        };
        let (ours, home) = (self.plans.ours(local, remote), self.plans.home(local, remote));
        let near = self.ports.choose(local, remote, |port| ours(port) && home(port), used);
        let found = near.or_else(|_| self.ports.choose(local, remote, &ours, used));
        found.map_err(|soonest| self.ports.note_full(now, (local, remote), soonest)).ok()
    }

    /// A flow leaves the table.
    #[inline]
    pub(super) fn take_from_table(&mut self, key: &FlowKey, hash: u32, owner: Owner) {
        self.table.remove(hash, owner);
        if self.ports.any_full() {
            self.ports.note_free(key);
        }
    }

    /// The same of a connection, which has its slot for a while.
    #[inline]
    pub(super) fn leave_table(&mut self, slot: u32, hash: u32) {
        self.table.remove(hash, Owner::Connection(slot));
        if self.ports.any_full()
            && let Some(key) = self.entry(slot).map(|entry| entry.key)
        {
            self.ports.note_free(&key);
        }
    }

    /// A record makes room for a new incarnation of its connection.
    fn take_time_wait(&mut self, slot: u32) -> Option<Record> {
        let record = self.time_waits.remove(slot)?;
        let hash = self.table.hash(&record.key);
        self.take_from_table(&record.key, hash, Owner::TimeWait(slot));
        self.counters.time_wait_reused += 1;
        Some(record)
    }

    /// The SYN that reopened a connection in TIME-WAIT was an old one, or there was no room for it: back to TIME-WAIT
    /// (MAY-2, second clause).
    pub(super) fn resume_time_wait(&mut self, now: Instant, hash: u32, old: Option<(Record, Instant)>) {
        let Some((record, until)) = old.filter(|(_, until)| *until > now) else { return };
        if let Some(slot) = self.time_waits.add(now, record, until) {
            self.table.insert(hash, Owner::TimeWait(slot));
        }
    }

    pub(super) fn insert(&mut self, mut entry: Entry) -> Option<u32> {
        if self.own_connections() >= self.config.max_connections as usize {
            return None;
        }
        let hash = entry.hash;
        if !entry.key.is_ipv4() {
            entry.flow_label = self.table.label(&entry.key);
        }
        let slot = self.conns.insert(entry)?;
        self.table.insert(hash, Owner::Connection(slot));
        Some(slot)
    }

    /// Tells the application, and itself, what has happened to a connection: most often nothing.
    #[inline]
    pub(super) fn dispatch(&mut self, now: Instant, slot: u32, app: &mut impl App) {
        if self.entry(slot).is_some_and(|e| e.may_tell()) {
            self.dispatch_all(now, slot, app);
        }
    }

    #[inline(never)] // so that what every segment asks is asked where it is
    pub(super) fn dispatch_all(&mut self, now: Instant, slot: u32, app: &mut impl App) {
        while let Some(entry) = self.entry(slot) {
            if entry.queued {
                return self.park(slot);
            }
            if entry.fresh {
                self.tell_what_waited(now, slot, app);
                continue;
            }
            let Some(event) = entry.conn.poll_event() else { return };
            match event {
                Event::Established => self.on_established(now, slot, app),
                Event::TimeWait(time_wait) => self.enter_time_wait(now, slot, time_wait),
                Event::Closed(error) => self.on_closed(now, slot, error, app),
                Event::Lingered(error) => {
                    self.tell(now, slot, app, |app, io, conn| app.on_closed(io, conn, error));
                    if let Some(entry) = self.entry(slot) {
                        entry.dead = true;
                    }
                }
                Event::Urgent(octets) => self.tell(now, slot, app, |app, io, conn| app.on_urgent(io, conn, octets)),
                Event::PathMss(mss) => self.learn_path(now, slot, mss),
                Event::Suspect => self.suspect(now, slot),
                Event::SoftError(error) => self.tell_soft_error(now, slot, error, app),
                event => self.tell(now, slot, app, |app, io, conn| match event {
                    Event::Readable => app.on_readable(io, conn),
                    Event::Writable => app.on_writable(io, conn),
                    _ => app.on_peer_closed(io, conn),
                }),
            }
        }
    }

    /// What came before the application had accepted is told before what comes now.
    #[cold]
    fn tell_what_waited(&mut self, now: Instant, slot: u32, app: &mut impl App) {
        let Some(entry) = self.entry(slot) else { return };
        entry.fresh = false;
        if entry.conn.unread() > 0 {
            self.tell(now, slot, app, |app, io, conn| app.on_readable(io, conn));
        }
    }

    /// Who lingers hears of the outcome and of nothing else.
    #[cold]
    fn tell_soft_error(&mut self, now: Instant, slot: u32, error: SoftError, app: &mut impl App) {
        if !self.entry(slot).is_some_and(|entry| entry.conn.lingers()) {
            self.tell(now, slot, app, |app, io, conn| app.on_soft_error(io, conn, error));
        }
    }

    /// Calls the application about a connection whose handle it has.
    pub(super) fn tell<A: App>(
        &mut self,
        now: Instant,
        slot: u32,
        app: &mut A,
        f: impl FnOnce(&mut A, &mut Io<'_>, ConnId),
    ) {
        if self.entry(slot).is_some_and(|e| e.told && !e.dead) {
            let conn = self.id(slot);
            f(app, &mut Io { shard: self, now }, conn);
        }
    }

    pub(super) fn on_established(&mut self, now: Instant, slot: u32, app: &mut impl App) {
        match self.entry(slot).map(|e| e.listener) {
            Some(Some(listener)) => self.on_opened(now, slot, listener, app),
            _ => self.tell(now, slot, app, |app, io, conn| app.on_connected(io, conn)),
        }
    }

    /// The record takes the connection's place in the table.
    fn enter_time_wait(&mut self, now: Instant, slot: u32, time_wait: TimeWait) {
        let Some(Entry { key, hash, time_wait_secs, .. }) = self.entry(slot) else { return };
        let (key, hash, secs) = (*key, *hash, *time_wait_secs);
        let lasts = if secs == 0 { self.config.tcp.time_wait } else { Duration::from_secs(secs.into()) };
        match self.time_waits.add(now, Record { key, time_wait, lasts }, now + lasts) {
            Some(record) => self.table.replace(hash, Owner::Connection(slot), Owner::TimeWait(record)),
            None => self.counters.refused(Refusal::TimeWaitFull),
        }
    }

    pub(super) fn on_closed(&mut self, now: Instant, slot: u32, error: Option<Error>, app: &mut impl App) {
        if self.ends_unread(slot, error) {
            return;
        }
        self.counters.closed += 1;
        self.counters.ended(error);
        if let Some(entry) = self.entry(slot) {
            // Who gives it up within the call has nothing left to end.
            entry.over = true;
        }
        self.tap_ended(slot, error);
        self.tell(now, slot, app, |app, io, conn| app.on_closed(io, conn, error));
        self.finish(slot);
    }

    /// An end in order, and the application has not read everything: the rest comes first, then the end. The connection
    /// leaves the table now.
    fn ends_unread(&mut self, slot: u32, error: Option<Error>) -> bool {
        let Some(entry) = self.entry(slot) else { return false };
        if error.is_some() || !entry.told || entry.dead || entry.conn.unread() == 0 {
            return false;
        }
        entry.unread_end = true;
        let hash = entry.hash;
        self.leave_table(slot, hash);
        true
    }

    /// The protocol is done with a connection: it leaves the table now, and its slot when nothing is left to send.
    fn finish(&mut self, slot: u32) {
        let Some(entry) = self.entry(slot) else { return };
        entry.dead = true;
        entry.over = true;
        let hash = entry.hash;
        self.leave_table(slot, hash);
        self.mark(slot);
    }

    /// Shuts down one direction or both. In SYN-SENT that is the end, which [`advance`](Self::advance) tells.
    pub(crate) fn shutdown(&mut self, now: Instant, conn: ConnId, half: Half) -> Result<(), Error> {
        let state = self.with(now, conn, |c, env| {
            c.shutdown(env, half);
            c.state()
        })?;
        if state == tcp::State::Closed {
            self.call_at_once(conn.slot);
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, now: Instant, conn: ConnId) -> Result<(), Error> {
        let reset = self.with(now, conn, |c, env| c.close(env))?;
        self.give_up(now, conn, reset)
    }

    pub(crate) fn abort(&mut self, now: Instant, conn: ConnId) -> Result<(), Error> {
        let reset = self.with(now, conn, |c, env| c.abort(env))?;
        self.give_up(now, conn, reset)
    }

    /// The application has left data unread that it was given.
    pub(super) fn abort_unread(&mut self, now: Instant, conn: ConnId) -> Result<(), Error> {
        let reset = self.with(now, conn, |c, env| c.abort_unread(env))?;
        self.give_up(now, conn, reset)
    }

    /// The application has given up its handle: unless it lingers it hears no more, and a connection that is over is finished here.
    fn give_up(&mut self, now: Instant, conn: ConnId, reset: Option<Reset>) -> Result<(), Error> {
        let entry = self.living(conn)?;
        entry.dead = !entry.conn.lingers();
        if entry.over {
            return Ok(());
        }
        let closed = entry.conn.state() == tcp::State::Closed || entry.unread_end;
        if let Some(reset) = reset {
            self.reset_to(now, conn.slot, reset, ResetCause::Application);
        }
        if closed {
            let Some(entry) = self.entry(conn.slot) else { return Ok(()) };
            while let Some(event) = entry.conn.poll_event() {
                debug_assert!(!matches!(event, Event::TimeWait(_)), "an abort leaves no TIME-WAIT");
            }
            self.counters.closed += 1;
            self.counters.ended(reset.is_some().then_some(Error::Aborted));
            self.finish(conn.slot);
        }
        Ok(())
    }

    /// Queues a reset to a connection's peer, if its neighbour is known and our address still ours.
    pub(super) fn reset_to(&mut self, now: Instant, slot: u32, reset: Reset, cause: ResetCause) {
        let Some(entry) = self.entry(slot) else { return };
        let (local, remote, mac, vlan) = (entry.key.local(), entry.key.remote(), entry.mac, entry.vlan());
        if mac == MacAddr::default() || self.absent.contains(&local.ip()) {
            return;
        }
        let reply = reset_reply((mac, vlan), (local, remote), reset);
        match self.replies.push_last(reply, self.config.max_connections) {
            Ok(()) => {
                self.counters.reset_sent(cause);
                self.note_reset(now, slot, cause);
            }
            Err(reply) => self.drop_reply(reply),
        }
    }

    /// Queues a reset of no connection of ours to a station, that leaves from `local`; false if there is no room for it, or the
    /// address is not ours now.
    pub(super) fn reset(
        &mut self,
        (dst, vlan): (MacAddr, Option<u16>),
        (local, remote): (SocketAddr, SocketAddr),
        reset: Reset,
        cause: ResetCause,
    ) -> bool {
        if self.absent.contains(&local.ip()) {
            return false;
        }
        let sent = self.reply(reset_reply((dst, vlan), (local, remote), reset));
        if sent {
            self.counters.reset_sent(cause);
        }
        sent
    }

    /// Queues a reply that belongs to no connection; false if there is no room for it, which is counted.
    pub(super) fn reply(&mut self, reply: Reply) -> bool {
        let Err(reply) = self.replies.push(reply) else { return true };
        self.drop_reply(reply);
        false
    }

    /// There is no room for a reply, which is counted.
    pub(super) fn drop_reply(&mut self, reply: Reply) {
        self.counters.refused(Refusal::RepliesFull);
        if let Body::Echo { mut data, .. } = reply.body {
            data.clear(&mut self.pool);
        }
    }

    /// Nothing is left to send: a connection that is over is freed, any other waits for its timer.
    pub(super) fn settle(&mut self, now: Instant, slot: u32) {
        if !self.entry(slot).is_some_and(|e| e.over) {
            return self.arm(slot);
        }
        if self.tap.is_some() {
            self.tap_conn(slot, |tap, flow, iss, irs| tap.gone(flow, iss, irs));
        }
        self.note_gone(now, slot);
        if let Some(entry) = self.conns.get_mut(slot) {
            let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
            entry.conn.release(&mut env);
            self.counters.count_state(&mut entry.counted, tcp::State::Closed);
        }
        self.conns.remove(slot);
        self.wheel.stop(slot);
    }
}

/// How far behind the old incarnation's last sequence number a new one begins, if the clock has not brought it farther.
const ISS_STEP: u32 = 64_000;

/// RFC 9293 MAY-2: an ISS behind every sequence number of the old incarnation.
pub(super) fn later(iss: SeqNum, old: SeqNum) -> SeqNum {
    if iss.after(old) { iss } else { old + ISS_STEP }
}

fn reset_reply((dst, vlan): (MacAddr, Option<u16>), (local, remote): (SocketAddr, SocketAddr), reset: Reset) -> Reply {
    let header = reset.header(local.port(), remote.port());
    Reply { dst, vlan, body: Body::Tcp { src: local.ip(), dst: remote.ip(), header } }
}

pub(super) fn new_entry(key: FlowKey, hash: u32, conn: Connection) -> Entry {
    Entry {
        key,
        hash,
        conn,
        listener: None,
        queued: false,
        fresh: false,
        time_wait_secs: 0,
        told: false,
        dead: false,
        over: false,
        unread_end: false,
        waits: false,
        starved: false,
        dirty: false,
        counted: tcp::State::Closed,
        armed: None,
        due: None,
        mac: MacAddr::default(),
        epoch: NO_EPOCH,
        vlan: NO_VLAN,
        dscp: 0,
        flow_label: 0,
        plan: 0,
        astray: false,
        slot: 0,
        generation: 0,
        used: false,
        _to_whole_lines: [0; 16],
    }
}
