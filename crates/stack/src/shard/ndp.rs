//! Neighbour discovery (RFC 4861) for the IPv6 addresses that are the stack's alone; for the interface's the kernel does it.

use super::{
    Instant, IpAddr, MacAddr, Refusal, Shard,
    input::{Link, Rejected},
};
use crate::{
    config::is_nobodys,
    dad::Evidence,
    neighbour::{Ask, Asker, Hop},
    placement::Placed,
    reply::{Body, Reply},
};
use core::net::Ipv6Addr;
use wire::{
    eth, icmpv6, ip, ipv6,
    ndp::{self, ALL_NODES, Advertisement, Packet, Solicitation},
};

/// Whether a frame to a group may be neighbour discovery: nothing else is taken from one.
pub(super) fn solicits(ethertype: u16, packet: &[u8]) -> bool {
    const NEXT_HEADER: usize = 6;
    const DST: usize = 24;
    ethertype == eth::ETHERTYPE_IPV6
        && packet.get(NEXT_HEADER) == Some(&ip::PROTOCOL_ICMPV6)
        && packet.get(DST) == Some(&0xff)
}

/// Whether an ICMPv6 message is one of neighbour discovery's, from its first byte.
pub(super) fn is_ndp(message: &[u8]) -> bool {
    matches!(message, [icmpv6::NEIGHBOR_SOLICITATION | icmpv6::NEIGHBOR_ADVERTISEMENT, ..])
}

/// Writes the packet and returns its length.
pub(super) fn emit(src: Ipv6Addr, dst: Ipv6Addr, packet: &Packet, out: &mut [u8]) -> usize {
    let len = packet.emit(src, dst, &mut out[ipv6::Header::LEN..]);
    let header = ipv6::Header {
        src,
        dst,
        next_header: ip::PROTOCOL_ICMPV6,
        hop_limit: ndp::HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        fragment: None,
    };
    header.emit(len, out);
    ipv6::Header::LEN + len
}

impl Shard {
    /// A solicitation or an advertisement.
    pub(super) fn ndp(
        &mut self,
        now: Instant,
        link: Link,
        header: &ipv6::Header,
        payload: &[u8],
    ) -> Result<Placed, Rejected> {
        self.check_ndp_addresses(header)?;
        let message = icmpv6::Message::parse(payload, header.src, header.dst)?;
        match Packet::parse(header, &message)? {
            Some(packet) if self.owns(header.src.into()) => self.impostor(now, link, header.src, &packet)?,
            Some(Packet::Solicitation(asks)) => self.solicitation(now, link, header.src, &asks)?,
            Some(Packet::Advertisement(tells)) => {
                if let Err(reason) = self.advertisement(now, link, header.dst, &tells) {
                    // Another shard may have asked.
                    self.counters.refused(reason);
                    return Ok(self.everybodys(link.way));
                }
            }
            None => return Err(Refusal::Icmp.into()),
        }
        self.counters.ndp_in += 1;
        Ok(self.everybodys(link.way))
    }

