//! What is measured, of whom, and in which order.

use clap::ValueEnum;

use super::installed::Installed;
use super::overload::{Load, Offer};
use super::peers::Peer;
use super::proxy::{self, Between};
use super::{Config, strings};

/// What can be chosen with `--only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Round-trip times of a ping-pong
    Rtt,
    /// Requests per second, over 64 kept connections
    Rps,
    /// Connections per second, each with one request
    Cps,
    /// Bytes per second over one connection, at an MTU of 1500 and of 9000
    Bulk,
    /// nginx, wrk, sockperf and iperf3, over the kernel and against fourwave, as far as they are installed
    Peers,
    /// `fourwave proxy` beside HAProxy: requests, connections, added latency
    Proxy,
    /// Requests, and connections, offered up to 1.5 times as fast as fourwave can take them
    Overload,
}

impl Part {
    pub(crate) const ALL: [Self; 7] =
        [Self::Rtt, Self::Rps, Self::Cps, Self::Bulk, Self::Peers, Self::Proxy, Self::Overload];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rtt => "rtt",
            Self::Rps => "rps",
            Self::Cps => "cps",
            Self::Bulk => "bulk",
            Self::Peers => "peers",
            Self::Proxy => "proxy",
            Self::Overload => "overload",
        }
    }
}

/// One of the stacks compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Point {
    /// Bare frames over AF_XDP: the floor
    Raw,
    /// TCP of fourwave on both sides
    Fourwave,
    /// TCP of the kernel on both sides, sleeping in epoll
    KernelEpoll,
    /// TCP of the kernel on both sides, reading in a busy loop
    KernelSpin,
}

impl Point {
    pub(crate) const ALL: [Self; 4] = [Self::Raw, Self::Fourwave, Self::KernelSpin, Self::KernelEpoll];

    /// Its key in the JSON document.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Fourwave => "fourwave",
            Self::KernelEpoll => "kernel_epoll",
            Self::KernelSpin => "kernel_spin",
        }
    }

    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Raw => "raw AF_XDP frames",
            Self::Fourwave => "fourwave",
            Self::KernelEpoll => "kernel, epoll",
            Self::KernelSpin => "kernel, spinning",
        }
    }

    /// The flags that choose it, on an interface and a core.
    pub(super) fn flags(self, interface: &str, core: usize) -> Vec<String> {
        let core = core.to_string();
        let flags = match self {
            Self::Raw => ["--stack", "raw", "--idle", "busy", "--interface", interface, "--cores", &core],
            Self::Fourwave => ["--stack", "fourwave", "--idle", "busy", "--interface", interface, "--cores", &core],
            Self::KernelEpoll => return strings(&["--stack", "kernel", "--kernel-wait", "epoll", "--cores", &core]),
            Self::KernelSpin => return strings(&["--stack", "kernel", "--kernel-wait", "spin", "--cores", &core]),
        };
        strings(&flags)
    }
}

/// What is measured of every stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Test {
    Rtt,
    Rps,
    Cps,
    Bulk,
    BulkJumbo,
}

impl Test {
    pub(super) const ALL: [Self; 5] = [Self::Rtt, Self::Rps, Self::Cps, Self::Bulk, Self::BulkJumbo];

    /// Its key in the JSON document.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Rtt => "rtt",
            Self::Rps => "rps",
            Self::Cps => "cps",
            Self::Bulk => "bulk",
            Self::BulkJumbo => "bulk_jumbo",
        }
    }

    fn of(part: Part) -> &'static [Self] {
        match part {
            Part::Rtt => &[Self::Rtt],
            Part::Rps => &[Self::Rps],
            Part::Cps => &[Self::Cps],
            Part::Bulk => &[Self::Bulk, Self::BulkJumbo],
            Part::Peers | Part::Proxy | Part::Overload => &[],
        }
    }
}

/// What is measured of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    Stack(Test, Point),
    Peer(Peer),
    Proxy(Between, proxy::Test),
    Overload(Load, Offer),
}

impl Task {
    /// The measurement and whose it is, as the document names them.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Stack(test, point) => (test.key(), point.name()),
            Self::Peer(peer) => (peer.test(), peer.key()),
            Self::Proxy(between, test) => (test.key(), between.key()),
            Self::Overload(load, offer) => (load.name(), offer.name()),
        }
    }

    pub(super) fn title(self) -> String {
        match self {
            Self::Stack(test, point) => format!("{}, {}", test.key(), point.title()),
            Self::Peer(peer) => format!("{}, {}", peer.test(), peer.title()),
            Self::Proxy(between, test) => format!("{}, {}", test.key(), between.key()),
            Self::Overload(load, offer) => format!("{}, {}", load.name(), offer.name()),
        }
    }

    /// Of the pair, in bytes.
    pub(super) const fn mtu(self) -> u32 {
        match self {
            Self::Stack(Test::BulkJumbo, _) => 9000,
            _ => 1500,
        }
    }
}

/// What takes turns with one another, in the order of a first round.
pub(super) fn groups(config: &Config, installed: &Installed) -> Vec<Vec<Task>> {
    let tests = config.parts.iter().flat_map(|part| Test::of(*part)).copied();
    let shared = config.parts.contains(&Part::Rps);
    let of_test = |test| {
        let points = config.points.iter().copied();
        // The rate of frames there and back is the same for both.
        let points = points.filter(move |point| !(shared && test == Test::Cps && *point == Point::Raw));
        points.map(|point| Task::Stack(test, point)).collect::<Vec<_>>()
    };
    let mut groups: Vec<_> = tests.map(of_test).collect();
    if config.parts.contains(&Part::Peers) {
        // Those of one measurement are neighbours, and that is what takes turns.
        for test in ["rtt", "rps", "bulk"] {
            let peers = Peer::ALL.into_iter().filter(|peer| peer.test() == test && installed.has_all(peer.needs()));
            groups.push(peers.map(Task::Peer).collect());
        }
    }
    if config.parts.contains(&Part::Proxy) {
        groups.push(proxy::tasks(installed.haproxy.is_some()));
    }
    if config.parts.contains(&Part::Overload) {
        groups.extend(Load::ALL.map(|load| Offer::ALL.map(|offer| Task::Overload(load, offer)).to_vec()));
    }
    groups
}

/// A group as its turn comes in a round: from another one on in each, and backwards once all were the first.
pub(super) fn in_turn(group: &[Task], round: usize) -> Vec<Task> {
    let mut turn = group.to_vec();
    // What is offered depends on the most, which comes first.
    if matches!(turn[..], [] | [Task::Overload(..), ..]) {
        return turn;
    }
    turn.rotate_left(round % group.len());
    if (round / group.len()) % 2 == 1 {
        turn.reverse();
    }
    turn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_is_first_once_and_has_other_neighbours_then() {
        let group: Vec<_> = Point::ALL.map(|point| Task::Stack(Test::Rtt, point)).to_vec();
        let first = |round| in_turn(&group, round)[0];
        let mut firsts: Vec<_> = (0..4).map(first).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 4);
        let before = |round: usize, task| {
            let turn = in_turn(&group, round);
            let at = turn.iter().position(|other| *other == task).unwrap();
            turn[(at + 3) % 4]
        };
        assert_ne!(before(0, group[1]), before(4, group[1]));
    }
}
