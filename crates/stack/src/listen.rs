//! Listeners, their options, backlogs and accept queues.

use crate::handle::{ConnId, Via};
use alloc::{collections::VecDeque, vec::Vec};
use core::net::{IpAddr, SocketAddr};
use tcp::{ConfigError, Cookies, Profile};
use wheel::{Duration, Instant};

/// A listener of a shard. The id of one that was closed names no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId {
    index: u16,
    generation: u16,
}

/// The bit of a listener's generation that says [`Via::Kernel`].
const KERNEL: u16 = 1 << 15;

impl ListenerId {
    /// A small dense number, unique among the shard's open listeners of the same [`Via`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// By which way it is reached.
    #[must_use]
    pub const fn via(self) -> Via {
        if self.generation & KERNEL != 0 { Via::Kernel } else { Via::Stack }
    }

    /// An id of [`Via::Kernel`], for who implements [`Sockets`](crate::Sockets): its index, and how often that was used before,
    /// modulo 2^15.
    #[must_use]
    pub const fn kernel(index: u16, generation: u16) -> Self {
        Self { index, generation: generation | KERNEL }
    }

    /// How often the index was used before, modulo 2^15.
    #[must_use]
    pub const fn generation(self) -> u16 {
        self.generation & !KERNEL
    }
}

/// When a listener answers a SYN with a cookie instead of keeping a record of it (RFC 4987 section 3.6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SynCookies {
    /// Never: a SYN that finds the backlog full is dropped. Nobody is thrown out for it; but while the backlog is more than
    /// half full of handshakes that are old, those are given up earlier.
    Never,
    /// While the backlog is full, as Linux by default.
    #[default]
    WhenFull,
    /// While so many connections are half open, or the backlog is full.
    From(u32),
    /// For every SYN: nothing is ever kept.
    Always,
}

/// What a listener is opened with. `backlog.into()` has the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that may be half open (SYN-RECEIVED) at once. 0 to 2^24.
    pub backlog: u32,
    /// `None`: whoever completes the handshake is told by [`App::on_accept`](crate::App::on_accept) at once. `Some(n)`: it
    /// waits for [`Io::accept`](crate::Io::accept). As in Linux n + 1 may wait; then SYNs, and the last ACKs of handshakes,
    /// are dropped until there is room again. 0 to 2^24.
    pub accept_queue: Option<u32>,
    /// 2MSL of its connections, 1 s to 4 minutes; `None`: the shard's.
    pub time_wait: Option<Duration>,
    /// When SYNs are answered by cookies.
    pub syn_cookies: SynCookies,
    /// What its connections are for, until [`Io::set_profile`](crate::Io::set_profile) says otherwise.
    pub profile: Profile,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: 4096,
            accept_queue: None,
            time_wait: None,
            syn_cookies: SynCookies::WhenFull,
            profile: Profile::Balanced,
        }
    }
}

impl From<u32> for ListenOptions {
    fn from(backlog: u32) -> Self {
        Self { backlog, ..Self::default() }
    }
}

impl ListenOptions {
    /// Checks every field.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let most = 1 << 24;
        let limit = |field, value: u32| {
            let allowed = "0 to 2^24";
            (value <= most).then_some(()).ok_or(ConfigError { field, value: value.into(), allowed })
        };
        limit("backlog", self.backlog)?;
        limit("accept_queue", self.accept_queue.unwrap_or(0))?;
        match self.time_wait {
            Some(time) if !(Duration::from_secs(1)..=Duration::from_secs(240)).contains(&time) => {
                Err(ConfigError { field: "time_wait", value: time.as_millis(), allowed: "1000 to 240000 ms" })
            }
            _ => Ok(()),
        }
    }
}

/// Why a listener could not be opened, or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenError {
    /// There is one on this address and port (`AddrInUse`).
    InUse,
    /// The address is none of ours (`AddrNotAvailable`).
    NotOurs,
    /// There are too many listeners.
    TooMany,
    /// An option out of its range (`InvalidInput`).
    Invalid(ConfigError),
    /// It is closed already (`NotConnected`).
    Closed,
    /// The kernel does not allow it to this process: ports below 1024 need a privilege (`PermissionDenied`).
    Forbidden,
    /// The stack was started without the kernel's sockets (`InvalidInput`).
    NoSockets,
}

