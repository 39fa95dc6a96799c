//! What happened to connections, put together from the records of a shard, and in words.

use crate::{causes::ResetCause, flow::FlowKey};
use alloc::{collections::BTreeMap, vec::Vec};
use core::net::{IpAddr, SocketAddr};
use tcp::{
    DropReason, Error, IcmpError, State,
    recorder::{CALLS, KINDS, OPENED, PHASES, Record, WAITS, What},
};
use wire::SeqNum;

/// Parts of a key in records: all of IPv4's, or IPv6's addresses and ports.
const V4: u8 = 0;
const LOCAL: u8 = 1;
const REMOTE: u8 = 2;
const PORTS: u8 = 3;

/// A connection that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// Its ISS, which names it in records.
    pub who: SeqNum,
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// The state it is in.
    pub state: State,
}

/// What is still known of what happened to one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Our address and port, and the peer's; `None` if the record that said so was overwritten.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    /// The state it is in, or, of one that is gone, was in last: CLOSED or TIME-WAIT.
    pub state: State,
    /// Nothing of it is left but this, and maybe a TIME-WAIT record.
    pub gone: bool,
    /// In the order in which it happened.
    pub records: Vec<Record>,
}

/// The connections that records are of, in the order of the latest thing that happened to each; `alive` are those that are there.
#[must_use]
pub fn traces(records: &[Record], alive: &[Named]) -> Vec<Trace> {
    let mut all: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
    for record in records {
        all.entry(record.who.value()).or_default().push(*record);
    }
    let alive: BTreeMap<u32, &Named> = alive.iter().map(|named| (named.who.value(), named)).collect();
    let mut traces: Vec<_> = all.into_iter().map(|(who, of)| trace(of, alive.get(&who).copied())).collect();
    traces.sort_by_key(|trace| trace.records.last().map(|record| record.at));
    traces
}

fn trace(records: Vec<Record>, alive: Option<&Named>) -> Trace {
    let is_key = |record: &Record| matches!(record.what, What::Gone | What::GoneUnusual);
    let (keys, mut records): (Vec<_>, Vec<_>) = records.into_iter().partition(is_key);
    // Of each ring they are in order.
    records.sort_by_key(|record| record.at);
    // The first part of the key says when.
    records.extend(keys.iter().find(|record| matches!(record.detail, V4 | LOCAL)));
    let last = records.iter().rev().find_map(|record| match record.what {
        What::State => State::ALL.get(usize::from(record.detail)).copied(),
        _ => None,
    });
    match alive {
        Some(named) => Trace { ends: Some((named.local, named.remote)), state: named.state, gone: false, records },
        None => {
            let state = last.filter(|state| *state == State::TimeWait).unwrap_or(State::Closed);
            Trace { ends: key(&keys).map(|key| (key.local(), key.remote())), state, gone: true, records }
        }
    }
}

/// The records that say which connection it was.
#[allow(clippy::cast_possible_truncation)] // words
pub(crate) fn key_records(key: &FlowKey) -> impl Iterator<Item = (u8, [u32; 4])> {
    let (local, remote) = key.addresses();
    let (ours, theirs) = key.ports();
    let ports = u32::from(ours) << 16 | u32::from(theirs);
    let words = |ip: u128| [96, 64, 32, 0].map(|shift| (ip >> shift) as u32);
    let records = match (local, remote) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            [Some((V4, [local.to_bits(), remote.to_bits(), ports, 0])), None, None]
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => [
            Some((LOCAL, words(local.to_bits()))),
            Some((REMOTE, words(remote.to_bits()))),
            Some((PORTS, [ports, 0, 0, 0])),
        ],
        _ => [None; 3],
    };
    records.into_iter().flatten()
}

