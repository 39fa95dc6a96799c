//! Fragments, and frames that are not what they should be.

use crate::{
    field::{ECHO, Field, Rng, assert_served, nobody},
    support::{OURS, PEER, header, v4, v6},
};
use core::net::IpAddr;
use stack::{Duration, ListenOptions};
use wire::{eth, ipv4, tcp::Flags};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A fragment of a segment for the client's connection: the first one with its header, or one behind.
fn fragment(ipv6: bool, port: u16, offset: u16, last: bool, ident: u16) -> Vec<u8> {
    let (src, dst) = if ipv6 { (v6(9), v6(1)) } else { (v4(9), v4(1)) };
    let forged = header(Flags::ACK | Flags::RST, (port, ECHO), ident.into(), 1);
    let mut segment = vec![0; forged.len()];
    segment.extend([0xEE; 1200]);
    forged.emit(src, dst, &mut segment);
    if ipv6 {
        let [high, low] = (offset | u16::from(!last)).to_be_bytes();
        let [a, b] = ident.to_be_bytes();
        let mut payload = vec![6, 0, high, low, 0, 0, a, b];
        payload.extend(&segment);
        return crate::support::ip_frame(src, dst, 44, &payload, None);
    }
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (src, dst) else { unreachable!() };
    let link = eth::Header { dst: OURS, src: PEER, vlan: None, ethertype: eth::ETHERTYPE_IPV4 };
    let mut frame = vec![0; link.len() + ipv4::Header::LEN];
    link.emit(&mut frame);
    frame.extend(&segment);
    let ip = ipv4::Header {
        src,
        dst,
        protocol: 6,
        ttl: 64,
        tos: 0,
        ident,
        dont_fragment: false,
        more_fragments: !last,
        fragment_offset: offset,
    };
    ip.emit(segment.len(), &mut frame[link.len()..]);
    frame
}

/// There is no reassembly (the MSS and DF keep fragments away), so there is nothing to fill: each is dropped, and counted. First
/// ones, later ones, last ones, overlapping and at the very end, of both families; 80,000 each.
#[test]
fn floods_of_fragments() {
    for ipv6 in [false, true] {
        let field = || Field::new(ipv6, ListenOptions::default(), |_| {});
        let (mut quiet, mut attacked, mut rng, mut sent) = (field(), field(), Rng(2), 0u32);
        quiet.run(ms(50), nobody);
        attacked.run(ms(50), nobody);
        let under = attacked.run(ms(1000), |strike| {
            for (offset, last) in [(0, false), (8 * (1 + rng.below(185) as u16), false), (1480, true), (65_528, true)] {
                strike.frames.push(fragment(ipv6, 61_000, offset, last, sent as u16));
                sent += 1;
            }
        });
        assert_served(under, quiet.run(ms(1000), nobody));
        attacked.assert_counts(&[("fragment", sent.into()), ("resets_out", 0), ("failed", 0)]);
        assert_eq!((sent, attacked.server.connections()), (80_000, 1));
        assert!(attacked.most_pool_bytes <= 1 << 20);
    }
}

/// RFC 9293 section 3.1: what the client has just sent comes again, damaged: bits, bytes, lengths. Checksums and lengths catch
/// it, and the client's bytes stay right (it compares them).
#[test]
fn damaged_frames_beside_their_connection() {
    for ipv6 in [false, true] {
        let field = || Field::new(ipv6, ListenOptions::default(), |_| {});
        let (mut quiet, mut attacked, mut rng, mut sent) = (field(), field(), Rng(11), 0u64);
        quiet.run(ms(50), nobody);
        attacked.run(ms(50), nobody);
        let under = attacked.run(ms(1000), |strike| {
            for _ in 0..4 {
                // In the other direction, too: the server's own frames come back to it.
                let mut frame = if rng.below(8) == 0 { strike.downward } else { strike.upward }.to_vec();
                let at = 12 + rng.below(frame.len() - 12);
                match rng.below(5) {
                    0 => frame.truncate(at),
                    1 => frame[at] ^= 1 << rng.below(8),
                    2 => frame[at] = !frame[at],
                    3 => (at..frame.len()).for_each(|at| frame[at] ^= rng.word() as u8),
                    _ => (0..8).for_each(|_| {
                        let at = 12 + rng.below(58.min(frame.len() - 12));
                        frame[at] = rng.word() as u8;
                    }),
                }
                strike.frames.push(frame);
                sent += 1;
            }
        });
        assert_served(under, quiet.run(ms(1000), nobody));
        let counters = attacked.server.counters();
        assert!(counters.malformed_total() > sent / 2, "{}", counters.malformed_total());
        for name in ["tcp_checksum", "ether_type", "not_our_mac"] {
            assert!(attacked.count(name) > 0, "{name}");
        }
        assert_eq!((attacked.server.connections(), attacked.count("failed")), (1, 0));
    }
}
