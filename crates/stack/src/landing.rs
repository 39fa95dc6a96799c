//! Where flows land: which shard gets the segments of a flow, and so which ports an active open may take.

use crate::{placement::Place, span::Span, toeplitz};
use alloc::{collections::BTreeSet, vec::Vec};
use core::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};
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
    /// What each value of each byte of the input contributes: what makes a look at thousands of ports cheap.
    contributions: Vec<u32>,
}

/// Two addresses of IPv6 and two ports.
const MOST_INPUT: usize = 36;

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
        let bytes = (0..MOST_INPUT).flat_map(|at| (0..=255).map(move |byte| (at, byte)));
        let contributions = bytes.map(|(at, byte)| toeplitz::contribution(&key, at, byte)).collect();
        Ok(Self { key, table, fields, contributions })
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
                self.hash_at(0, &first.to_be_bytes()[12..]) ^ self.hash_at(4, &second.to_be_bytes()[12..])
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let (first, second) = self.transform(src.to_bits(), dst.to_bits());
                self.hash_at(0, &first.to_be_bytes()) ^ self.hash_at(16, &second.to_be_bytes())
            }
            _ => 0,
        }
    }

    fn hash_ports(&self, is_ipv4: bool, src: u16, dst: u16) -> u32 {
        if self.input(is_ipv4) != RssInput::AddressesAndPorts {
            return 0;
        }
        let (first, second) = self.transform(src.into(), dst.into());
        let at = if is_ipv4 { 8 } else { 32 };
        self.hash_at(at, &first.to_be_bytes()[14..]) ^ self.hash_at(at + 2, &second.to_be_bytes()[14..])
    }

    /// The contribution of `input`, which begins at byte `at`.
    fn hash_at(&self, at: usize, input: &[u8]) -> u32 {
        input.iter().zip(at..).fold(0, |hash, (byte, at)| hash ^ self.contributions[at << 8 | usize::from(*byte)])
    }

    const fn transform(&self, src: u128, dst: u128) -> (u128, u128) {
        match self.fields.transform {
            RssTransform::Nothing => (src, dst),
            RssTransform::SymmetricXor => (src ^ dst, src ^ dst),
            RssTransform::SymmetricOrXor => (src | dst, src ^ dst),
        }
    }

    /// Whether each of `count` shards has ports among `ports` by which replies from `remote`'s port land there, whatever the
    /// addresses are. A key may have nothing but zeros where the ports are, a table no entry of a shard.
    fn reaches_all(&self, count: u16, ports: &RangeInclusive<u16>, remote: SocketAddr) -> bool {
        if self.input(remote.is_ipv4()) != RssInput::AddressesAndPorts {
            return false;
        }
        let hash = |port| self.hash_ports(remote.is_ipv4(), remote.port(), port);
        let (first, bits) = block(ports);
        let mut span = Span::default();
        let low_bits = u32::try_from(self.table.len() - 1).unwrap_or(u32::MAX);
        (0..bits).for_each(|bit| span.add((hash(first) ^ hash(first | 1 << bit)) & low_bits));
        if 1 << span.rank() == self.table.len() {
            return (0..count).all(|shard| self.table.contains(&shard));
        }
        let entries = self.table.iter().zip(0..).filter(|(shard, _)| **shard < count);
        let reached: BTreeSet<(u32, u16)> = entries.map(|(shard, entry)| (span.reduce(entry), *shard)).collect();
        reached.len() == (self.table.len() >> span.rank()) * usize::from(count)
    }
}

/// The largest block of ports within `ports` that is a power of two long and begins at a multiple of that: its first port, and
/// how many bits vary.
fn block(ports: &RangeInclusive<u16>) -> (u16, u16) {
    let (low, high) = (u32::from(*ports.start()), u32::from(*ports.end()));
    let first = |bits: u16| low.next_multiple_of(1 << bits);
    let fits = |bits: &u16| first(*bits) + (1 << bits) <= high + 1;
    let bits = (0..=16).rev().find(fits).unwrap_or(0);
    (u16::try_from(first(bits)).unwrap_or(u16::MAX), bits)
}

