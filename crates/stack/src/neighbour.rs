//! Neighbours: which MAC address an on-link address has, and who waits to learn it.
//!
//! For an address of the interface's the kernel resolves, and its table is mirrored ([`Resolve::AskKernel`]); for one of our
//! own the shard asks itself, by ARP or NDP ([`Resolve::Ask`]). Either way a connection with something to send waits here,
//! not its frames: nothing is lost, and a dead neighbour holds nobody up but its own connections.
//!
//! What the shard found out itself is in doubt after a minute (RFC 1122 section 2.3.2.1, RFC 4861 section 7.3): a neighbour
//! that is used again is then asked by unicast, and used meanwhile. One that does not answer is forgotten, and asked for as
//! if it had never been known.

use crate::handle::ConnId;
use alloc::{collections::BTreeMap, vec::Vec};
use core::net::IpAddr;
use wheel::{Duration, Instant};
use wire::MacAddr;

/// Neighbours known or being resolved.
const LIMIT: usize = 4096;
/// How many of those that nobody waits for go at once when there are so many: a look through the table is for so many that come.
const ROOM: usize = LIMIT / 64;
/// Between requests for one address (RFC 1122 section 2.3.2.1: at most one a second; RFC 4861: RETRANS_TIMER).
const RETRY: Duration = Duration::from_secs(1);
/// Unanswered requests after which an active open fails or a neighbour is forgotten, as Linux (`mcast_solicit`,
/// `ucast_solicit`) and RFC 4861 section 10.
const GIVE_UP: u8 = 3;
/// How long an answer is believed (RFC 1122 section 2.3.2.1: of the order of a minute).
const REACHABLE: Duration = Duration::from_secs(60);
/// How long an address is believed that was learnt without having been asked for (RFC 4861: DELAY_FIRST_PROBE_TIME).
const DELAY: Duration = Duration::from_secs(5);
/// Between looks at the whole table for what is in doubt by now: each may make every connection look its neighbour up again.
const SWEEP: Duration = Duration::from_secs(5);

/// A neighbour's name: the same address in another VLAN is another station's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hop {
    /// The identifier; 0: none (IEEE 802.1Q).
    vlan: u16,
    pub(crate) ip: IpAddr,
}

impl Hop {
    /// `tag`: that of the frames it is reached by.
    pub(crate) fn new(ip: IpAddr, tag: Option<u16>) -> Self {
        Self { vlan: tag.unwrap_or(0) & 0xfff, ip }
    }
}

/// As the kernel's are, on the interface itself.
impl From<IpAddr> for Hop {
    fn from(ip: IpAddr) -> Self {
        Self::new(ip, None)
    }
}

/// On whose behalf the shard asks: an owned address, and the VLAN it is reached in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) local: IpAddr,
    pub(crate) vlan: Option<u16>,
}

/// A question to send, by ARP or NDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) from: Asker,
    pub(crate) target: IpAddr,
    /// The station to ask; `None`: all.
    pub(crate) at: Option<MacAddr>,
}

/// A request to resolve an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolve {
    AskKernel(IpAddr),
    Ask(Ask),
}

#[derive(Debug, Default)]
struct Neighbour {
    mac: Option<MacAddr>,
    /// Who asks for it, if the shard does. What the kernel said is the kernel's to correct.
    asker: Option<Asker>,
    /// The kernel is no longer sure of it, or has forgotten it.
    stale: bool,
    /// It is not in doubt before. Only for what the shard asks for, or the kernel is not sure of.
    fresh_until: Option<Instant>,
    asked: Option<Instant>,
    /// Requests in a row that were not answered.
    tries: u8,
    /// When it was looked up or learnt last, by the table's count.
    used: u64,
    /// Connections that have something to send.
    waiting: Vec<ConnId>,
}

impl Neighbour {
    /// The question to its last known station, if it is in doubt and was not asked yet.
    fn doubt(&mut self, now: Instant, ip: IpAddr) -> Option<Ask> {
        let from = self.asker.filter(|_| self.fresh_until.is_none() && self.tries == 0)?;
        self.asked = Some(now);
        self.tries = 1;
        Some(Ask { from, target: ip, at: self.mac })
    }

