//! Neighbour discovery for IPv6 (RFC 4861): solicitations and advertisements, validated as its section 7.1 asks.

use core::net::Ipv6Addr;

use crate::{MacAddr, Malformed, icmpv6, icmpv6::Message, ipv6};

/// The hop limit of every message: one that has passed a router has less (RFC 4861, section 3.1).
pub const HOP_LIMIT: u8 = 255;
/// All nodes of the link, `ff02::1`.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The kind of the option with the sender's MAC address (RFC 4861, section 4.6.1).
const SOURCE_MAC: u8 = 1;
/// The kind of the option with the target's MAC address.
const TARGET_MAC: u8 = 2;
/// The bytes of an option with a MAC address.
const OPTION_LEN: usize = 8;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// The group of `ip`'s solicitations, `ff02::1:ffXX:XXXX` (RFC 4291, section 2.7.1).
#[must_use]
pub fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The MAC address of a group (RFC 2464, section 7).
#[must_use]
pub fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// A Neighbor Solicitation (RFC 4861, section 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Solicitation {
    /// Whose MAC address is asked for; never a group.
    pub target: Ipv6Addr,
    /// The sender's MAC address, if it says so. From the unspecified address, which asks whether the target is taken
    /// (RFC 4862, section 5.4), it never does.
    pub source_mac: Option<MacAddr>,
}

/// A Neighbor Advertisement (RFC 4861, section 4.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Advertisement {
    /// Whose MAC address is told; never a group.
    pub target: Ipv6Addr,
    /// The MAC address. An answer to a unicast solicitation may leave it out.
    pub target_mac: Option<MacAddr>,
    /// The sender is a router.
    pub router: bool,
    /// It answers a solicitation. Never so when sent to a group.
    pub solicited: bool,
    /// It replaces what was known before.
    pub overrides: bool,
}

/// A message of neighbour discovery that a host without routers has a use for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Packet {
    /// Who has the target address?
    Solicitation(Solicitation),
    /// The target address is here.
    Advertisement(Advertisement),
}

impl Packet {
    /// The most bytes of a message as [`emit`](Self::emit) writes it.
    pub const MAX_LEN: usize = icmpv6::HEADER_LEN + 16 + OPTION_LEN;

    /// Reads an ICMPv6 message that came behind `ip`; `None` if it is neither of the two.
    ///
    /// # Errors
    /// [`Malformed::NdpTruncated`]; [`Malformed::NdpOption`]; [`Malformed::NdpInvalid`] for everything else that RFC 4861,
    /// sections 7.1.1 and 7.1.2, and RFC 6980 have dropped in silence.
    pub fn parse(ip: &ipv6::Header, message: &Message<'_>) -> Result<Option<Self>, Malformed> {
        let solicits = match message.kind {
            icmpv6::NEIGHBOR_SOLICITATION => true,
            icmpv6::NEIGHBOR_ADVERTISEMENT => false,
            _ => return Ok(None),
        };
        // RFC 6980 section 5: not even in an atomic fragment.
        if ip.hop_limit != HOP_LIMIT || message.code != 0 || ip.fragment.is_some() {
            return Err(Malformed::NdpInvalid);
        }
        let (target, options) = message.body.split_first_chunk::<16>().ok_or(Malformed::NdpTruncated)?;
        let target = Ipv6Addr::from(*target);
        let mac = mac_option(options, if solicits { SOURCE_MAC } else { TARGET_MAC })?;
        let [flags, ..] = message.rest;
        let solicited = flags & SOLICITED != 0;
        let group = ip.dst.is_multicast();
        let probe = ip.src.is_unspecified();
        let valid = match solicits {
            true => !probe || mac.is_none() && ip.dst == solicited_node(target),
            false => !(probe || group && solicited),
        };
        if !valid || target.is_multicast() || ip.src.is_multicast() {
            return Err(Malformed::NdpInvalid);
        }
        Ok(Some(match solicits {
            true => Self::Solicitation(Solicitation { target, source_mac: mac }),
            false => Self::Advertisement(Advertisement {
                target,
                target_mac: mac,
                router: flags & ROUTER != 0,
                solicited,
                overrides: flags & OVERRIDE != 0,
            }),
        }))
    }

    /// Writes the ICMPv6 message at the start of `buf` and answers with its length, at most [`MAX_LEN`](Self::MAX_LEN)
    /// bytes. It must be sent with a hop limit of [`HOP_LIMIT`].
    ///
    /// `buf` must hold that many bytes; into a shorter one nothing is written, the answer is 0, and a debug build asserts.
    pub fn emit(&self, src: Ipv6Addr, dst: Ipv6Addr, buf: &mut [u8]) -> usize {
        let (kind, flags, target, option, mac) = match *self {
            Self::Solicitation(Solicitation { target, source_mac }) => {
                (icmpv6::NEIGHBOR_SOLICITATION, 0, target, SOURCE_MAC, source_mac)
            }
            Self::Advertisement(Advertisement { target, target_mac, router, solicited, overrides }) => {
                let flag = |set, bit| if set { bit } else { 0 };
                let flags = flag(router, ROUTER) | flag(solicited, SOLICITED) | flag(overrides, OVERRIDE);
                (icmpv6::NEIGHBOR_ADVERTISEMENT, flags, target, TARGET_MAC, target_mac)
            }
        };
        let mut body = [0; 16 + OPTION_LEN];
        body[..16].copy_from_slice(&target.octets());
        let mut len = 16;
        if let Some(mac) = mac {
            body[16..18].copy_from_slice(&[option, 1]);
            body[18..].copy_from_slice(&mac.0);
            len += OPTION_LEN;
        }
        icmpv6::emit(kind, 0, [flags, 0, 0, 0], &body[..len], src, dst, buf)
    }
}

/// The MAC address of the first option of `kind`; what is not known is skipped (RFC 4861, section 4.6).
fn mac_option(mut options: &[u8], kind: u8) -> Result<Option<MacAddr>, Malformed> {
    let mut found = None;
    while let [this, units, ..] = *options {
        let len = usize::from(units) * 8;
        // Length 0, and one beyond the end, spoil the whole message (sections 4.6, 7.1).
        let (option, rest) =
            options.split_at_checked(len).filter(|(o, _)| !o.is_empty()).ok_or(Malformed::NdpOption)?;
        if this == kind {
            // Ethernet's has 6 bytes of address (RFC 2464, section 6), of one station.
            let [_, _, mac @ ..] = *option.first_chunk::<OPTION_LEN>().ok_or(Malformed::NdpOption)?;
            let mac = MacAddr(mac);
            if option.len() != OPTION_LEN || mac.is_multicast() {
                return Err(Malformed::NdpOption);
            }
            found = found.or(Some(mac));
        }
        options = rest;
    }
    if options.is_empty() { Ok(found) } else { Err(Malformed::NdpOption) }
}