    /// Other than TCP's, these may come from the unspecified address, and to the groups that a host with our addresses is
    /// in (RFC 4291 section 2.8).
    fn check_ndp_addresses(&self, header: &ipv6::Header) -> Result<(), Rejected> {
        let (src, dst) = (header.src, header.dst);
        if dst.is_multicast() {
            let owned = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if dst == ndp::solicited_node(ip));
            if dst != ALL_NODES && !self.config.addresses.iter().any(|a| a.owned && owned(a.ip)) {
                return Err(Refusal::NotUnicast.into());
            }
        } else if !self.owns(dst.into()) {
            let refusal = if self.address(dst.into()).is_some() { Refusal::Icmp } else { Refusal::NotOurAddress };
            return Err(refusal.into());
        }
        let shared = self.address(src.into()).is_some_and(|a| !a.owned);
        if !src.is_unspecified() && is_nobodys(src.into()) || shared {
            return Err(Refusal::BadSource.into());
        }
        Ok(())
    }

    /// What came from an address of our own: somebody else has it too, or the link gives us back what we send.
    fn impostor(&mut self, now: Instant, link: Link, src: Ipv6Addr, packet: &Packet) -> Result<(), Rejected> {
        let mac = match packet {
            Packet::Solicitation(asks) => asks.source_mac,
            Packet::Advertisement(tells) => tells.target_mac,
        };
        let mac = mac.unwrap_or(link.src);
        if mac == self.config.mac {
            return Err(Refusal::BadSource.into());
        }
        self.notice(now, link, src.into(), mac, Evidence::Claims);
        Ok(())
    }

    /// RFC 4861 sections 7.2.3 and 7.2.4; RFC 4862 section 5.4.3.
    fn solicitation(&mut self, now: Instant, link: Link, src: Ipv6Addr, asks: &Solicitation) -> Result<(), Rejected> {
        if !self.owns(asks.target.into()) {
            return Err(Refusal::Icmp.into());
        }
        let sender = IpAddr::from(src);
        let hop = Hop::new(sender, link.vlan);
        // The unspecified address, which names no option, asks whether the target is taken (RFC 4862 section 5.4.3).
        if let Some(mac) = asks.source_mac.filter(|_| self.on_link(sender) || self.neighbours.knows_of(hop)) {
            let asker = Asker { local: asks.target.into(), vlan: link.vlan };
            self.heard(now, hop, mac, Some(asker), false);
        }
        let probe = src.is_unspecified();
        if probe {
            self.notice(now, link, asks.target.into(), link.src, Evidence::Probes);
        }
        if link.way.is_copy() || !self.claims.usable(asks.target.into()) {
            return Ok(());
        }
        let answer = Advertisement {
            target: asks.target,
            target_mac: Some(self.config.mac),
            router: false,
            solicited: !probe,
            overrides: true,
        };
        let (mac, dst) = if probe { (ndp::group_mac(ALL_NODES), ALL_NODES) } else { (link.src, src) };
        let body = Body::Ndp { src: asks.target, dst, packet: Packet::Advertisement(answer) };
        self.reply(Reply { dst: mac, vlan: link.vlan, body });
        Ok(())
    }

    /// RFC 4861 section 7.2.5: news of a neighbour, if it is one we want or know.
    fn advertisement(&mut self, now: Instant, link: Link, dst: Ipv6Addr, tells: &Advertisement) -> Result<(), Refusal> {
        let target = IpAddr::from(tells.target);
        if self.owns(target) {
            self.notice(now, link, target, tells.target_mac.unwrap_or(link.src), Evidence::Claims);
            return Ok(());
        }
        let hop = Hop::new(target, link.vlan);
        if !self.neighbours.knows_of(hop) || self.address(target).is_some() {
            return Err(Refusal::Icmp);
        }
        match (self.neighbours.known(hop), tells.target_mac) {
            (Some(old), Some(new)) if old != new && !tells.overrides => self.neighbours.contradicted(now, hop),
            (_, Some(mac)) => {
                let asker = (!dst.is_multicast()).then_some(Asker { local: dst.into(), vlan: link.vlan });
                self.heard(now, hop, mac, asker, tells.solicited);
            }
            (Some(_), None) if tells.solicited => self.neighbours.confirm(now, hop),
            (_, None) => {}
        }
        Ok(())
    }

    /// A neighbour told its MAC address: what waited for it goes on.
    pub(super) fn heard(&mut self, now: Instant, hop: Hop, mac: MacAddr, asker: Option<Asker>, answers: bool) {
        for conn in self.neighbours.heard(now, hop, mac, asker, answers) {
            self.wake(conn);
        }
    }

    /// Whether packets to `ip` go to the station of that address, not to a gateway.
    pub(super) fn on_link(&self, ip: IpAddr) -> bool {
        self.routes.next_hop(ip) == Some(ip)
    }

    /// Asks for `target`'s MAC address, RFC 4861 section 7.2.2.
    pub(super) fn solicit(&mut self, ask: Ask, src: Ipv6Addr, target: Ipv6Addr) {
        let group = ndp::solicited_node(target);
        let (mac, dst) = ask.at.map_or((ndp::group_mac(group), group), |mac| (mac, target));
        let packet = Packet::Solicitation(Solicitation { target, source_mac: Some(self.config.mac) });
        self.reply(Reply { dst: mac, vlan: ask.from.vlan, body: Body::Ndp { src, dst, packet } });
    }
}
