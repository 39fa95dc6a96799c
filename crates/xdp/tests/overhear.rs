//! What is told everybody, and what of it is let through, on a real veth pair. Expectations are those of RFC 5227 section 1.2
//! (an announcement has the same address twice) and RFC 4861 section 7.2.6.

mod support;

use std::net::{IpAddr, Ipv4Addr};

use support::{A, B, Lab, eventually};
use xdp::facts::InterfaceFacts;
use xdp::{Announcements, AttachMode, Port, XskConfig, XskPort};

/// A frame to everybody, with a tag if there is one.
fn frame(vlan: Option<u16>, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9];
    if let Some(vlan) = vlan {
        frame.extend([0x81, 0]);
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(protocol.to_be_bytes());
    frame.extend(payload);
    frame
}

fn arp(vlan: Option<u16>, operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 9];
    packet.extend(sender);
    packet.extend([0; 6]);
    packet.extend(target);
    frame(vlan, 0x0806, &packet)
}

/// ICMPv6 (or what `next` says) of type `kind` to ff02::`group`.
fn icmpv6(vlan: Option<u16>, next: u8, kind: u8, group: u8) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 24, next, 255];
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, group]);
    packet.extend([kind, 0, 0, 0, 0x20, 0, 0, 0]);
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    frame(vlan, 0x86dd, &packet)
}

/// What is let through, up to the first that ends in `last`.
fn heard(announcements: &mut Announcements, last: &[u8]) -> Vec<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), [0; 256]);
    eventually("the last one arrives", || {
        while let Some(frame) = announcements.next(&mut buffer).unwrap() {
            all.push(frame.to_vec());
        }
        all.iter().any(|frame| frame.ends_with(last))
    });
    all
}

#[test]
fn only_what_a_station_tells_of_itself_in_our_network_is_let_through() {
    let lab = Lab::new();
    let open = |ip: IpAddr, vlan| lab.in_a(|| Announcements::open(InterfaceFacts::read(A).unwrap().ifindex, ip, vlan));
    let four = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut plain = open(four, None).unwrap();
    let mut tagged = open(four, Some(5)).unwrap();
    let mut six = open("::1".parse().unwrap(), None).unwrap();
    let config = XskConfig { interface: B.into(), frame_count: 256, fill_ring: 64, ..XskConfig::default() };
    let mut port = lab.in_b(|| XskPort::open(&config, AttachMode::Generic).unwrap());
    let (near, far) = ([10, 78, 0, 9], [10, 78, 0, 8]);
    let frames = [
        arp(None, 1, near, far),
        arp(None, 2, near, [0; 4]),
        arp(Some(5), 1, near, near),
        arp(Some(5), 1, near, far),
        arp(Some(6), 1, far, far),
        arp(None, 1, near, near),
        // A tag that has a priority alone is no VLAN.
        arp(Some(0x6000), 2, far, far),
        icmpv6(None, 58, 135, 1),
        icmpv6(None, 58, 136, 2),
        icmpv6(None, 17, 136, 1),
        icmpv6(Some(5), 58, 136, 1),
        icmpv6(None, 58, 136, 1),
    ];
    for frame in &frames {
        let mut out = port.allocate().unwrap();
        port.buffer(&mut out)[..frame.len()].copy_from_slice(frame);
        port.transmit(out, frame.len()).unwrap();
    }
    eventually("all are sent", || port.flush().is_ok() && !port.needs_flush());
    let untagged = |frame: &[u8]| [&frame[..12], &frame[16..]].concat();
    assert_eq!(heard(&mut plain, &frames[6][18..]), [frames[5].clone(), untagged(&frames[6])]);
    assert_eq!(heard(&mut tagged, &frames[2][18..]), [untagged(&frames[2])]);
    let told = heard(&mut six, &frames[11][14..]);
    // The kernel at the other end tells of itself, too.
    assert!(told.iter().all(|frame| frame[54] == 136 && frame[53] == 1), "{told:02x?}");
    assert_eq!(told.iter().filter(|frame| frame[6..12] == [2, 0, 0, 0, 0, 9]).count(), 1);
}