    /// Whether the kernel is to be asked for it, since it is used and the kernel is not sure. Its answer is an update; one
    /// that never comes is missed after a minute.
    fn asks_kernel(&mut self, now: Instant) -> bool {
        let asks = self.stale && self.fresh_until.is_none();
        if asks {
            self.fresh_until = Some(now + REACHABLE);
        }
        asks
    }

    fn believe(&mut self, until: Instant) {
        self.fresh_until = Some(until);
        self.asked = None;
        self.tries = 0;
    }
}

/// No epoch: of who has looked nothing up.
pub(crate) const NO_EPOCH: u32 = u32::MAX;

const fn next_epoch(epoch: u32) -> u32 {
    (epoch + 1) % NO_EPOCH
}

/// The answer to a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// It is known; with a question if it is in doubt.
    Known(MacAddr, Option<Resolve>),
    /// It is not known yet; the request, if one is due now.
    Waiting(Option<Resolve>),
    /// The table is full of addresses that others wait for.
    Full,
}

/// What is to be done when time has passed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// The connections whose neighbour must be asked for again. With an address: it has failed to answer for so long that
    /// an open to it gives up.
    pub(crate) again: Vec<(ConnId, Option<IpAddr>)>,
    /// Questions to neighbours that have not answered the last one.
    pub(crate) asks: Vec<Ask>,
}

#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    table: BTreeMap<Hop, Neighbour>,
    epoch: u32,
    /// No request is due again before; `None`: none is unanswered.
    retry_at: Option<Instant>,
    /// When the table is looked through for what is in doubt; `None`: nothing will be.
    sweep_at: Option<Instant>,
    /// The table is not looked through again before.
    rest_until: Instant,
    /// How often a neighbour was looked up or learnt.
    uses: u64,
}

impl Neighbours {
    /// Changes whenever a MAC address does, or comes into doubt: what was looked up in an earlier epoch must be looked up
    /// again.
    pub(crate) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The MAC address of `hop`. While it is not known, `waiter` (a connection that is not yet on a list) is put on its list.
    /// `asker` is who asks if the shard does, `None` if the kernel does.
    pub(crate) fn lookup(&mut self, now: Instant, hop: Hop, waiter: Option<ConnId>, asker: Option<Asker>) -> Lookup {
        if !self.make_room(hop, false) {
            return Lookup::Full;
        }
        self.uses += 1;
        let ip = hop.ip;
        let entry = self.table.entry(hop).or_default();
        entry.used = self.uses;
        if let Some(mac) = entry.mac {
            if entry.asks_kernel(now) {
                sooner(&mut self.sweep_at, now + REACHABLE);
                return Lookup::Known(mac, Some(Resolve::AskKernel(ip)));
            }
            let ask = entry.doubt(now, ip);
            if ask.is_some() {
                sooner(&mut self.retry_at, now + RETRY);
            }
            return Lookup::Known(mac, ask.map(Resolve::Ask));
        }
        entry.waiting.extend(waiter);
        if entry.asked.is_some_and(|at| now - at < RETRY) {
            return Lookup::Waiting(None);
        }
        // Who asked before has gone: how often it was asked for them does not count any more.
        if entry.asked.is_none_or(|at| now - at >= RETRY * 2) {
            entry.tries = 0;
        }
        entry.asked = Some(now);
        entry.tries = entry.tries.saturating_add(1);
        entry.asker = asker;
        sooner(&mut self.retry_at, now + RETRY);
        let ask = |from| Resolve::Ask(Ask { from, target: ip, at: None });
        Lookup::Waiting(Some(asker.map_or(Resolve::AskKernel(ip), ask)))
    }

    /// Somebody has reason to doubt a neighbour's MAC address: the question to ask, at most one a second. The address is believed
    /// until another is learnt, or the station has not answered for so long that it is gone.
    pub(crate) fn suspect(&mut self, now: Instant, hop: Hop) -> Option<Resolve> {
        let ip = hop.ip;
        let entry = self.table.get_mut(&hop).filter(|n| n.mac.is_some())?;
        if entry.asker.is_some() {
            entry.fresh_until = None;
            let ask = entry.doubt(now, ip)?;
            sooner(&mut self.retry_at, now + RETRY);
            return Some(Resolve::Ask(ask));
        }
        if entry.asked.is_some_and(|at| now - at < RETRY) {
            return None;
        }
        entry.asked = Some(now);
        Some(Resolve::AskKernel(ip))
    }

