//! Where a shard's connections are kept: those that have something to do in full, side by side, and of the others, which may be
//! ten million, what they have to remember.
//!
//! A connection is woken by whoever asks for it, and put to rest again by a hand that goes round (the clock algorithm of page
//! replacement): who was not asked for since it came by last, and [is at rest](tcp::Connection::rest). The two cost 1,900
//! instructions, so it is not done before there are more than [`ShardConfig::most_awake`](crate::ShardConfig::most_awake) in full,
//! nor to those that are asked for every few milliseconds.

use super::{
    Entry, NO_VLAN,
    ahead::{BATCH, FROM},
    life::new_entry,
};
use crate::{
    flow::{CompactKey, FlowKey},
    handle::ConnId,
};
use alloc::vec::Vec;
use core::hint::black_box;
use core::net::IpAddr;
use tcp::{Config, Env, Info, Listing, State};
use wheel::{Asked, Duration, Instant, Keeper, Near, Wheel};
use wire::{MacAddr, SeqNum};

/// Steps of the hand for each connection that was opened or woken; and in a turn of the loop so many more, of those that it owes.
const STEPS: usize = 4;
const MORE_STEPS: usize = 16;
/// The hand takes so long to come round, at least: who has something to do more often stays in full, however many these are.
const ROUND: Duration = Duration::from_millis(10);
/// Connections that the hand looks at together.
const PIECE: usize = 16;
/// One of its segments has arrived at another shard. Code points are below 64.
const ASTRAY: u8 = 0x80;

/// A connection at rest.
#[derive(Debug)]
struct Resting {
    conn: tcp::Resting,
    generation: u32,
    key: CompactKey,
    hash: u32,
    /// The IPv6 flow label, and in the lower 12 bits the VLAN: [`NO_VLAN`] or the tag.
    label_and_vlan: u32,
    /// [`NO_EPOCH`], or in which epoch of the neighbours its MAC address was true.
    epoch: u32,
    mac: MacAddr,
    time_wait_secs: u8,
    /// The DSCP; with [`ASTRAY`].
    dscp: u8,
    plan: u8,
    /// Of the tag: priority and drop eligible.
    priority: u8,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // of many places nearly all are at rest
enum Place {
    Vacant {
        generation: u32,
    },
    /// It is in full.
    Awake,
    Resting(Resting),
}

/// No place among those in full.
const NOT_AWAKE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Connections {
    /// By slot, the place among those in full. Of ten million connections this is 40 MB, and the places are 2 GB: where many are
    /// in full a segment's is not looked for there.
    at: Vec<u32>,
    places: Vec<Place>,
    free: Vec<u32>,
    awake: Vec<Entry>,
    most_awake: usize,
    hand: usize,
    /// When it may begin its next round.
    next_round: Instant,
    /// Steps that the hand owes, and those of them for who has come since it moved last.
    owed: usize,
    fresh: usize,
    moves: u64,
    config: Config,
    /// Our addresses, as the shard's configuration has them.
    ours: Vec<IpAddr>,
}

impl Resting {
    /// Reads a little of each of its lines; what it read means nothing.
    #[inline]
    fn touch(&self) -> u32 {
        self.hash ^ self.key.touch() ^ u32::from(self.plan) ^ self.conn.touch()
    }

    #[allow(clippy::cast_possible_truncation)] // the lower bits
    fn wake(self, config: &Config, ours: &[IpAddr]) -> Option<Entry> {
        let key = self.key.key(ours)?;
        let conn = self.conn.wake(config);
        Some(Entry {
            told: true,
            counted: conn.state(),
            // No later than when the wheel calls.
            armed: conn.poll_timeout(),
            due: conn.poll_timeout(),
            time_wait_secs: self.time_wait_secs,
            mac: self.mac,
            epoch: self.epoch,
            vlan: Some(self.label_and_vlan as u16 & 0xfff)
                .filter(|id| *id != 0xfff)
                .map_or(NO_VLAN, |id| id | u16::from(self.priority) << 12),
            dscp: self.dscp & !ASTRAY,
            flow_label: self.label_and_vlan >> 12,
            plan: self.plan,
            astray: self.dscp & ASTRAY != 0,
            ..new_entry(key, self.hash, conn)
        })
    }
}

impl Entry {
    /// Reads a little of the lines that a segment needs, wherever in one it begins; what it read means nothing.
    #[inline]
    fn touch(&self) -> u32 {
        self.flow_label ^ u32::from(self.armed.is_some()) ^ u32::from(self.dscp) ^ self.conn.touch()
    }

