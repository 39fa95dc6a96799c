//! The crate from outside: vectors built by hand from the RFCs, and properties over arbitrary values and bytes.

// The name its users in the workspace know it by.
extern crate wire as wire;

mod arp_eth;
mod checksum;
mod form;
mod icmp;
mod ipv4;
mod ipv6;
mod malformed;
mod ndp;
mod quoted;
mod seq;
mod tcp;
mod tcp_options;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

/// The checksum as RFC 1071, section 1 words it: 16 bits at a time, each carry brought around at once.
fn naive_sum(mut acc: u16, bytes: &[u8]) -> u16 {
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let (sum, carry) = acc.overflowing_add(word);
        acc = sum + u16::from(carry);
    }
    acc
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits)
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(Ipv6Addr::from_bits)
}

fn pair() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        (v4(), v4()).prop_map(|(s, d)| (s.into(), d.into())),
        (v6(), v6()).prop_map(|(s, d)| (s.into(), d.into()))
    ]
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}