    /// Room for `hop`: in a full table some go that nobody waits for, unresolved ones first, then who was not used for longest:
    /// strangers that come and go do not drive out a gateway, which is looked up again whenever one has come.
    ///
    /// Who is to be asked for (`known` is false) makes none of those that are known go where half of the table has not answered
    /// (RFC 6583 section 7.1).
    fn make_room(&mut self, hop: Hop, known: bool) -> bool {
        if self.table.len() < LIMIT || self.table.contains_key(&hop) {
            return true;
        }
        let spared = !known && self.table.values().filter(|n| n.mac.is_none()).count() >= LIMIT / 2;
        let idle = self.table.iter().filter(|(_, n)| n.waiting.is_empty() && !(spared && n.mac.is_some()));
        let mut idle: Vec<_> = idle.map(|(hop, n)| (n.mac.is_some(), n.used, *hop)).collect();
        if idle.len() > ROOM {
            idle.select_nth_unstable(ROOM);
        }
        idle.truncate(ROOM);
        for (_, _, victim) in &idle {
            self.table.remove(victim);
        }
        !idle.is_empty()
    }

    /// The kernel learnt a neighbour's address, or lost it. Returns the connections that waited for it.
    pub(crate) fn update(&mut self, ip: IpAddr, mac: Option<MacAddr>) -> Vec<ConnId> {
        let hop = Hop::from(ip);
        if mac.is_none() && !self.table.contains_key(&hop) || !self.make_room(hop, true) {
            return Vec::new();
        }
        self.uses += 1;
        let entry = self.table.entry(hop).or_default();
        entry.used = self.uses;
        (entry.asker, entry.stale, entry.fresh_until) = (None, false, None);
        if entry.mac != mac || mac.is_some() {
            entry.asked = None;
            entry.tries = 0;
        }
        if entry.mac != mac {
            entry.mac = mac;
            self.epoch = next_epoch(self.epoch);
        }
        if mac.is_some() {
            return core::mem::take(&mut entry.waiting);
        }
        if entry.waiting.is_empty() {
            self.table.remove(&hop);
        }
        Vec::new()
    }

    /// The kernel is not sure of a neighbour's address any more: it is in doubt, at the next look through the table.
    pub(crate) fn stale(&mut self, now: Instant, ip: IpAddr) {
        if let Some(entry) = self.table.get_mut(&ip.into()).filter(|n| n.mac.is_some() && n.asker.is_none()) {
            entry.stale = true;
            entry.fresh_until = Some(now);
            sooner(&mut self.sweep_at, now.max(self.rest_until));
        }
    }

    /// The kernel has forgotten a neighbour, which says nothing of where it is: who uses it asks at once, and sends to where
    /// it was until the kernel knows better.
    pub(crate) fn forgotten(&mut self, ip: IpAddr) {
        if let Some(entry) = self.table.get_mut(&ip.into()).filter(|n| n.mac.is_some() && n.asker.is_none()) {
            (entry.stale, entry.fresh_until) = (true, None);
            self.new_epoch();
        }
    }

    /// What was looked up is to be looked up again.
    pub(crate) const fn new_epoch(&mut self) {
        self.epoch = next_epoch(self.epoch);
    }

    /// Takes all that wait for a neighbour from its list.
    pub(crate) fn take_waiting(&mut self) -> Vec<ConnId> {
        self.table.values_mut().flat_map(|n| n.waiting.drain(..)).collect()
    }