    /// Nobody but the peer and the application has anything to do with it now.
    fn is_alone(&self) -> bool {
        let busy = self.queued | self.fresh | self.dead | self.over | self.unread_end;
        let waits = self.waits | self.starved | self.dirty;
        self.told && !busy && !waits && self.counted == self.conn.state()
    }
}

impl Connections {
    pub(super) fn new(config: Config, most_awake: u32, ours: Vec<IpAddr>) -> Self {
        Self {
            at: Vec::new(),
            places: Vec::new(),
            free: Vec::new(),
            awake: Vec::new(),
            most_awake: most_awake as usize,
            hand: 0,
            next_round: Instant::ZERO,
            owed: 0,
            fresh: 0,
            moves: 0,
            config,
            ours,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Slots there may be, for listing.
    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    #[inline]
    pub(super) fn insert(&mut self, entry: Entry) -> Option<u32> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.places.push(Place::Vacant { generation: 0 });
                self.at.push(NOT_AWAKE);
                u32::try_from(self.places.len() - 1).ok()?
            }
        };
        let generation = self.generation(slot);
        self.awaken(slot, generation, entry);
        Some(slot)
    }

    #[inline]
    fn awaken(&mut self, slot: u32, generation: u32, mut entry: Entry) {
        // There are no more than slots.
        let at = u32::try_from(self.awake.len()).unwrap_or(u32::MAX);
        (entry.slot, entry.generation, entry.used) = (slot, generation, true);
        self.awake.push(entry);
        self.places[slot as usize] = Place::Awake;
        self.at[slot as usize] = at;
        self.owed += STEPS;
        self.fresh += STEPS;
    }

