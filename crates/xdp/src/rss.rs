//! Receive-side scaling: by what a NIC chooses the receive queue of a frame.
//!
//! The kernel gives the key, the indirection table and the fields that are hashed (linux/ethtool.h); the queue of a frame is
//! `table[hash % table.len()]`. A table may change at any time (`ethtool -X`, `ethtool -L`): [`RssWatch`] tells.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use serde::Serialize;

use crate::error::Error;
use crate::sys::{self, RssBytes};

/// `TCP_V4_FLOW` and `TCP_V6_FLOW` of linux/ethtool.h.
const TCP_V4_FLOW: u32 = 1;
const TCP_V6_FLOW: u32 = 5;
/// `RXH_*` of linux/ethtool.h.
const IP_SOURCE: u64 = 1 << 4;
const IP_DESTINATION: u64 = 1 << 5;
const PORT_SOURCE: u64 = 1 << 6;
const PORT_DESTINATION: u64 = 1 << 7;
const ADDRESSES: u64 = IP_SOURCE | IP_DESTINATION;
const FOUR_TUPLE: u64 = ADDRESSES | PORT_SOURCE | PORT_DESTINATION;

/// The function that makes a number of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HashFunction {
    /// Toeplitz, with the key (Microsoft's "RSS hashing functions").
    Toeplitz,
    /// Exclusive or.
    Xor,
    /// CRC-32.
    Crc32,
    /// One that this crate doesn't know, or none that the driver tells.
    Other,
}

/// What is done to a flow before it is hashed, so that both directions get the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Symmetry {
    /// Nothing.
    None,
    /// Source and destination are combined by exclusive or, and the result stands in place of both (`symmetric-xor`).
    Xor,
    /// As `Xor` with the source, and by or with the destination (`symmetric-or-xor`).
    OrXor,
    /// One that this crate doesn't know.
    Other,
}

/// What of a TCP packet is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HashInput {
    /// Both addresses and both ports.
    FourTuple,
    /// Both addresses.
    Addresses,
    /// Nothing: the hash is zero.
    Nothing,
    /// Something else, or the driver doesn't tell.
    Other,
}

/// Receive-side scaling of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rss {
    /// The key, 40 bytes or more as a rule.
    pub key: Vec<u8>,
    /// The receive queue of each residue of the hash.
    pub table: Vec<u32>,
    /// The hash.
    pub function: HashFunction,
    /// What is done before it.
    pub symmetry: Symmetry,
    /// What of TCP over IPv4 is hashed.
    pub tcp4: HashInput,
    /// What of TCP over IPv6 is hashed.
    pub tcp6: HashInput,
}

/// What an interface tells of its receive-side scaling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RssFacts {
    /// All of it.
    Known(Rss),
    /// It can't be computed where a flow lands; why.
    Unknown(String),
}

impl RssFacts {
    /// Asks the kernel about an interface of the calling thread's network namespace. Needs no privilege.
    ///
    /// # Errors
    /// [`Error::NoInterface`], or a failed system call. A device that doesn't tell is no error.
    pub fn read(interface: &str) -> Result<Self, Error> {
        let socket = sys::query_socket().map_err(failed)?;
        Self::ask(&socket, interface)
    }

    fn ask(socket: &OwnedFd, interface: &str) -> Result<Self, Error> {
        let bytes = match sys::ethtool_rss(socket, interface) {
            Ok(bytes) => bytes,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENODEV) => return Err(Error::NoInterface { interface: interface.to_owned() }),
                Some(libc::EOPNOTSUPP | libc::ENOTTY) => {
                    return Ok(Self::Unknown("the driver doesn't tell its RSS table and key".into()));
                }
                // Between the two questions the table became another.
                Some(libc::EINVAL | libc::E2BIG) => {
                    return Ok(Self::Unknown(format!("the driver's RSS table can't be read: {error}")));
                }
                _ => return Err(failed(error)),
            },
        };
        let input = |flow| sys::ethtool_flow_hash(socket, interface, flow).map_or(HashInput::Other, hash_input);
        Ok(Self::of(bytes, input(TCP_V4_FLOW), input(TCP_V6_FLOW)))
    }

    /// Makes sense of the kernel's answers.
    fn of(bytes: RssBytes, tcp4: HashInput, tcp6: HashInput) -> Self {
        let RssBytes { function, transformation, table, key } = bytes;
        if table.is_empty() || key.is_empty() {
            return Self::Unknown("the driver doesn't tell its RSS table and key".into());
        }
        let function = match function {
            0b001 => HashFunction::Toeplitz,
            0b010 => HashFunction::Xor,
            0b100 => HashFunction::Crc32,
            _ => HashFunction::Other,
        };
        let symmetry = match transformation {
            0 => Symmetry::None,
            0b01 => Symmetry::Xor,
            0b10 => Symmetry::OrXor,
            _ => Symmetry::Other,
        };
        Self::Known(Rss { key, table, function, symmetry, tcp4, tcp6 })
    }

    /// Facts as a NIC with a Toeplitz hash would tell them; `inputs` are of TCP over IPv4 and over IPv6. For tests.
    #[must_use]
    pub fn toeplitz(key: Vec<u8>, table: Vec<u32>, symmetry: Symmetry, inputs: [HashInput; 2]) -> Self {
        let [tcp4, tcp6] = inputs;
        Self::Known(Rss { key, table, function: HashFunction::Toeplitz, symmetry, tcp4, tcp6 })
    }

    /// The facts, if they are known.
    #[must_use]
    pub fn known(&self) -> Option<&Rss> {
        match self {
            Self::Known(rss) => Some(rss),
            Self::Unknown(_) => None,
        }
    }

    /// Why it can't be computed from this where a TCP flow lands; `None`: it can.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        match self {
            Self::Unknown(why) => Some(why.clone()),
            Self::Known(rss) => rss.obstacle(),
        }
    }
}

