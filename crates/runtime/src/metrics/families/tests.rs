use super::*;
use crate::handoff::HandoffCounters;
use crate::metrics::Turns;
use stack::{Counters, DropReason, Refusal, ResetCause, Usage};
use std::collections::BTreeSet;
use wire::Malformed;
use xdp::{Fill, PortStats, RingUse};

fn shard() -> ShardMetrics {
    let ring = |used| Fill { used, size: 2048 };
    ShardMetrics {
        counters: Counters::default(),
        usage: Usage::default(),
        port: PortStats::default(),
        rings: Some(RingUse { rx: ring(1), tx: ring(2), fill: ring(3), completion: ring(4) }),
        handoff: HandoffCounters::default(),
        handoff_queue: Some((5, 1024)),
        messages_waiting: 6,
        messages_limit: 4096,
        turns: Turns::default(),
    }
}

fn text(shard: &ShardMetrics, stack: bool, kernel: bool) -> String {
    let mut text = Text::new();
    write_shard("0", shard, stack, kernel, &mut text);
    text.to_string()
}

fn names(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

/// No counter is forgotten, and none that is no drop is told as one.
#[test]
fn every_counter_goes_where_it_belongs() {
    let malformed = Malformed::ALL.iter().map(|reason| reason.name());
    let refused = Refusal::ALL.iter().filter(|(reason, _)| reason.ends_frame()).map(|(_, name)| *name);
    let dropped = DropReason::ALL.iter().map(|reason| reason.name());
    let drops: BTreeSet<_> = malformed.chain(refused).chain(dropped).collect();
    let shard = shard();
    let mut by_reasons = 0;
    for (name, _) in by_name(&shard.counters, &shard.port, &shard.handoff) {
        if of_all(&name).or_else(|| of_kernel(&name)).or_else(|| of_stack(&name)).is_none() {
            let (family, _, value) = by_reason(&name);
            assert!(*family != DROPS || drops.contains(value), "`{name}` has no metric");
            by_reasons += usize::from(*family == DROPS);
        }
    }
    assert_eq!(by_reasons, drops.len());
    let text = text(&shard, true, true);
    for (_, cause) in ResetCause::ALL {
        let cause = cause.strip_prefix("reset_").unwrap();
        assert!(text.contains(&format!("fourwave_resets_sent_total{{shard=\"0\",cause=\"{cause}\"}} 0\n")), "{cause}");
    }
}

#[test]
fn every_family_of_a_shard_has_samples() {
    let text = text(&shard(), true, true);
    let written = names(&text);
    let of_shards = FAMILIES.iter().filter(|family| family.labels.starts_with("shard") && **family != UP);
    assert_eq!(of_shards.map(|family| family.name).collect::<BTreeSet<_>>(), written);
    for family in FAMILIES {
        let labels: Vec<_> = family.labels.split(", ").filter(|label| !label.is_empty()).collect();
        let start = format!("{}{{", family.name);
        for line in text.lines().filter(|line| line.starts_with(&start)) {
            let inside = &line[start.len()..line.rfind('}').unwrap()];
            let has: Vec<_> = inside.split("\",").map(|pair| pair.split_once("=\"").unwrap().0).collect();
            assert_eq!(has, labels, "{line}");
        }
    }
}

/// What there is nothing to tell of is not there, rather than zero.
#[test]
fn over_the_kernels_sockets_there_is_nothing_of_an_interface() {
    let kernel = text(&shard(), false, true);
    for family in [&DROPS, &CONNECTIONS, &RECEIVED_BYTES, &RING, &AGAIN, &POOL, &HANDOFFS] {
        assert!(!names(&kernel).contains(family.name), "{}", family.name);
    }
    for family in [&KERNEL_ACCEPTED, &KERNEL_CONNECTIONS, &LOOP_TIME, &LOOP_TURN, &TIMERS_FIRED, &TABLE] {
        assert!(names(&kernel).contains(family.name), "{}", family.name);
    }
    assert!(!text(&shard(), true, false).contains("fourwave_kernel"));
}

/// prometheus.io/docs/practices/naming.
#[test]
fn names_are_as_prometheus_asks() {
    for (at, family) in FAMILIES.iter().enumerate() {
        let Family { name, kind, help, .. } = *family;
        assert!(FAMILIES[..at].iter().all(|before| before.name != name), "{name} twice");
        assert!(name.starts_with("fourwave_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert!(!help.is_empty() && !help.ends_with('.') && !help.contains(['\n', '\\']), "{name}");
    }
}

#[test]
fn the_manual_has_every_metric() {
    let manual = include_str!("../../../../../docs/METRICS.md");
    let row = |family: &Family| {
        format!("| `{}` | {} | {} | {} |", family.name, family.kind.name(), family.labels, family.help)
    };
    let expected: Vec<_> = FAMILIES.iter().map(row).collect();
    let rows = manual.lines().filter(|line| line.starts_with("| `fourwave_") || line.starts_with("| `process_"));
    let written: Vec<_> = rows.filter(|line| !line.starts_with("| `fourwave_proxy_")).collect();
    assert!(written == expected, "docs/METRICS.md should have these rows:\n{}", expected.join("\n"));
}
