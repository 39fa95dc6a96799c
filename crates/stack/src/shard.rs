//! A shard's state, and the verbs of its owner. `input` has what frames do, `output` what is sent, `life` how connections
//! are made, told of and freed.

mod ahead;
mod claim;
mod connections;
mod end;
mod follow;
mod foreign;
mod icmp;
mod input;
mod inspect;
mod interface;
mod life;
mod list;
mod ndp;
mod output;
mod passing;
mod passive;
mod services;
mod strays;
mod suspect;
mod trace;
mod train;
mod usage;
mod usual;

pub use end::End;
pub use list::{ConnectionInfo, Cursor, More, Waiting, Wanted};
pub use passing::Passing;
pub use train::Frames;
pub use usage::Usage;

use crate::{
    app::{App, ConnectError, Io},
    causes::ResetCause,
    config::{LocalAddress, ShardConfig},
    counters::{Counters, Refusal},
    dad::Claims,
    flow::FlowKey,
    half_open::{HalfOpens, NO_VLAN},
    handle::{ConnId, Via},
    landing::Plans,
    listen::{ListenError, ListenOptions, ListenerId, Listeners},
    messages::Outbox,
    neighbour::{NO_EPOCH, Neighbours},
    path_mtu::PathMtus,
    ports::Ports,
    reply::Replies,
    route::{Route, Routes},
    table::{FlowTable, Owner},
    tap::Tap,
    time_wait::TimeWaits,
    timers::Timers,
};
use ahead::Ahead;
use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use connections::Connections;
use core::net::{IpAddr, SocketAddr};
use follow::Follower;
use foreign::Foreign;
use tcp::recorder::Recorder;
use tcp::{ConfigError, Connection, Cookies, Env, Error, IsnGenerator, Pool};
use train::Model;
use wheel::{Instant, Near, Wheel};
use wire::MacAddr;

/// Bytes that must be free in the pool before those that wait for it are called; of a small pool a quarter.
const STARVED_ROOM: usize = 64 << 10;

/// Records of TIME-WAIT or SYN-RECEIVED whose time is over that are cleared away in one turn: there may be millions, and the
/// connections that live shall not wait for them.
const RECORDS_PER_TURN: usize = 1024;
/// The same of connections whose timers are due.
const TIMERS_PER_TURN: usize = 1024;

/// A connection and what the shard knows of it. It begins with what every segment needs: five cache lines of ten, of which ten
/// million connections have none in a cache. Ten whole lines, so that all begin with one if the first does, as with the
/// allocator for very many (`xdp::Allocator`). (Were that its type's alignment it would be copied when their vector
/// grows, where it is moved page by page.)
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry {
    /// When the wheel will call; may be earlier than needed.
    armed: Option<Instant>,
    /// Its first deadline when that was looked at last, which the wheel asks for. It may have moved away since, and come nearer
    /// only while it is `dirty`.
    due: Option<Instant>,
    key: FlowKey,
    /// In which epoch of the neighbours the MAC address was true, or [`NO_EPOCH`].
    epoch: u32,
    /// IPv6's.
    flow_label: u32,
    /// Of the handle.
    generation: u32,
    /// Of the station its segments go to.
    mac: MacAddr,
    /// The tag, or [`NO_VLAN`](crate::half_open::NO_VLAN).
    vlan: u16,
    dscp: u8,
    /// It waits in its listener's accept queue.
    queued: bool,
    /// The application knows the handle (an active open's from the start, a passive one's from ESTABLISHED on).
    told: bool,
    /// The handle is dead: closed by the application, or `on_closed` was called.
    dead: bool,
    /// The protocol is done with it: it is freed once nothing is left to send.
    over: bool,
    /// It is in the queue of those that may have something to send.
    dirty: bool,
    /// It was asked for since the hand came by last.
    used: bool,
    /// The state it is counted under; CLOSED: under none.
    counted: tcp::State,
    conn: Connection,
    // Of no interest to most segments, as the connection's second half.
    hash: u32,
    /// Its slot in [`Connections`].
    slot: u32,
    /// The listener it came from.
    listener: Option<ListenerId>,
    /// It was accepted from there: what has happened meanwhile is to be told.
    fresh: bool,
    /// 2MSL in seconds, if its listener has one of its own; else 0.
    time_wait_secs: u8,
    /// The protocol is done with it, in order, but the application has not read everything yet: its end is told then.
    unread_end: bool,
    /// It is on its neighbour's waiting list.
    waits: bool,
    /// It is on the list of those that wait for the pool.
    starved: bool,
    /// Of an active open: which plan of where flows land its port was chosen by.
    plan: u8,
    /// One of its segments has arrived at another shard.
    astray: bool,
    _to_whole_lines: [u8; 16],
}