    /// A connection in full: one at rest is woken.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        let mut at = *self.at.get(slot as usize)?;
        if at == NOT_AWAKE {
            at = self.wake(slot)?;
        }
        self.awake.get_mut(at as usize)
    }

    /// As [`get_mut`](Self::get_mut), for the peer or the application: the hand passes it by once.
    #[inline]
    pub(super) fn use_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        let at = *self.at.get(slot as usize)?;
        if at == NOT_AWAKE {
            // It is used by being woken.
            return self.get_mut(slot);
        }
        let entry = self.awake.get_mut(at as usize)?;
        entry.used = true;
        Some(entry)
    }

    /// What [is there](Self::at): nobody comes or goes between.
    #[inline(always)] // every segment does
    pub(super) fn look_at(&mut self, slot: u32, at: usize) -> &mut Entry {
        debug_assert!(self.at(slot) == Some(at), "who goes does so behind the frames of a turn");
        &mut self.awake[at]
    }

    /// As [`use_mut`](Self::use_mut), of one that [is there](Self::at): nobody has [left](Self::moves) since.
    #[inline]
    pub(super) fn use_at(&mut self, slot: u32, at: usize) -> Option<&mut Entry> {
        debug_assert!(self.at(slot) == Some(at), "who asks has seen that nobody left");
        let entry = self.awake.get_mut(at)?;
        entry.used = true;
        Some(entry)
    }

    /// How often one has left those in full: who was there is where they were as long as it is the same.
    #[inline]
    pub(super) const fn moves(&self) -> u64 {
        self.moves
    }

    #[inline(never)] // the rare case
    fn wake(&mut self, slot: u32) -> Option<u32> {
        let place = &mut self.places[slot as usize];
        if !matches!(place, Place::Resting(_)) {
            return None;
        }
        let Place::Resting(resting) = core::mem::replace(place, Place::Awake) else { return None };
        let generation = resting.generation;
        // Its address is one of ours, or it would not have been put to rest.
        let entry = resting.wake(&self.config, &self.ours)?;
        self.awaken(slot, generation, entry);
        u32::try_from(self.awake.len() - 1).ok()
    }

    /// Where these are among those in full, of the first [`BATCH`].
    #[inline]
    fn places_of(&self, slots: &[u32]) -> [u32; BATCH] {
        let mut places = [NOT_AWAKE; BATCH];
        for (at, slot) in places.iter_mut().zip(slots) {
            *at = self.at.get(*slot as usize).copied().unwrap_or(NOT_AWAKE);
        }
        places
    }

    /// Reads the lines that these slots' next segments need, so that they are in a cache then. At most [`BATCH`] are looked at.
    pub(super) fn look_ahead(&self, slots: &[u32], wheel: &Wheel<Near>) {
        let places = self.places_of(slots);
        let both = || places.iter().map(|at| self.awake.get(*at as usize)).zip(slots);
        let mut sum = 0;
        for (entry, slot) in both() {
            sum ^= entry.map_or_else(|| self.touch_resting(*slot), Entry::touch);
        }
        // Of a timer that runs it is known when: most often it need not be moved.
        for (_, slot) in both().filter(|(entry, _)| entry.is_none_or(|entry| entry.armed.is_none())) {
            sum ^= u32::from(wheel.is_armed(*slot));
        }
        for entry in both().filter_map(|(entry, _)| entry) {
            sum ^= entry.conn.touch_flight();
        }
        black_box(sum);
    }

    /// The same of slots whose timers expire.
    pub(super) fn look_at_expiring(&self, slots: &[u32], wheel: &Wheel<Near>) {
        black_box(slots.iter().fold(0, |sum, slot| sum ^ u32::from(wheel.is_armed(*slot))));
        self.look_ahead(slots, wheel);
    }

    fn touch_resting(&self, slot: u32) -> u32 {
        self.resting(slot).map_or(0, Resting::touch)
    }

    /// Reads a place that will be written.
    fn touch_place(&self, slot: u32) -> u32 {
        match &self.places[slot as usize] {
            Place::Vacant { generation } => *generation,
            Place::Resting(resting) => resting.hash,
            Place::Awake => 0,
        }
    }

    /// The place of a connection that is in full already, until one of them comes or goes.
    #[inline]
    pub(super) fn at(&self, slot: u32) -> Option<usize> {
        self.at.get(slot as usize).filter(|at| **at != NOT_AWAKE).map(|at| *at as usize)
    }

    /// A connection that is in full already.
    #[inline]
    pub(super) fn awake(&self, slot: u32) -> Option<&Entry> {
        self.awake.get(self.at(slot)?)
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn awake_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        let at = self.at(slot)?;
        self.awake.get_mut(at)
    }

    /// The generation of a slot.
    #[inline]
    pub(super) fn generation(&self, slot: u32) -> u32 {
        if let Some(entry) = self.awake(slot) {
            return entry.generation;
        }
        match self.places.get(slot as usize) {
            Some(Place::Resting(Resting { generation, .. }) | Place::Vacant { generation }) => *generation,
            _ => 0,
        }
    }

    /// The connection a handle was made for, if it still is.
    #[inline]
    pub(super) fn current(&mut self, conn: ConnId) -> Option<&mut Entry> {
        if self.generation(conn.slot) != conn.generation {
            return None;
        }
        self.use_mut(conn.slot)
    }

    /// Whether a slot's connection has this key.
    #[inline]
    pub(super) fn is(&self, slot: u32, key: &FlowKey) -> bool {
        match self.awake(slot) {
            Some(entry) => entry.key == *key,
            None => self.resting(slot).is_some_and(|resting| resting.key.key(&self.ours) == Some(*key)),
        }
    }

    fn resting(&self, slot: u32) -> Option<&Resting> {
        match self.places.get(slot as usize)? {
            Place::Resting(resting) => Some(resting),
            _ => None,
        }
    }

    /// Its handle is dead, or it has none.
    pub(super) fn is_dead(&self, slot: u32) -> bool {
        self.awake(slot).is_some_and(|entry| entry.dead)
    }

    pub(super) fn key(&self, slot: u32) -> Option<FlowKey> {
        match self.awake(slot) {
            Some(entry) => Some(entry.key),
            None => self.resting(slot)?.key.key(&self.ours),
        }
    }

    /// The initial sequence numbers of both sides.
    pub(super) fn initial_numbers(&self, slot: u32) -> Option<(SeqNum, SeqNum)> {
        match self.awake(slot) {
            Some(entry) => Some(entry.conn.initial_numbers()),
            None => self.resting(slot).map(|resting| resting.conn.initial_numbers()),
        }
    }

    /// Who rests in a slot, and in which state.
    pub(super) fn resting_state(&self, slot: u32) -> Option<(FlowKey, State)> {
        let resting = self.resting(slot)?;
        Some((resting.key.key(&self.ours)?, resting.conn.state()))
    }

    /// What a connection at rest is shown as.
    pub(super) fn resting_info(&self, slot: u32) -> Option<(Info, Listing)> {
        let resting = self.resting(slot)?;
        Some((resting.conn.info(), resting.conn.listing(&self.config)))
    }

    /// Wakes it only if that is of interest to it: a segment on our link carries `mss` now.
    pub(super) fn with_link_mss(&mut self, slot: u32, mss: impl FnOnce(&FlowKey) -> u16) -> Option<(u16, &mut Entry)> {
        let mss = mss(&self.key(slot)?);
        if self.resting(slot).is_some_and(|resting| !resting.conn.minds_link_mss(mss)) {
            return None;
        }
        self.get_mut(slot).map(|entry| (mss, entry))
    }

    /// A connection is gone; its handle is dead.
    pub(super) fn remove(&mut self, slot: u32) {
        // Nobody removes what rests.
        let Some(at) = self.at(slot) else { return };
        let generation = ConnId::next_generation(self.awake[at].generation);
        self.take_out(at);
        self.places[slot as usize] = Place::Vacant { generation };
        self.free.push(slot);
    }

    /// Out of those in full; the last one takes its place.
    fn take_out(&mut self, at: usize) {
        self.moves += 1;
        self.at[self.awake[at].slot as usize] = NOT_AWAKE;
        if at + 1 == self.awake.len() {
            // Nothing is copied.
            return self.awake.truncate(at);
        }
        self.awake.swap_remove(at);
        if let Some(moved) = self.awake.get(at) {
            self.at[moved.slot as usize] = u32::try_from(at).unwrap_or(NOT_AWAKE);
        }
    }

    /// Puts connections to rest if there are too many in full: some steps for each that has come.
    #[inline]
    pub(super) fn settle(&mut self, env: &Env<'_>, wheel: &mut Wheel<Near>) {
        if self.awake.len() > self.most_awake {
            self.go_round(env, wheel);
        }
    }

    #[inline(never)] // of no interest to few connections
    fn go_round(&mut self, env: &Env<'_>, wheel: &mut Wheel<Near>) {
        let mut steps = (core::mem::take(&mut self.fresh) + MORE_STEPS).min(self.owed + 1);
        while steps > 0 && self.awake.len() > self.most_awake {
            if self.hand >= self.awake.len() {
                if env.now < self.next_round {
                    return;
                }
                self.next_round = env.now + if self.most_awake == 0 { Duration::ZERO } else { ROUND };
                self.hand = 0;
                // So many are enough for all of them.
                self.owed = self.owed.min(self.awake.len());
            }
            // A piece at a time, so that what is not in a cache is asked for all at once.
            let end = self.awake.len().min(self.hand + steps.min(PIECE));
            let piece = self.hand..end;
            steps -= piece.len();
            black_box(piece.clone().fold(0, |sum, at| sum ^ u32::from(self.awake[at].used)));
            let touched = piece
                .clone()
                .map(|at| &self.awake[at])
                .filter(|entry| !entry.used)
                .fold(0, |sum, entry| sum ^ entry.touch() ^ self.touch_place(entry.slot));
            black_box(touched);
            self.hand = end;
            self.owed = self.owed.saturating_sub(piece.len());
            // From behind: the last one of all takes the place of one that goes.
            for at in piece.rev() {
                if !core::mem::take(&mut self.awake[at].used) {
                    self.rest(at, env, wheel);
                }
            }
        }
    }

    /// Puts it to rest unless it has something to do.
    fn rest(&mut self, at: usize, env: &Env<'_>, wheel: &mut Wheel<Near>) {
        let entry = &mut self.awake[at];
        let Entry { slot, generation, .. } = *entry;
        let Some(key) = CompactKey::of(&entry.key, &self.ours).filter(|_| entry.is_alone()) else { return };
        let Some(conn) = entry.conn.rest(env) else { return };
        match conn.deadline() {
            Some(deadline) if entry.armed == Some(deadline) => {}
            Some(deadline) => wheel.start(slot, deadline),
            None if entry.armed.is_some() => {
                wheel.stop(slot);
            }
            None => {}
        }
        let resting = Resting {
            conn,
            generation,
            key,
            hash: entry.hash,
            label_and_vlan: entry.flow_label << 12 | u32::from(entry.vlan & 0xfff),
            epoch: entry.epoch,
            mac: entry.mac,
            time_wait_secs: entry.time_wait_secs,
            dscp: entry.dscp | if entry.astray { ASTRAY } else { 0 },
            plan: entry.plan,
            priority: (entry.vlan >> 12) as u8,
        };
        self.take_out(at);
        self.places[slot as usize] = Place::Resting(resting);
    }
}