/// How far a shard trusts what it was told of where flows land.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LandingState {
    /// Nothing is known: a SYN is taken only when no other shard knows its flow.
    Unknown,
    /// Known from the start: a SYN for a listener is taken where it arrives.
    Planned,
    /// Known, but it was not always so: flows may have their place elsewhere, SYNs are asked for as if nothing were known.
    Changed,
    /// Replies came where they should not: SYNs are asked for as if nothing were known.
    Distrusted,
}

/// A plan, and for each family whether ports are divided by it: not where a shard could get none. `None`: it depends on the
/// peer's port.
#[derive(Debug, Clone, Default)]
struct Plan {
    landing: Landing,
    divides: [Option<bool>; 2],
}

impl Plan {
    fn new(landing: Landing, place: Place, ports: &RangeInclusive<u16>) -> Self {
        let divides = match &landing {
            Landing::Unknown => [Some(false); 2],
            // An OR is linear only in the bits that the other port doesn't have.
            Landing::Rss(rss) if rss.fields.transform == RssTransform::SymmetricOrXor => [None; 2],
            Landing::Rss(rss) => [IpAddr::from([0; 4]), IpAddr::from([0; 16])]
                .map(|any| Some(rss.reaches_all(place.count, ports, SocketAddr::new(any, 0)))),
        };
        Self { landing, divides }
    }

    /// Which shard may open connections from which port between these addresses: every port is one shard's.
    fn division(&self, place: Place, ports: &RangeInclusive<u16>, local: IpAddr, remote: SocketAddr) -> Division<'_> {
        let Landing::Rss(rss) = &self.landing else { return Division::Arithmetic };
        let known = self.divides[usize::from(!remote.is_ipv4())];
        if known.unwrap_or_else(|| rss.reaches_all(place.count, ports, remote)) {
            Division::Hashed { rss, addresses: rss.hash_addresses(remote.ip(), local), remote }
        } else {
            Division::Arithmetic
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
    /// Whose port it is.
    fn owner(&self, place: Place, port: u16) -> u16 {
        self.lands(port).unwrap_or(port % place.count)
    }

    /// Where its reply lands, if the port has a say in it.
    fn lands(&self, port: u16) -> Option<u16> {
        let Self::Hashed { rss, addresses, remote } = self else { return None };
        Some(rss.entry(addresses ^ rss.hash_ports(remote.is_ipv4(), remote.port(), port)))
    }
}

/// How many of the last sixteen connections that were looked at may contradict a plan.
const MISSES: u32 = 2;

/// What a shard goes by: the plan there is, and the first one.
#[derive(Debug)]
pub(crate) struct Plans {
    place: Place,
    range: RangeInclusive<u16>,
    current: Plan,
    /// Ports stay divided by the plan there was from the start: of a later one connections may be left that were opened by
    /// another, and nobody knows all of them.
    first: Plan,
    state: LandingState,
    /// The plan was told, even if it is that nothing is known.
    told: bool,
    /// Counts plans: what a reply says is about the one its SYN was sent by.
    number: u8,
    /// The last sixteen connections that were looked at, the latest in the lowest bit: 1, it contradicts the plan.
    misses: u16,
}

impl Plans {
    /// `range`: the ports of active opens.
    pub(crate) fn new(place: Place, range: RangeInclusive<u16>) -> Self {
        Self {
            place,
            range,
            current: Plan::default(),
            first: Plan::default(),
            state: LandingState::Unknown,
            told: false,
            number: 0,
            misses: 0,
        }
    }

