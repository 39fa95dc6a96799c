//! What a driver offers: XDP, AF_XDP, queues, and offloads by name.

use std::collections::BTreeSet;
use std::io;

use serde::Serialize;

use crate::error::Error;
use crate::facts::InterfaceFacts;
use crate::generic::{Family, attributes, find, push, push_nest};
use crate::sys;

/// What a driver says that it does for XDP (family `netdev` of generic netlink, linux/netdev.h; Linux 6.3 and later).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct XdpFeatures {
    /// Runs programs in the driver.
    pub native: bool,
    /// Redirects from there, to AF_XDP sockets among others.
    pub redirect: bool,
    /// AF_XDP without copies.
    pub zero_copy: bool,
    /// Takes frames in that are in several buffers.
    pub multi_buffer_rx: bool,
    /// Sends frames that are in several buffers.
    pub multi_buffer_tx: bool,
    /// Buffers of one frame, at most, without copies; 1: not more than one.
    pub zero_copy_segments: u32,
    /// Writes the checksum of a frame sent by AF_XDP (Linux 6.8 and later).
    pub tx_checksum: bool,
    /// Tells when a frame sent by AF_XDP left.
    pub tx_timestamp: bool,
    /// Sends a frame of AF_XDP at a given time.
    pub tx_launch_time: bool,
}

/// Commands and attributes of linux/netdev.h.
mod netdev {
    pub(super) const DEV_GET: u8 = 1;
    pub(super) const IFINDEX: u16 = 1;
    pub(super) const XDP_FEATURES: u16 = 3;
    pub(super) const ZC_MAX_SEGS: u16 = 4;
    pub(super) const XSK_FEATURES: u16 = 6;
}

impl XdpFeatures {
    /// Asks the kernel. `None`: it is too old to tell.
    ///
    /// # Errors
    /// [`Error::NoInterface`], or a failed system call.
    pub fn read(facts: &InterfaceFacts) -> Result<Option<Self>, Error> {
        let mut question = Vec::new();
        push(&mut question, netdev::IFINDEX, &facts.ifindex.to_ne_bytes());
        let ask = || Family::open("netdev")?.ask(netdev::DEV_GET, &question);
        match ask() {
            Ok(answer) => Ok(Some(Self::of(&answer))),
            Err(error) => told(&error, facts, "asking an interface for its XDP features"),
        }
    }

    fn of(answer: &[u8]) -> Self {
        let number = |kind| find(answer, kind).map_or(0, number);
        let (xdp, xsk) = (number(netdev::XDP_FEATURES), number(netdev::XSK_FEATURES));
        Self {
            native: xdp & 1 != 0,
            redirect: xdp & 2 != 0,
            zero_copy: xdp & 8 != 0,
            multi_buffer_rx: xdp & 32 != 0,
            multi_buffer_tx: xdp & 64 != 0,
            zero_copy_segments: u32::try_from(number(netdev::ZC_MAX_SEGS)).unwrap_or(u32::MAX),
            tx_timestamp: xsk & 1 != 0,
            tx_checksum: xsk & 2 != 0,
            tx_launch_time: xsk & 4 != 0,
        }
    }
}

/// A number of four or eight bytes.
fn number(value: &[u8]) -> u64 {
    match value.len() {
        4 => value.try_into().map_or(0, |bytes| u64::from(u32::from_ne_bytes(bytes))),
        8 => value.try_into().map_or(0, u64::from_ne_bytes),
        _ => 0,
    }
}

/// The names of the offloads of an interface, as `ethtool -k` has them from the kernel (`rx-gro-hw`, `tx-tcp-segmentation`;
/// family `ethtool` of generic netlink, linux/ethtool_netlink.h; Linux 5.6 and later).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeviceFeatures {
    /// Those that are on.
    pub active: BTreeSet<String>,
    /// Those that may be switched.
    pub switchable: BTreeSet<String>,
}

/// Commands and attributes of linux/ethtool_netlink.h.
mod ethtool {
    pub(super) const FEATURES_GET: u8 = 11;
    pub(super) const FEATURES_HEADER: u16 = 1;
    pub(super) const FEATURES_HW: u16 = 2;
    pub(super) const FEATURES_ACTIVE: u16 = 4;
    pub(super) const HEADER_DEV_INDEX: u16 = 1;
    pub(super) const BITSET_NOMASK: u16 = 1;
    pub(super) const BITSET_BITS: u16 = 3;
    pub(super) const BIT_NAME: u16 = 2;
    pub(super) const BIT_VALUE: u16 = 3;
}

impl DeviceFeatures {
    /// Asks the kernel. `None`: it is too old to tell.
    ///
    /// # Errors
    /// [`Error::NoInterface`], or a failed system call.
    pub fn read(facts: &InterfaceFacts) -> Result<Option<Self>, Error> {
        let (mut header, mut question) = (Vec::new(), Vec::new());
        push(&mut header, ethtool::HEADER_DEV_INDEX, &facts.ifindex.to_ne_bytes());
        push_nest(&mut question, ethtool::FEATURES_HEADER, &header);
        let ask = || Family::open("ethtool")?.ask(ethtool::FEATURES_GET, &question);
        match ask() {
            Ok(answer) => Ok(Some(Self::of(&answer))),
            Err(error) => told(&error, facts, "asking an interface for its offloads"),
        }
    }

    /// Whether the device writes the checksums of TCP over both families, of frames that the kernel sends.
    #[must_use]
    pub fn tx_checksum(&self) -> bool {
        let has = |name: &str| self.active.contains(name);
        has("tx-checksum-ip-generic") || (has("tx-checksum-ipv4") && has("tx-checksum-ipv6"))
    }

