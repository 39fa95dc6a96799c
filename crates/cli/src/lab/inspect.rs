//! What there is of the lab, and what is wrong with it.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::{A, B, End, LabConfig, NAMESPACES, OFFLOADS, Status, ipv6, lossy, output_of};

/// Looks at both ends.
pub(crate) fn status() -> anyhow::Result<Status> {
    let named = |end: End| Path::new(NAMESPACES).join(end.namespace).exists();
    if !named(A) && !named(B) && !lossy::exists() {
        return Ok(Status { up: false, config: None, problems: Vec::new() });
    }
    let mut problems = Vec::new();
    let mut configs = Vec::new();
    for end in [A, B] {
        match inspect_end(end, &mut problems) {
            Ok(config) => configs.push(config),
            Err(error) => problems.push(format!("{}: {error:#}", end.namespace)),
        }
    }
    if let [a, b] = configs[..]
        && a != b
    {
        problems.push("the ends have different mtu or queues".to_owned());
    }
    let mut config = configs.first().copied();
    if lossy::exists() {
        match lossy::inspect(&mut problems) {
            Ok(loss_ppm) => config = config.map(|config| LabConfig { loss_ppm, ..config }),
            Err(error) => problems.push(format!("{}: {error:#}", lossy::NAMESPACE)),
        }
    }
    Ok(Status { up: problems.is_empty(), config, problems })
}

fn inspect_end(end: End, problems: &mut Vec<String>) -> anyhow::Result<LabConfig> {
    let interface = end.interface;
    let shown = output_of("ip", &["-n", end.namespace, "-j", "-d", "address", "show", "dev", interface])?;
    let links: Value = serde_json::from_str(&shown).context("`ip` did not answer in JSON")?;
    let link = &links[0];
    if link["operstate"] != "UP" {
        problems.push(format!("{interface} is not up"));
    }
    let mut expected = vec![(end.ipv4, 24)];
    if ipv6() {
        expected.push((end.ipv6, 64));
    }
    for (address, bits) in expected {
        if !has_address(link, address, bits) {
            problems.push(format!("{interface} lacks {address}/{bits}"));
        }
    }
    let features = output_of("ip", &["netns", "exec", end.namespace, "ethtool", "-k", interface])?;
    for on in offloads_on(&features) {
        problems.push(format!("{interface} has {on} on"));
    }
    let number = |key: &str| {
        let value = link[key].as_u64().and_then(|value| u32::try_from(value).ok());
        value.with_context(|| format!("`ip` shows no {key} of {interface}"))
    };
    let (receive, transmit) = (number("num_rx_queues")?, number("num_tx_queues")?);
    if receive != transmit {
        problems.push(format!("{interface} has {receive} receive and {transmit} transmit queues"));
    }
    Ok(LabConfig { queues: receive, mtu: number("mtu")?, loss_ppm: 0 })
}

fn has_address(link: &Value, address: &str, bits: u64) -> bool {
    let addresses = link["addr_info"].as_array().map_or(&[][..], Vec::as_slice);
    addresses.iter().any(|entry| entry["local"] == address && entry["prefixlen"] == bits)
}

/// Which of the offloads that must be off are on, from what `ethtool -k` prints.
fn offloads_on(features: &str) -> Vec<&'static str> {
    let on = |name: &str| {
        let lines = features.lines();
        let state = lines.filter_map(|line| line.trim().split_once(": "));
        let mut state = state.filter(|(key, _)| *key == name);
        state.next().is_some_and(|(_, state)| state.starts_with("on"))
    };
    let names = OFFLOADS.iter().map(|(_, long)| *long);
    names.filter(|name| on(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_are_read_from_ethtool() {
        let features = "Features for fw-a0:\nrx-checksumming: on\ntx-checksumming: off\n\ttx-checksum-sctp: off\n\
            tcp-segmentation-offload: on\n\ttx-tcp-segmentation: on\ngeneric-segmentation-offload: off [requested on]\n\
            generic-receive-offload: on\n";
        assert_eq!(offloads_on(features), ["tcp-segmentation-offload", "generic-receive-offload"]);
    }

    #[test]
    fn addresses_are_read_from_ip() {
        let link = serde_json::json!({"addr_info": [{"local": "10.77.0.1", "prefixlen": 24}]});
        assert!(has_address(&link, "10.77.0.1", 24));
        assert!(!has_address(&link, "10.77.0.1", 16));
        assert!(!has_address(&serde_json::json!({}), "10.77.0.1", 24));
    }
}
