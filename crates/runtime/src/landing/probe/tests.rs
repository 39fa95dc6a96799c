use super::*;
use stack::{Place, RssFields};
use xdp::{Frame, MemoryConfig, MemoryPort};

const SHARDS: u16 = 2;
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// Two shards, their ports, and the far ends of these; by the key of Microsoft's "Verifying the RSS Hash Calculation".
struct Setting {
    shard: Shard,
    probe: Probe,
    ports: [MemoryPort; 2],
    far: [MemoryPort; 2],
    clock: Clock,
}

fn setting(ours: &str, peer: &str) -> Setting {
    let (ours, peer) = (ours.parse().unwrap(), peer.parse().unwrap());
    let own = LocalAddress { ip: ours, prefix_len: 24, owned: true };
    let mut config = ShardConfig::new(MAC, 1500, vec![own], [[1; 16]; 4]);
    config.place = Place { index: 0, count: SHARDS };
    config.ports = 61_000..=65_535;
    let key = crate::landing::tests::KEY.to_vec();
    let rss = Rss::new(key, (0..128).map(|n| n % SHARDS).collect(), RssFields::default()).unwrap();
    let probe = Probe::new(Target { ours, peer, mac: THEIRS }, &rss, &config, [7, 7, 7, 7, 255, 255, 0, 0]);
    let [(a, far_a), (b, far_b)] = [0, 1].map(|_| MemoryPort::pair(MemoryConfig::default()));
    let clock = Clock::new();
    let shard = Shard::new(config, clock.now()).unwrap();
    Setting { shard, probe, ports: [a, b], far: [far_a, far_b], clock }
}

/// What a peer makes of a SYN.
type Make = fn(&[u8]) -> Vec<u8>;

fn take(far: &mut MemoryPort) -> Vec<Vec<u8>> {
    let mut frames: Vec<Frame> = Vec::new();
    far.receive(&mut frames, 64);
    let bytes = frames.iter().map(|frame| far.bytes(frame).to_vec()).collect();
    frames.into_iter().for_each(|frame| far.recycle(frame));
    bytes
}

/// A segment of IPv4 or IPv6: its addresses, and itself.
fn read(frame: &[u8]) -> (IpAddr, IpAddr, tcp::Header) {
    let (link, packet) = eth::Header::parse(frame).unwrap();
    let (src, dst, payload): (IpAddr, IpAddr, _) = if link.ethertype == eth::ETHERTYPE_IPV4 {
        let (header, payload) = ipv4::Header::parse(packet).unwrap();
        (header.src.into(), header.dst.into(), payload)
    } else {
        let (header, payload) = ipv6::Header::parse(packet).unwrap();
        (header.src.into(), header.dst.into(), payload)
    };
    (src, dst, Segment::parse(payload, src, dst).unwrap().header)
}

/// The frame turned round, with other flags: an answer to a SYN as RFC 9293 section 3.10.7.1 has it, or a SYN-ACK.
fn answer(syn: &[u8], flags: Flags, ack: SeqNum) -> Vec<u8> {
    let (src, dst, header) = read(syn);
    let seq = SeqNum::new(if flags.contains(Flags::SYN) { 5000 } else { 0 });
    let (src_port, dst_port) = (header.dst_port, header.src_port);
    let header = tcp::Header { src_port, dst_port, seq, ack, flags, ..header };
    let mut frame = syn.to_vec();
    let addresses = if src.is_ipv4() { 26 } else { 22 };
    let bytes = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let both = [bytes(dst), bytes(src)].concat();
    frame[addresses..addresses + both.len()].copy_from_slice(&both);
    header.emit(dst, src, &mut frame[addresses + both.len()..]);
    frame
}

fn reset(syn: &[u8]) -> Vec<u8> {
    answer(syn, Flags::RST.union(Flags::ACK), read(syn).2.seq + 1)
}

/// The peer answers what it gets, by `make`, and the answers land as planned or, `off` the plan, at the other shard.
fn reply(setting: &mut Setting, off: bool, make: impl Fn(&[u8]) -> Vec<u8>) -> usize {
    let mut questions = 0;
    for at in 0..2 {
        for syn in take(&mut setting.far[at]) {
            let far = &mut setting.far[if off { 1 - at } else { at }];
            put(far, &make(&syn)).unwrap();
            far.flush().unwrap();
            questions += 1;
        }
    }
    questions
}

