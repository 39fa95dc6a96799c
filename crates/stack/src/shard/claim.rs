//! Owned addresses on the wire: questions whether somebody has them, announcements, and who else claims them.

use super::{
    Instant, IpAddr, MacAddr, Refusal, Shard,
    input::{Link, Rejected},
    ndp::solicits,
};
use crate::{
    dad::{Act, Conflict, Evidence, Meaning},
    placement::Way,
    reply::{Body, Reply},
};
use core::net::{Ipv4Addr, Ipv6Addr};
use wire::{
    arp, eth, ipv6,
    ndp::{self, ALL_NODES, Advertisement, Packet, Solicitation},
};

impl Shard {
    /// Whether an owned address is still asked about ([`ShardConfig::dad`](crate::ShardConfig::dad)): until nobody has
    /// answered nothing is sent from it, and nothing to it is taken.
    #[must_use]
    pub fn tentative(&self) -> bool {
        self.claims.tentative()
    }

    /// An owned address that another station has, and which station: it is never used.
    #[must_use]
    pub fn duplicate(&self) -> Option<Conflict> {
        self.claims.duplicate()
    }

    /// The latest conflict about an address in use, if there was any since the last call. It has been answered by an
    /// announcement, but for those within ten seconds of the last (RFC 5227 section 2.4 (c)).
    pub const fn take_conflict(&mut self) -> Option<Conflict> {
        self.claims.take_conflict()
    }

    /// A copy of what another station told everybody, and the kernel hears as well: that it has a MAC address (gratuitous ARP,
    /// an unsolicited advertisement). It is learnt if the station is a neighbour; nothing is answered.
    pub fn on_overheard(&mut self, now: Instant, frame: &[u8]) {
        self.counters.frames_in += 1;
        self.counters.overheard += 1;
        match self.overheard(now, frame) {
            // (No flow is looked for.)
            Ok(()) | Err(Rejected::Elsewhere) => {}
            Err(Rejected::Malformed(reason)) => self.counters.malformed(reason),
            Err(Rejected::Refused(reason)) => self.counters.refused(reason),
        }
    }

    fn overheard(&mut self, now: Instant, frame: &[u8]) -> Result<(), Rejected> {
        let (header, packet) = eth::Header::parse(frame)?;
        // The kernel has taken the tag off.
        let link = Link { src: header.src, vlan: self.config.vlan, marked: false, way: Way::Overheard };
        if header.ethertype == eth::ETHERTYPE_ARP {
            self.arp(now, link, &arp::Packet::parse(packet)?);
            return Ok(());
        }
        if !solicits(header.ethertype, packet) {
            return Err(Refusal::EtherType.into());
        }
        let (header, payload) = ipv6::Header::parse(packet)?;
        self.ndp(now, link, &header, payload).map(drop)
    }

    /// Something is to be asked or announced.
    #[inline]
    pub(super) fn claims_are_due(&self, now: Instant) -> bool {
        self.claims.next_due().is_some_and(|at| at <= now)
    }

    /// Asks and announces what is due.
    #[inline(never)] // in few turns there is any
    pub(super) fn advance_claims(&mut self, now: Instant) {
        // A question that is not sent would be taken for one that nobody answers.
        while self.replies.has_room() {
            match self.claims.due(now) {
                // All shards wait and hear together; the first one speaks.
                Some(_) if self.config.place.index != 0 => {}
                Some(Act::Probe(ip)) => self.probe(ip),
                Some(Act::Announce(ip)) => self.announce(ip, self.config.vlan),
                None => break,
            }
        }
    }

    /// RFC 5227 section 2.1.1: from nobody's address, so that nobody learns it; RFC 4862 section 5.4.2.
    fn probe(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.ask_all(Ipv4Addr::UNSPECIFIED, ip, self.config.vlan),
            IpAddr::V6(target) => {
                let group = ndp::solicited_node(target);
                let packet = Packet::Solicitation(Solicitation { target, source_mac: None });
                let body = Body::Ndp { src: Ipv6Addr::UNSPECIFIED, dst: group, packet };
                self.reply(Reply { dst: ndp::group_mac(group), vlan: self.config.vlan, body });
            }
        }
    }

    /// RFC 5227 section 2.3; RFC 4861 section 7.2.6, which is allowed to override what others believe.
    fn announce(&mut self, ip: IpAddr, vlan: Option<u16>) {
        match ip {
            IpAddr::V4(ip) => self.ask_all(ip, ip, vlan),
            IpAddr::V6(target) => {
                let target_mac = Some(self.config.mac);
                let tells = Advertisement { target, target_mac, router: false, solicited: false, overrides: true };
                let body = Body::Ndp { src: target, dst: ALL_NODES, packet: Packet::Advertisement(tells) };
                self.reply(Reply { dst: ndp::group_mac(ALL_NODES), vlan, body });
            }
        }
    }

    fn ask_all(&mut self, sender_ip: Ipv4Addr, target_ip: Ipv4Addr, vlan: Option<u16>) {
        let packet = arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: self.config.mac,
            sender_ip,
            target_mac: MacAddr::default(),
            target_ip,
        };
        self.reply(Reply { dst: MacAddr::BROADCAST, vlan, body: Body::Arp(packet) });
    }

    /// Whether an ARP packet is another station's that has, or wants, an address of ours (RFC 5227 sections 2.1.1 and 2.4).
    pub(super) fn notice_arp(&mut self, now: Instant, link: Link, packet: &arp::Packet) {
        let probes = packet.operation == arp::Operation::Request && packet.sender_ip.is_unspecified();
        if probes && self.owns(packet.target_ip.into()) {
            self.notice(now, link, packet.target_ip.into(), packet.sender_mac, Evidence::Probes);
        } else if self.owns(packet.sender_ip.into()) {
            self.notice(now, link, packet.sender_ip.into(), packet.sender_mac, Evidence::Claims);
        }
    }

    /// The station `mac` was heard to do something with the owned address `ip`. In another VLAN the address is another one.
    /// What arrived at another shard is a copy, counted there;
    /// what was overheard arrived here as well, if it is about us.
    pub(super) fn notice(&mut self, now: Instant, link: Link, ip: IpAddr, mac: MacAddr, evidence: Evidence) {
        if mac == self.config.mac || link.way == Way::Overheard || identifier(link.vlan) != identifier(self.config.vlan)
        {
            return;
        }
        let meaning = self.claims.heard(now, ip, mac, evidence);
        if meaning != Meaning::Nothing && link.way != Way::Handed {
            self.counters.refused(Refusal::AddressConflict);
        }
        if meaning == Meaning::Defend && self.config.place.index == 0 {
            self.announce(ip, link.vlan);
        }
    }
}

/// The VLAN of a tag. One that only has a priority is of none (IEEE 802.1Q).
fn identifier(tag: Option<u16>) -> u16 {
    tag.unwrap_or(0) & 0xfff
}