#[allow(clippy::cast_possible_truncation)] // halves
fn key(records: &[Record]) -> Option<FlowKey> {
    let part = |part| records.iter().find(|record| record.detail == part).map(|record| record.numbers);
    let ports = |ports: u32| ((ports >> 16) as u16, ports as u16);
    if let Some([local, remote, both, _]) = part(V4) {
        let (ours, theirs) = ports(both);
        let ip = |bits: u32| IpAddr::V4(bits.into());
        return Some(FlowKey::of(ip(local), ours, ip(remote), theirs));
    }
    let ip = |words: [u32; 4]| IpAddr::V6(words.iter().fold(0, |ip, word| ip << 32 | u128::from(*word)).into());
    let (local, remote, [both, ..]) = (ip(part(LOCAL)?), ip(part(REMOTE)?), part(PORTS)?);
    let (ours, theirs) = ports(both);
    Some(FlowKey::of(local, ours, remote, theirs))
}

/// Of which kind a record is, in words; `None`: there is one kind only.
#[must_use]
pub fn detail(record: &Record) -> Option<&'static str> {
    let at = usize::from(record.detail);
    let word = match record.what {
        What::Opened => OPENED.get(at).copied(),
        What::State => State::ALL.get(at).map(|state| state.name()),
        What::Called => CALLS.get(at).copied(),
        What::Ended => match at.checked_sub(1) {
            None => Some("in order"),
            Some(at) => Error::ALL.get(at).map(|error| error.name()),
        },
        What::Retransmitted => KINDS.get(at).copied(),
        What::Phase => PHASES.get(at).copied(),
        What::ResetSent => ResetCause::ALL.get(at).map(|(_, name)| name.trim_start_matches("reset_")),
        What::Dropped => DropReason::ALL.get(at).map(|reason| reason.name()),
        What::Icmp => IcmpError::ALL.get(at).map(|(_, name)| *name),
        What::Waits => WAITS.get(at).copied(),
        _ => return None,
    };
    Some(word.unwrap_or("unknown"))
}

/// The numbers of a record, each with its name.
pub fn numbers(record: &Record) -> impl Iterator<Item = (&'static str, u32)> + use<> {
    record.what.numbers().iter().copied().zip(record.numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tcp::Profile;
    use wheel::Instant;

    #[test]
    fn a_key_is_in_its_records() {
        for (local, remote) in [("10.77.0.1:7", "192.0.2.255:65535"), ("[fd77::1]:7", "[2001:db8:ffff::9:1]:60001")] {
            let whole = FlowKey::new(local.parse().expect("an end"), remote.parse().expect("an end"));
            let record = |(detail, numbers)| Record {
                at: Instant::ZERO,
                who: SeqNum::new(1),
                what: What::Gone,
                detail,
                times: 1,
                numbers,
            };
            let mut records: Vec<_> = key_records(&whole).map(record).collect();
            assert_eq!(key(&records), Some(whole));
            // A part of it that was overwritten is not guessed.
            records.remove(0);
            assert_eq!(key(&records), None);
        }
    }

    #[test]
    fn details_have_words_for_all_there_are() {
        let word = |what, detail| {
            let (at, who) = (Instant::ZERO, SeqNum::new(1));
            super::detail(&Record { at, who, what, detail, times: 1, numbers: [0; 4] })
        };
        assert_eq!(word(What::Called, 5 + Profile::Throughput as u8), Some("profile throughput"));
        assert_eq!(word(What::Called, 5 + Profile::Latency as u8), Some("profile latency"));
        assert_eq!(word(What::ResetSent, ResetCause::NobodyReads as u8), Some("nobody_reads"));
        assert_eq!(word(What::Ended, 0), Some("in order"));
        assert!((1..=8).all(|n| word(What::Ended, n).is_some_and(|word| word != "unknown")));
        assert!(IcmpError::ALL.iter().enumerate().all(|(n, (error, _))| *error as usize == n));
        assert_eq!((word(What::State, 4), word(What::State, 99)), (Some("ESTABLISHED"), Some("unknown")));
        assert_eq!(word(What::Keepalive, 0), None);
    }
}
