//! The tamper node's words mean what they say.

mod support;

use sim::{Action, Duo, Fate, Rules, Select, World};
use stack::{Duration, Refusal};
use std::{cell::RefCell, rc::Rc};
use support::{Client, Echo, host};
use wire::tcp::Flags;

const PORT: &str = "10.0.0.2:7";

/// A segment on its way: who sent it, flags, sequence number, octets.
type Sent = (usize, Flags, u32, usize);

/// 20,000 octets there and back under these rules: what was sent, and which of it passed untouched.
fn run(mut rules: Rules) -> (Duo<Client, Echo>, Vec<(Sent, bool)>, usize) {
    let log = Rc::new(RefCell::new(Vec::new()));
    let (writer, hits) = (log.clone(), Rc::new(RefCell::new(0)));
    let counter = hits.clone();
    let mut b = host(2, Echo::default());
    b.shard.listen(PORT.parse().expect("an address"), 16).expect("free");
    let mut world = World::new(host(1, Client::new(PORT, 20_000)), b, Duration::from_micros(50)).with_tamper(
        move |from, frame: &mut Vec<u8>| {
            let sent = segment(from, frame);
            let before = frame.clone();
            let fate = rules.decide(from, frame);
            *counter.borrow_mut() = rules.hits(0);
            if let Some(sent) = sent {
                writer.borrow_mut().push((sent, fate == Fate::Pass && *frame == before));
            }
            fate
        },
    );
    world.run(Duration::from_secs(60));
    assert_eq!((world.a.app.received, world.a.app.closed), (20_000, Some(None)));
    let (log, hits) = (log.take(), *hits.borrow());
    (world, log, hits)
}

fn segment(from: usize, frame: &[u8]) -> Option<Sent> {
    if frame.get(12..14) != Some(&[8, 0]) {
        return None;
    }
    let offset = usize::from(frame[46] >> 4) * 4;
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let seq = u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]]);
    Some((from, Flags::from_bits(frame[47]), seq, total - 20 - offset))
}

fn data(log: &[(Sent, bool)], node: usize) -> Vec<(u32, usize, bool)> {
    let of =
        |((from, _, seq, len), passed): &(Sent, bool)| (*from == node && *len > 0).then_some((*seq, *len, *passed));
    log.iter().filter_map(of).collect()
}

#[test]
fn the_third_data_segment_is_lost_once() {
    let (_, log, hits) = run(Rules::new().rule(Select::data().nth(3).from(0), Action::Drop));
    let sent = data(&log, 0);
    assert_eq!(hits, 1);
    assert_eq!(sent.iter().map(|(.., passed)| *passed).position(|passed| !passed), Some(2));
    // It is sent again, and passes.
    let again: Vec<_> = sent.iter().filter(|(seq, ..)| *seq == sent[2].0).collect();
    assert_eq!(again.len(), 2);
    assert!(again[1].2);
    assert!(data(&log, 1).iter().all(|(.., passed)| *passed));
}

#[test]
fn a_retransmission_is_chosen_by_its_number() {
    let rules = Rules::new()
        .rule(Select::data().nth(2).from(0), Action::Drop)
        .rule(Select::data().nth(2).from(0).retransmission(1), Action::Drop);
    let (_, log, _) = run(rules);
    let sent = data(&log, 0);
    let second: Vec<bool> = sent.iter().filter(|(seq, ..)| *seq == sent[1].0).map(|(.., passed)| *passed).collect();
    assert_eq!(second, [false, false, true]);
}

#[test]
fn syn_ack_and_fin_are_known() {
    let rules = Rules::new()
        .rule(Select::syn_ack(), Action::Drop)
        .rule(Select::syn(), Action::Drop)
        .rule(Select::fin().from(0), Action::Drop)
        .rule(Select::fin().from(0).retransmission(1), Action::Delay(Duration::from_millis(1)));
    let (_, log, _) = run(rules);
    let flagged = |node, flag: Flags| -> Vec<bool> {
        log.iter().filter(|((from, flags, ..), _)| *from == node && flags.contains(flag)).map(|(_, p)| *p).collect()
    };
    assert_eq!(flagged(0, Flags::SYN)[..2], [false, true]);
    assert_eq!(flagged(1, Flags::SYN)[..2], [false, true]);
    assert_eq!(flagged(0, Flags::FIN)[..2], [false, false]);
}

#[test]
fn every_pure_ack_is_every_one() {
    let (_, log, hits) = run(Rules::new().rule(Select::pure_ack().from(0), Action::Duplicate));
    let pure: Vec<bool> = log
        .iter()
        .filter(|((from, flags, _, len), _)| *from == 0 && *flags == Flags::ACK && *len == 0)
        .map(|(_, passed)| *passed)
        .collect();
    assert!(!pure.is_empty() && pure.iter().all(|passed| !passed), "{pure:?}");
    assert_eq!(hits, pure.len());
}

#[test]
fn an_altered_segment_has_good_checksums_and_a_corrupted_one_has_not() {
    let rules = Rules::new()
        .rule(Select::data().nth(1).from(0), Action::Corrupt)
        .rule(Select::data().nth(2).from(0), Action::alter(|header, _| header.dst_port = 8));
    let (world, ..) = run(rules);
    let counters = world.b.shard.counters();
    assert_eq!((counters.malformed_total(), counters.refusals(Refusal::NoEndpoint)), (1, 1));
}