impl core::fmt::Display for ListenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::InUse => "the address and port are in use by another listener",
            Self::NotOurs => "the address is none of the stack's",
            Self::TooMany => "there are too many listeners",
            Self::Invalid(error) => return error.fmt(f),
            Self::Closed => "the listener is closed",
            Self::Forbidden => "the kernel does not allow it: ports below 1024 need CAP_NET_BIND_SERVICE",
            Self::NoSockets => "the stack was started without the kernel's sockets",
        })
    }
}

impl core::error::Error for ListenError {}

/// Linux's tcp_synack_retries: under pressure it is counted down from there.
const FULL_PATIENCE: u8 = 5;

/// What a listener does with a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// There is room in the backlog.
    Record,
    /// Answer with a cookie.
    Cookie,
    /// The backlog is full.
    BacklogFull,
    /// The accept queue is full.
    AcceptQueueFull,
}

#[derive(Debug)]
pub(crate) struct Listener {
    ip: IpAddr,
    port: u16,
    pub(crate) options: ListenOptions,
    /// Connections in SYN-RECEIVED, and those of them whose SYN-ACK was sent only once.
    opening: u32,
    young: u32,
    /// Connections that wait for `accept`.
    pub(crate) queue: VecDeque<ConnId>,
    /// When the last cookie was sent.
    cookie_sent: Option<Instant>,
}

impl Listener {
    pub(crate) const fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    /// Connections in SYN-RECEIVED.
    pub(crate) const fn opening(&self) -> u32 {
        self.opening
    }

    /// `sk_acceptq_is_full` of Linux: more than the limit wait.
    pub(crate) fn is_full(&self) -> bool {
        self.options.accept_queue.is_some_and(|limit| self.queue.len() > limit as usize)
    }

    /// `crowded`: the shard has no room for another record, whoever's it is.
    pub(crate) fn admit(&self, crowded: bool) -> Admission {
        let full = crowded || self.opening >= self.options.backlog;
        match self.options.syn_cookies {
            _ if self.is_full() => Admission::AcceptQueueFull,
            SynCookies::Always => Admission::Cookie,
            SynCookies::WhenFull if full => Admission::Cookie,
            SynCookies::From(n) if full || self.opening >= n => Admission::Cookie,
            SynCookies::Never if full => Admission::BacklogFull,
            _ => Admission::Record,
        }
    }

    /// How often a SYN-ACK is sent again before its record is given up to make room (RFC 4987 section 3.3). As Linux: only
    /// while more than half of the backlog is taken, and not less than twice; the fewer of those there are young, the fewer.
    pub(crate) fn patience(&self) -> u8 {
        let mut patience = u8::MAX;
        if u64::from(self.opening) * 2 <= u64::from(self.options.backlog.max(8)) {
            return patience;
        }
        let mut young = u64::from(self.young) * 2;
        patience = FULL_PATIENCE;
        while patience > 2 && u64::from(self.opening) >= young {
            patience -= 1;
            young *= 2;
        }
        patience
    }

    pub(crate) fn note_cookie(&mut self, now: Instant) {
        self.cookie_sent = Some(now);
    }

    /// An acknowledgment may be that of a cookie. Who never sends one, or has not for as long as they are valid, believes none.
    pub(crate) fn takes_cookies(&self, now: Instant) -> bool {
        self.options.syn_cookies == SynCookies::Always
            || self.cookie_sent.is_some_and(|sent| now - sent <= Cookies::VALID_FOR)
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u16,
    listener: Option<Listener>,
}

/// Few and rarely changed: sorted by port, found by binary search.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    slots: Vec<Slot>,
    by_port: Vec<(u16, ListenerId)>,
}

impl Listeners {
    pub(crate) fn add(&mut self, local: SocketAddr, options: ListenOptions) -> Result<ListenerId, ListenError> {
        options.check().map_err(ListenError::Invalid)?;
        let clash = |l: &Listener| {
            let same_family = l.ip.is_ipv4() == local.is_ipv4();
            l.port == local.port()
                && same_family
                && (l.ip == local.ip() || l.ip.is_unspecified() || local.ip().is_unspecified())
        };
        if self.all().any(clash) {
            return Err(ListenError::InUse);
        }
        let place = self.slots.iter().position(|slot| slot.listener.is_none()).unwrap_or(self.slots.len());
        let index = u16::try_from(place).map_err(|_| ListenError::TooMany)?;
        if place == self.slots.len() {
            self.slots.push(Slot::default());
        }
        let slot = &mut self.slots[place];
        let queue = VecDeque::new();
        let listener =
            Listener { ip: local.ip(), port: local.port(), options, opening: 0, young: 0, queue, cookie_sent: None };
        slot.listener = Some(listener);
        let id = ListenerId { index, generation: slot.generation };
        let at = self.by_port.partition_point(|(port, _)| *port < local.port());
        self.by_port.insert(at, (local.port(), id));
        Ok(id)
    }

