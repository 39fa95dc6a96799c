use proptest::prelude::*;
use std::net::IpAddr;
use wire::{
    Form, MacAddr, SeqNum, Usual, eth, ipv4, ipv6,
    tcp::{Flags, Header, Options, Plain, Segment, Timestamps},
};

/// Stations, addresses, ports, ECN.
type Flow = (MacAddr, MacAddr, IpAddr, IpAddr, u16, u16, u8);

/// A frame as the parsers of its layers read it: whose it is, and what its segment says, if it is a plain one.
fn parsed(frame: &[u8]) -> Option<(Flow, Plain<'_>)> {
    let (link, packet) = eth::Header::parse(frame).ok()?;
    let (src, dst, ecn, bytes): (IpAddr, IpAddr, u8, &[u8]) = match link.ethertype {
        eth::ETHERTYPE_IPV4 => {
            let (ip, bytes) = ipv4::Header::parse(packet).ok()?;
            assert!(ip.protocol == 6 && !ip.is_fragment());
            (ip.src.into(), ip.dst.into(), ip.tos & 3, bytes)
        }
        _ => {
            let (ip, bytes) = ipv6::Header::parse(packet).ok()?;
            assert!(ip.next_header == 6 && !ip.is_fragment());
            (ip.src.into(), ip.dst.into(), ip.traffic_class & 3, bytes)
        }
    };
    let segment = Segment::parse(bytes, src, dst).ok()?;
    let Header { src_port, dst_port, options, .. } = segment.header;
    assert_eq!(options, Options { timestamps: options.timestamps, ..Options::default() });
    assert_eq!(link.vlan, None);
    Some(((link.dst, link.src, src, dst, src_port, dst_port, ecn), segment.plain()))
}

fn following<'a>(form: &Form, frame: &'a [u8]) -> Option<Plain<'a>> {
    form.next_ipv4(frame).or_else(|| form.next_ipv6(frame))
}

#[derive(Debug, Clone)]
struct Like {
    v6: bool,
    /// Of another peer, whose address and port have the same sum.
    other: bool,
    stamped: bool,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    stamps: (u32, u32),
    len: usize,
    tos: u8,
    ident: u16,
    ttl: u8,
}

fn like() -> impl Strategy<Value = Like> {
    let flags = prop_oneof![4 => Just(Flags::ACK.0), 2 => Just(Flags::ACK.0 | Flags::PSH.0), 1 => any::<u8>()];
    let numbers = (any::<(bool, bool)>(), any::<[u32; 2]>(), flags, any::<u16>(), any::<(u32, u32)>(), 0..200usize);
    (numbers, prop_oneof![Just(0), any::<u8>()], any::<(u16, u8)>()).prop_map(|(numbers, tos, (ident, ttl))| {
        let ((v6, stamped), [seq, ack], flags, window, stamps, len) = numbers;
        Like { v6, other: false, stamped, seq, ack, flags, window, stamps, len, tos, ident, ttl }
    })
}

impl Like {
    /// ACK, with PSH or without.
    fn has_usual_flags(&self) -> bool {
        [Flags::ACK, Flags::ACK | Flags::PSH].contains(&Flags(self.flags))
    }

    fn frame(&self) -> Vec<u8> {
        let Self { v6, other, stamped, tos, ident, ttl, .. } = *self;
        let (src, dst): (IpAddr, IpAddr) = if v6 && other {
            ([9, 0, 0, 0, 0, 0, 0, 0xfd77].into(), [0xfd77, 0, 0, 0, 0, 0, 0, 1].into())
        } else if other {
            ([0, 9, 10, 0].into(), [10, 0, 0, 1].into())
        } else if v6 {
            ([0xfd77, 0, 0, 0, 0, 0, 0, 9].into(), [0xfd77, 0, 0, 0, 0, 0, 0, 1].into())
        } else {
            ([10, 0, 0, 9].into(), [10, 0, 0, 1].into())
        };
        let (val, ecr) = self.stamps;
        let header = Header {
            src_port: 1000,
            dst_port: 80,
            seq: SeqNum::new(self.seq),
            ack: SeqNum::new(self.ack),
            flags: Flags::from_bits(self.flags),
            window: self.window,
            urgent: 5,
            options: Options { timestamps: stamped.then_some(Timestamps { val, ecr }), ..Options::default() },
        };
        let mut segment = vec![0; header.len()];
        segment.extend((0..self.len).map(|n| n.to_le_bytes()[0]));
        header.emit(src, dst, &mut segment);
        let mut frame = vec![0; 14 + if v6 { 40 } else { 20 }];
        let ethertype = if v6 { eth::ETHERTYPE_IPV6 } else { eth::ETHERTYPE_IPV4 };
        eth::Header { dst: MacAddr([2, 0, 0, 0, 0, 1]), src: MacAddr([2, 0, 0, 0, 0, 9]), vlan: None, ethertype }
            .emit(&mut frame);
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::Header {
                src,
                dst,
                protocol: 6,
                ttl,
                tos,
                ident,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
            }
            .emit(segment.len(), &mut frame[14..]),
            (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6::Header {
                src,
                dst,
                next_header: 6,
                hop_limit: ttl,
                traffic_class: tos,
                flow_label: ident.into(),
                fragment: None,
            }
            .emit(segment.len(), &mut frame[14..]),
            _ => unreachable!("one family"),
        }
        frame.extend(segment);
        frame
    }
}