impl Entry {
    fn vlan(&self) -> Option<u16> {
        (self.vlan != NO_VLAN).then_some(self.vlan)
    }

    /// Its end is to be told now: all has been read that came before it.
    fn end_is_due(&self) -> bool {
        self.unread_end && !self.over && self.conn.unread() == 0
    }

    /// False when [`Shard::dispatch_all`] would do nothing.
    #[inline(always)] // every segment asks
    const fn may_tell(&self) -> bool {
        self.queued || self.conn.may_have_events()
    }
}

/// One shard. See the [crate's documentation](crate).
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    routes: Routes,
    conns: Connections,
    table: FlowTable,
    ahead: Ahead,
    follower: Follower,
    time_waits: TimeWaits,
    half_opens: HalfOpens,
    cookies: Cookies,
    /// A timer that is due in more than 73 minutes, as a keep-alive's, is called then, and armed anew.
    wheel: Wheel<Near>,
    pool: Pool,
    listeners: Listeners,
    ports: Ports,
    plans: Plans,
    isn: IsnGenerator,
    neighbours: Neighbours,
    claims: Claims,
    /// Addresses the kernel should resolve.
    wanted: VecDeque<IpAddr>,
    replies: Replies,
    dirty: VecDeque<u32>,
    /// Segments sent in a row by the connection at the head of `dirty`.
    burst: u32,
    /// Checksums of segments with data are left to who sends them, and where that of the frame written last is.
    leaves_checksums: bool,
    checksum_left: Option<(u16, u16)>,
    /// Of the frame written last, if others like it follow.
    model: Model,
    counters: Counters,
    finish: bool,
    /// Connections whose application waits for memory of the pool, not for room in its own send buffer.
    starved: VecDeque<ConnId>,
    starved_room: usize,
    path_mtus: PathMtus,
    /// Connections that have something to send, and no route.
    unrouted: Vec<ConnId>,
    /// Shared addresses that the interface has lost.
    absent: Vec<IpAddr>,
    /// Shared addresses that opens leave from only where there is no other.
    avoided: Vec<IpAddr>,
    timers: Timers,
    outbox: Outbox,
    pub(crate) tap: Option<Box<dyn Tap>>,
    foreign: Option<Foreign>,
    /// What connects and listens if nothing else is said.
    via: Via,
}

