//! Facts about interfaces, asked from the kernel: no program is run for it.
//!
//! All answers are about the network namespace of the calling thread.

use std::fmt;
use std::io;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp};
use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::netlink::Requests;
use crate::report::AttachMode;
use crate::sys;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of its network's prefix.
    pub prefix_len: u8,
    /// Whether it may be spoken from.
    pub validity: Validity,
}

/// Whether an address may be spoken from: the states of RFC 4862 sections 5.4 and 5.5.4, for IPv4 as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Validity {
    /// It may.
    Preferred,
    /// Its time is nearly over: new connections should leave from another.
    Deprecated,
    /// The kernel is still asking whether somebody else has it.
    Tentative,
    /// Somebody has it.
    Duplicate,
}

impl Validity {
    fn of(flags: AddressFlags) -> Self {
        // What the kernel trusts before it has asked is spoken from meanwhile (RFC 4429), and rather not (Linux).
        let hasty = flags.contains(AddressFlags::Optimistic);
        match flags {
            _ if flags.contains(AddressFlags::Dadfailed) => Self::Duplicate,
            _ if flags.contains(AddressFlags::Tentative) && !hasty => Self::Tentative,
            _ if flags.contains(AddressFlags::Deprecated) || hasty => Self::Deprecated,
            _ => Self::Preferred,
        }
    }
}

/// What the kernel says about an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InterfaceFacts {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Its hardware address; zeroes if it has none of six bytes.
    pub mac: MacAddr,
    /// Bytes of IP packet that a frame carries at most.
    pub mtu: u32,
    /// Whether it was brought up.
    pub up: bool,
    /// Whether it can carry frames: up, and a carrier.
    pub running: bool,
    /// The driver, `unknown` if it doesn't say.
    pub driver: String,
    /// Receive queues.
    pub rx_queues: u32,
    /// The kernel's id of the XDP program that is attached.
    pub xdp_program: Option<u32>,
    /// Where it runs; a NIC's own processor is not told from its driver.
    pub xdp_mode: Option<AttachMode>,
    /// Its addresses, IPv4 and IPv6.
    pub addresses: Vec<InterfaceAddress>,
}

impl InterfaceFacts {
    /// Asks for an interface by name.
    ///
    /// # Errors
    /// [`Error::NoInterface`], or a failed system call.
    pub fn read(name: &str) -> Result<Self, Error> {
        let failed = |source| Error::system("asking the kernel for an interface", source);
        let mut requests = Requests::open().map_err(failed)?;
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let link = match requests.get(RouteNetlinkMessage::GetLink(question)) {
            Ok(RouteNetlinkMessage::NewLink(link)) => link,
            Err(error)
                if !matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL | libc::ERANGE | libc::ENOENT)) =>
            {
                return Err(failed(error));
            }
            _ => return Err(Error::NoInterface { interface: name.to_owned() }),
        };
        let mut facts = Self::from_link(name, &link);
        facts.addresses = addresses(&mut requests, facts.ifindex).map_err(failed)?;
        let socket = sys::query_socket().map_err(failed)?;
        if let Ok(driver) = sys::ethtool_driver(&socket, name) {
            facts.driver = driver.name;
        }
        if let Ok(channels) = sys::ethtool_channels(&socket, name)
            && channels.rx + channels.combined > 0
        {
            facts.rx_queues = channels.rx + channels.combined;
        }
        Ok(facts)
    }

    /// The names of all interfaces.
    ///
    /// # Errors
    /// A failed system call.
    pub fn names() -> Result<Vec<String>, Error> {
        let dump = || Requests::open()?.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()));
        let links = dump().map_err(|source| Error::system("asking the kernel for its interfaces", source))?;
        let name = |answer: &RouteNetlinkMessage| match answer {
            RouteNetlinkMessage::NewLink(link) => link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            }),
            _ => None,
        };
        Ok(links.iter().filter_map(name).collect())
    }

    pub(crate) fn from_link(name: &str, link: &LinkMessage) -> Self {
        let mut facts = Self {
            name: name.to_owned(),
            ifindex: link.header.index,
            mac: MacAddr::default(),
            mtu: 0,
            up: link.header.flags.contains(LinkFlags::Up),
            running: link.header.flags.contains(LinkFlags::Running),
            driver: "unknown".to_owned(),
            rx_queues: 1,
            xdp_program: None,
            xdp_mode: None,
            addresses: Vec::new(),
        };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Address(bytes) => facts.mac = MacAddr(bytes.as_slice().try_into().unwrap_or_default()),
                LinkAttribute::Mtu(mtu) => facts.mtu = *mtu,
                LinkAttribute::NumRxQueues(queues) => facts.rx_queues = *queues,
                // The flag follows the carrier a moment later.
                LinkAttribute::Carrier(carrier) => facts.running &= *carrier != 0,
                LinkAttribute::Xdp(xdp) => (facts.xdp_program, facts.xdp_mode) = attached_program(xdp).unzip(),
                _ => {}
            }
        }
        facts
    }

    /// A sentence if frames may leave this interface's kernel side unfinished: its peer (veth) or itself offloads checksums
    /// or segmentation, and AF_XDP sees what the offload was to finish.
    #[must_use]
    pub fn offload_warning(&self, offloads: &Offloads) -> Option<String> {
        // A NIC finishes what it offloads; a veth hands it to its peer as it is.
        if self.driver != "veth" || !(offloads.tx_checksum || offloads.tso || offloads.gso) {
            return None;
        }
        Some(format!(
            "{} is a veth with transmit offloads on, and most likely so is its peer: the peer's kernel then sends unfinished \
             checksums and frames larger than the MTU (on the peer: `ethtool -K PEER tx off tso off gso off`)",
            self.name
        ))
    }

    /// A sentence if what comes in may be unfinished where the program runs in `mode`: a hypervisor hands a virtio NIC the
    /// frames of its own host and guests without checksums, as long as the driver agrees, which it does until a program is
    /// attached in native mode.
    #[must_use]
    pub fn unfinished_warning(&self, mode: AttachMode, offloads: &Offloads) -> Option<String> {
        if self.driver != "virtio_net" || mode != AttachMode::Generic || !offloads.rx_checksum {
            return None;
        }
        Some(format!(
            "{} is a virtio NIC that takes frames with unfinished checksums (VIRTIO_NET_F_GUEST_CSUM), which its own host and \
             that host's guests send, and which are dropped in generic mode: `--xdp-mode native`, or without it the \
             hypervisor's `guest_csum=off`",
            self.name
        ))
    }
}

