//! What a frame does: Ethernet, ARP, IP, ICMP, TCP.

use super::{
    App, ConnId, Entry, Env, Error, FlowKey, Instant, IpAddr, MacAddr, Refusal, Shard,
    ndp::{is_ndp, solicits},
    passive::Knocker,
};
use crate::{
    causes::ResetCause,
    config::is_nobodys,
    neighbour::{Asker, Hop},
    placement::{Placed, Way},
    reply::{Body, Reply},
    table::Owner,
};
use tcp::{Answer, ByteQueue, DropReason, Knock, answer_closed, answer_listen};
use wire::{Malformed, arp, eth, icmpv4, icmpv6, ip, ipv4, ipv6, tcp::Segment};

/// The link a frame came over: who sent it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) src: MacAddr,
    pub(super) vlan: Option<u16>,
    /// The packet was marked on its way (CE, RFC 3168 section 5).
    pub(super) marked: bool,
    pub(super) way: Way,
}

/// The ECN field of a packet that was marked.
const CE: u8 = 0b11;

/// Not processed: malformed, or refused.
pub(super) enum Rejected {
    Malformed(Malformed),
    Refused(Refusal),
    /// Another shard may know its flow.
    Elsewhere,
}

impl From<Malformed> for Rejected {
    fn from(reason: Malformed) -> Self {
        Self::Malformed(reason)
    }
}

impl From<Refusal> for Rejected {
    fn from(reason: Refusal) -> Self {
        Self::Refused(reason)
    }
}

/// Whether a frame that is not for our station is for a group that we listen to.
fn check_group(header: &eth::Header, packet: &[u8]) -> Result<(), Rejected> {
    if !header.dst.is_multicast() {
        return Err(Refusal::NotOurMac.into());
    }
    if header.ethertype != eth::ETHERTYPE_ARP && !solicits(header.ethertype, packet) {
        // RFC 1122 section 3.3.6: a unicast packet in a broadcast frame is dropped.
        return Err(Refusal::NotUnicast.into());
    }
    Ok(())
}

/// A group sends nothing (IEEE 802.3 section 3.2.5), and what answers a frame, which goes to its station, would go to everybody.
/// Of a connection's segments nobody asks: they are answered where the neighbour is.
fn check_sender(link: &Link) -> Result<(), Rejected> {
    if link.src.is_multicast() { Err(Refusal::BadSource.into()) } else { Ok(()) }
}

impl Shard {
    /// A frame arrived. Whatever it holds, it is processed, or dropped and counted by reason, unless its flow may be another
    /// shard's: then nothing is done, and it is to be handed over ([`on_handed`](Self::on_handed)).
    pub fn on_frame(&mut self, now: Instant, frame: &[u8], app: &mut impl App) -> Placed {
        if self.follow(now, frame, app) { Placed::Here } else { self.on_other_frame(now, frame, app) }
    }

    #[inline(never)] // so that the short way does not carry what only the long one needs
    pub(super) fn on_any_frame(&mut self, now: Instant, frame: &[u8], app: &mut impl App) -> Placed {
        let placed = self.take(now, frame, Way::Arrived, app);
        self.arrived(frame, placed)
    }

    /// A frame was taken that came over the wire.
    pub(super) fn arrived(&mut self, frame: &[u8], placed: Placed) -> Placed {
        match placed {
            Placed::Elsewhere => self.counters.strays_out += 1,
            Placed::Refused => return Placed::Here,
            Placed::Here => self.note_form(frame),
            Placed::Everybodys => {}
        }
        placed
    }

    #[inline]
    pub(super) fn take(&mut self, now: Instant, frame: &[u8], way: Way, app: &mut impl App) -> Placed {
        self.counters.frames_in += 1;
        let taken = self.frame(now, frame, way, app);
        self.count_taken(taken)
    }

