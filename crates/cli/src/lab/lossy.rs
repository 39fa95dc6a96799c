//! A path that loses frames, by chance and as many each way: a namespace between the ends with a bridge, whose two ports drop some
//! of what comes in. That is done where the kernel takes packets in (a classic BPF classifier of `tc`), so frames of AF_XDP and
//! of the kernel's sockets fare alike. A bridge, since generic XDP passes over what `tc` itself has redirected.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::{A, B, End, LabConfig, NAMESPACES, OFFLOADS, output_of, run_quietly};

pub(super) const NAMESPACE: &str = "fw-m";
/// The interfaces there, towards [`A`] and [`B`].
const GATES: [(&str, End); 2] = [("fw-ma", A), ("fw-mb", B)];

const BRIDGE: &str = "fw-m0";

/// Of a million frames.
const MILLION: u32 = 1_000_000;

/// Random numbers below this are lost frames.
fn threshold(ppm: u32) -> u32 {
    u32::try_from((u64::from(ppm) << 32) / u64::from(MILLION)).unwrap_or(u32::MAX)
}

fn ppm(threshold: u64) -> Option<u32> {
    u32::try_from((threshold * u64::from(MILLION)).div_ceil(1 << 32)).ok()
}

/// A classic BPF program: it loads a random number (the ancillary word 56 at -0x1000), and says "go on" (-1) or "drop" (2).
fn loses(ppm: u32) -> String {
    format!("4,32 0 0 {},53 0 1 {},6 0 0 4294967295,6 0 0 2", 0xffff_f000_u32 + 56, threshold(ppm))
}

pub(super) fn exists() -> bool {
    Path::new(NAMESPACES).join(NAMESPACE).exists()
}

/// The links from both ends to the middle, and what is done there.
pub(super) fn build(config: LabConfig) -> anyhow::Result<()> {
    run_quietly("ip", &["netns", "add", NAMESPACE])?;
    // Nothing is ever sent from here, and nothing is looked at by iptables.
    let silent = "cd /proc/sys/net; for off in bridge/bridge-nf-call-iptables bridge/bridge-nf-call-ip6tables \
        bridge/bridge-nf-call-arptables; do [ ! -e $off ] || echo 0 > $off; done; \
        [ ! -e ipv6 ] || echo 1 > ipv6/conf/default/disable_ipv6";
    run_quietly("ip", &["netns", "exec", NAMESPACE, "sh", "-c", silent])?;
    let bridge = ["link", "add", "name", BRIDGE, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"];
    run_quietly("ip", &[&["-n", NAMESPACE], &bridge[..]].concat())?;
    run_quietly("ip", &["-n", NAMESPACE, "link", "set", "dev", BRIDGE, "up"])?;
    let (queues, mtu) = (config.queues.to_string(), config.mtu.to_string());
    let sizes = ["mtu", &mtu, "numtxqueues", &queues, "numrxqueues", &queues];
    for (gate, end) in GATES {
        let mut link = vec!["link", "add", "name", end.interface, "netns", end.namespace];
        link.extend(sizes);
        link.extend(["type", "veth", "peer", "name", gate, "netns", NAMESPACE]);
        link.extend(sizes);
        run_quietly("ip", &link)?;
        let mut ethtool = vec!["netns", "exec", NAMESPACE, "ethtool", "-K", gate];
        OFFLOADS.iter().for_each(|(short, _)| ethtool.extend([short, "off"]));
        run_quietly("ip", &ethtool)?;
        run_quietly("tc", &["-n", NAMESPACE, "qdisc", "add", "dev", gate, "clsact"])?;
        let program = loses(config.loss_ppm);
        let mut filter = vec!["-n", NAMESPACE, "filter", "add", "dev", gate, "ingress", "prio", "1", "protocol", "all"];
        filter.extend(["bpf", "direct-action", "bytecode", &program]);
        run_quietly("tc", &filter)?;
        run_quietly("ip", &["-n", NAMESPACE, "link", "set", "dev", gate, "master", BRIDGE, "up"])?;
    }
    Ok(())
}

/// How many of a million frames are lost each way, from what is there.
pub(super) fn inspect(problems: &mut Vec<String>) -> anyhow::Result<u32> {
    let mut found = Vec::new();
    for (gate, _) in GATES {
        let shown = output_of("tc", &["-n", NAMESPACE, "-j", "filter", "show", "dev", gate, "ingress"])?;
        let filters: Value = serde_json::from_str(&shown).context("`tc` did not answer in JSON")?;
        match loss(&filters) {
            Some(ppm) => found.push(ppm),
            None => problems.push(format!("{gate} loses nothing")),
        }
        let shown = output_of("ip", &["-n", NAMESPACE, "-j", "link", "show", "dev", gate])?;
        let links: Value = serde_json::from_str(&shown).context("`ip` did not answer in JSON")?;
        if links[0]["master"] != BRIDGE {
            problems.push(format!("{gate} is no port of {BRIDGE}"));
        }
    }
    if found.first() != found.last() {
        problems.push("the two ways lose differently".to_owned());
    }
    Ok(found.first().copied().unwrap_or_default())
}

/// From what `tc -j filter show` prints.
fn loss(filters: &Value) -> Option<u32> {
    let program = filters.as_array()?.iter().find_map(|filter| filter["options"]["bytecode"]["insns"].as_array())?;
    ppm(program.get(1)?["k"].as_u64()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2^32 / 100 is 42,949,672.96.
    #[test]
    fn one_of_a_hundred_is_a_hundredth_of_all_numbers() {
        assert_eq!(loses(10_000), "4,32 0 0 4294963256,53 0 1 42949672,6 0 0 4294967295,6 0 0 2");
        for lost in [1, 10, 10_000, 123_456, 500_000] {
            assert_eq!(ppm(threshold(lost).into()), Some(lost));
        }
    }

    #[test]
    fn what_tc_shows_is_read() {
        let options = serde_json::json!({"bytecode": {"insns": [{"k": 1}, {"k": 42_949_672}]}});
        let filters = serde_json::json!([{"pref": 1, "kind": "bpf"}, {"pref": 1, "options": options}]);
        assert_eq!(loss(&filters), Some(10_000));
        assert_eq!(loss(&serde_json::json!([{"pref": 1, "kind": "bpf"}])), None);
        assert_eq!(loss(&serde_json::json!([])), None);
    }
}