    /// `fresh`: nothing has happened to the shard yet.
    pub(crate) fn set(&mut self, landing: Landing, fresh: bool) {
        let begins = !core::mem::replace(&mut self.told, true);
        if landing == self.current.landing {
            return;
        }
        let known = landing != Landing::Unknown;
        self.current = Plan::new(landing, self.place, &self.range);
        if begins {
            self.first = self.current.clone();
        }
        self.state = match (known, begins && fresh) {
            (false, _) => LandingState::Unknown,
            (true, true) => LandingState::Planned,
            (true, false) => LandingState::Changed,
        };
        self.number = self.number.wrapping_add(1);
        self.misses = 0;
    }

    /// Whether a flow is at home here: it has landed here from the start, and so every incarnation of it.
    pub(crate) fn is_home(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let Landing::Rss(rss) = &self.current.landing else { return false };
        self.state == LandingState::Planned && rss.shard(remote, local) == self.place.index
    }

    pub(crate) const fn state(&self) -> LandingState {
        self.state
    }

    pub(crate) const fn number(&self) -> u8 {
        self.number
    }

    /// Which ports this shard may open connections to `remote` from: no other may.
    pub(crate) fn ours(&self, local: IpAddr, remote: SocketAddr) -> impl Fn(u16) -> bool {
        let (place, division) = (self.place, self.first.division(self.place, &self.range, local, remote));
        move |port| place.count == 1 || division.owner(place, port) == place.index
    }

    /// From which of them replies land here, as far as that can be chosen.
    pub(crate) fn home(&self, local: IpAddr, remote: SocketAddr) -> impl Fn(u16) -> bool {
        let (place, division) = (self.place, self.current.division(self.place, &self.range, local, remote));
        move |port| place.count == 1 || division.lands(port).is_none_or(|shard| shard == place.index)
    }

    /// The first reply to a SYN that was sent by plan `number` arrived at this shard (`home`), or at another.
    pub(crate) fn on_first_reply(&mut self, number: u8, local: SocketAddr, remote: SocketAddr, home: bool) {
        if number == self.number {
            self.observe(local, remote, home);
        }
    }

    /// A segment of a connection that is here arrived at another shard, the first of it. After a change that is no wonder.
    pub(crate) fn on_stray(&mut self, local: SocketAddr, remote: SocketAddr) {
        if self.state == LandingState::Planned {
            self.observe(local, remote, false);
        }
    }

    /// A peer opens a connection here, as no other shard knows of it.
    pub(crate) fn on_new_flow(&mut self, local: SocketAddr, remote: SocketAddr) {
        if self.state == LandingState::Planned {
            self.observe(local, remote, true);
        }
    }

