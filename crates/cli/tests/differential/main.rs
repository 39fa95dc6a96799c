//! The same programme of calls over fourwave and over the kernel's sockets, against a kernel peer: what each call returns
//! and which segments the peer's interface saw must be the same, or differ by a decision recorded in `decisions`. Needs root.

#[path = "../common/mod.rs"]
mod common;

mod cable;
mod capture;
mod decisions;
mod ours;
mod program;
mod run;
mod side;

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::{LabTurn, ok};
use crate::ours::Fourwave;
use crate::program::{Opened, Program, Side, Verb, by_lot, crossing, every_order};
use crate::run::{Run, Transcript, differences, report};
use crate::side::{Kernel, Party};

/// Connections at a time: each has two descriptors here.
const BATCH: usize = 300;

#[derive(Clone, Copy, Debug)]
struct Family {
    d: &'static str,
    p: &'static str,
}

const V4: Family = Family { d: "10.77.0.1", p: "10.77.0.2" };
const V6: Family = Family { d: "fd77::1", p: "fd77::2" };

/// Runs programmes over the kernel and over fourwave and compares; what differs is tried again, slower, since a machine that
/// stalls can delay a segment into the next step.
fn compare(family: Family, programs: &[Program]) {
    let _lab = LabTurn::take();
    ok(&["lab", "up"]);
    let mut left = programs.to_vec();
    let mut found = Vec::new();
    for (pass, silence_ms) in [(0, 50), (1, 200), (2, 500)] {
        // New ports: what the last pass has left in TIME-WAIT is no concern of this one.
        let address = |ip: &str, who: u16| SocketAddr::new(ip.parse().unwrap(), 7000 + pass * 10 + who);
        let silence = Duration::from_millis(silence_ms);
        let (d, p) = (address(family.d, 1), address(family.p, 2));
        let kernel = all(&mut Run::new(d, p, silence), &mut Kernel::new("fw-a", &[d]), &left);
        let (d, p) = (address(family.d, 3), address(family.p, 4));
        let fourwave = all(&mut Run::new(d, p, silence), &mut Fourwave::new("fw-a", "fw-a0", &[d]), &left);
        let decided = kernel.iter().filter(|transcript| decisions::first_decided(transcript).is_some()).count();
        println!("{} programmes, {decided} of them compared up to a decision", left.len());
        found = differences(&left, &kernel, &fourwave);
        if found.is_empty() {
            return;
        }
        left = found.iter().map(|difference| difference.program.clone()).collect();
    }
    panic!("{} of {} programmes differ:\n{}", found.len(), programs.len(), report(&found));
}

fn all(run: &mut Run, d: &mut dyn Party, programs: &[Program]) -> Vec<Transcript> {
    programs.chunks(BATCH).flat_map(|batch| run.batch(d, batch)).collect()
}

#[test]
fn every_order_of_ends_over_ipv4() {
    compare(V4, &every_order(true));
}

#[test]
fn every_order_of_ends_over_ipv6() {
    compare(V6, &every_order(false));
}

/// Both sides end at the same time: FIN-WAIT-1 to CLOSING, a reset that is lost, data nobody waits for.
#[test]
fn ends_that_cross_over_ipv4() {
    compare(V4, &crossing());
}

#[test]
fn ends_that_cross_over_ipv6() {
    compare(V6, &crossing());
}

/// `FOURWAVE_DIFFERENTIAL=COUNT` runs so many, from a seed that is printed; by default it is a few of always the same.
#[test]
fn calls_by_lot() {
    let wanted = std::env::var("FOURWAVE_DIFFERENTIAL").ok().map(|count| count.parse().expect("a number"));
    let seed = if wanted.is_some() { u64::from(std::process::id()) } else { 4 };
    println!("seed {seed}");
    let programs = by_lot(seed, wanted.unwrap_or(600));
    let (ipv4, ipv6) = programs.split_at(programs.len() / 2);
    compare(V4, ipv4);
    compare(V6, ipv6);
}

/// What fourwave does where it is decided to differ: `shutdown(Read)` leaves nothing to read, or unread; what comes later is
/// answered by a reset, and a write is told of it.
#[test]
fn what_was_decided_is_so() {
    let _lab = LabTurn::take();
    ok(&["lab", "up"]);
    let address = |ip: &str, port: u16| SocketAddr::new(ip.parse().unwrap(), port);
    let (d, p) = (address(V4.d, 7201), address(V4.p, 7202));
    let late = [
        (Side::D, Verb::ShutRead, "D.shutdown_rd = Done"),
        (Side::D, Verb::Recv, "D.recv = Eof"),
        (Side::P, Verb::Send(22), "P.send 22 = Bytes(22), P>Data(22) D>Rst"),
        (Side::P, Verb::Recv, "P.recv = Failed(ConnectionReset)"),
        (Side::D, Verb::Send(21), "D.send 21 = Failed(ConnectionReset)"),
    ];
    let queued = [
        (Side::P, Verb::Send(22), "P.send 22 = Bytes(22), P>Data(22)"),
        (Side::D, Verb::ShutRead, "D.shutdown_rd = Done"),
        (Side::D, Verb::Recv, "D.recv = Eof"),
        (Side::D, Verb::Close, "D.close = Done, D>Fin"),
        (Side::P, Verb::Recv, "P.recv = Eof"),
    ];
    let expected = [late, queued];
    let program = |calls: &[(Side, Verb, &str)]| {
        let calls: Vec<_> = calls.iter().map(|(side, verb, _)| (*side, *verb)).collect();
        Program::of(Opened::ByP, &calls)
    };
    let programs: Vec<_> = expected.iter().map(|calls| program(calls)).collect();
    // Nothing of it is tried again: a segment is late by less, on a machine that stalls as well.
    let transcripts =
        Run::new(d, p, Duration::from_secs(1)).batch(&mut Fourwave::new("fw-a", "fw-a0", &[d]), &programs);
    for (transcript, calls) in transcripts.iter().zip(expected) {
        for (step, (_, _, said)) in transcript.steps[1..].iter().zip(calls) {
            assert_eq!(step.to_string().trim_end_matches([',', ' ']), said);
        }
    }
}
