//! Where flows land: which shard gets the segments of a flow, and so which ports an active open may take.

use crate::{placement::Place, toeplitz};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use tcp::ConfigError;

/// What is known of the shard at which a flow's frames arrive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Landing {
    /// Nothing: any shard may get any frame, and a different one the next time. Ports are divided by arithmetic.
    #[default]
    Unknown,
    /// The interface spreads flows by the Toeplitz hash.
    Rss(Rss),
}

/// What of a packet goes into the hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum RssInput {
    /// Nothing: the hash is 0.
    Nothing,
    /// Both addresses.
    Addresses,
    /// Both addresses and both ports.
    #[default]
    AddressesAndPorts,
}

/// What is done to the fields before they are hashed (Linux `input_xfrm`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum RssTransform {
    /// Nothing: source, then destination.
    #[default]
    Nothing,
    /// Instead of either the XOR of both (`symmetric-xor`).
    SymmetricXor,
    /// The OR of both, then their XOR (`symmetric-or-xor`).
    SymmetricOrXor,
}

/// What the interface hashes of TCP packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RssFields {
    /// Of IPv4.
    pub ipv4: RssInput,
    /// Of IPv6.
    pub ipv6: RssInput,
    /// What is done to them before.
    pub transform: RssTransform,
}

/// How an interface spreads flows: receive side scaling with the Toeplitz hash.
#[derive(Debug, Clone)]
pub struct Rss {
    key: Vec<u8>,
    table: Vec<u16>,
    fields: RssFields,
    /// What a port's bytes contribute, of IPv4 and of IPv6: the four bytes of both ports, 256 values each. That is what makes
    /// a look at thousands of ports cheap.
    ports: [Vec<u32>; 2],
}

impl PartialEq for Rss {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.table, self.fields) == (&other.key, &other.table, other.fields)
    }
}

impl Eq for Rss {}

impl Rss {
    /// The hash key (40 to 52 bytes), the indirection table (of each entry the index of the shard that serves its queue; a
    /// power of two of entries, up to 65,536: the hash's low bits choose one), and what is hashed.
    ///
    /// # Errors
    /// `rss.key` or `rss.table`: its length is none of those.
    pub fn new(key: Vec<u8>, table: Vec<u16>, fields: RssFields) -> Result<Self, ConfigError> {
        let wrong = |field, value: usize, allowed| Err(ConfigError { field, value: value as u64, allowed });
        if !(40..=52).contains(&key.len()) {
            return wrong("rss.key", key.len(), "40 to 52 bytes");
        }
        if !table.len().is_power_of_two() || table.len() > 1 << 16 {
            return wrong("rss.table", table.len(), "a power of two of entries, up to 65,536");
        }
        let ports = [8, 32].map(|at| {
            let bytes = (0..4).flat_map(|place| (0..=255).map(move |byte| (at + place, byte)));
            bytes.map(|(at, byte)| toeplitz::contribution(&key, at, byte)).collect()
        });
        Ok(Self { key, table, fields, ports })
    }

    /// The hash of a TCP packet from `src` to `dst`, two addresses of one family.
    #[must_use]
    pub fn hash(&self, src: SocketAddr, dst: SocketAddr) -> u32 {
        self.hash_addresses(src.ip(), dst.ip()) ^ self.hash_ports(dst.is_ipv4(), src.port(), dst.port())
    }

    /// The index of the shard at which a TCP packet from `src` to `dst` arrives.
    #[must_use]
    pub fn shard(&self, src: SocketAddr, dst: SocketAddr) -> u16 {
        self.entry(self.hash(src, dst))
    }

    fn entry(&self, hash: u32) -> u16 {
        self.table[hash as usize & (self.table.len() - 1)]
    }

    const fn input(&self, is_ipv4: bool) -> RssInput {
        if is_ipv4 { self.fields.ipv4 } else { self.fields.ipv6 }
    }

    fn hash_addresses(&self, src: IpAddr, dst: IpAddr) -> u32 {
        if self.input(dst.is_ipv4()) == RssInput::Nothing {
            return 0;
        }
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let (first, second) = self.transform(u128::from(src.to_bits()), dst.to_bits().into());
                toeplitz::hash(&self.key, 0, &first.to_be_bytes()[12..])
                    ^ toeplitz::hash(&self.key, 4, &second.to_be_bytes()[12..])
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let (first, second) = self.transform(src.to_bits(), dst.to_bits());
                toeplitz::hash(&self.key, 0, &first.to_be_bytes())
                    ^ toeplitz::hash(&self.key, 16, &second.to_be_bytes())
            }
            _ => 0,
        }
    }

    fn hash_ports(&self, is_ipv4: bool, src: u16, dst: u16) -> u32 {
        if self.input(is_ipv4) != RssInput::AddressesAndPorts {
            return 0;
        }
        let (first, second) = self.transform(src.into(), dst.into());
        let of = &self.ports[usize::from(!is_ipv4)];
        let bytes = [first >> 8, first & 0xff, second >> 8, second & 0xff];
        bytes.iter().enumerate().fold(0, |hash, (place, byte)| hash ^ of[place << 8 | *byte as usize])
    }

    const fn transform(&self, src: u128, dst: u128) -> (u128, u128) {
        match self.fields.transform {
            RssTransform::Nothing => (src, dst),
            RssTransform::SymmetricXor => (src ^ dst, src ^ dst),
            RssTransform::SymmetricOrXor => (src | dst, src ^ dst),
        }
    }

    /// Whether each of `count` shards can be reached by the choice of a port.
    fn reaches_all(&self, count: u16, is_ipv4: bool) -> bool {
        self.input(is_ipv4) == RssInput::AddressesAndPorts && (0..count).all(|shard| self.table.contains(&shard))
    }
}