    /// Why a frame was not processed is counted.
    #[inline]
    pub(super) fn count_taken(&mut self, taken: Result<Placed, Rejected>) -> Placed {
        match taken {
            Ok(placed) => return placed,
            Err(Rejected::Malformed(reason)) => self.counters.malformed(reason),
            Err(Rejected::Refused(reason)) => self.counters.refused(reason),
            Err(Rejected::Elsewhere) => {
                self.counters.frames_in -= 1;
                return Placed::Elsewhere;
            }
        }
        Placed::Refused
    }

    fn frame(&mut self, now: Instant, frame: &[u8], way: Way, app: &mut impl App) -> Result<Placed, Rejected> {
        let (header, packet) = eth::Header::parse(frame)?;
        if header.dst != self.config.mac {
            check_group(&header, packet)?;
        }
        let mut link = Link { src: header.src, vlan: header.vlan, marked: false, way };
        match header.ethertype {
            eth::ETHERTYPE_IPV4 => self.ipv4(now, &mut link, packet, app)?,
            eth::ETHERTYPE_IPV6 => return self.ipv6(now, link, packet, app),
            eth::ETHERTYPE_ARP => {
                check_sender(&link)?;
                self.arp(now, link, &arp::Packet::parse(packet)?);
                return Ok(self.everybodys(way));
            }
            _ => return Err(Refusal::EtherType.into()),
        }
        Ok(Placed::Here)
    }

    fn ipv4(&mut self, now: Instant, link: &mut Link, packet: &[u8], app: &mut impl App) -> Result<(), Rejected> {
        let (header, payload) = ipv4::Header::parse(packet)?;
        if header.protocol == ip::PROTOCOL_TCP && !header.is_fragment() {
            link.marked = header.tos & CE == CE;
            return self.tcp(now, link, header.src.into(), header.dst.into(), payload, app);
        }
        self.check_addresses(header.src.into(), header.dst.into())?;
        check_sender(link)?;
        if header.is_fragment() {
            return Err(Refusal::Fragment.into());
        }
        match header.protocol {
            ip::PROTOCOL_ICMP => self.icmpv4(now, *link, &header, payload, app),
            _ => Err(Refusal::Protocol.into()),
        }
    }

    fn ipv6(&mut self, now: Instant, link: Link, packet: &[u8], app: &mut impl App) -> Result<Placed, Rejected> {
        let (header, payload) = ipv6::Header::parse(packet)?;
        if header.next_header != ip::PROTOCOL_TCP {
            check_sender(&link)?;
        }
        if header.next_header == ip::PROTOCOL_ICMPV6 && !header.is_fragment() && is_ndp(payload) {
            return self.ndp(now, link, &header, payload);
        }
        self.check_addresses(header.src.into(), header.dst.into())?;
        if header.is_fragment() {
            return Err(Refusal::Fragment.into());
        }
        match header.next_header {
            ip::PROTOCOL_TCP => {
                let link = Link { marked: header.traffic_class & CE == CE, ..link };
                self.tcp(now, &link, header.src.into(), header.dst.into(), payload, app)?;
            }
            ip::PROTOCOL_ICMPV6 => self.icmpv6(now, link, &header, payload, app)?,
            _ => return Err(Refusal::Protocol.into()),
        }
        Ok(Placed::Here)
    }

    /// RFC 9293 MUST-57 and MUST-63, RFC 1122 section 3.2.1.3: who may be a source and a destination.
    pub(super) fn check_addresses(&self, src: IpAddr, dst: IpAddr) -> Result<(), Rejected> {
        if dst.is_multicast() || matches!(dst, IpAddr::V4(ip) if ip.is_broadcast()) {
            return Err(Refusal::NotUnicast.into());
        }
        if self.address(dst).is_none() {
            return Err(Refusal::NotOurAddress.into());
        }
        if !self.claims.usable(dst) {
            return Err(Refusal::Tentative.into());
        }
        if is_nobodys(src) || self.address(src).is_some() || self.broadcasts(src) {
            return Err(Refusal::BadSource.into());
        }
        Ok(())
    }