impl Shard {
    /// A shard without connections or listeners; `now` is the first time it will see.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(config: ShardConfig, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let [table, isn, ports, cookies] = config.secrets;
        let owned = config.addresses.iter().filter(|a| a.owned).map(|a| a.ip);
        Ok(Self {
            routes: {
                // Of the networks of shared addresses the kernel's routes say more, where it has some.
                let on_link = |owned| {
                    let those = config.addresses.iter().filter(move |a| a.owned == owned);
                    those.map(|a| Route::new(a.ip, a.prefix_len, None))
                };
                Routes::new(on_link(true).chain(config.routes.iter().copied()).chain(on_link(false)).collect())
            },
            conns: Connections::new(
                config.tcp.clone(),
                config.most_awake,
                config.addresses.iter().map(|a| a.ip).collect(),
            ),
            table: FlowTable::new(table),
            ahead: Ahead::default(),
            follower: Follower::default(),
            time_waits: TimeWaits::new(now, config.max_time_wait, config.addresses.iter().map(|a| a.ip).collect()),
            half_opens: HalfOpens::new(now, config.max_half_open),
            cookies: Cookies::new(cookies),
            wheel: Wheel::near(now),
            pool: {
                let mut pool = Pool::new(config.pool_bytes);
                pool.set_recorder(Recorder::new(config.trace_records));
                pool
            },
            listeners: Listeners::default(),
            ports: Ports::new(ports, config.ports.clone()),
            plans: Plans::new(config.place, config.ports.clone()),
            isn: IsnGenerator::new(isn),
            neighbours: Neighbours::default(),
            claims: Claims::new(now, config.dad, ports, owned),
            wanted: VecDeque::new(),
            replies: Replies::default(),
            dirty: VecDeque::new(),
            burst: 0,
            leaves_checksums: false,
            checksum_left: None,
            model: Model::default(),
            counters: Counters::default(),
            finish: false,
            starved: VecDeque::new(),
            starved_room: STARVED_ROOM.min(config.pool_bytes / 4),
            path_mtus: PathMtus::default(),
            unrouted: Vec::new(),
            absent: Vec::new(),
            avoided: Vec::new(),
            timers: Timers::new(now, config.max_timers),
            outbox: Outbox::new(config.place, config.max_messages),
            tap: None,
            foreign: None,
            via: Via::Stack,
            config,
        })
    }

    /// What the shard was made with; the interface's MAC address and MTU are those of now.
    #[must_use]
    pub const fn config(&self) -> &ShardConfig {
        &self.config
    }

    /// The shard's counters, but for those that others keep for it: [`all_counters`](Self::all_counters) has them too.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Connections in any state but TIME-WAIT and the SYN-RECEIVED of a passive open; and those over the kernel's sockets.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.own_connections() + self.foreign.as_ref().map_or(0, Foreign::connections)
    }

    /// Those of the stack's own.
    fn own_connections(&self) -> usize {
        self.conns.len()
    }

    /// Passive opens in SYN-RECEIVED.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.half_opens.len()
    }

    /// TIME-WAIT records.
    #[must_use]
    pub fn time_waits(&self) -> usize {
        self.time_waits.len()
    }

    /// Chunks of the pool in use: 0 when no connection holds data.
    #[must_use]
    pub const fn chunks_in_use(&self) -> u32 {
        self.pool.chunks_in_use()
    }

    /// Pieces of the application's memory that are held by reference ([`Io::send_bytes`]): 0 when no connection holds data.
    #[must_use]
    pub const fn references(&self) -> u32 {
        self.pool.references()
    }

    /// Opens a listener on an address of ours, or on all of a family (`0.0.0.0`, `::`). A number alone is its backlog.
    ///
    /// # Errors
    /// The address is in use or none of ours, or an option is out of its range.
    pub fn listen(&mut self, local: SocketAddr, options: impl Into<ListenOptions>) -> Result<ListenerId, ListenError> {
        if !local.ip().is_unspecified() && self.address(local.ip()).is_none() {
            return Err(ListenError::NotOurs);
        }
        self.listeners.add(local, options.into())
    }

    /// The addresses listened on.
    pub fn listening(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.addresses()
    }

    /// Calls the application outside of any event: to begin, or once per turn ([`App::on_turn`]).
    pub fn call<R>(&mut self, now: Instant, f: impl FnOnce(&mut Io<'_>) -> R) -> R {
        f(&mut Io { shard: self, now })
    }

    /// Time has passed: timers fire, the application hears of what they did.
    pub fn advance(&mut self, now: Instant, app: &mut impl App) {
        let mut looked_at = 0;
        for _ in 0..TIMERS_PER_TURN {
            // The rest is due at once: in the next turn.
            let Some(slot) = self.wheel.poll_asking(now, &mut self.conns) else { break };
            looked_at = if looked_at == 0 { self.look_at_timers() } else { looked_at - 1 };
            self.on_timer(now, slot, app);
        }
        let env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        self.conns.settle(&env, &mut self.wheel);
        if self.half_open() > 0 {
            self.advance_half_opens(now);
        }
        if self.time_waits() > 0 {
            self.expire_time_waits(now);
        }
        if self.claims_are_due(now) {
            self.advance_claims(now);
        }
        if self.feeds_starved() {
            self.feed_starved(now, app);
        }
        if self.has_services() {
            self.advance_services(now, app);
        }
        if self.neighbours.is_due(now) {
            self.advance_neighbours(now, app);
        }
    }

    #[inline(never)] // in few turns there are any
    fn feed_starved(&mut self, now: Instant, app: &mut impl App) {
        // As many as there is room for: there may be a million, and room for one.
        for _ in 0..self.starved.len() {
            if !self.pool.has_room(self.starved_room) {
                break;
            }
            let Some(conn) = self.starved.pop_front() else { break };
            if let Some(entry) = self.current(conn) {
                entry.starved = false;
                if !entry.conn.lingers() {
                    self.tell(now, conn.slot, app, |app, io, id| app.on_writable(io, id));
                }
            }
        }
    }

    #[inline(never)] // the same
    fn advance_neighbours(&mut self, now: Instant, app: &mut impl App) {
        let due = self.neighbours.due(now);
        for ask in due.asks {
            self.ask(ask);
        }
        for (conn, failed) in due.again {
            self.wake(conn);
            if let Some(ip) = failed {
                self.on_dead_neighbour(now, conn, ip, app);
            }
        }
    }

    fn expire_time_waits(&mut self, now: Instant) {
        // The rest is due at once: in the next turn, behind the frames that have come meanwhile.
        for _ in 0..RECORDS_PER_TURN {
            let Some((slot, record)) = self.time_waits.expire(now) else { break };
            let hash = self.table.hash(&record.key);
            self.take_from_table(&record.key, hash, Owner::TimeWait(slot));
        }
    }

    /// The next hop does not answer: an open fails, an open connection goes on asking (RFC 9293 MUST-56).
    fn on_dead_neighbour(&mut self, now: Instant, conn: ConnId, ip: IpAddr, app: &mut impl App) {
        let slot = conn.slot;
        let Some(remote) = self.current(conn).map(|entry| entry.key.remote().ip()) else { return };
        // It may have another way by now.
        if self.routes.next_hop(remote) != Some(ip) {
            return;
        }
        let Some(entry) = self.conns.get_mut(slot) else { return };
        if matches!(entry.conn.state(), tcp::State::SynSent | tcp::State::SynReceived) {
            let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
            entry.conn.fail(&mut env, Error::HostUnreachable);
            self.dispatch(now, slot, app);
        }
    }

    /// A connection that waited for its neighbour may go on.
    fn wake(&mut self, conn: ConnId) {
        if let Some(entry) = self.current(conn) {
            entry.waits = false;
            self.mark(conn.slot);
        }
    }

    #[inline(never)] // in most turns none expires
    fn on_timer(&mut self, now: Instant, slot: u32, app: &mut impl App) {
        let Some(entry) = self.conns.get_mut(slot) else { return };
        entry.armed = None;
        if entry.unread_end {
            if entry.end_is_due() {
                self.on_closed(now, slot, None, app);
            }
            return;
        }
        if core::mem::take(&mut entry.fresh) {
            self.catch_up(now, slot, app);
        }
        let Some(entry) = self.conns.get_mut(slot) else { return };
        let due = entry.conn.poll_timeout().is_some_and(|at| at <= now);
        if due || (entry.conn.state() == tcp::State::Closed && !entry.over) {
            let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
            if let Some(reset) = entry.conn.on_timeout(&mut env) {
                self.reset_to(now, slot, reset, ResetCause::Timeout);
            }
            self.dispatch(now, slot, app);
            self.mark(slot);
        }
        self.arm(slot);
    }

    /// The pool has room again for those that wait for it.
    fn feeds_starved(&self) -> bool {
        !self.starved.is_empty() && self.pool.has_room(self.starved_room)
    }

    /// When to call [`advance`](Self::advance) if nothing else happens before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        if self.feeds_starved() || self.outbox.own_len() > 0 {
            return Some(Instant::ZERO);
        }
        let records = [
            self.half_opens.next_wakeup(),
            self.time_waits.next_wakeup(),
            self.foreign.as_ref().and_then(Foreign::next_wakeup),
        ];
        [self.wheel.next_wakeup(), self.timers.next_wakeup(), self.neighbours.next_due(), self.claims.next_due()]
            .into_iter()
            .chain(records)
            .flatten()
            .min()
    }

    /// The next on-link address the kernel should resolve (shared addresses only).
    pub fn poll_resolve(&mut self) -> Option<IpAddr> {
        self.wanted.pop_front()
    }

    /// A neighbour has this MAC address now, or none that is known.
    pub fn on_neighbour(&mut self, ip: IpAddr, mac: Option<MacAddr>) {
        for conn in self.neighbours.update(ip, mac) {
            self.wake(conn);
        }
    }

    /// A connection's application was told that there is no room. If its send buffer has some, it is the pool that has
    /// none: no acknowledgment will bring it an event, so the shard remembers it.
    pub(crate) fn note_starved(&mut self, conn: ConnId) {
        let scarce = !self.pool.has_room(self.starved_room);
        if let Some(entry) = self.current(conn).filter(|e| scarce && !e.starved) {
            entry.starved = true;
            if self.starved.len() >= 2 * self.conns.len() + 32 {
                // Half of them at least are gone: while memory stays scarce nobody else takes them from the list.
                self.starved.retain(|conn| self.conns.generation(conn.slot) == conn.generation);
            }
            self.starved.push_back(conn);
        }
    }

    /// The application asks for the end of its loop.
    pub(crate) fn request_finish(&mut self) {
        self.finish = true;
    }

    /// Whether the application has asked for the end of its loop ([`Io::finish`]).
    #[must_use]
    pub const fn finish_requested(&self) -> bool {
        self.finish
    }

    /// Orderly end: no new connections, and every living one is closed as [`Io::close`] does, but for those that linger already.
    pub fn drain(&mut self, now: Instant) {
        self.close_listeners(now);
        for slot in 0..self.conns.slots() {
            if !self.entry(slot).is_some_and(|entry| entry.conn.lingers()) {
                let _ = self.close(now, self.id(slot));
            }
        }
        if let Ok(sockets) = self.sockets() {
            sockets.drain(now);
        }
    }

    /// The end of the time for an orderly one: every connection that is left is reset.
    pub fn abort_all(&mut self, now: Instant) {
        self.forget_all_half_opens(now);
        for slot in 0..self.conns.slots() {
            if let Some(entry) = self.entry(slot) {
                entry.dead = false;
            }
            let _ = self.abort(now, self.id(slot));
        }
        if let Ok(sockets) = self.sockets() {
            sockets.abort_all();
        }
    }

    #[inline]
    fn address(&self, ip: IpAddr) -> Option<&LocalAddress> {
        self.config.addresses.iter().find(|a| a.ip == ip && !self.absent.contains(&ip))
    }

    /// Whether `ip` is the stack's alone.
    fn owns(&self, ip: IpAddr) -> bool {
        self.address(ip).is_some_and(|a| a.owned)
    }

    fn entry(&mut self, slot: u32) -> Option<&mut Entry> {
        self.conns.get_mut(slot)
    }

    /// The entry a handle was made for, if it still is.
    fn current(&mut self, conn: ConnId) -> Option<&mut Entry> {
        self.conns.current(conn)
    }

    /// The entry of a living handle.
    fn living(&mut self, conn: ConnId) -> Result<&mut Entry, Error> {
        self.current(conn).filter(|e| !e.dead).ok_or(Error::NotConnected)
    }

    fn id(&self, slot: u32) -> ConnId {
        ConnId { slot, generation: self.conns.generation(slot) }
    }

    /// Runs a verb of a connection; it may have something to send afterwards.
    #[inline]
    pub(crate) fn with<R>(
        &mut self,
        now: Instant,
        conn: ConnId,
        verb: impl FnOnce(&mut Connection, &mut Env<'_>) -> R,
    ) -> Result<R, Error> {
        let entry = self.conns.current(conn).filter(|e| !e.dead).ok_or(Error::NotConnected)?;
        let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        let result = verb(&mut entry.conn, &mut env);
        let all_is_read = entry.end_is_due();
        Self::mark_entry(entry, conn.slot, &mut self.counters, &mut self.dirty);
        if all_is_read {
            self.call_at_once(conn.slot);
        }
        Ok(result)
    }

    /// The next [`advance`](Self::advance) sees to it, or the one that is under way, as to one whose time has come: to tell an end, or
    /// what happened before it was accepted. No deadline of its own is before that, so whoever asks again does not put it off; and
    /// in the tick at which the wheel stands nobody is asked.
    fn call_at_once(&mut self, slot: u32) {
        if let Some(entry) = self.conns.get_mut(slot) {
            entry.armed = Some(Instant::ZERO);
            self.wheel.start(slot, Instant::ZERO);
        }
    }

    /// The DSCP of a connection's packets from now on, 0 to 63.
    pub(crate) fn set_dscp(&mut self, conn: ConnId, dscp: u8) -> Result<(), Error> {
        self.living(conn)?.dscp = dscp & 0x3f;
        Ok(())
    }

    pub(crate) fn addresses(&self, conn: ConnId) -> Result<(SocketAddr, SocketAddr), Error> {
        let lives = self.conns.generation(conn.slot) == conn.generation && !self.conns.is_dead(conn.slot);
        let key = self.conns.key(conn.slot).filter(|_| lives).ok_or(Error::NotConnected)?;
        Ok((key.local(), key.remote()))
    }

    /// Puts a connection to which something has happened into the queue of those that may have something to send, and
    /// counts it under its state.
    fn mark(&mut self, slot: u32) {
        let Some(entry) = self.conns.get_mut(slot) else { return };
        Self::mark_entry(entry, slot, &mut self.counters, &mut self.dirty);
    }

    #[inline]
    fn mark_entry(entry: &mut Entry, slot: u32, counters: &mut Counters, dirty: &mut VecDeque<u32>) {
        counters.count_state(&mut entry.counted, entry.conn.state());
        if !entry.dirty {
            entry.dirty = true;
            dirty.push_back(slot);
        }
    }

    /// The same for one that has heard a segment. Where that asks for nothing at once, as every second data segment, its timer is
    /// all there is to see to.
    #[inline]
    fn mark_unless_quiet(&mut self, slot: u32) {
        if let Some(entry) = self.conns.get_mut(slot).filter(|entry| !entry.dirty) {
            Self::mark_clean(entry, slot, &mut self.counters, &mut self.dirty, &mut self.wheel);
        }
    }

    /// Of one that is not in the queue yet.
    #[inline]
    fn mark_clean(
        entry: &mut Entry,
        slot: u32,
        counters: &mut Counters,
        dirty: &mut VecDeque<u32>,
        wheel: &mut Wheel<Near>,
    ) {
        if !entry.over && entry.conn.sent_all() {
            Self::arm_entry(entry, slot, wheel);
        } else {
            Self::mark_entry(entry, slot, counters, dirty);
        }
    }

    /// Sees to it that the wheel calls no later than the connection's first deadline.
    ///
    /// A deadline that moved away is not followed: the wheel asks for it when the old one comes near. So the usual segment, which
    /// moves the retransmission timer by a little, does not touch the wheel.
    fn arm(&mut self, slot: u32) {
        let Some(entry) = self.conns.get_mut(slot) else { return };
        Self::arm_entry(entry, slot, &mut self.wheel);
    }

    #[inline]
    fn arm_entry(entry: &mut Entry, slot: u32, wheel: &mut Wheel<Near>) {
        entry.due = entry.conn.poll_timeout();
        let Some(deadline) = entry.due else { return };
        if entry.armed.is_none_or(|at| at > deadline) {
            Self::arm_anew(entry, slot, deadline, wheel);
        }
    }

    #[inline(never)] // most segments find it armed
    fn arm_anew(entry: &mut Entry, slot: u32, deadline: Instant, wheel: &mut Wheel<Near>) {
        entry.armed = Some(deadline);
        wheel.start(slot, deadline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hot structs have their sizes written down: one that grows is looked at.
    #[test]
    fn sizes() {
        assert_eq!(size_of::<Connection>(), 520);
        assert_eq!(size_of::<Entry>(), 10 * 64);
        assert_eq!(core::mem::offset_of!(Entry, conn), 80);
    }

    /// Connections that come and go while the pool stays full are not remembered for ever.
    #[test]
    fn who_waits_for_memory_and_goes_is_forgotten() {
        let addresses = std::vec![LocalAddress { ip: [10, 0, 0, 1].into(), prefix_len: 24, owned: true }];
        let mut config = ShardConfig::new(MacAddr([2; 6]), 1500, addresses, [[7; 16]; 4]);
        config.pool_bytes = 64 << 10;
        let (now, peer) = (Instant::ZERO, ([10, 0, 0, 9], 80).into());
        let mut shard = Shard::new(config, now).expect("valid");
        shard.on_neighbour([10, 0, 0, 9].into(), Some(MacAddr([4; 6])));
        let mut frame = [0; 1600];
        let mut holders = 0;
        while shard.pool.has_room(0) {
            let holder = shard.call(now, |io| io.connect(peer)).expect("a port");
            shard.call(now, |io| io.send(holder, &[1; 60_000])).expect("alive");
            holders += 1;
        }
        for n in 0..5000 {
            let conn = shard.call(now, |io| io.connect(peer)).expect("a port");
            shard.call(now, |io| io.send(conn, &[1; 60_000])).expect("alive");
            assert_eq!(shard.starved.back(), Some(&conn), "{n}");
            shard.call(now, |io| io.abort(conn)).expect("alive");
            while shard.poll_transmit(now, &mut frame).is_some() {}
        }
        assert_eq!(shard.connections(), holders);
        assert!(shard.starved.len() <= 2 * holders + 64, "{} of {holders}", shard.starved.len());
        // Those that are left are still called.
        assert!(shard.starved.iter().filter(|conn| shard.conns.generation(conn.slot) == conn.generation).count() > 0);
    }
}