fn verdict(setting: &mut Setting) -> Verdict {
    let Setting { shard, probe, ports, clock, .. } = setting;
    probe.hear(ports, shard, clock.now()).unwrap();
    judge(&probe.questions)
}

#[test]
fn replies_as_planned_verify_the_plan() {
    for (ours, peer, headers) in [("10.0.0.1", "10.0.0.2", 40), ("fd77::1", "fd77::2", 60)] {
        let mut setting = setting(ours, peer);
        let planned: Vec<u16> = setting.probe.questions.iter().map(|q| q.planned).collect();
        assert_eq!([0, 1].map(|shard| planned.iter().filter(|p| **p == shard).count()), [2, 2]);
        setting.probe.ask(&mut setting.ports).unwrap();
        let iss = setting.probe.iss;
        let questions = reply(&mut setting, false, |syn| {
            let (src, dst, header) = read(syn);
            assert_eq!((src.to_string(), dst.to_string()), (ours.into(), peer.into()));
            assert_eq!((header.dst_port, header.flags, header.seq), (9, Flags::SYN, iss));
            assert_eq!(header.options.mss, Some(1500 - headers));
            assert!((61_000..=65_535).contains(&header.src_port));
            assert_eq!(syn[..12], [THEIRS.0, MAC.0].concat());
            reset(syn)
        });
        assert_eq!(questions, 4);
        let Setting { shard, probe, ports, clock, .. } = &mut setting;
        probe.hear(ports, shard, clock.now()).unwrap();
        assert_eq!(judge(&probe.questions), Verdict::Verified { replies: 4, questions: 4 });
        // All have been answered: it ends, whatever the patience. (It asks again, which nobody answers.)
        let for_ever = Duration::from_secs(3600);
        assert_eq!(probe.run(ports, shard, clock, for_ever).unwrap(), Verdict::Verified { replies: 4, questions: 4 });
        // Nothing of it was the shard's, and a reset is not answered.
        assert_eq!(shard.counters().frames_in, 0);
    }
}

#[test]
fn replies_off_the_plan_refute_it() {
    let mut setting = setting("10.0.0.1", "10.0.0.2");
    setting.probe.ask(&mut setting.ports).unwrap();
    reply(&mut setting, true, reset);
    let Question { port, planned, .. } = setting.probe.questions[0];
    assert_eq!(verdict(&mut setting), Verdict::Refuted { port, planned, landed: 1 - planned });
}

#[test]
fn silence_proves_nothing_and_ends() {
    let Setting { mut shard, mut probe, mut ports, clock, far: _far } = setting("10.0.0.1", "10.0.0.2");
    let verdict = probe.run(&mut ports, &mut shard, &clock, Duration::from_millis(1)).unwrap();
    assert_eq!(verdict, Verdict::Unproved);
}

/// RFC 9293 section 3.10.7.3: a reset whose acknowledgment is not of the SYN says nothing, nor does one without.
#[test]
fn what_does_not_acknowledge_the_syn_proves_nothing() {
    let makes: [Make; 3] = [
        |syn| answer(syn, Flags::RST.union(Flags::ACK), read(syn).2.seq),
        |syn| answer(syn, Flags::RST, read(syn).2.seq + 1),
        |syn| answer(syn, Flags::ACK, read(syn).2.seq + 1),
    ];
    for make in makes {
        let mut setting = setting("10.0.0.1", "10.0.0.2");
        setting.probe.ask(&mut setting.ports).unwrap();
        assert_eq!(reply(&mut setting, true, make), 4);
        assert_eq!(verdict(&mut setting), Verdict::Unproved);
    }
}

/// Where the service is offered no connection is left: RFC 9293 section 3.10.7.1, SEQ is the acknowledgment's.
#[test]
fn who_accepts_is_reset() {
    let mut setting = setting("10.0.0.1", "10.0.0.2");
    setting.probe.ask(&mut setting.ports).unwrap();
    reply(&mut setting, false, |syn| answer(syn, Flags::SYN.union(Flags::ACK), read(syn).2.seq + 1));
    assert_eq!(verdict(&mut setting), Verdict::Verified { replies: 4, questions: 4 });
    let resets: Vec<_> = setting.far.iter_mut().flat_map(take).map(|frame| read(&frame).2).collect();
    assert_eq!(resets.len(), 4);
    assert!(resets.iter().all(|h| h.flags == Flags::RST && h.seq == setting.probe.iss + 1));
}