    /// Takes a listener away: its address is free, its id names nothing any more.
    pub(crate) fn remove(&mut self, id: ListenerId) -> Option<Listener> {
        let slot = self.slots.get_mut(usize::from(id.index)).filter(|s| s.generation == id.generation)?;
        let listener = slot.listener.take()?;
        slot.generation = slot.generation.wrapping_add(1) & !KERNEL;
        self.by_port.retain(|(_, other)| *other != id);
        Some(listener)
    }

    pub(crate) fn get(&self, id: ListenerId) -> Option<&Listener> {
        self.slots.get(usize::from(id.index)).filter(|s| s.generation == id.generation)?.listener.as_ref()
    }

    pub(crate) fn address(&self, id: ListenerId) -> Option<SocketAddr> {
        self.get(id).map(Listener::address)
    }

    pub(crate) fn get_mut(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.slots.get_mut(usize::from(id.index)).filter(|s| s.generation == id.generation)?.listener.as_mut()
    }

    pub(crate) fn find(&self, local: SocketAddr) -> Option<ListenerId> {
        let at = self.by_port.partition_point(|(port, _)| *port < local.port());
        self.by_port[at..].iter().take_while(|(port, _)| *port == local.port()).map(|(_, id)| *id).find(|id| {
            self.get(*id)
                .is_some_and(|l| l.ip == local.ip() || (l.ip.is_unspecified() && l.ip.is_ipv4() == local.is_ipv4()))
        })
    }

    /// Cookies of these listeners may come back, whichever shard has sent them.
    pub(crate) fn note_cookies(&mut self, now: Instant) {
        for listener in self.slots.iter_mut().filter_map(|slot| slot.listener.as_mut()) {
            if listener.options.syn_cookies != SynCookies::Never {
                listener.note_cookie(now);
            }
        }
    }

    /// A connection enters SYN-RECEIVED.
    pub(crate) fn begin(&mut self, id: ListenerId) {
        if let Some(listener) = self.get_mut(id) {
            listener.opening += 1;
            listener.young += 1;
        }
    }

    /// A connection has left SYN-RECEIVED; its SYN-ACK had been sent only once if it is `young`.
    pub(crate) fn end(&mut self, id: ListenerId, young: bool) {
        if let Some(listener) = self.get_mut(id) {
            listener.opening = listener.opening.saturating_sub(1);
            listener.young = listener.young.saturating_sub(young.into());
        }
    }

