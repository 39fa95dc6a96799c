//! Which connections a client wants to see, or to end: evaluated where they are, so that one of a million is a line.
//!
//! A condition is written behind what it is about, as a pocket calculator's terms are: no recursion, whoever sends it.

use serde::{Deserialize, Serialize};
use stack::State;
use std::net::{IpAddr, SocketAddr};

/// Terms of a condition, at most: the loop evaluates them for each connection of a piece.
pub const MOST_TERMS: usize = 64;

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Ours.
    Local,
    /// The peer's.
    Remote,
}

/// An address and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// 0 to 32, or to 128.
    pub bits: u8,
}

impl Network {
    /// Whether an address lies in it. That of an IPv4 peer written as IPv6 is IPv4.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => same(ours.to_bits().into(), other.to_bits().into(), 32, self.bits),
            (IpAddr::V6(ours), IpAddr::V6(other)) => same(ours.to_bits(), other.to_bits(), 128, self.bits),
            _ => false,
        }
    }
}

/// The first `bits` of numbers of `width` bits are the same.
const fn same(a: u128, b: u128, width: u32, bits: u8) -> bool {
    let rest = width.saturating_sub(bits as u32);
    rest >= width || (a ^ b) >> rest == 0
}

/// One step of a condition: it pushes a truth, or takes one or two and pushes another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Term {
    /// The address is in one of these networks (none: it is any), the port is this one if there is one.
    Host {
        /// Whose.
        side: Side,
        /// Where.
        networks: Vec<Network>,
        /// Which port.
        port: Option<u16>,
        /// IPv4 only, or IPv6 only.
        ipv6: Option<bool>,
    },
    /// The port is at least this one.
    AtLeast(Side, u16),
    /// The port is at most this one.
    AtMost(Side, u16),
    /// The last one is false.
    Not,
    /// Both of the last two are true.
    And,
    /// One of the last two is true.
    Or,
}

/// What is wanted: connections in one of these states, for which the condition is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Their names, as RFC 9293 spells them.
    pub states: Vec<String>,
    /// Empty: any.
    pub condition: Vec<Term>,
}

impl Filter {
    /// Everything but listeners.
    #[must_use]
    pub fn all() -> Self {
        let states = State::ALL.into_iter().filter(|state| *state != State::Listen);
        Self { states: states.map(|state| state.name().into()).collect(), condition: Vec::new() }
    }

    /// Ready to be used; `None` if it is none, or has more than [`MOST_TERMS`].
    #[must_use]
    pub fn check(&self) -> Option<Checked> {
        let mut truths = 0u32;
        for term in &self.condition {
            let takes = match term {
                Term::Host { .. } | Term::AtLeast(..) | Term::AtMost(..) => 0,
                Term::Not => 1,
                Term::And | Term::Or => 2,
            };
            truths = truths.checked_sub(takes)? + 1;
        }
        if self.condition.len() > MOST_TERMS || truths > 1 {
            return None;
        }
        let mut states = [false; State::ALL.len()];
        for name in &self.states {
            let state = State::ALL.into_iter().find(|state| state.name() == name)?;
            states[state as usize] = true;
        }
        Some(Checked { states, condition: self.condition.clone() })
    }
}

/// A filter that can be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    states: [bool; State::ALL.len()],
    condition: Vec<Term>,
}

impl Checked {
    /// Whether a connection between these ends, ours first, in this state is wanted.
    #[must_use]
    pub fn wants(&self, local: SocketAddr, remote: SocketAddr, state: State) -> bool {
        self.states[state as usize] && self.holds(local, remote)
    }

    /// Whether any connection in this state is wanted.
    #[must_use]
    pub fn wants_any(&self, state: State) -> bool {
        self.states[state as usize] && self.condition.is_empty()
    }

    fn holds(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let of = |side: Side| if side == Side::Local { local } else { remote };
        // The last truth is the lowest bit; there are no more than terms.
        let mut truths = 1u64;
        for term in &self.condition {
            let (a, b) = (truths & 1, truths >> 1 & 1);
            truths = match term {
                Term::Host { side, networks, port, ipv6 } => {
                    let end = of(*side);
                    let here = networks.is_empty() || networks.iter().any(|network| network.has(end.ip()));
                    let family = ipv6.is_none_or(|ipv6| ipv6 == end.is_ipv6());
                    push(truths, here && family && port.is_none_or(|port| port == end.port()))
                }
                Term::AtLeast(side, port) => push(truths, of(*side).port() >= *port),
                Term::AtMost(side, port) => push(truths, of(*side).port() <= *port),
                Term::Not => truths ^ 1,
                Term::And => truths >> 2 << 1 | (a & b),
                Term::Or => truths >> 2 << 1 | (a | b),
            };
        }
        truths & 1 == 1
    }
}