/// Bytes of a key that reach the end of an IPv6 four-tuple, 36 bytes, and the window of 4 at its end.
const LEAST_KEY: usize = 40;

impl Rss {
    /// Why it can't be computed where a flow lands.
    fn obstacle(&self) -> Option<String> {
        if self.function != HashFunction::Toeplitz {
            return Some("its RSS hash isn't Toeplitz".into());
        }
        if self.symmetry == Symmetry::Other {
            return Some("its RSS hash transforms what it hashes in an unknown way".into());
        }
        if self.tcp4 == HashInput::Other || self.tcp6 == HashInput::Other {
            return Some("the driver doesn't tell that it hashes addresses, or addresses and ports, of TCP".into());
        }
        if self.key.len() < LEAST_KEY {
            return Some(format!("its RSS key has {} bytes, fewer than {LEAST_KEY}", self.key.len()));
        }
        None
    }
}

impl fmt::Display for Rss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut queues = self.table.clone();
        queues.sort_unstable();
        queues.dedup();
        let function = match self.function {
            HashFunction::Toeplitz => "Toeplitz",
            HashFunction::Xor => "XOR",
            HashFunction::Crc32 => "CRC-32",
            HashFunction::Other => "an unknown hash",
        };
        let symmetric = if self.symmetry == Symmetry::None { "" } else { ", symmetric" };
        let input = |input| match input {
            HashInput::FourTuple => "addresses and ports",
            HashInput::Addresses => "addresses",
            HashInput::Nothing => "nothing",
            HashInput::Other => "something unknown",
        };
        write!(
            f,
            "{function}{symmetric}, key of {} bytes, table of {} entries over {} queue(s); TCP over IPv4 by {}, over IPv6 by {}",
            self.key.len(),
            self.table.len(),
            queues.len(),
            input(self.tcp4),
            input(self.tcp6)
        )
    }
}

/// Follows the receive-side scaling of one interface, whatever it is called meanwhile: a few ioctls per look.
#[derive(Debug)]
pub struct RssWatch {
    socket: OwnedFd,
    ifindex: u32,
    last: RssFacts,
}

impl RssWatch {
    /// Reads it for the first time, of the interface with this index. The network namespace is the calling thread's, now and
    /// later.
    ///
    /// # Errors
    /// As [`RssFacts::read`].
    pub fn open(ifindex: u32) -> Result<Self, Error> {
        let socket = sys::query_socket().map_err(failed)?;
        let last = Self::ask(&socket, ifindex)?;
        Ok(Self { socket, ifindex, last })
    }

    /// The questions take a name, which is the one of this moment.
    fn ask(socket: &OwnedFd, ifindex: u32) -> Result<RssFacts, Error> {
        let name = sys::interface_name(socket, ifindex).map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => Error::NoInterface { interface: format!("with index {ifindex}") },
            _ => failed(error),
        })?;
        RssFacts::ask(socket, &name)
    }

    /// What was read last.
    #[must_use]
    pub fn facts(&self) -> &RssFacts {
        &self.last
    }

    /// Reads again; the facts if they are other than before.
    ///
    /// # Errors
    /// As [`RssFacts::read`].
    pub fn changed(&mut self) -> Result<Option<&RssFacts>, Error> {
        let now = Self::ask(&self.socket, self.ifindex)?;
        if now == self.last {
            return Ok(None);
        }
        self.last = now;
        Ok(Some(&self.last))
    }
}