/// An ICMP error has no ports, so it lands by other rules than the segment that it is about. But it is waited for no longer.
#[test]
fn an_icmp_error_proves_nothing() {
    let mut setting = setting("10.0.0.1", "10.0.0.2");
    setting.probe.ask(&mut setting.ports).unwrap();
    reply(&mut setting, true, |syn| {
        let mut frame = syn[..34].to_vec();
        frame.resize(34 + 8 + 28, 0);
        let message = icmpv4::emit(3, 10, [0; 4], &syn[14..42], &mut frame[34..]);
        frame[23] = 1;
        let header = ipv4::Header { protocol: 1, ..ipv4::Header::parse(&syn[14..]).unwrap().0 };
        let header = ipv4::Header { src: header.dst, dst: header.src, ..header };
        header.emit(message, &mut frame[14..]);
        frame
    });
    assert_eq!(verdict(&mut setting), Verdict::Unproved);
    assert!(setting.probe.questions.iter().all(|q| q.heard == Heard::Error));
}

/// The neighbour asks for our address before it can answer (RFC 826).
#[test]
fn who_asks_for_our_address_gets_it() {
    let mut setting = setting("10.0.0.1", "10.0.0.2");
    let mut frame = [[0xff; 6], THEIRS.0].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(THEIRS.0);
    frame.extend([10, 0, 0, 2]);
    frame.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
    put(&mut setting.far[1], &frame).unwrap();
    setting.far[1].flush().unwrap();
    assert_eq!(verdict(&mut setting), Verdict::Unproved);
    let answers: Vec<_> = setting.far.iter_mut().flat_map(take).collect();
    assert!(answers.iter().any(|a| a[12..22] == [8, 6, 0, 1, 8, 0, 6, 4, 0, 2] && a[..6] == THEIRS.0), "{answers:?}");
}

#[test]
fn one_reply_elsewhere_outweighs_all_others() {
    let question = |port, heard| Question { port, planned: 1, heard };
    let home = question(61_000, Heard::At(1));
    assert_eq!(judge(&[]), Verdict::Unproved);
    assert_eq!(judge(&[question(1, Heard::Nothing), question(2, Heard::Error)]), Verdict::Unproved);
    let some = [home, question(2, Heard::Nothing)];
    assert_eq!(judge(&some), Verdict::Verified { replies: 1, questions: 2 });
    let refuted = Verdict::Refuted { port: 2, planned: 1, landed: 0 };
    assert_eq!(judge(&[home, question(2, Heard::At(0)), home]), refuted);
}

#[test]
fn a_neighbour_of_one_of_our_families_is_asked() {
    let at = |ip: &str| -> IpAddr { ip.parse().unwrap() };
    let own = |ip, prefix_len| LocalAddress { ip: at(ip), prefix_len, owned: false };
    let ours = [own("10.9.0.1", 24), own("10.0.0.1", 24)];
    let choose = |known: &[(&str, MacAddr)], likely| {
        let known = known.iter().map(|(ip, mac)| (at(ip), *mac));
        choose(&ours, known, likely).map(|t| (t.ours.to_string(), t.peer.to_string()))
    };
    let some = |ours: &str, peer: &str| Some((ours.to_string(), peer.to_string()));
    assert_eq!(choose(&[], None), None);
    assert_eq!(choose(&[("fd77::2", THEIRS), ("10.0.0.3", MacAddr::BROADCAST)], None), None);
    assert_eq!(choose(&[("10.0.0.3", MacAddr::default()), ("10.0.0.2", THEIRS)], None), some("10.0.0.1", "10.0.0.2"));
    let both = [("10.9.0.7", THEIRS), ("192.0.2.1", THEIRS)];
    assert_eq!(choose(&both, Some(at("10.9.0.7"))), some("10.9.0.1", "10.9.0.7"));
    assert_eq!(choose(&both, Some(at("192.0.2.1"))), some("10.9.0.1", "192.0.2.1"));
}