const fn push(truths: u64, truth: bool) -> u64 {
    truths << 1 | truth as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(side: Side, port: u16) -> Term {
        Term::Host { side, networks: Vec::new(), port: Some(port), ipv6: None }
    }

    fn wants(condition: Vec<Term>, local: &str, remote: &str) -> bool {
        let filter = Filter { condition, ..Filter::all() };
        filter.check().unwrap().wants(local.parse().unwrap(), remote.parse().unwrap(), State::Established)
    }

    #[test]
    fn terms_are_evaluated_in_their_order() {
        let terms = |port_of_peer: &str| {
            let condition = vec![
                port(Side::Local, 80),
                Term::AtLeast(Side::Remote, 10),
                Term::AtMost(Side::Remote, 20),
                Term::And,
                Term::Not,
                Term::And,
            ];
            wants(condition, "10.0.0.1:80", port_of_peer)
        };
        assert_eq!(["10.0.0.2:9", "10.0.0.2:10", "10.0.0.2:20", "10.0.0.2:21"].map(terms), [true, false, false, true]);
        assert!(wants(vec![port(Side::Local, 1), port(Side::Remote, 2), Term::Or], "10.0.0.1:80", "10.0.0.2:2"));
        assert!(wants(Vec::new(), "10.0.0.1:80", "10.0.0.2:2"));
    }

    #[test]
    fn networks_are_compared_by_their_bits_and_family() {
        let within = |network: &str, bits, address: &str| {
            Network { address: network.parse().unwrap(), bits }.has(address.parse().unwrap())
        };
        assert!(within("10.1.0.0", 16, "10.1.255.255") && !within("10.1.0.0", 16, "10.2.0.0"));
        assert!(within("10.1.0.0", 0, "192.0.2.1") && !within("10.1.0.0", 0, "::1"));
        assert!(within("10.1.2.3", 32, "10.1.2.3") && !within("10.1.2.3", 32, "10.1.2.2"));
        assert!(within("fd77::", 16, "fd77:1::1") && within("::", 0, "fd77::1") && !within("fd77::1", 128, "fd77::2"));
        assert!(within("10.1.0.0", 16, "::ffff:10.1.2.3"), "as ss has it");
        let six = Term::Host { side: Side::Remote, networks: Vec::new(), port: None, ipv6: Some(true) };
        assert!(wants(vec![six.clone()], "[::1]:1", "[::1]:2") && !wants(vec![six], "10.0.0.1:1", "10.0.0.1:2"));
    }

    /// Whatever a client sends, nothing is evaluated that has no value.
    #[test]
    fn what_is_no_condition_is_refused() {
        let check = |condition: Vec<Term>| Filter { condition, ..Filter::all() }.check().is_some();
        assert!(!check(vec![Term::Not]) && !check(vec![port(Side::Local, 1), Term::And]));
        assert!(!check(vec![port(Side::Local, 1), port(Side::Local, 2)]), "two truths are left");
        let most = |n: usize| vec![port(Side::Local, 1)].into_iter().chain(vec![Term::Not; n]).collect();
        assert!(check(most(MOST_TERMS - 1)) && !check(most(MOST_TERMS)));
        assert!(Filter { states: vec!["established".into()], condition: Vec::new() }.check().is_none());
    }

    #[test]
    fn states_are_chosen_by_name() {
        let filter = Filter { states: vec!["TIME-WAIT".into()], condition: Vec::new() }.check().unwrap();
        let (local, remote) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        let chosen: Vec<_> = State::ALL.into_iter().filter(|state| filter.wants(local, remote, *state)).collect();
        assert_eq!(chosen, [State::TimeWait]);
        assert!(!Filter::all().check().unwrap().wants(local, remote, State::Listen));
    }

    /// Sixty-four truths on top of each other do not push one another out.
    #[test]
    fn the_deepest_condition() {
        let half = MOST_TERMS / 2;
        let mut condition = vec![port(Side::Local, 80); half];
        condition.extend(vec![Term::And; half - 1]);
        assert!(wants(condition.clone(), "10.0.0.1:80", "10.0.0.2:2"));
        condition[0] = port(Side::Local, 81);
        assert!(!wants(condition, "10.0.0.1:80", "10.0.0.2:2"));
    }
}