    /// A neighbour told its address, to `asker` if to one of ours. `answers`: it has heard us, or as good as that; otherwise an
    /// address that is new is soon in doubt (RFC 4861 sections 7.2.3, 7.2.5). Returns the connections that waited for it.
    pub(crate) fn heard(
        &mut self,
        now: Instant,
        hop: Hop,
        mac: MacAddr,
        asker: Option<Asker>,
        answers: bool,
    ) -> Vec<ConnId> {
        if !self.make_room(hop, true) {
            return Vec::new();
        }
        self.uses += 1;
        let entry = self.table.entry(hop).or_default();
        entry.used = self.uses;
        let moved = entry.mac != Some(mac);
        if entry.mac.is_none() {
            entry.asker = entry.asker.or(asker);
        }
        if moved {
            entry.mac = Some(mac);
            self.epoch = next_epoch(self.epoch);
        }
        if entry.asker.is_some() && (moved || answers) {
            let until = now + if answers { REACHABLE } else { DELAY };
            entry.believe(until);
            sooner(&mut self.sweep_at, until.max(self.rest_until));
        }
        core::mem::take(&mut entry.waiting)
    }

    /// A neighbour that is known has heard us, at the address it has had.
    pub(crate) fn confirm(&mut self, now: Instant, hop: Hop) {
        if let Some(entry) = self.table.get_mut(&hop).filter(|n| n.mac.is_some() && n.asker.is_some()) {
            entry.believe(now + REACHABLE);
            sooner(&mut self.sweep_at, (now + REACHABLE).max(self.rest_until));
        }
    }

    /// Somebody says that a neighbour has another address, but does not insist: the neighbour is asked soon.
    pub(crate) fn contradicted(&mut self, now: Instant, hop: Hop) {
        if let Some(until) = self.table.get_mut(&hop).and_then(|n| n.fresh_until.as_mut()) {
            *until = now;
            sooner(&mut self.sweep_at, now.max(self.rest_until));
        }
    }

    /// Whether this address is known or somebody waits for it, so that an unasked answer is worth keeping (RFC 826's merge
    /// rule, RFC 4861 section 7.2.5).
    pub(crate) fn knows_of(&self, hop: Hop) -> bool {
        self.table.contains_key(&hop)
    }

    /// The address that is known.
    pub(crate) fn known(&self, hop: Hop) -> Option<MacAddr> {
        self.table.get(&hop)?.mac
    }

    /// When [`due`](Self::due) is to be called, at the latest.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        [self.retry_at, self.sweep_at].into_iter().flatten().min()
    }

    /// Whether [`due`](Self::due) has something to say.
    #[inline]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        due(self.retry_at) || due(self.sweep_at)
    }

    /// What is to be done at `now`.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry(now, &mut due);
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep(now);
        }
        due
    }

    fn retry(&mut self, now: Instant, due: &mut Due) {
        let (retry_at, epoch) = (&mut self.retry_at, &mut self.epoch);
        *retry_at = None;
        self.table.retain(|Hop { ip, .. }, n| {
            let Some(asked) = n.asked else { return true };
            if now - asked < RETRY {
                sooner(retry_at, asked + RETRY);
                return true;
            }
            let failed = (n.tries >= GIVE_UP).then_some(*ip);
            if n.mac.is_none() {
                due.again.extend(n.waiting.drain(..).map(|conn| (conn, failed)));
                // Those that still want it come back within this turn.
            } else if failed.is_some() {
                // Those that use it begin anew, by asking all (RFC 4861 section 7.3.3).
                *epoch = next_epoch(*epoch);
            } else if let Some(from) = n.asker {
                n.asked = Some(now);
                n.tries += 1;
                sooner(retry_at, now + RETRY);
                due.asks.push(Ask { from, target: *ip, at: n.mac });
            }
            failed.is_none()
        });
    }

    /// What was not confirmed in time is in doubt: who uses it looks it up again, and asks.
    fn sweep(&mut self, now: Instant) {
        self.sweep_at = None;
        self.rest_until = now + SWEEP;
        let mut doubts = false;
        for neighbour in self.table.values_mut() {
            match neighbour.fresh_until {
                Some(until) if until <= now => {
                    neighbour.fresh_until = None;
                    doubts = true;
                }
                Some(until) => sooner(&mut self.sweep_at, until.max(self.rest_until)),
                None => {}
            }
        }
        if doubts {
            self.epoch = next_epoch(self.epoch);
        }
    }
}

