//! The same programme of calls over fourwave and over the kernel's sockets, against a kernel peer: what each call returns
//! and which segments the peer's interface saw must be the same, or differ by a decision recorded in `decisions`. Needs root.

#[path = "../common/mod.rs"]
mod common;

mod capture;
mod decisions;
mod ours;
mod program;
mod run;
mod side;

use std::net::{IpAddr, SocketAddr};

use crate::common::{LabTurn, ok};
use crate::ours::Fourwave;
use crate::program::{Program, every_order};
use crate::run::{Run, Transcript, differences, report};
use crate::side::Kernel;

/// Connections at a time: each has two descriptors here.
const BATCH: usize = 300;
const PORT: u16 = 7000;

#[derive(Clone, Copy, Debug)]
struct Family {
    d: &'static str,
    p: &'static str,
}

const V4: Family = Family { d: "10.77.0.1", p: "10.77.0.2" };
const V6: Family = Family { d: "fd77::1", p: "fd77::2" };

fn address(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), PORT)
}

/// Runs programmes over the kernel and over fourwave and compares; what differs is tried again, slower, since a machine that
/// stalls can delay a segment into the next step.
fn compare(family: Family, programs: &[Program]) {
    let _lab = LabTurn::take();
    ok(&["lab", "up"]);
    let (d, p) = (address(family.d), address(family.p));
    let under_test: IpAddr = d.ip();
    let mut run = Run::new(under_test, d, p, Kernel::new("fw-b", &[p]));
    let over_kernel = |run: &mut Run, programs: &[Program]| all(run, &mut Kernel::new("fw-a", &[d]), programs);
    let over_fourwave =
        |run: &mut Run, programs: &[Program]| all(run, &mut Fourwave::new("fw-a", "fw-a0", &[d]), programs);
    let mut left = programs.to_vec();
    let mut found = Vec::new();
    for silence_ms in [50, 200, 500] {
        run.set_silence(std::time::Duration::from_millis(silence_ms));
        let kernel = over_kernel(&mut run, &left);
        let fourwave = over_fourwave(&mut run, &left);
        found = differences(&left, &kernel, &fourwave);
        if found.is_empty() {
            return;
        }
        left = found.iter().map(|difference| difference.program.clone()).collect();
    }
    panic!("{} of {} programmes differ:\n{}", found.len(), programs.len(), report(&found));
}

fn all(run: &mut Run, d: &mut dyn side::Party, programs: &[Program]) -> Vec<Transcript> {
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
