use super::*;
use crate::options::Options;
use crossbeam::channel::bounded;
use mio::{Poll, Token, Waker};
use std::net::SocketAddr;

/// The key of Microsoft's "Verifying the RSS Hash Calculation".
pub(super) const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b,
    0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
    0x01, 0xfa,
];

fn facts(table: Vec<u32>, symmetry: Symmetry, tcp4: HashInput) -> RssFacts {
    RssFacts::toeplitz(KEY.to_vec(), table, symmetry, [tcp4, HashInput::FourTuple])
}

/// The suite's first flow has the hash 51ccc178, so of 128 entries it takes the one of number 0x78.
#[test]
fn an_entry_is_the_shard_that_serves_its_queue() {
    let mut table = vec![4; 128];
    table[0x78] = 7;
    let Landing::Rss(rss) = plan(&facts(table, Symmetry::None, HashInput::FourTuple), &[4, 7]) else {
        panic!("a plan")
    };
    let at = |address: &str| address.parse::<SocketAddr>().unwrap();
    assert_eq!(rss.shard(at("66.9.149.187:2794"), at("161.142.100.80:1766")), 1);
    assert_eq!(rss.shard(at("199.92.111.2:14230"), at("65.69.140.83:4739")), 0);
}

#[test]
fn what_cannot_be_computed_is_unknown() {
    let usual = facts(vec![0, 1], Symmetry::None, HashInput::FourTuple);
    assert_ne!(plan(&usual, &[0, 1]), Landing::Unknown);
    let cases = [
        (usual, &[0][..]),
        (facts(vec![0, 1, 2], Symmetry::None, HashInput::FourTuple), &[0, 1, 2]),
        (facts(vec![0, 1], Symmetry::Other, HashInput::FourTuple), &[0, 1]),
        (facts(vec![0, 1], Symmetry::None, HashInput::Other), &[0, 1]),
        (RssFacts::Unknown("veth".into()), &[0, 1]),
    ];
    for (facts, queues) in cases {
        assert_eq!(plan(&facts, queues), Landing::Unknown, "{facts:?}");
    }
    let symmetric = facts(vec![0, 1], Symmetry::Xor, HashInput::Addresses);
    assert_ne!(plan(&symmetric, &[0, 1]), Landing::Unknown);
}

#[test]
fn every_loop_is_told_of_a_change() {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
    let (boxes, inboxes): (Vec<_>, Vec<_>) = (0..2)
        .map(|shard| {
            let (commands, inbox) = bounded(1);
            (Mailbox { shard, commands, waker: Arc::clone(&waker) }, inbox)
        })
        .unzip();
    let landing = plan(&facts(vec![1, 0], Symmetry::None, HashInput::FourTuple), &[0, 1]);
    tell(&landing, &mut Outbox::all(boxes));
    for inbox in inboxes {
        assert!(matches!(inbox.try_recv(), Ok(Command::Landing(told)) if told == landing));
    }
}

/// The thread ends at once, not after its next look.
#[test]
fn a_watch_ends_when_it_is_dropped() {
    let lo = xdp::facts::InterfaceFacts::read("lo").unwrap().ifindex;
    let first = FirstLook::new(lo, &[0, 1]).unwrap();
    assert_eq!(first.landing(), Landing::Unknown);
    drop(first.follow(Vec::new(), Privileges::of(&Options::new("lo"))).unwrap());
    assert!(
        FirstLook::new(lo, &[0]).unwrap().follow(Vec::new(), Privileges::of(&Options::new("lo"))).unwrap().is_none()
    );
    let mut refuted = FirstLook::new(lo, &[0, 1]).unwrap();
    refuted.refute();
    assert!(refuted.follow(Vec::new(), Privileges::of(&Options::new("lo"))).unwrap().is_none());
    assert!(FirstLook::new(0x7fff_ffff, &[0]).is_err());
}