/// Makes the checksums right again.
fn repair(frame: &mut [u8]) {
    let v6 = frame[12] == 0x86;
    let at = if v6 { 54 } else { 34 };
    if !v6 {
        frame[24..26].fill(0);
        let sum = crate::naive_sum(0, &frame[14..34]);
        frame[24..26].copy_from_slice(&(!sum).to_be_bytes());
    }
    let len = u16::from_be_bytes(if v6 { [frame[18], frame[19]] } else { [frame[16], frame[17]] });
    let len = usize::from(len).saturating_sub(if v6 { 0 } else { 20 });
    if len < 20 || frame.len() < at + len {
        return;
    }
    frame[at + 16..at + 18].fill(0);
    let addresses = if v6 { frame[22..54].to_vec() } else { frame[26..34].to_vec() };
    let mut sum = crate::naive_sum(0, &addresses);
    sum = crate::naive_sum(sum, &[0, 6]);
    sum = crate::naive_sum(sum, &u16::try_from(len).expect("a length of 16 bits").to_be_bytes());
    sum = crate::naive_sum(sum, &frame[at..at + len]);
    frame[at + 16..at + 18].copy_from_slice(&(!sum).to_be_bytes());
}

proptest! {
    /// What a form says of the next frame is what the parsers say of it, and it is of the same flow. Bytes are changed, and the
    /// checksums made right again, or not; frames are cut or padded.
    #[test]
    fn the_next_frame_is_as_the_parsers_read_it(
        first in like(),
        next in like(),
        other in prop_oneof![4 => Just(false), 1 => Just(true)],
        same in prop_oneof![4 => Just(true), 1 => Just(false)],
        change in prop::option::of((prop_oneof![3 => 0..60usize, 1 => 0..400usize], any::<u8>())),
        repaired: bool,
        longer in prop_oneof![3 => Just(0isize), 1 => -10..10isize],
    ) {
        let next = if same { Like { v6: first.v6, stamped: first.stamped, tos: first.tos, ..next } } else { next };
        let next = Like { other, ..next };
        let usual = change.is_none() && longer == 0 && same && !other && next.has_usual_flags();
        let has_form = first.has_usual_flags();
        let (first, mut frame) = (first.frame(), next.frame());
        if let Some((at, by)) = change {
            let at = at % frame.len();
            frame[at] ^= by;
        }
        if repaired {
            repair(&mut frame);
        }
        frame.resize(frame.len().saturating_add_signed(longer), 0);
        let form = Form::of(&first);
        prop_assert_eq!(form.is_some(), has_form && first.len() >= Form::LEAST_BYTES);
        let Some(form) = form else { return Ok(()) };
        match following(&form, &frame) {
            Some(segment) => {
                let (flow, plain) = parsed(&frame).expect("the parsers take it as well");
                let plain = Plain { flags: plain.flags.without(Flags::PSH), ..plain };
                prop_assert_eq!((flow, segment), (parsed(&first).expect("so they do").0, plain));
                prop_assert_eq!((form.is_marked(), form.is_ipv6()), (flow.6 == 3, flow.2.is_ipv6()));
            }
            None => prop_assert!(!usual || frame.len() < Form::LEAST_BYTES, "it is of the form"),
        }
    }

    /// What is said of a usual frame is what the parsers say of it; and every one that is of IPv4, to this station, is usual.
    #[test]
    fn a_usual_frame_is_as_the_parsers_read_it(
        like in like(),
        change in prop::option::of((prop_oneof![3 => 0..60usize, 1 => 0..400usize], any::<u8>())),
        repaired: bool,
        longer in prop_oneof![3 => Just(0isize), 1 => -10..10isize],
    ) {
        let to = MacAddr([2, 0, 0, 0, 0, 1]);
        let mut frame = like.frame();
        if let Some((at, by)) = change {
            let at = at % frame.len();
            frame[at] ^= by;
        }
        if repaired {
            repair(&mut frame);
        }
        frame.resize(frame.len().saturating_add_signed(longer), 0);
        let is_usual = change.is_none() && longer >= 0 && !like.v6 && like.has_usual_flags();
        let Some(usual) = Usual::parse(&frame, to) else {
            prop_assert!(!is_usual);
            return Ok(());
        };
        prop_assert!([Flags::ACK, Flags::ACK | Flags::PSH].contains(&usual.segment.flags));
        let ((dst, _, from, at, from_port, at_port, ecn), plain) = parsed(&frame).expect("the parsers take it as well");
        prop_assert_eq!((dst, from, at), (to, usual.src.into(), usual.dst.into()));
        prop_assert_eq!((from_port, at_port, ecn == 3, plain), (usual.ports.0, usual.ports.1, usual.marked, usual.segment));
        let (_, packet) = eth::Header::parse(&frame).expect("as above");
        let (_, bytes) = ipv4::Header::parse(packet).expect("as above");
        let mut segment = Segment::parse(bytes, from, at).expect("as above");
        segment.header.urgent = 0;
        prop_assert_eq!(segment, usual.segment());
    }

    /// A bare acknowledgment is written as the layers write it, and not at all where it does not fit.
    #[test]
    fn a_bare_frame_is_as_the_layers_write_it(
        src in crate::v4(), dst in crate::v4(), ports: (u16, u16), like in like(), ece: bool, short in 0..66usize,
    ) {
        let (val, ecr) = like.stamps;
        let timestamps = like.stamped.then_some(Timestamps { val, ecr });
        let flags = if ece { Flags::ACK | Flags::ECE } else { Flags::ACK };
        let (seq, ack, window) = (SeqNum::new(like.seq), SeqNum::new(like.ack), like.window);
        let segment = Plain { seq, ack, flags, window, timestamps, payload: &[] };
        let usual = Usual { src, dst, ports, marked: false, segment };
        let stations = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 9]));
        let options = Options { timestamps, ..Options::default() };
        let (src_port, dst_port) = ports;
        let header = Header { src_port, dst_port, seq, ack, flags, window, urgent: 0, options };
        let mut frame = vec![0; 34 + header.len()];
        eth::Header { dst: stations.1, src: stations.0, vlan: None, ethertype: eth::ETHERTYPE_IPV4 }.emit(&mut frame);
        let ip = ipv4::Header {
            src,
            dst,
            protocol: 6,
            ttl: like.ttl,
            tos: like.tos,
            ident: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
        };
        ip.emit(header.len(), &mut frame[14..]);
        header.emit(src.into(), dst.into(), &mut frame[34..]);
        let mut out = vec![7; frame.len() + 3];
        prop_assert_eq!(usual.emit_bare(stations, (like.ttl, like.tos), &mut out), Some(frame.len()));
        prop_assert_eq!((&out[..frame.len()], &out[frame.len()..]), (&frame[..], &[7; 3][..]));
        let mut out = vec![7; short.min(frame.len() - 1)];
        prop_assert_eq!(usual.emit_bare(stations, (like.ttl, like.tos), &mut out), None);
        prop_assert!(out.iter().all(|byte| *byte == 7));
    }

    /// Not even with a tag that looks like what IPv4 begins with.
    #[test]
    fn a_tagged_frame_has_no_form(like in like(), tci in prop_oneof![Just([0x45, 0]), any::<[u8; 2]>()]) {
        let mut frame = like.frame();
        frame.splice(12..12, [0x81, 0, tci[0], tci[1]]);
        prop_assert!(Form::of(&frame).is_none());
        prop_assert!(Usual::parse(&frame, MacAddr([2, 0, 0, 0, 0, 1])).is_none());
    }

    /// What is not of the usual kind has no form; and nothing makes it panic.
    #[test]
    fn of_an_unusual_frame_there_is_none(like in like(), at in 0..80usize, by: u8, rest in crate::bytes(200)) {
        let mut frame = like.frame();
        frame[at % 80 % like.frame().len()] ^= by;
        for frame in [&frame[..], &rest] {
            let _ = Usual::parse(frame, MacAddr([2, 0, 0, 0, 0, 1]));
            if let Some(form) = Form::of(frame) {
                let _ = following(&form, &like.frame());
                let _ = following(&form, &rest);
            }
        }
    }
}