/// The kernel gives the id of the only program there is by itself, and again with where that runs.
fn attached_program(xdp: &[LinkXdp]) -> Option<(u32, AttachMode)> {
    let find = |fact: &LinkXdp| match fact {
        LinkXdp::DrvProgId(id) | LinkXdp::HwProgId(id) if *id != 0 => Some((*id, AttachMode::Native)),
        LinkXdp::SkbProgId(id) if *id != 0 => Some((*id, AttachMode::Generic)),
        _ => None,
    };
    xdp.iter().find_map(find)
}

pub(crate) fn addresses(requests: &mut Requests, ifindex: u32) -> io::Result<Vec<InterfaceAddress>> {
    let answers = requests.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    Ok(answers
        .iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == ifindex => interface_address(message),
            _ => None,
        })
        .collect())
}

fn interface_address(message: &AddressMessage) -> Option<InterfaceAddress> {
    // On a point-to-point link `Address` is the peer's and `Local` ours.
    let find = |local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) if local => Some(*address),
            AddressAttribute::Address(address) if !local => Some(*address),
            _ => None,
        })
    };
    let address = find(true).or_else(|| find(false))?;
    // Of the kernel's 32 bits the header has room for eight.
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let flags = flags.unwrap_or_else(|| AddressFlags::from_bits_retain(message.header.flags.bits().into()));
    Some(InterfaceAddress { address, prefix_len: message.header.prefix_len, validity: Validity::of(flags) })
}

/// The transmit offloads that decide whether frames leave the kernel finished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Offloads {
    /// Checksums are left to the device (`ethtool -k`: tx-checksumming).
    pub tx_checksum: bool,
    /// TCP segmentation is left to the device (tcp-segmentation-offload).
    pub tso: bool,
    /// Segmentation is put off until the driver (generic-segmentation-offload).
    pub gso: bool,
    /// Checksums of what is received are left to the device (rx-checksumming).
    pub rx_checksum: bool,
}

impl Offloads {
    /// Asks an interface for them; a device that doesn't know one has it off.
    ///
    /// # Errors
    /// [`Error::NoInterface`], or a failed system call.
    pub fn read(interface: &str) -> Result<Self, Error> {
        let failed = |source| Error::system("asking an interface for its offloads", source);
        let socket = sys::query_socket().map_err(failed)?;
        let on = |command| match sys::ethtool_value(&socket, interface, command) {
            Ok(value) => Ok(value != 0),
            Err(error) => match error.raw_os_error() {
                Some(libc::EOPNOTSUPP) => Ok(false),
                Some(libc::ENODEV) => Err(Error::NoInterface { interface: interface.to_owned() }),
                _ => Err(failed(error)),
            },
        };
        Ok(Self {
            tx_checksum: on(ETHTOOL_GTXCSUM)?,
            tso: on(ETHTOOL_GTSO)?,
            gso: on(ETHTOOL_GGSO)?,
            rx_checksum: on(ETHTOOL_GRXCSUM)?,
        })
    }
}

/// Commands of linux/ethtool.h.
const ETHTOOL_GRXCSUM: u32 = 0x14;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_GTSO: u32 = 0x1e;
const ETHTOOL_GGSO: u32 = 0x23;

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(flags: LinkFlags, carrier: Option<u8>) -> InterfaceFacts {
        let mut link = LinkMessage::default();
        link.header.flags = flags;
        link.attributes.extend(carrier.map(LinkAttribute::Carrier));
        InterfaceFacts::from_link("eth0", &link)
    }

    /// As igb has it for a moment after a program was attached: `IFF_RUNNING` is still there, `IFLA_CARRIER` is 0 already.
    #[test]
    fn a_link_without_a_carrier_is_not_running() {
        let running = LinkFlags::Up | LinkFlags::Running;
        assert!(facts(running, None).running && facts(running, Some(1)).running);
        assert!(!facts(running, Some(0)).running && !facts(LinkFlags::Up, Some(1)).running);
    }

    #[test]
    fn unfinished_frames_are_warned_of_where_the_driver_lets_them_through() {
        let virtio = InterfaceFacts { driver: "virtio_net".into(), ..facts(LinkFlags::Up, None) };
        let on = Offloads { rx_checksum: true, ..Offloads::default() };
        let text = virtio.unfinished_warning(AttachMode::Generic, &on).unwrap();
        assert!(text.starts_with("eth0 ") && text.contains("--xdp-mode native"), "{text}");
        assert_eq!(virtio.unfinished_warning(AttachMode::Native, &on), None);
        assert_eq!(virtio.unfinished_warning(AttachMode::Generic, &Offloads::default()), None);
        let igb = InterfaceFacts { driver: "igb".into(), ..virtio };
        assert_eq!(igb.unfinished_warning(AttachMode::Generic, &on), None);
    }
}
