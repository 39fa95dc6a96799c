//! Counters of several shards, added up.

use crate::control::Count;
use crate::handoff::HandoffCounters;
use crate::worker::Finished;
use stack::Counters;
use xdp::PortStats;

/// What the shards of a stack counted until their end, by the names of `fourwave ss --counters`: sums, with each shard's part
/// if there are several.
#[must_use]
pub fn totals<A>(shards: &[Finished<A>]) -> Vec<Count> {
    sums(shards.iter().map(|shard| by_name(&shard.counters, &shard.port, &shard.handoff)).collect())
}

/// One shard's counters: the same names in the same order for all.
pub(crate) fn by_name(shard: &Counters, port: &PortStats, handoff: &HandoffCounters) -> Vec<(String, u64)> {
    let mut all: Vec<_> = shard.iter().chain(handoff.iter()).map(|(name, value)| (name.into(), value)).collect();
    if let Ok(serde_json::Value::Object(port)) = serde_json::to_value(port) {
        all.extend(port.iter().map(|(name, value)| (format!("port_{name}"), value.as_u64().unwrap_or(0))));
    }
    all
}

/// The shards' counters added up.
pub(crate) fn sums(each: Vec<Vec<(String, u64)>>) -> Vec<Count> {
    let mut each = each.into_iter();
    let first = each.next().unwrap_or_default().into_iter();
    let mut counts: Vec<_> = first.map(|(name, value)| Count { name, value, shards: vec![value] }).collect();
    for shard in each {
        for (count, (_, value)) in counts.iter_mut().zip(shard) {
            count.value = count.value.saturating_add(value);
            count.shards.push(value);
        }
    }
    // Of one shard the value says it all.
    counts.iter_mut().filter(|count| count.shards.len() == 1).for_each(|count| count.shards.clear());
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_added_up_over_the_shards() {
        let shard = |opened, port| vec![("opened".to_owned(), opened), ("port_rx_frames".to_owned(), port)];
        let count = |name: &str, value, shards: &[u64]| Count { name: name.into(), value, shards: shards.to_vec() };
        let sum = sums(vec![shard(1, 10), shard(2, 20), shard(4, u64::MAX)]);
        let ports = [10, 20, u64::MAX];
        assert_eq!(sum, [count("opened", 7, &[1, 2, 4]), count("port_rx_frames", u64::MAX, &ports)]);
        assert_eq!(sums(vec![shard(1, 10)]), [count("opened", 1, &[]), count("port_rx_frames", 10, &[])]);
    }

    #[test]
    fn every_layer_is_there() {
        let handoff = HandoffCounters { full: 3, ..HandoffCounters::default() };
        let shard = |app| Finished { app, counters: Counters::default(), port: PortStats::default(), handoff };
        let all = totals(&[shard(()), shard(())]);
        let value = |name: &str| all.iter().find(|count| count.name == name).map(|count| count.value);
        assert_eq!([value("frames_in"), value("handoff_full"), value("port_kicks")], [Some(0), Some(6), Some(0)]);
    }
}
