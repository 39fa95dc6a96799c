//! The loader's half of the ABI with the XDP program; the other half is `bpf/steer.h`, and a test compares them.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Entries of the `addresses` map.
pub(crate) const MAX_ADDRESSES: u32 = 1024;
/// Entries of the `endpoints` map.
pub(crate) const MAX_ENDPOINTS: u32 = 16384;
/// Entries of the `xsks` map: queue numbers go from 0 to this minus one.
pub(crate) const MAX_QUEUES: u32 = 64;
/// Entries of the `sources` map.
pub(crate) const MAX_SOURCES: u32 = 65536;
/// `ADDRESS_OWNED`: everything for the address is the stack's.
pub(crate) const ADDRESS_OWNED: u32 = 1;

/// `struct address_key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct AddressKey {
    pub(crate) addr: [u8; 16],
}

/// `struct address_value`. Ports in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct AddressValue {
    pub(crate) flags: u32,
    pub(crate) port_lo: u16,
    pub(crate) port_hi: u16,
}

/// `struct endpoint_key`. The port in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct EndpointKey {
    pub(crate) addr: [u8; 16],
    pub(crate) port: u16,
    pub(crate) zero: u16,
}

/// `struct syn_limit`. Masks in network order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct SynLimitValue {
    pub(crate) interval_ns: u64,
    pub(crate) burst_ns: u64,
    pub(crate) mask_ipv4: [u8; 4],
    pub(crate) mask_ipv6: [[u8; 4]; 4],
    pub(crate) zero: u32,
}

const _: () = assert!(size_of::<AddressKey>() == 16);
const _: () = assert!(size_of::<AddressValue>() == 8);
const _: () = assert!(size_of::<EndpointKey>() == 20);
const _: () = assert!(size_of::<SynLimitValue>() == 40);

impl AddressKey {
    pub(crate) fn new(address: IpAddr) -> Self {
        let addr = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Self { addr }
    }
}

impl AddressValue {
    pub(crate) fn new(owned: bool, ports: Option<&RangeInclusive<u16>>) -> Self {
        // 1..=0 matches nothing.
        let (port_lo, port_hi) = ports.filter(|r| !r.is_empty()).map_or((1, 0), |r| (*r.start(), *r.end()));
        Self { flags: if owned { ADDRESS_OWNED } else { 0 }, port_lo, port_hi }
    }
}

impl EndpointKey {
    pub(crate) fn new(address: IpAddr, port: u16) -> Self {
        Self { addr: AddressKey::new(address).addr, port, zero: 0 }
    }
}

/// The names of `enum verdict`, in order.
pub(crate) const VERDICTS: [&str; 15] = [
    "redirect_endpoint",
    "redirect_range",
    "redirect_owned",
    "redirect_arp",
    "redirect_ndp",
    "redirect_icmp",
    "pass_other_address",
    "pass_other_port",
    "pass_not_tcp",
    "pass_not_ip",
    "pass_fragment",
    "pass_unparsed",
    "pass_no_socket",
    "drop_fragment",
    "drop_syn_limit",
];

/// `PASS_NO_SOCKET`.
pub(crate) const PASS_NO_SOCKET: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = include_str!("../../../bpf/steer.h");

    fn defined(name: &str) -> u32 {
        let line = HEADER.lines().find_map(|line| line.strip_prefix(&format!("#define {name} ")));
        line.unwrap_or_else(|| panic!("{name} isn't in steer.h")).trim().parse().unwrap()
    }

    #[test]
    fn verdicts_are_named_as_in_the_header_and_in_its_order() {
        let body = HEADER.split("enum verdict {").nth(1).unwrap().split('}').next().unwrap();
        let names: Vec<_> =
            body.lines().filter_map(|line| Some(line.trim().split_once(',')?.0.to_lowercase())).collect();
        let (last, names) = names.split_last().unwrap();
        assert_eq!(last, "verdict_count");
        assert_eq!(names, VERDICTS);
        assert_eq!(VERDICTS[PASS_NO_SOCKET as usize], "pass_no_socket");
    }

    #[test]
    fn sizes_and_flags_are_those_of_the_header() {
        let here = [
            ("MAX_ADDRESSES", MAX_ADDRESSES),
            ("MAX_ENDPOINTS", MAX_ENDPOINTS),
            ("MAX_QUEUES", MAX_QUEUES),
            ("MAX_SOURCES", MAX_SOURCES),
            ("ADDRESS_OWNED", ADDRESS_OWNED),
        ];
        for (name, value) in here {
            assert_eq!(defined(name), value, "{name}");
        }
        let sizes = [
            ("address_key", size_of::<AddressKey>()),
            ("address_value", size_of::<AddressValue>()),
            ("endpoint_key", size_of::<EndpointKey>()),
            ("syn_limit", size_of::<SynLimitValue>()),
        ];
        for (name, bytes) in sizes {
            let assertion = format!("_Static_assert(sizeof(struct {name}) == {bytes},");
            assert!(HEADER.contains(&assertion), "{assertion}");
        }
    }

    #[test]
    fn fields_are_in_the_order_of_the_header() {
        let fields = |name: &str| {
            let body = HEADER.split(&format!("struct {name} {{")).nth(1).unwrap().split('}').next().unwrap();
            body.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(fields("address_key"), "__u8 addr[16];");
        assert_eq!(fields("address_value"), "__u32 flags; __u16 port_lo; __u16 port_hi;");
        assert_eq!(fields("endpoint_key"), "__u8 addr[16]; __u16 port; __u16 zero;");
        let limit = "__u64 interval_ns; __u64 burst_ns; __u32 mask_ipv4; __u32 mask_ipv6[4]; __u32 zero;";
        assert_eq!(fields("syn_limit"), limit);
        assert_eq!(std::mem::offset_of!(SynLimitValue, mask_ipv6), 20);
        assert_eq!(std::mem::offset_of!(AddressValue, port_hi), 6);
        assert_eq!(std::mem::offset_of!(EndpointKey, port), 16);
    }

    #[test]
    fn ipv4_is_mapped_and_no_range_matches_nothing() {
        let key = AddressKey::new("10.0.0.9".parse().unwrap());
        assert_eq!(key.addr, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 9]);
        let none = AddressValue::new(false, None);
        assert!(none.port_lo > none.port_hi);
    }
}
