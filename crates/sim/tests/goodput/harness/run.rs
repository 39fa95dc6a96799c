//! Runs a cell in the simulated world.

use super::{
    cell::{Cell, jain},
    fourwave,
    row::Row,
    smoltcp::{self, Tuning},
};
use sim::{LinkConfig, LinkId, Nodes, Pair, Topology, World};
use stack::{Duration, Instant};

/// The link that is the bottleneck, on which frames are lost.
pub const THERE: LinkId = LinkId(0);

/// The path of a cell between two nodes.
#[allow(clippy::cast_precision_loss)] // parts per million
pub fn world<S: Nodes>(cell: &Cell, nodes: S) -> World<S> {
    let one_way = cell.rtt() / 2;
    let queue = usize::try_from(cell.queue_bytes()).expect("64 bits");
    let there = LinkConfig::rated(cell.bits_per_s(), one_way, queue).with_loss(cell.loss_ppm as f64 / 1e6);
    let back = LinkConfig { rate_bps: Some(cell.bits_per_s()), delay: one_way, ..LinkConfig::default() };
    World::of(cell.seed(), nodes, Topology::cable(there, back))
}

/// Whose flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    Fourwave,
    Smoltcp(Tuning),
}

/// Runs a cell.
pub fn run(cell: &Cell, stack: Stack) -> Row {
    match stack {
        Stack::Fourwave => {
            let nodes = Pair { a: fourwave::source(cell), b: fourwave::sink(cell) };
            measure(cell, "fourwave", world(cell, nodes), |w| w.b.app.delivered())
        }
        Stack::Smoltcp(tuning) => {
            let nodes = Pair { a: smoltcp::Host::source(cell, tuning), b: smoltcp::Host::sink(cell, tuning) };
            measure(cell, tuning.name, world(cell, nodes), |w| w.b.delivered())
        }
    }
}

/// The first quarter, of the time or of the frames, is not measured: slow start is over by then.
fn measure<S: Nodes>(
    cell: &Cell,
    stack: &'static str,
    mut world: World<S>,
    delivered: impl Fn(&World<S>) -> Vec<u64>,
) -> Row {
    let (time, frames) = (cell.most_time(), cell.most_frames());
    world.run_until(Instant::ZERO + time / 4, |w| w.link(THERE).frames >= frames / 4);
    let (began, mut before, start) = (world.now(), delivered(&world), *world.link(THERE));
    world.run_until(Instant::ZERO + time, |w| w.link(THERE).frames >= frames);
    let mut shares = delivered(&world);
    let flows = usize::try_from(cell.flows).expect("few");
    before.resize(flows, 0);
    shares.resize(flows, 0);
    for (share, before) in shares.iter_mut().zip(before) {
        *share -= before;
    }
    let (end, seconds) = (*world.link(THERE), (world.now() - began).as_secs_f64());
    Row {
        cell: *cell,
        stack: stack.into(),
        mbit: rate_mbit(shares.iter().sum(), world.now() - began),
        jain: jain(&shares),
        seconds,
        frames: end.frames - start.frames,
        lost: end.lost - start.lost,
        dropped: end.queue_dropped - start.queue_dropped,
        all_frames: end.frames,
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^53
pub fn rate_mbit(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e6 / time.as_secs_f64()
}