    /// A filter of the interface may redirect single flows, so one says nothing.
    fn observe(&mut self, local: SocketAddr, remote: SocketAddr, home: bool) {
        let Landing::Rss(rss) = &self.current.landing else { return };
        let planned = rss.shard(remote, local) == self.place.index;
        self.misses = self.misses << 1 | u16::from(home != planned);
        if self.misses.count_ones() > MISSES {
            self.state = LandingState::Distrusted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DEFAULT_PORTS;
    use alloc::vec;

    /// The key of Microsoft's "Verifying the RSS Hash Calculation".
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
        0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
        0xbe, 0xac, 0x01, 0xfa,
    ];

    fn rss(table: Vec<u16>, fields: RssFields) -> Rss {
        Rss::new(KEY.to_vec(), table, fields).expect("a valid plan")
    }

    fn spread(entries: usize, shards: u16, shift: u16) -> Vec<u16> {
        (0..shards).map(|n| (n + shift) % shards).cycle().take(entries).collect()
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    /// Microsoft's verification suite: source, destination, the hash of the addresses, and that with the ports.
    #[test]
    fn the_hash_is_that_of_the_verification_suite() {
        let suite = [
            ("66.9.149.187:2794", "161.142.100.80:1766", 0x323e_8fc2, 0x51cc_c178),
            ("199.92.111.2:14230", "65.69.140.83:4739", 0xd718_262a, 0xc626_b0ea),
            ("24.19.198.95:12898", "12.22.207.184:38024", 0xd2d0_a5de, 0x5c2b_394a),
            ("38.27.205.30:48228", "209.142.163.6:2217", 0x8298_9176, 0xafc7_327f),
            ("153.39.163.191:44251", "202.188.127.2:1303", 0x5d18_09c5, 0x10e8_28a2),
            ("[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x2cc1_8cd5, 0x4020_7d3d),
            ("[3ffe:501:8::260:97ff:fe40:efab]:14230", "[ff02::1]:4739", 0x0f0c_461c, 0xdde5_1bbf),
            (
                "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
                "[fe80::200:f8ff:fe21:67cf]:38024",
                0x4b61_e985,
                0x02d1_feef,
            ),
        ];
        let with_ports = rss(vec![0], RssFields::default());
        let addresses = RssFields { ipv4: RssInput::Addresses, ipv6: RssInput::Addresses, ..RssFields::default() };
        let without = rss(vec![0], addresses);
        for (src, dst, two, four) in suite {
            assert_eq!(without.hash(at(src), at(dst)), two, "{src} {dst}");
            assert_eq!(with_ports.hash(at(src), at(dst)), four, "{src} {dst}");
        }
    }

    /// Linux, `RXH_XFRM_SYM_XOR` and `RXH_XFRM_SYM_OR_XOR`: what is hashed are the fields' XOR twice, or their OR and their
    /// XOR. Both directions of a flow have one hash.
    #[test]
    fn symmetric_hashes_are_of_the_transformed_fields() {
        let plain = rss(vec![0], RssFields::default());
        let (a, b) = (at("10.0.0.1:80"), at("10.0.0.6:61000"));
        let fields = |transform| RssFields { transform, ..RssFields::default() };
        let xor = rss(vec![0], fields(RssTransform::SymmetricXor));
        let or_xor = rss(vec![0], fields(RssTransform::SymmetricOrXor));
        let xored = at("0.0.0.7:60952");
        assert_eq!(80 ^ 61_000, 60_952);
        assert_eq!(xor.hash(a, b), plain.hash(xored, xored));
        assert_eq!(or_xor.hash(a, b), plain.hash(at("10.0.0.7:61016"), xored));
        assert_eq!(80 | 61_000, 61_016);
        assert_eq!((xor.hash(a, b), or_xor.hash(a, b)), (xor.hash(b, a), or_xor.hash(b, a)));
        let (a, b) = (at("[fd77::1]:80"), at("[fd77::6]:61000"));
        assert_eq!(xor.hash(a, b), plain.hash(at("[::7]:60952"), at("[::7]:60952")));
        assert_eq!(or_xor.hash(a, b), plain.hash(at("[fd77::7]:61016"), at("[::7]:60952")));
    }

    #[test]
    fn what_is_not_hashed_lands_at_the_first_entry() {
        let none = RssFields { ipv6: RssInput::Nothing, ..RssFields::default() };
        let rss = rss(vec![3, 1, 1, 1], none);
        assert_eq!(rss.shard(at("[fd77::1]:80"), at("[fd77::2]:9")), 3);
    }

    #[test]
    fn a_plan_is_checked() {
        let wrong = |key: usize, table: usize| {
            let e = Rss::new(vec![1; key], vec![0; table], RssFields::default()).expect_err("refused");
            (e.field, e.value)
        };
        assert_eq!(wrong(39, 128), ("rss.key", 39));
        assert_eq!(wrong(53, 128), ("rss.key", 53));
        assert_eq!(wrong(40, 0), ("rss.table", 0));
        assert_eq!(wrong(40, 96), ("rss.table", 96));
        assert!(Rss::new(vec![1; 52], vec![0; 2048], RssFields::default()).is_ok());
    }

    /// Which shards may take `port`, all of them having been told the same.
    fn owners(plans: &[Plans], local: SocketAddr, remote: SocketAddr) -> Vec<u16> {
        let may = |p: &&Plans| p.ours(local.ip(), remote)(local.port());
        plans.iter().filter(may).map(|p| p.place.index).collect()
    }

    fn told(count: u16, landings: &[Landing]) -> Vec<Plans> {
        (0..count)
            .map(|index| {
                let mut plans = Plans::new(Place { index, count }, DEFAULT_PORTS);
                landings.iter().for_each(|l| plans.set(l.clone(), true));
                plans
            })
            .collect()
    }

    /// Every port is exactly one shard's: where its reply lands, if every shard can be reached so.
    #[test]
    fn a_port_is_the_shards_where_its_reply_lands() {
        let by_hash = rss(spread(128, 4, 0), RssFields::default());
        let plans = told(4, &[Landing::Rss(by_hash.clone())]);
        for (local, remote) in [("10.0.0.1", "10.0.0.9:80"), ("fd77::1", "[fd77::9]:80")] {
            let mut seen = BTreeSet::new();
            for port in 61_000..=65_535 {
                let local = SocketAddr::new(local.parse().expect("an address"), port);
                let owner = by_hash.shard(at(remote), local);
                seen.insert(owner);
                assert_eq!(owners(&plans, local, at(remote)), [owner]);
                assert!(plans[usize::from(owner)].home(local.ip(), at(remote))(port));
            }
            assert_eq!(seen.len(), 4);
        }
    }

    /// Nothing known, only addresses hashed, or a shard without an entry in the table: no port can bring a reply home to
    /// every shard, so they are divided by arithmetic.
    #[test]
    fn ports_that_no_reply_tells_apart_are_divided_by_arithmetic() {
        let addresses = RssFields { ipv4: RssInput::Addresses, ..RssFields::default() };
        // Zeros where the ports are: bytes 8 to 11 of IPv4, and the 31 bits behind them.
        let mut blind = KEY.to_vec();
        blind[8..16].fill(0);
        let landings = [
            Landing::Unknown,
            Landing::Rss(rss(spread(128, 3, 0), addresses)),
            Landing::Rss(rss(spread(128, 2, 0), RssFields::default())),
            Landing::Rss(Rss::new(blind, spread(128, 3, 0), RssFields::default()).expect("valid")),
        ];
        for landing in landings {
            let plans = told(3, &[landing]);
            for port in 61_000..=61_100 {
                let local = SocketAddr::new([10, 0, 0, 1].into(), port);
                assert_eq!(owners(&plans, local, at("10.0.0.9:80")), [port % 3]);
                assert!(plans.iter().all(|p| p.home(local.ip(), at("10.0.0.9:80"))(port)));
            }
        }
    }

    /// Where ports are divided by the hash, every shard has some towards whatever peer, with whatever key.
    #[test]
    fn a_shard_has_ports_whatever_the_key() {
        let mut seed = 7_u64;
        let mut next = || {
            // Xorshift64 (Marsaglia 2003).
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let transforms = [RssTransform::Nothing, RssTransform::SymmetricXor, RssTransform::SymmetricOrXor];
        let mut hashed = 0;
        for n in 0..600_u16 {
            // Keys with few bits are the difficult ones.
            let key = (0..40).map(|_| (next() & next() & next()).to_be_bytes()[3]).collect();
            let fields = RssFields { transform: transforms[usize::from(n % 3)], ..RssFields::default() };
            let by_hash = Rss::new(key, spread(1 << (n % 8), 4, 0), fields).expect("valid");
            let mut plans = told(4, &[Landing::Rss(by_hash)]);
            let remote = SocketAddr::new(if n % 2 == 0 { [10, 0, 0, 9].into() } else { [9; 16].into() }, 40_000 | n);
            let local = if n % 2 == 0 { IpAddr::from([10, 0, 0, 1]) } else { IpAddr::from([1; 16]) };
            let of = |p: &Plans| {
                let ours = p.ours(local, remote);
                DEFAULT_PORTS.filter(|port| ours(*port)).count()
            };
            let each: Vec<usize> = plans.iter().map(of).collect();
            assert!(each.iter().all(|ports| *ports > 0), "{each:?}");
            assert_eq!(each.iter().sum::<usize>(), DEFAULT_PORTS.count());
            let plan = plans.swap_remove(0).first;
            let place = Place { index: 0, count: 4 };
            hashed += u16::from(plan.division(place, &DEFAULT_PORTS, local, remote).lands(61_000).is_some());
        }
        assert!((300..600).contains(&hashed), "{hashed}");
    }

    #[test]
    fn a_block_is_within_its_range() {
        assert_eq!(block(&(0..=65_535)), (0, 16));
        assert_eq!(block(&DEFAULT_PORTS), (61_440, 12));
        assert_eq!((block(&(7..=7)), block(&(65_535..=65_535)), block(&(1..=2)).1), ((7, 0), (65_535, 0), 0));
        assert_eq!(block(&RangeInclusive::new(1, 0)).1, 0);
    }

    /// Whatever changes, a port stays the same shard's: somebody may have a connection from it. Where replies land is as the
    /// last plan has it.
    #[test]
    fn ports_stay_divided_as_they_were() {
        let plan = |table| rss(table, RssFields::default());
        let (one, two, three) = (plan(spread(128, 2, 0)), plan(vec![0, 0, 1, 1]), plan(spread(128, 2, 1)));
        let plans = told(2, &[&one, &two, &three].map(|rss| Landing::Rss(rss.clone())));
        let remote = at("10.0.0.9:80");
        for port in 61_000..=65_535 {
            let local = SocketAddr::new([10, 0, 0, 1].into(), port);
            assert_eq!(owners(&plans, local, remote), [one.shard(remote, local)]);
            assert_eq!(plans[0].home(local.ip(), remote)(port), three.shard(remote, local) == 0);
        }
    }

    #[test]
    fn a_change_is_told_from_a_beginning() {
        let plan = |shift| Landing::Rss(rss(spread(128, 2, shift), RssFields::default()));
        let mut plans = Plans::new(Place { index: 0, count: 2 }, DEFAULT_PORTS);
        assert_eq!(plans.state(), LandingState::Unknown);
        plans.set(plan(0), true);
        assert_eq!(plans.state(), LandingState::Planned);
        plans.set(plan(0), false);
        assert_eq!(plans.state(), LandingState::Planned);
        plans.set(plan(1), true);
        assert_eq!(plans.state(), LandingState::Changed);
        plans.set(Landing::Unknown, false);
        assert_eq!(plans.state(), LandingState::Unknown);
        // That nothing is known is a plan, too; and what has happened before was by none.
        for (first, fresh) in [(Landing::Unknown, true), (plan(0), false)] {
            let mut plans = Plans::new(Place { index: 0, count: 2 }, DEFAULT_PORTS);
            plans.set(first, fresh);
            plans.set(plan(0), fresh);
            assert_eq!(plans.state(), LandingState::Changed);
        }
    }

    /// Three of the last sixteen replies at the wrong shard are too many, two are not.
    #[test]
    fn a_plan_that_does_not_hold_is_distrusted() {
        let by_hash = rss(spread(128, 2, 0), RssFields::default());
        let remote = at("10.0.0.9:80");
        let local = (61_000..).map(|port| SocketAddr::new([10, 0, 0, 1].into(), port));
        let local = local.into_iter().find(|l| by_hash.shard(remote, *l) == 0).expect("a port");
        let mut plans = told(2, &[Landing::Rss(by_hash)]).swap_remove(0);
        let number = plans.number();
        for n in 0..80 {
            plans.on_first_reply(number, local, remote, n % 8 != 0 || n > 60);
            plans.on_first_reply(number.wrapping_add(1), local, remote, false);
            assert_eq!(plans.state(), LandingState::Planned, "reply {n}");
        }
        for _ in 0..3 {
            assert_eq!(plans.state(), LandingState::Planned);
            plans.on_stray(local, remote);
            plans.on_first_reply(number, local, remote, true);
        }
        assert_eq!(plans.state(), LandingState::Distrusted);
    }
}