/// A connection's deadline moves away with most of its segments, and it is in no hurry to say so.
impl Keeper for Connections {
    #[inline]
    fn before_asking(&self, keys: &[u32]) {
        if self.awake.len() < FROM {
            return;
        }
        let places = self.places_of(keys);
        let entries = places.iter().filter_map(|at| self.awake.get(*at as usize));
        black_box(entries.fold(false, |sum, entry| sum ^ entry.due.is_some()));
    }

    #[inline]
    fn ask(&mut self, slot: u32) -> Asked {
        // What rests has the deadline that it had.
        let Some(entry) = self.awake_mut(slot) else { return Asked::Same };
        // Who may have something to send may have another deadline too, which is looked at when that has left.
        if entry.due == entry.armed || entry.dirty {
            return Asked::Same;
        }
        entry.armed = entry.due;
        entry.due.map_or(Asked::Gone, Asked::Moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;
    use std::{format, string::String, vec};
    use tcp::{Connection, Pool, Start, testing::segment};
    use wire::tcp::Flags;

    /// 256 bytes for an idle connection, all told: its place, 4 for where it is in full, 8 in the wheel and 4.6 while a timer of
    /// its is armed, 13.3 at most in the table.
    #[test]
    fn what_rests_is_small() {
        assert_eq!(size_of::<Place>(), 224);
        assert!(size_of::<Place>() + 4 + 8 + 5 + 14 <= 256);
    }

    /// Established, as whoever opens it.
    fn connection(config: &Config, pool: &mut Pool) -> Connection {
        let mut env = Env { now: Instant::ZERO, config, pool };
        let iss = SeqNum::new(100);
        let start = Start { iss, mss: 1460, default_peer_mss: 536, timestamp_offset: 0 };
        let mut conn = Connection::connect(&env, start);
        let mut out = [0; 2048];
        while conn.poll_transmit(&mut env, &mut out).is_some() {}
        let _ = conn.on_segment(&mut env, &segment(Flags::SYN | Flags::ACK, 300, 101, &[]));
        while conn.poll_transmit(&mut env, &mut out).is_some() {}
        while conn.poll_event().is_some() {}
        conn
    }

    /// What the shard knows of it; TCP's own part has a test of its own.
    fn shards(entry: Option<&mut Entry>) -> (String, String) {
        let all = format!("{:?}", entry.expect("it is there"));
        let (front, rest) = all.split_once(", conn: ").expect("a connection");
        let (_, back) = rest.split_once(", listener: ").expect("a listener");
        (front.into(), back.into())
    }

    /// What the shard knows of a connection comes back whole, as of one with everything as of one with nothing; but for the next
    /// hop, which is looked for while a connection is opened.
    #[test]
    fn who_is_woken_is_who_it_was() {
        let (config, mut pool) = (Config::default(), Pool::new(1 << 20));
        let ours: Vec<IpAddr> = vec![[10, 0, 0, 1].into(), "fd77::1".parse().expect("an address")];
        for (n, ip) in ours.iter().enumerate() {
            let remote: SocketAddr = ["10.0.0.9:80", "[fd77::9]:80"][n].parse().expect("an address");
            let key = FlowKey::new(SocketAddr::new(*ip, 4000), remote);
            let plain = || {
                let conn = connection(&config, &mut Pool::new(1 << 20));
                let entry = new_entry(key, 0xdead_beef, conn);
                Entry { told: true, counted: State::Established, ..entry }
            };
            let all = Entry {
                time_wait_secs: 240,
                mac: MacAddr([2, 3, 4, 5, 6, 7]),
                epoch: 7,
                vlan: 5 << 13 | 4094,
                dscp: 63,
                flow_label: 0xf_ffff,
                plan: 255,
                astray: true,
                ..plain()
            };
            for entry in [plain(), all] {
                let mut conns = Connections::new(config.clone(), 0, ours.clone());
                let slot = conns.insert(entry).expect("room");
                let mut wheel = Wheel::near(Instant::ZERO);
                let before = shards(conns.get_mut(slot));
                for _ in 0..2 {
                    let env = Env { now: Instant::ZERO, config: &config, pool: &mut pool };
                    conns.settle(&env, &mut wheel);
                }
                assert!(conns.awake(slot).is_none() && conns.is(slot, &key) && conns.key(slot) == Some(key));
                assert_eq!(shards(conns.get_mut(slot)), before);
                assert!(conns.awake(slot).is_some());
            }
        }
    }
}