/// How far a shard trusts what it was told of where flows land.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LandingState {
    /// Nothing is known: a SYN is taken only when no other shard knows its flow.
    Unknown,
    /// Known from the start: a SYN is taken where it arrives.
    Planned,
    /// Known, but it was not always so: flows may have their place elsewhere, SYNs are asked for as if nothing were known.
    Changed,
    /// Replies came where they should not: SYNs are asked for as if nothing were known.
    Distrusted,
}

/// A plan, and for each family whether ports are divided by it: not where a shard would get none.
#[derive(Debug, Default)]
struct Plan {
    landing: Landing,
    divides: [bool; 2],
}

impl Plan {
    fn new(landing: Landing, place: Place) -> Self {
        let divides = match &landing {
            Landing::Unknown => [false; 2],
            Landing::Rss(rss) => [true, false].map(|is_ipv4| rss.reaches_all(place.count, is_ipv4)),
        };
        Self { landing, divides }
    }

    /// Which shard may open connections from which port between these addresses: every port is one shard's.
    fn division(&self, local: IpAddr, remote: SocketAddr) -> Division<'_> {
        match &self.landing {
            Landing::Rss(rss) if self.divides[usize::from(!remote.is_ipv4())] => {
                Division::Hashed { rss, addresses: rss.hash_addresses(remote.ip(), local), remote }
            }
            _ => Division::Arithmetic,
        }
    }
}

enum Division<'p> {
    Arithmetic,
    /// The reply's hash without its ports, and who it comes from.
    Hashed {
        rss: &'p Rss,
        addresses: u32,
        remote: SocketAddr,
    },
}

impl Division<'_> {
    fn is_of(&self, place: Place, port: u16) -> bool {
        match self {
            Self::Arithmetic => port % place.count == place.index,
            Self::Hashed { rss, addresses, remote } => {
                rss.entry(addresses ^ rss.hash_ports(remote.is_ipv4(), remote.port(), port)) == place.index
            }
        }
    }
}

/// First replies that are looked at, and how many of them may come where they should not.
const TRIALS: u32 = 16;
const MISSES: u32 = 3;

/// What a shard goes by: the plan there is, and the one before it.
#[derive(Debug)]
pub(crate) struct Plans {
    place: Place,
    current: Plan,
    /// Connections opened by it may live on: a port must be this shard's by either.
    previous: Option<Plan>,
    state: LandingState,
    /// The plan was told, even if it is that nothing is known.
    told: bool,
    /// Counts plans: what a reply says is about the one its SYN was sent by.
    number: u8,
    /// The last [`TRIALS`] first replies, the latest in the lowest bit: 1, it came where it should not.
    misses: u16,
}

const _: () = assert!(TRIALS == u16::BITS);

impl Plans {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            current: Plan::default(),
            previous: None,
            state: LandingState::Unknown,
            told: false,
            number: 0,
            misses: 0,
        }
    }

    /// `opened`: the shard has opened connections already.
    pub(crate) fn set(&mut self, landing: Landing, opened: bool) {
        let begins = !core::mem::replace(&mut self.told, true) && !opened;
        if landing == self.current.landing {
            return;
        }
        let known = landing != Landing::Unknown;
        let old = core::mem::replace(&mut self.current, Plan::new(landing, self.place));
        self.previous = (!begins).then_some(old);
        self.state = match (known, begins) {
            (false, _) => LandingState::Unknown,
            (true, true) => LandingState::Planned,
            (true, false) => LandingState::Changed,
        };
        self.number = self.number.wrapping_add(1);
        self.misses = 0;
    }

    pub(crate) const fn state(&self) -> LandingState {
        self.state
    }

    pub(crate) const fn number(&self) -> u8 {
        self.number
    }

    /// Which ports this shard may open connections to `remote` from.
    pub(crate) fn ports(&self, local: IpAddr, remote: SocketAddr) -> impl Fn(u16) -> bool {
        let place = self.place;
        let plans = [Some(&self.current), self.previous.as_ref()].map(|plan| plan.map(|p| p.division(local, remote)));
        move |port| place.count == 1 || plans.iter().flatten().all(|division| division.is_of(place, port))
    }

    /// The first reply to a SYN that was sent by plan `number` arrived at this shard (`home`), or at another. Interfaces
    /// redirect single flows, and a plan can be read just while it changes, so one miss says nothing.
    pub(crate) fn on_first_reply(&mut self, number: u8, local: SocketAddr, remote: SocketAddr, home: bool) {
        let Landing::Rss(rss) = &self.current.landing else { return };
        if number != self.number || self.state == LandingState::Distrusted {
            return;
        }
        let planned = rss.shard(remote, local) == self.place.index;
        self.misses = self.misses << 1 | u16::from(home != planned);
        if self.misses.count_ones() >= MISSES {
            self.state = LandingState::Distrusted;
        }
    }
}
