//! What was lost on this side of a measurement: it is in the times of what had to be sent again, and no fault of the server's.

use std::collections::BTreeMap;

use fourwave::control::Count;

/// Counters of the stack (`fourwave ss --counters`) that count frames, or data of them, that were dropped here for want of time, of
/// room or of memory. What only waits is not among them: a full transmit ring, a frame that comes free later.
const LOST: [&str; 16] = [
    // The kernel's, of the AF_XDP sockets.
    "port_kernel_rx_ring_full",
    "port_kernel_fill_ring_empty",
    "port_kernel_rx_dropped",
    "port_kernel_rx_invalid_descs",
    "port_kernel_tx_invalid_descs",
    // The stack's.
    "port_rx_bad_descriptors",
    "port_rx_gather_failed",
    "port_tx_bad_length",
    "handoff_full",
    "replies_full",
    "neighbours_full",
    "pool_full",
    "tcp_no_memory",
    "memory_pruned",
    "memory_out_of_order_refused",
    "memory_pieces_refused",
];

/// The kernel's counters of a network namespace that count segments dropped for the same reasons, in the line `TcpExt` of
/// `/proc/net/netstat`.
const KERNELS: [&str; 6] = ["TCPBacklogDrop", "TCPRcvQDrop", "PFMemallocDrop", "RcvPruned", "OfoPruned", "TCPOFODrop"];

/// What was dropped, by its reason; nothing that is zero.
pub(crate) type Drops = BTreeMap<String, u64>;

/// Of a stack that has ended, from what its shards counted ([`fourwave::totals`]).
pub(super) fn of_stack(counts: &[Count]) -> Drops {
    let lost = |count: &&Count| count.value > 0 && LOST.contains(&count.name.as_str());
    counts.iter().filter(lost).map(|count| (count.name.clone(), count.value)).collect()
}

/// The kernel's counters now, of this namespace.
pub(super) fn kernels_now() -> Drops {
    kernels(&std::fs::read_to_string("/proc/self/net/netstat").unwrap_or_default())
}

/// A line of names, and one of values in the same order.
fn kernels(netstat: &str) -> Drops {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let known = names.split(' ').zip(values.split(' ')).filter(|(name, _)| KERNELS.contains(name));
    known.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// What came since `before`.
pub(super) fn since(before: &Drops, now: Drops) -> Drops {
    let more = |(name, value): (String, u64)| {
        let value = value.saturating_sub(before.get(&name).copied().unwrap_or_default());
        (value > 0).then_some((name, value))
    };
    now.into_iter().filter_map(more).collect()
}

/// A sentence if there is anything.
pub(super) fn complaint(drops: &Drops) -> Option<String> {
    let each: Vec<_> = drops.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let sentence = format!(
        "frames were dropped on this side ({}), and what the other end sent again because of it counts against it; give the \
         generator a core that nobody else uses (--cores, --idle busy), or less to do",
        each.join(", ")
    );
    (!each.is_empty()).then_some(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fourwave::{Counters, Finished, HandoffCounters, PortStats, totals};

    /// A counter that is renamed would be missed for ever.
    #[test]
    fn every_counter_of_the_list_is_one_of_the_stacks() {
        let (port, handoff) = (PortStats::default(), HandoffCounters::default());
        let all = totals(&[Finished { app: (), counters: Counters::default(), port, handoff }]);
        for name in LOST {
            assert!(all.iter().any(|count| count.name == name), "{name}");
        }
        assert!(of_stack(&all).is_empty(), "nothing that is zero");
    }

    #[test]
    fn what_was_lost_is_told_by_its_name_and_what_waits_is_not() {
        let count = |name: &str, value| Count { name: name.into(), value, shards: Vec::new() };
        let counts = [
            count("frames_in", 900),
            count("port_kernel_rx_ring_full", 12),
            count("port_tx_ring_full", 7),
            count("handoff_full", 0),
            count("pool_full", 3),
        ];
        let drops = of_stack(&counts);
        assert_eq!(drops, Drops::from([("port_kernel_rx_ring_full".into(), 12), ("pool_full".into(), 3)]));
        let said = complaint(&drops).unwrap();
        assert!(said.contains("(pool_full 3, port_kernel_rx_ring_full 12)"), "{said}");
        assert_eq!(complaint(&Drops::new()), None);
    }

    #[test]
    fn of_the_kernels_counters_only_the_difference_counts() {
        let table = |pruned, backlog| {
            kernels(&format!(
                "TcpExt: SyncookiesSent RcvPruned TCPBacklogDrop\nTcpExt: 5 {pruned} {backlog}\n\
                 IpExt: InNoRoutes RcvPruned\nIpExt: 9 9\n"
            ))
        };
        assert_eq!(table(1, 2), Drops::from([("RcvPruned".into(), 1), ("TCPBacklogDrop".into(), 2)]));
        assert_eq!(since(&table(1, 2), table(1, 7)), Drops::from([("TCPBacklogDrop".into(), 5)]));
        assert!(kernels("").is_empty());
    }
}