    /// The broadcast address of a network of ours (RFC 1122 section 3.2.1.3 (d)). One of two stations alone has none (RFC 3021).
    pub(super) fn broadcasts(&self, ip: IpAddr) -> bool {
        // Two bits of it at least are the host's, and ones.
        let IpAddr::V4(ip) = ip else { return false };
        let may_be = ip.to_bits() & 3 == 3;
        may_be
            && self.config.addresses.iter().any(|a| match a.ip {
                IpAddr::V4(own) if a.prefix_len < 31 => ip.to_bits() == own.to_bits() | u32::MAX >> a.prefix_len,
                _ => false,
            })
    }

    /// RFC 826 for addresses that are the stack's own; for the interface's the kernel answers.
    pub(super) fn arp(&mut self, now: Instant, link: Link, packet: &arp::Packet) {
        self.counters.arp_in += 1;
        self.notice_arp(now, link, packet);
        let sender = IpAddr::from(packet.sender_ip);
        let hop = Hop::new(sender, link.vlan);
        let ours = self.owns(packet.target_ip.into());
        let on_link = self.on_link(sender);
        let usable = !packet.sender_mac.is_multicast() && !is_nobodys(sender) && !self.broadcasts(sender) && on_link;
        if usable && (ours || self.neighbours.knows_of(hop)) && self.address(sender).is_none() {
            // Who asks us is there as well as who answers (RFC 1122 section 2.3.2.1); who tells all has not heard us.
            let asker = ours.then_some(Asker { local: packet.target_ip.into(), vlan: link.vlan });
            self.heard(now, hop, packet.sender_mac, asker, ours);
        }
        let answers = ours && !link.way.is_copy() && self.claims.usable(packet.target_ip.into());
        if packet.operation != arp::Operation::Request || !answers {
            return;
        }
        let answer = arp::Packet {
            operation: arp::Operation::Reply,
            sender_mac: self.config.mac,
            sender_ip: packet.target_ip,
            target_mac: packet.sender_mac,
            target_ip: packet.sender_ip,
        };
        // RFC 826: to "the (new) target hardware address", whoever has passed the question on.
        let dst = if packet.sender_mac.is_multicast() { link.src } else { packet.sender_mac };
        self.reply(Reply { dst, vlan: link.vlan, body: Body::Arp(answer) });
    }

    /// An echo request to an address that is the stack's own is answered (RFC 1122 section 3.2.2.6).
    fn icmpv4(
        &mut self,
        now: Instant,
        link: Link,
        header: &ipv4::Header,
        payload: &[u8],
        app: &mut impl App,
    ) -> Result<(), Rejected> {
        let message = icmpv4::Message::parse(payload)?;
        if message.kind != icmpv4::ECHO_REQUEST {
            return self.icmpv4_error(now, link.way, header.dst.into(), &message, app);
        }
        let fits = ipv4::Header::LEN + payload.len() <= usize::from(self.config.mtu);
        if message.code != 0 || !fits {
            return Err(Refusal::Icmp.into());
        }
        self.echo(link, header.src.into(), header.dst.into(), message.rest, message.body)
    }

    /// The same for IPv6 (RFC 4443 section 4.2).
    fn icmpv6(
        &mut self,
        now: Instant,
        link: Link,
        header: &ipv6::Header,
        payload: &[u8],
        app: &mut impl App,
    ) -> Result<(), Rejected> {
        let message = icmpv6::Message::parse(payload, header.src, header.dst)?;
        if message.kind != icmpv6::ECHO_REQUEST {
            return self.icmpv6_error(now, link.way, header.dst, &message, app);
        }
        let fits = ipv6::Header::LEN + payload.len() <= usize::from(self.config.mtu);
        if message.code != 0 || !fits {
            return Err(Refusal::Icmp.into());
        }
        self.echo(link, header.src.into(), header.dst.into(), message.rest, message.body)
    }

    fn echo(&mut self, link: Link, src: IpAddr, dst: IpAddr, rest: [u8; 4], request: &[u8]) -> Result<(), Rejected> {
        if !self.owns(dst) {
            return Err(Refusal::Icmp.into());
        }
        let mut data = ByteQueue::default();
        if data.push(&mut self.pool, request) < request.len() {
            data.clear(&mut self.pool);
            return Err(Refusal::PoolFull.into());
        }
        self.counters.echo_in += 1;
        let body = Body::Echo { src: dst, dst: src, rest, data };
        self.reply(Reply { dst: link.src, vlan: link.vlan, body });
        Ok(())
    }