    fn of(answer: &[u8]) -> Self {
        let names = |kind| find(answer, kind).map(bit_names).unwrap_or_default();
        Self { active: names(ethtool::FEATURES_ACTIVE), switchable: names(ethtool::FEATURES_HW) }
    }
}

/// The names in a bitset that is not compact: those listed, or, if it has a mask, those listed with a value.
fn bit_names(bitset: &[u8]) -> BTreeSet<String> {
    let list = find(bitset, ethtool::BITSET_NOMASK).is_some();
    let bits = attributes(find(bitset, ethtool::BITSET_BITS).unwrap_or_default());
    let set = bits.filter(|(_, bit)| list || find(bit, ethtool::BIT_VALUE).is_some());
    let name = |bit| {
        let name: &[u8] = find(bit, ethtool::BIT_NAME)?;
        Some(String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned())
    };
    set.filter_map(|(_, bit)| name(bit)).collect()
}

/// An answer that is no answer: `None` where the kernel doesn't know the question.
fn told<T>(error: &io::Error, facts: &InterfaceFacts, action: &'static str) -> Result<Option<T>, Error> {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => Ok(None),
        Some(libc::ENODEV) => Err(Error::NoInterface { interface: facts.name.clone() }),
        code => {
            let source = code.map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error);
            Err(Error::system(action, source))
        }
    }
}

/// What a driver says of itself and of its queues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DriverFacts {
    /// Its name; empty if it doesn't say.
    pub name: String,
    /// The device's firmware; empty if it doesn't say.
    pub firmware: String,
    /// Where the device is, such as `0000:03:00.0`; empty if it doesn't say.
    pub bus: String,
    /// Receive queues that are set up, with those for both directions; `None`: it doesn't say.
    pub rx_queues: Option<u32>,
    /// How many there may be.
    pub max_rx_queues: Option<u32>,
    /// What `ethtool -L` calls them: `rx` or `combined`.
    pub channels: &'static str,
}

impl DriverFacts {
    /// Asks the driver; what it doesn't tell is empty.
    ///
    /// # Errors
    /// A failed system call.
    pub fn read(interface: &str) -> Result<Self, Error> {
        let socket =
            sys::query_socket().map_err(|source| Error::system("asking an interface for its driver", source))?;
        let text = sys::ethtool_driver(&socket, interface).unwrap_or_default();
        let channels = sys::ethtool_channels(&socket, interface).ok();
        let channels = channels.filter(|channels| channels.rx + channels.combined > 0);
        Ok(Self {
            name: text.name,
            firmware: text.firmware,
            bus: text.bus,
            rx_queues: channels.map(|c| c.rx + c.combined),
            max_rx_queues: channels.map(|c| if c.combined > 0 { c.max_combined } else { c.max_rx }),
            channels: if channels.is_some_and(|c| c.combined == 0) { "rx" } else { "combined" },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of linux/netdev.h: what an E810 (`ice`) says, and what a veth pair says.
    #[test]
    fn a_drivers_bits_have_names() {
        let mut ice = Vec::new();
        push(&mut ice, 1, &3u32.to_ne_bytes());
        push(&mut ice, 3, &0x6bu64.to_ne_bytes());
        push(&mut ice, 4, &5u32.to_ne_bytes());
        push(&mut ice, 6, &2u64.to_ne_bytes());
        let features = XdpFeatures::of(&ice);
        assert!(features.native && features.redirect && features.zero_copy);
        assert!(features.multi_buffer_rx && features.multi_buffer_tx && features.zero_copy_segments == 5);
        assert_eq!((features.tx_timestamp, features.tx_checksum, features.tx_launch_time), (false, true, false));

        let mut veth = Vec::new();
        push(&mut veth, 3, &0x23u64.to_ne_bytes());
        let features = XdpFeatures::of(&veth);
        assert!(features.native && features.redirect && features.multi_buffer_rx);
        assert!(!features.zero_copy && !features.multi_buffer_tx && !features.tx_checksum);
        assert_eq!(XdpFeatures::of(&[]), XdpFeatures::default());
    }

    fn bit(name: &str, value: bool) -> Vec<u8> {
        let mut bit = Vec::new();
        push(&mut bit, 1, &0u32.to_ne_bytes());
        push(&mut bit, 2, &[name.as_bytes(), &[0]].concat());
        if value {
            push(&mut bit, 3, &[]);
        }
        bit
    }

    #[test]
    fn a_list_names_what_is_on_and_a_mask_what_may_be() {
        let bitset = |list: bool, bits: &[Vec<u8>]| {
            let (mut inner, mut set) = (Vec::new(), Vec::new());
            bits.iter().for_each(|bit| push_nest(&mut inner, 1, bit));
            if list {
                push(&mut set, 1, &[]);
            }
            push_nest(&mut set, 3, &inner);
            set
        };
        let mut answer = Vec::new();
        push_nest(&mut answer, 2, &bitset(false, &[bit("rx-gro", true), bit("rx-lro", false)]));
        push_nest(&mut answer, 4, &bitset(true, &[bit("rx-gro", false), bit("highdma", false)]));
        let features = DeviceFeatures::of(&answer);
        assert_eq!(features.active.iter().collect::<Vec<_>>(), ["highdma", "rx-gro"]);
        assert_eq!(features.switchable.iter().collect::<Vec<_>>(), ["rx-gro"]);
    }

    #[test]
    fn loopback_is_asked() {
        let facts = InterfaceFacts::read("lo").unwrap();
        let features = DeviceFeatures::read(&facts).unwrap();
        assert!(features.is_none_or(|features| features.active.contains("loopback")));
        assert!(XdpFeatures::read(&facts).unwrap().is_none_or(|features| !features.zero_copy));
        let driver = DriverFacts::read("lo").unwrap();
        assert_eq!((driver.name.as_str(), driver.rx_queues), ("", None));
    }
}
