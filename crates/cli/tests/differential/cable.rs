//! The cable is out for good: each side learns it within its user timeout, over the kernel and over fourwave.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::common::{self, LabTurn, ok};
use crate::ours::Fourwave;
use crate::program::{Answer, Verb};
use crate::side::{Kernel, Party, SOON};

/// Makes a call on both connections until it fails for each; the errors.
fn errors(party: &mut dyn Party, verb: Verb) -> Vec<ErrorKind> {
    let end = Instant::now() + SOON;
    let mut found = [None; 2];
    while found.contains(&None) {
        assert!(Instant::now() < end, "no error of {verb:?} within {SOON:?}: {found:?}");
        for (number, found) in found.iter_mut().enumerate().filter(|(_, found)| found.is_none()) {
            match party.calls(&[(number, verb)])[..] {
                [Answer::Failed(kind)] => *found = Some(kind),
                [Answer::Nothing] => {}
                ref other => panic!("{verb:?} says {other:?} without a cable"),
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    found.into_iter().flatten().collect()
}

/// One connection opened by either side, data under way on both, and no cable: what a read says at last, on D and on P.
fn without_a_cable(d: &mut dyn Party, d_listens: SocketAddr, p_listens: SocketAddr) -> [Vec<ErrorKind>; 2] {
    let mut p = Kernel::new("fw-b", &[p_listens]);
    let from = p.connect(d_listens);
    d.accept(from);
    let from = d.connect(p_listens);
    p.accept(from);
    for party in [&mut *d, &mut p] {
        assert_eq!(party.calls(&[(0, Verb::Patience), (1, Verb::Patience)]), [Answer::Done; 2]);
    }
    assert!(common::sh("ip -n fw-b link set fw-b0 down").status.success());
    for party in [&mut *d, &mut p] {
        assert_eq!(party.calls(&[(0, Verb::Send(100)), (1, Verb::Send(100))]), [Answer::Bytes(100); 2]);
    }
    let found = [errors(d, Verb::Recv), errors(&mut p, Verb::Recv)];
    assert!(common::sh("ip -n fw-b link set fw-b0 up").status.success());
    found
}

/// MUST-21, RFC9293-3.10.8-a: the user timeout aborts the connection and the application is told
/// `TimedOut`. A kernel that knows that its own link is down may say so instead.
#[test]
fn user_timeouts_without_a_cable() {
    let _lab = LabTurn::take();
    ok(&["lab", "up"]);
    let address = |ip: &str, port: u16| SocketAddr::new(ip.parse().unwrap(), port);
    let (on_d, on_p) = (address("10.77.0.1", 7101), address("10.77.0.2", 7102));
    let [linux, peer] = without_a_cable(&mut Kernel::new("fw-a", &[on_d]), on_d, on_p);
    let of_linux = [ErrorKind::TimedOut, ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable];
    assert!(linux.iter().chain(&peer).all(|kind| of_linux.contains(kind)), "{linux:?} {peer:?}");

    let (on_d, on_p) = (address("10.77.0.1", 7103), address("10.77.0.2", 7104));
    let mut fourwave = Fourwave::new("fw-a", "fw-a0", &[on_d]);
    let [ours, peer] = without_a_cable(&mut fourwave, on_d, on_p);
    assert_eq!(ours, [ErrorKind::TimedOut; 2]);
    assert_eq!(errors(&mut fourwave, Verb::Send(1)), [ErrorKind::TimedOut; 2]);
    assert!(peer.iter().all(|kind| of_linux.contains(kind)), "{peer:?}");
}