fn hash_input(bits: u64) -> HashInput {
    match bits {
        FOUR_TUPLE => HashInput::FourTuple,
        ADDRESSES => HashInput::Addresses,
        0 => HashInput::Nothing,
        _ => HashInput::Other,
    }
}

fn failed(source: io::Error) -> Error {
    Error::system("asking an interface for its RSS table", source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(function: u8, transformation: u8) -> RssBytes {
        RssBytes { function, transformation, table: (0..128).map(|i| i % 4).collect(), key: vec![0x6d; 40] }
    }

    fn facts(function: u8, transformation: u8, tcp4: u64, tcp6: u64) -> RssFacts {
        RssFacts::of(bytes(function, transformation), hash_input(tcp4), hash_input(tcp6))
    }

    /// The numbers are those of linux/ethtool.h: `ETH_RSS_HASH_TOP` 1, `XOR` 2, `CRC32` 4; `RXH_IP_SRC` 0x10, `RXH_IP_DST`
    /// 0x20, `RXH_L4_B_0_1` 0x40, `RXH_L4_B_2_3` 0x80; `RXH_XFRM_SYM_XOR` 1, `RXH_XFRM_SYM_OR_XOR` 2.
    #[test]
    fn the_kernels_numbers_have_names() {
        let known = |facts: RssFacts| facts.known().unwrap().clone();
        let usual = known(facts(1, 0, 0xf0, 0x30));
        assert_eq!((usual.function, usual.symmetry), (HashFunction::Toeplitz, Symmetry::None));
        assert_eq!((usual.tcp4, usual.tcp6), (HashInput::FourTuple, HashInput::Addresses));
        assert_eq!((usual.table.len(), usual.key.len()), (128, 40));
        assert_eq!(known(facts(2, 1, 0, 0)).function, HashFunction::Xor);
        assert_eq!(known(facts(4, 2, 0, 0)).function, HashFunction::Crc32);
        assert_eq!(known(facts(8, 3, 0x70, 0)).function, HashFunction::Other);
        assert_eq!(
            [1, 2, 3].map(|t| known(facts(1, t, 0, 0)).symmetry),
            [Symmetry::Xor, Symmetry::OrXor, Symmetry::Other]
        );
        // One port alone, or the tag of a VLAN beside the addresses.
        assert_eq!([0x70, 0x34].map(hash_input), [HashInput::Other; 2]);
        assert_eq!(hash_input(0), HashInput::Nothing);
    }

    #[test]
    fn where_flows_land_is_computed_only_for_toeplitz_over_known_fields() {
        assert_eq!(facts(1, 0, 0xf0, 0xf0).obstacle(), None);
        assert_eq!(facts(1, 1, 0x30, 0).obstacle(), None);
        for (facts, word) in [
            (facts(2, 0, 0xf0, 0xf0), "Toeplitz"),
            (facts(1, 4, 0xf0, 0xf0), "unknown way"),
            (facts(1, 0, 0x10, 0xf0), "doesn't tell"),
            (facts(1, 0, 0xf0, 0x34), "doesn't tell"),
            (RssFacts::Unknown("why not".into()), "why not"),
        ] {
            assert!(facts.obstacle().is_some_and(|why| why.contains(word)), "{facts:?}");
        }
        let four = HashInput::FourTuple;
        let short = RssFacts::of(RssBytes { key: vec![1; 16], ..bytes(1, 0) }, four, four);
        assert!(short.obstacle().unwrap().contains("16 bytes"));
    }

    /// virtio without `VIRTIO_NET_F_RSS` answers with no table and no key, and names a function all the same.
    #[test]
    fn a_driver_with_a_function_alone_tells_nothing() {
        let empty = RssBytes { function: 1, ..RssBytes::default() };
        assert_eq!(RssFacts::of(empty, HashInput::Other, HashInput::Other).known(), None);
    }

    #[test]
    fn loopback_has_none_and_what_is_not_there_is_an_error() {
        assert!(matches!(RssFacts::read("lo"), Ok(RssFacts::Unknown(_))));
        assert!(matches!(RssFacts::read("nope"), Err(Error::NoInterface { .. })));
        assert!(matches!(RssWatch::open(0x7fff_ffff), Err(Error::NoInterface { .. })));
        let lo = crate::facts::InterfaceFacts::read("lo").unwrap();
        let mut watch = RssWatch::open(lo.ifindex).unwrap();
        assert!(watch.changed().unwrap().is_none());
        assert_eq!(sys::interface_name(&watch.socket, lo.ifindex).unwrap(), "lo");
    }
}