    fn tcp(
        &mut self,
        now: Instant,
        link: &Link,
        src: IpAddr,
        dst: IpAddr,
        bytes: &[u8],
        app: &mut impl App,
    ) -> Result<(), Rejected> {
        // The key of a connection has addresses that were checked; nobody else's segment has one (of IPv6, IPv4's could).
        if src.is_ipv6() {
            self.check_addresses(src, dst)?;
        }
        // By reference: a header is too large to be moved about.
        let parsed = Segment::parse(bytes, src, dst);
        let segment = match &parsed {
            Ok(segment) => segment,
            Err(reason) => {
                self.check_addresses(src, dst)?;
                return Err((*reason).into());
            }
        };
        let key = FlowKey::of(dst, segment.header.dst_port, src, segment.header.src_port);
        let owner = self.owner(&key);
        self.of_owner(now, link, &key, owner, segment, app)
    }

    /// Who has this key, and, if it is no connection, its hash.
    #[inline]
    pub(super) fn owner(&mut self, key: &FlowKey) -> (Option<Owner>, u32) {
        match self.table.recent(key) {
            Some(slot) => (Some(Owner::Connection(slot)), 0),
            None => self.look_up(key),
        }
    }

    /// A segment of whoever has its key.
    #[inline]
    pub(super) fn of_owner(
        &mut self,
        now: Instant,
        link: &Link,
        key: &FlowKey,
        (owner, hash): (Option<Owner>, u32),
        segment: &Segment<'_>,
        app: &mut impl App,
    ) -> Result<(), Rejected> {
        if !matches!(owner, Some(Owner::Connection(_))) {
            let (dst, src) = key.addresses();
            self.check_addresses(src, dst)?;
            check_sender(link)?;
            if owner.is_none() && self.is_stray(link.way, key, segment) {
                return Err(Rejected::Elsewhere);
            }
        }
        if segment.header.options.malformed {
            self.counters.refused(Refusal::TcpOption);
        }
        if let Some(Owner::Connection(slot)) = owner {
            self.segment(now, link, slot, segment, app);
            return Ok(());
        }
        let knocker = Knocker { key: *key, hash, link: *link, segment, old: None };
        match owner {
            Some(Owner::TimeWait(slot)) => self.in_time_wait(now, *link, slot, *key, hash, segment),
            Some(Owner::HalfOpen(slot)) => Ok(self.in_syn_received(now, slot, &knocker, app)?),
            _ => self.knock(now, &knocker, app),
        }
    }

    /// Who has this key, and its hash.
    fn look_up(&mut self, key: &FlowKey) -> (Option<Owner>, u32) {
        let changes = self.table.changes();
        if let Some(slot) = self.ahead.next(changes)
            && self.conns.is(slot, key)
        {
            self.ahead.pass();
            self.table.remember(*key, slot);
            return (Some(Owner::Connection(slot)), 0);
        }
        let seen = self.ahead.take(key, changes);
        if let Some((_, Some(slot))) = seen
            && self.conns.is(slot, key)
        {
            self.table.remember(*key, slot);
            return (Some(Owner::Connection(slot)), 0);
        }
        let hash = seen.map_or_else(|| self.table.hash(key), |(hash, _)| hash);
        let same = |owner| match owner {
            Owner::Connection(slot) => self.conns.is(slot, key),
            Owner::TimeWait(slot) => self.time_waits.is(slot, key),
            Owner::HalfOpen(slot) => self.half_opens.get(slot).is_some_and(|r| r.key == *key),
        };
        let owner = self.table.find(hash, same);
        if let Some(Owner::Connection(slot)) = owner {
            self.table.remember(*key, slot);
        }
        (owner, hash)
    }