    /// A SYN-ACK was sent again for the first time.
    pub(crate) fn grow_old(&mut self, id: ListenerId) {
        if let Some(listener) = self.get_mut(id) {
            listener.young = listener.young.saturating_sub(1);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Listener> {
        self.slots.iter().filter_map(|slot| slot.listener.as_ref())
    }

    pub(crate) fn ids(&self) -> Vec<ListenerId> {
        self.by_port.iter().map(|(_, id)| *id).collect()
    }

    /// How many there are, and how many connections wait in their accept queues.
    pub(crate) fn usage(&self) -> (usize, usize) {
        self.all().fold((0, 0), |(listeners, queued), l| (listeners + 1, queued + l.queue.len()))
    }

    /// Places there may be, for listing; and who is at one.
    pub(crate) fn slots(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn at(&self, slot: u32) -> Option<&Listener> {
        self.slots.get(slot as usize)?.listener.as_ref()
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.all().map(Listener::address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: &str) -> SocketAddr {
        s.parse().expect("an address")
    }

    /// MUST-41.
    #[test]
    fn a_wildcard_takes_its_family_and_excludes_others() {
        let mut listeners = Listeners::default();
        let any = listeners.add(at("0.0.0.0:80"), 1.into()).expect("free");
        assert_eq!(listeners.find(at("10.0.0.1:80")), Some(any));
        assert_eq!(listeners.find(at("[fd77::1]:80")), None);
        assert_eq!(listeners.find(at("10.0.0.1:81")), None);
        assert_eq!(listeners.add(at("10.0.0.1:80"), 1.into()), Err(ListenError::InUse));
        let six = listeners.add(at("[::]:80"), 1.into()).expect("another family");
        assert_eq!(listeners.find(at("[fd77::1]:80")), Some(six));
    }

    #[test]
    fn the_backlog_is_bounded() {
        let mut listeners = Listeners::default();
        let options = ListenOptions { syn_cookies: SynCookies::Never, ..1.into() };
        let id = listeners.add(at("10.0.0.1:80"), options).expect("free");
        let admit = |l: &Listeners| l.get(id).expect("open").admit(false);
        assert_eq!(admit(&listeners), Admission::Record);
        listeners.begin(id);
        assert_eq!(admit(&listeners), Admission::BacklogFull);
        listeners.end(id, true);
        assert_eq!(admit(&listeners), Admission::Record);
        assert_eq!(listeners.get(id).expect("open").admit(true), Admission::BacklogFull);
    }

    /// RFC4987-3.6-a: never, when the backlog is full, from a number on, always.
    #[test]
    fn cookies_begin_where_they_are_told_to() {
        let mut first_cookie = [None; 4];
        let modes = [SynCookies::Never, SynCookies::WhenFull, SynCookies::From(2), SynCookies::Always];
        for (mode, first) in modes.into_iter().zip(&mut first_cookie) {
            let mut listeners = Listeners::default();
            let options = ListenOptions { syn_cookies: mode, ..4.into() };
            let id = listeners.add(at("10.0.0.1:80"), options).expect("free");
            *first = (0..6).find(|_| {
                let cookie = listeners.get(id).expect("open").admit(false) == Admission::Cookie;
                listeners.begin(id);
                cookie
            });
        }
        assert_eq!(first_cookie, [None, Some(4), Some(2), Some(0)]);
    }

    /// RFC4987-3.3-a: with 16 of 20 places taken, by how many of them are young; with 10 of 20 nobody is hurried.
    #[test]
    fn the_old_are_given_up_earlier_under_pressure() {
        let mut listeners = Listeners::default();
        let id = listeners.add(at("10.0.0.1:80"), 20.into()).expect("free");
        let patience = |l: &Listeners| l.get(id).expect("open").patience();
        (0..10).for_each(|_| listeners.begin(id));
        assert_eq!(patience(&listeners), u8::MAX);
        (10..16).for_each(|_| listeners.begin(id));
        // Linux's reqsk_timer_handler: 16 < 2 * young, else 16 < 4 * young, else 16 < 8 * young.
        for (young, expected) in [(16, 5), (9, 5), (8, 4), (5, 4), (4, 3), (3, 3), (2, 2), (0, 2)] {
            while listeners.get(id).expect("open").young > young {
                listeners.grow_old(id);
            }
            assert_eq!(patience(&listeners), expected, "{young} of 16 are young");
        }
    }

    #[test]
    fn an_id_is_not_used_again() {
        let mut listeners = Listeners::default();
        let old = listeners.add(at("10.0.0.1:80"), 1.into()).expect("free");
        assert!(listeners.remove(old).is_some());
        assert!(listeners.remove(old).is_none());
        assert_eq!(listeners.find(at("10.0.0.1:80")), None);
        let new = listeners.add(at("10.0.0.1:80"), 1.into()).expect("free at once");
        assert_ne!(old, new);
        assert!(listeners.get(old).is_none());
        assert_eq!(listeners.find(at("10.0.0.1:80")), Some(new));
    }

    #[test]
    fn options_are_checked() {
        let mut listeners = Listeners::default();
        let wrong = [
            ListenOptions { backlog: 1 + (1 << 24), ..ListenOptions::default() },
            ListenOptions { accept_queue: Some(u32::MAX), ..ListenOptions::default() },
            ListenOptions { time_wait: Some(Duration::from_millis(999)), ..ListenOptions::default() },
            ListenOptions { time_wait: Some(Duration::from_secs(241)), ..ListenOptions::default() },
        ];
        for (options, field) in wrong.into_iter().zip(["backlog", "accept_queue", "time_wait", "time_wait"]) {
            let error = listeners.add(at("10.0.0.1:80"), options).unwrap_err();
            assert!(matches!(error, ListenError::Invalid(ConfigError { field: f, .. }) if f == field), "{error}");
        }
    }
}