fn sooner(timer: &mut Option<Instant>, at: Instant) {
    *timer = Some(timer.map_or(at, |other| other.min(at)));
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // LIMIT is small
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    const ASKER: Asker = Asker { local: IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 99)), vlan: Some(5) };
    const US: Option<Asker> = Some(ASKER);
    const MAC: MacAddr = MacAddr([2; 6]);

    fn ask(n: u8, at: Option<MacAddr>) -> Resolve {
        Resolve::Ask(Ask { from: ASKER, target: ip(n), at })
    }

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 0 }
    }

    #[test]
    fn the_first_asks_the_rest_wait_and_all_are_woken() {
        let mut neighbours = Neighbours::default();
        let now = Instant::ZERO;
        assert_eq!(neighbours.lookup(now, ip(1).into(), Some(conn(7)), US), Lookup::Waiting(Some(ask(1, None))));
        assert_eq!(neighbours.lookup(now, ip(1).into(), Some(conn(8)), US), Lookup::Waiting(None));
        assert_eq!(neighbours.next_due(), Some(now + RETRY));
        let mac = MacAddr([2; 6]);
        assert_eq!(neighbours.update(ip(1), Some(mac)), [conn(7), conn(8)]);
        assert_eq!(neighbours.lookup(now, ip(1).into(), Some(conn(9)), US), Lookup::Known(mac, None));
        assert!(neighbours.due(now + RETRY) == Due::default());
        assert_eq!(neighbours.next_due(), None);
    }

    #[test]
    fn a_change_is_a_new_epoch() {
        let mut neighbours = Neighbours::default();
        neighbours.lookup(Instant::ZERO, ip(1).into(), Some(conn(7)), None);
        let before = neighbours.epoch();
        neighbours.update(ip(1), Some(MacAddr([2; 6])));
        assert_ne!(neighbours.epoch(), before);
        let before = neighbours.epoch();
        neighbours.update(ip(1), Some(MacAddr([2; 6])));
        assert_eq!(neighbours.epoch(), before);
    }

    /// Four thousand million changes are a few hours of a flood.
    #[test]
    fn no_epoch_is_never_one() {
        let mut neighbours = Neighbours { epoch: NO_EPOCH - 1, ..Neighbours::default() };
        neighbours.update(ip(1), Some(MAC));
        assert_eq!(neighbours.epoch(), 0);
    }

    #[test]
    fn a_suspect_is_asked_at_most_once_a_second_and_believed_meanwhile() {
        let (mut neighbours, now) = (Neighbours::default(), Instant::ZERO + RETRY);
        assert_eq!(neighbours.suspect(now, ip(1).into()), None, "nothing is known that could be doubted");
        // The kernel's.
        neighbours.update(ip(1), Some(MAC));
        assert_eq!(neighbours.suspect(now, ip(1).into()), Some(Resolve::AskKernel(ip(1))));
        assert_eq!(neighbours.suspect(now, ip(1).into()), None);
        assert_eq!(neighbours.lookup(now, ip(1).into(), None, None), Lookup::Known(MAC, None));
        assert_eq!(neighbours.suspect(now + RETRY, ip(1).into()), Some(Resolve::AskKernel(ip(1))));
        // Our own: asked at its station, and gone when it never answers.
        neighbours.lookup(now, ip(2).into(), None, US);
        neighbours.heard(now, ip(2).into(), MAC, US, true);
        assert_eq!(neighbours.suspect(now, ip(2).into()), Some(ask(2, Some(MAC))));
        assert_eq!(neighbours.suspect(now, ip(2).into()), None);
        for second in 1..=3 {
            assert_eq!(neighbours.known(ip(2).into()), Some(MAC), "second {second}");
            neighbours.due(now + RETRY * second);
        }
        assert_eq!(neighbours.known(ip(2).into()), None);
    }

    #[test]
    fn an_unanswered_request_is_repeated_once_a_second() {
        let mut neighbours = Neighbours::default();
        neighbours.lookup(Instant::ZERO, ip(1).into(), Some(conn(7)), None);
        assert!(neighbours.due(Instant::ZERO + Duration::from_millis(999)) == Due::default());
        let later = Instant::ZERO + RETRY;
        assert_eq!(neighbours.due(later).again, [(conn(7), None)]);
        assert_eq!(
            neighbours.lookup(later, ip(1).into(), Some(conn(7)), None),
            Lookup::Waiting(Some(Resolve::AskKernel(ip(1))))
        );
    }

    #[test]
    fn a_dead_neighbour_is_told_and_forgotten() {
        let mut neighbours = Neighbours::default();
        let mut now = Instant::ZERO;
        for _ in 0..GIVE_UP {
            neighbours.lookup(now, ip(1).into(), Some(conn(7)), None);
            now += RETRY;
            if neighbours.due(now).again == [(conn(7), Some(ip(1)))] {
                assert!(neighbours.table.is_empty());
                return;
            }
        }
        panic!("never told");
    }

    #[test]
    fn a_full_table_makes_room_where_nobody_waits() {
        let mut neighbours = Neighbours::default();
        let addresses = (0..LIMIT as u32).map(|n| IpAddr::from(n.to_be_bytes()));
        for address in addresses {
            assert!(matches!(neighbours.lookup(Instant::ZERO, address.into(), Some(conn(1)), US), Lookup::Waiting(_)));
        }
        assert_eq!(neighbours.lookup(Instant::ZERO, ip(1).into(), Some(conn(2)), US), Lookup::Full);
        // Half of them answer: one of those makes room.
        for n in 0..LIMIT as u32 / 2 + 1 {
            neighbours.update(IpAddr::from(n.to_be_bytes()), Some(MacAddr([2; 6])));
        }
        assert!(matches!(neighbours.lookup(Instant::ZERO, ip(1).into(), Some(conn(2)), US), Lookup::Waiting(_)));
        assert!(neighbours.table.len() <= LIMIT);
    }

    /// RFC 6583 section 7.1: those that are asked for and do not answer, however many, do not drive out who is known.
    #[test]
    fn who_does_not_answer_drives_out_nobody() {
        let mut neighbours = Neighbours::default();
        let gateway = IpAddr::from([0, 0, 0, 1]);
        neighbours.update(gateway, Some(MAC));
        let lookup = |neighbours: &mut Neighbours, n: u32| {
            neighbours.lookup(Instant::ZERO, IpAddr::from((n + 10).to_be_bytes()).into(), Some(conn(n)), US)
        };
        for n in 0..LIMIT as u32 - 1 {
            assert!(matches!(lookup(&mut neighbours, n), Lookup::Waiting(_)));
        }
        for n in LIMIT as u32..2 * LIMIT as u32 {
            assert_eq!(lookup(&mut neighbours, n), Lookup::Full);
        }
        assert_eq!(neighbours.known(gateway.into()), Some(MAC));
    }

    /// Strangers that ask for us, more than there is room for, do not drive out the neighbour that is used.
    #[test]
    fn who_is_used_stays_in_a_full_table() {
        let mut neighbours = Neighbours::default();
        let gateway = IpAddr::from([0, 0, 0, 1]);
        neighbours.lookup(Instant::ZERO, gateway.into(), None, US);
        neighbours.heard(Instant::ZERO, gateway.into(), MAC, US, true);
        for n in 0..3 * LIMIT as u32 {
            neighbours.heard(Instant::ZERO, IpAddr::from((n + 10).to_be_bytes()).into(), MAC, US, true);
            if n % 1000 == 0 {
                assert_eq!(neighbours.lookup(Instant::ZERO, gateway.into(), None, US), Lookup::Known(MAC, None), "{n}");
            }
            assert!(neighbours.table.len() <= LIMIT);
        }
    }

    /// A time in milliseconds.
    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    /// A neighbour that answered at 0 ms.
    fn answered() -> Neighbours {
        let mut neighbours = Neighbours::default();
        neighbours.lookup(at(0), ip(1).into(), Some(conn(7)), US);
        assert_eq!(neighbours.heard(at(0), ip(1).into(), MAC, US, true), [conn(7)]);
        // The request's timer finds it answered.
        assert_eq!(neighbours.due(at(1000)), Due::default());
        neighbours
    }

    const PROBE: Ask = Ask { from: ASKER, target: IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1)), at: Some(MAC) };

    /// RFC 1122 section 2.3.2.1, RFC 4861 section 7.3.3: believed for a minute, then asked by unicast when it is used.
    #[test]
    fn an_old_answer_is_asked_for_again_when_it_is_used() {
        let mut neighbours = answered();
        let epoch = neighbours.epoch();
        assert_eq!(neighbours.lookup(at(59_999), ip(1).into(), None, US), Lookup::Known(MAC, None));
        assert_eq!(neighbours.next_due(), Some(at(60_000)));
        assert_eq!(neighbours.due(at(60_000)), Due::default());
        assert_ne!(neighbours.epoch(), epoch, "who uses it must look");
        assert_eq!(neighbours.next_due(), None, "nobody uses it, nobody is asked");
        assert_eq!(
            neighbours.lookup(at(90_000), ip(1).into(), None, US),
            Lookup::Known(MAC, Some(Resolve::Ask(PROBE)))
        );
        assert_eq!(neighbours.lookup(at(90_001), ip(1).into(), None, US), Lookup::Known(MAC, None), "asked once");
        neighbours.confirm(at(90_002), ip(1).into());
        neighbours.due(at(91_000));
        assert_eq!(neighbours.next_due(), Some(at(150_002)));
    }

    /// RFC 4861 section 7.3.3: MAX_UNICAST_SOLICIT probes, RETRANS_TIMER apart, then the entry is deleted.
    #[test]
    fn three_unanswered_probes_and_it_is_forgotten() {
        let mut neighbours = answered();
        neighbours.due(at(60_000));
        assert_eq!(
            neighbours.lookup(at(60_000), ip(1).into(), None, US),
            Lookup::Known(MAC, Some(Resolve::Ask(PROBE)))
        );
        for second in [61_000, 62_000] {
            assert_eq!(neighbours.due(at(second - 1)), Due::default());
            assert_eq!(neighbours.due(at(second)).asks, [PROBE]);
            assert_eq!(
                neighbours.lookup(at(second), ip(1).into(), None, US),
                Lookup::Known(MAC, None),
                "used meanwhile"
            );
        }
        let epoch = neighbours.epoch();
        assert_eq!(neighbours.due(at(63_000)), Due::default());
        assert_ne!(neighbours.epoch(), epoch);
        assert_eq!(neighbours.next_due(), None);
        assert_eq!(
            neighbours.lookup(at(63_000), ip(1).into(), None, US),
            Lookup::Waiting(Some(ask(1, None))),
            "all are asked"
        );
    }

    /// RFC 4861 section 7.2.3: an address that was not asked for is in doubt after DELAY_FIRST_PROBE_TIME.
    #[test]
    fn what_was_only_overheard_is_doubted_sooner() {
        let mut neighbours = Neighbours::default();
        neighbours.heard(at(0), ip(1).into(), MAC, US, false);
        assert_eq!(neighbours.next_due(), Some(at(5000)));
        neighbours.due(at(5000));
        assert_eq!(neighbours.lookup(at(5000), ip(1).into(), None, US), Lookup::Known(MAC, Some(Resolve::Ask(PROBE))));
        // The same again is no news: the question stands.
        neighbours.heard(at(5500), ip(1).into(), MAC, US, false);
        assert_eq!(neighbours.due(at(6000)).asks, [PROBE]);
        // A neighbour that has moved is followed at once.
        let moved = MacAddr([4; 6]);
        neighbours.heard(at(6500), ip(1).into(), moved, US, false);
        assert_eq!(neighbours.lookup(at(6500), ip(1).into(), None, US), Lookup::Known(moved, None));
        assert_eq!(neighbours.due(at(7500)), Due::default());
    }

    /// RFC 4861 section 7.2.5: an advertisement without the override flag.
    #[test]
    fn a_contradiction_is_checked() {
        let mut neighbours = answered();
        neighbours.contradicted(at(10_000), ip(1).into());
        assert_eq!(neighbours.next_due(), Some(at(10_000)));
        neighbours.due(at(10_000));
        assert_eq!(
            neighbours.lookup(at(10_000), ip(1).into(), None, US),
            Lookup::Known(MAC, Some(Resolve::Ask(PROBE)))
        );
        // Not more than one look through the table in five seconds, however many come.
        neighbours.confirm(at(10_001), ip(1).into());
        neighbours.contradicted(at(10_002), ip(1).into());
        neighbours.due(at(11_000));
        assert_eq!(neighbours.next_due(), Some(at(15_000)));
    }

    #[test]
    fn what_the_kernel_said_is_the_kernels_to_correct() {
        let mut neighbours = Neighbours::default();
        neighbours.update(ip(1), Some(MAC));
        neighbours.confirm(at(0), ip(1).into());
        assert_eq!(neighbours.next_due(), None);
        assert_eq!(neighbours.lookup(at(100_000), ip(1).into(), None, US), Lookup::Known(MAC, None));
        let moved = MacAddr([4; 6]);
        neighbours.heard(at(100_000), ip(1).into(), moved, US, true);
        assert_eq!(neighbours.lookup(at(100_000), ip(1).into(), None, None), Lookup::Known(moved, None));
        assert_eq!(neighbours.next_due(), None);
    }

    const ASK_KERNEL: Lookup = Lookup::Known(MAC, Some(Resolve::AskKernel(PROBE.target)));

    /// RFC 4861 section 7.3.3: the kernel does not see what the shard sends, and probes a stale neighbour only when asked.
    #[test]
    fn what_the_kernel_is_not_sure_of_is_asked_for_when_it_is_used() {
        let mut neighbours = Neighbours::default();
        neighbours.update(ip(1), Some(MAC));
        let epoch = neighbours.epoch();
        neighbours.stale(at(1000), ip(1));
        assert_eq!((neighbours.next_due(), neighbours.epoch()), (Some(at(1000)), epoch));
        neighbours.due(at(1000));
        assert_ne!(neighbours.epoch(), epoch, "who uses it must look");
        assert_eq!(neighbours.next_due(), None, "nobody uses it, nobody is asked");
        assert_eq!(neighbours.lookup(at(70_000), ip(1).into(), None, None), ASK_KERNEL);
        assert_eq!(neighbours.lookup(at(70_001), ip(1).into(), None, None), Lookup::Known(MAC, None), "asked once");
        // The question may have been lost.
        assert_eq!(neighbours.next_due(), Some(at(130_000)));
        neighbours.due(at(130_000));
        assert_eq!(neighbours.lookup(at(130_000), ip(1).into(), None, None), ASK_KERNEL);
        // The kernel has asked, and is sure.
        neighbours.update(ip(1), Some(MAC));
        neighbours.due(at(190_000));
        assert_eq!(neighbours.lookup(at(300_000), ip(1).into(), None, None), Lookup::Known(MAC, None));
        // Many that become stale are one look through the table in five seconds.
        neighbours.stale(at(191_000), ip(1));
        assert_eq!(neighbours.next_due(), Some(at(195_000)));
    }

    #[test]
    fn what_the_kernel_forgot_is_asked_for_at_once_and_used_meanwhile() {
        let mut neighbours = Neighbours::default();
        neighbours.forgotten(ip(1));
        assert_eq!(
            neighbours.lookup(at(0), ip(1).into(), None, None),
            Lookup::Waiting(Some(Resolve::AskKernel(ip(1))))
        );
        neighbours.update(ip(1), Some(MAC));
        let epoch = neighbours.epoch();
        neighbours.forgotten(ip(1));
        assert_ne!(neighbours.epoch(), epoch);
        assert_eq!(neighbours.lookup(at(0), ip(1).into(), None, None), ASK_KERNEL);
        assert_eq!(neighbours.lookup(at(1), ip(1).into(), None, None), Lookup::Known(MAC, None));
        // It does not answer.
        neighbours.update(ip(1), None);
        assert!(matches!(neighbours.lookup(at(3000), ip(1).into(), None, None), Lookup::Waiting(_)));
    }
}