    /// A segment of a connection.
    pub(super) fn segment(&mut self, now: Instant, link: &Link, slot: u32, segment: &Segment<'_>, app: &mut impl App) {
        self.counters.segments_in += 1;
        let Some(entry) = self.conns.use_mut(slot) else { return };
        let opening = !entry.told || entry.conn.state() == tcp::State::SynSent;
        let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        entry.conn.congestion_experienced(link.marked);
        let outcome = entry.conn.on_segment(&mut env, segment);
        let urgent = entry.conn.may_have_urgent();
        if opening || link.way == Way::Handed {
            Self::note_landing(entry, link.way, &mut self.plans, &mut self.counters, &mut env);
        }
        self.counters.count_state(&mut entry.counted, entry.conn.state());
        if let Some(reason) = outcome.dropped {
            self.counters.dropped(reason);
            if reason == DropReason::NoMemory {
                self.note_no_memory(now, slot, segment.header.seq, segment.payload.len());
            }
        }
        if let Some(reset) = outcome.reset
            && let Some((local, remote)) = self.entry(slot).map(|e| (e.key.local(), e.key.remote()))
        {
            let unread = outcome.dropped == Some(DropReason::NobodyReads);
            let cause = if unread { ResetCause::NobodyReads } else { ResetCause::Opening };
            if self.reset((link.src, link.vlan), (local, remote), reset, cause) {
                self.note_reset(now, slot, cause);
            }
        }
        if let Some((at, len)) = outcome.deliver {
            if opening {
                // The application must know of the connection before it gets its data.
                self.dispatch_established(now, slot, app);
            }
            if urgent {
                self.dispatch_urgent(now, slot, app);
            }
            self.deliver(now, slot, &segment.payload[at..at + len], app);
        }
        if let Some(at) = self.conns.at(slot) {
            self.tell_and_mark(now, slot, at, app);
        }
    }

    /// What a segment has done is told, and what it asks for is seen to.
    #[inline(always)] // most often there is nothing to do
    pub(super) fn tell_and_mark(&mut self, now: Instant, slot: u32, at: usize, app: &mut impl App) {
        let entry = self.conns.look_at(slot, at);
        if entry.may_tell() {
            self.dispatch_all(now, slot, app);
            self.mark_unless_quiet(slot);
        } else if !entry.dirty {
            Self::mark_clean(entry, slot, &mut self.counters, &mut self.dirty, &mut self.wheel);
        }
    }

    fn dispatch_established(&mut self, now: Instant, slot: u32, app: &mut impl App) {
        if self.entry(slot).is_some_and(|e| e.conn.take_established()) {
            self.on_established(now, slot, app);
        }
    }

    /// A mark is told before the data it is about.
    fn dispatch_urgent(&mut self, now: Instant, slot: u32, app: &mut impl App) {
        if let Some(octets) = self.entry(slot).and_then(|e| e.conn.take_urgent()) {
            self.tell(now, slot, app, |app, io, conn| app.on_urgent(io, conn, octets));
        }
    }

    /// Hands bytes over in place, and keeps what the application leaves.
    fn deliver(&mut self, now: Instant, slot: u32, data: &[u8], app: &mut impl App) {
        let Some(entry) = self.entry(slot) else { return };
        // Who lingers hears of the outcome and of nothing else.
        let hears = entry.told && !entry.dead && !entry.conn.lingers();
        self.give(now, self.id(slot), hears, data, app);
    }

    /// The same, if it is known whether the application hears of it.
    #[inline(always)] // the application's call is all there is to it
    pub(super) fn give(&mut self, now: Instant, id: ConnId, hears: bool, data: &[u8], app: &mut impl App) {
        let taken = if hears { self.call(now, |io| app.on_data(io, id, data)).min(data.len()) } else { 0 };
        self.tap_read(id.slot, &data[..taken]);
        if taken < data.len() {
            self.keep(now, id.slot, &data[taken..], app);
        }
    }

    /// Keeps what the application leaves.
    #[inline(never)] // of no interest to those who take everything
    fn keep(&mut self, now: Instant, slot: u32, rest: &[u8], app: &mut impl App) {
        let id = self.id(slot);
        let Some(Entry { conn, dead, .. }) = self.conns.get_mut(slot) else { return };
        let mut env = Env { now, config: &self.config.tcp, pool: &mut self.pool };
        if !*dead && !conn.lingers() {
            conn.keep(&mut env, rest);
        } else if conn.state() != tcp::State::Closed {
            // Closed within the callback with data left unread: that is a reset (RFC 2525 section 2.17).
            let lingers = conn.lingers();
            *dead = false;
            let _ = self.abort_unread(now, id);
            if lingers {
                self.call(now, |io| app.on_closed(io, id, Some(Error::Aborted)));
            }
        }
    }

    /// A segment of a connection in TIME-WAIT.
    fn in_time_wait(
        &mut self,
        now: Instant,
        link: Link,
        slot: u32,
        key: FlowKey,
        hash: u32,
        segment: &Segment<'_>,
    ) -> Result<(), Rejected> {
        let Some(record) = self.time_waits.get(slot) else { return Ok(()) };
        let mut seen = *segment;
        if !self.config.tcp.timestamps {
            // RFC 6191 section 2 asks them only if "timestamps would be enabled for the new incarnation".
            seen.header.options.timestamps = None;
        }
        let answer = record.time_wait.on_segment(&seen);
        match answer {
            Answer::Ignore => return Err(Refusal::TimeWaitIgnored.into()),
            Answer::Ack if !self.time_waits.may_acknowledge(now, slot) => {
                return Err(Refusal::TimeWaitIgnored.into());
            }
            Answer::Ack | Answer::AckAndRestart => {
                if answer == Answer::AckAndRestart {
                    let recent = segment.header.options.timestamps.map(|t| t.val);
                    self.time_waits.restart(now, slot, recent);
                }
                let time_wait = self.time_waits.get(slot).map_or(record.time_wait, |r| r.time_wait);
                self.counters.time_wait_in += 1;
                let (local, remote) = (key.local(), key.remote());
                let offset = self.isn.timestamp_offset(&key);
                let header = time_wait.ack(now, offset, local.port(), remote.port());
                let body = Body::Tcp { src: local.ip(), dst: remote.ip(), header };
                self.reply(Reply { dst: link.src, vlan: link.vlan, body });
            }
            Answer::Reopen { .. } => {
                let Some(listener) = self.listeners.find(key.local()) else {
                    return Err(Refusal::TimeWaitIgnored.into());
                };
                let old = self.time_waits.until(slot).map(|until| (record, until));
                self.time_waits.remove(slot);
                self.take_from_table(&key, hash, Owner::TimeWait(slot));
                let knocker = Knocker { key, hash, link, segment, old };
                if let Err(refusal) = self.open(now, listener, &knocker) {
                    self.resume_time_wait(now, hash, old);
                    return Err(refusal.into());
                }
            }
        }
        Ok(())
    }

    /// A segment of no connection: for a listener, or for nobody.
    fn knock(&mut self, now: Instant, knocker: &Knocker<'_>, app: &mut impl App) -> Result<(), Rejected> {
        let (local, remote, link) = (knocker.key.local(), knocker.key.remote(), knocker.link);
        let Some(listener) = self.listeners.find(local) else {
            if let Some(reset) = answer_closed(knocker.segment) {
                self.reset((link.src, link.vlan), (local, remote), reset, ResetCause::NoEndpoint);
            }
            return Err(Refusal::NoEndpoint.into());
        };
        match answer_listen(knocker.segment) {
            Knock::Open => Ok(self.open(now, listener, knocker)?),
            Knock::Refuse(reset) => {
                let (refusal, cause) = match self.take_cookie(now, listener, knocker, None, app) {
                    Ok(true) => return Ok(()),
                    Ok(false) => (Refusal::ListenReset, ResetCause::Listen),
                    Err(Refusal::CookieInvalid) => (Refusal::CookieInvalid, ResetCause::Cookie),
                    Err(refusal) => return Err(refusal.into()),
                };
                self.reset((link.src, link.vlan), (local, remote), reset, cause);
                Err(refusal.into())
            }
            Knock::Ignore => Err(Refusal::ListenIgnored.into()),
        }
    }
}
