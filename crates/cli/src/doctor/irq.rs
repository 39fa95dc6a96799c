//! Where the interrupts of an interface's queues are served, and where its memory is near.

use super::files::Files;
use super::item::{Item, list, numbers};

/// An interrupt of the interface's device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interrupt {
    number: u32,
    name: String,
    /// The cores that serve it.
    cores: Vec<usize>,
}

/// Whether the queues' interrupts leave the workers alone.
pub(crate) fn affinity(files: &Files, folder: Option<&str>, interface: &str, cores: &[usize]) -> Item {
    let interrupts = interrupts(files, folder, interface);
    let uses = "the kernel's part of receiving, where the interrupt is";
    if interrupts.is_empty() {
        return Item::new(
            "irq-affinity",
            "no interrupts of its own",
            "the kernel's part of receiving, where the sender is",
        );
    }
    let show =
        |interrupt: &Interrupt| format!("{} ({}) on {}", interrupt.number, interrupt.name, text(&interrupt.cores));
    let mut found = interrupts.iter().map(show).collect::<Vec<_>>().join(", ");
    let balanced = files.names("proc").iter().any(|pid| {
        pid.bytes().all(|byte| byte.is_ascii_digit())
            && files.read(format!("proc/{pid}/comm")).is_some_and(|name| name == "irqbalance")
    });
    if balanced {
        found += "; irqbalance moves them";
        return Item::new("irq-affinity", found, uses).better("systemctl stop irqbalance, and pin them");
    }
    let meets = |interrupt: &&Interrupt| interrupt.cores.iter().any(|core| cores.contains(core));
    let Some(first) = interrupts.iter().find(meets) else { return Item::new("irq-affinity", found, uses) };
    let online = numbers(&files.read("sys/devices/system/cpu/online").unwrap_or_default());
    match online.iter().find(|core| !cores.contains(core)) {
        Some(other) => Item::new("irq-affinity", found, uses).better(format!(
            "echo {other} > /proc/irq/{}/smp_affinity_list: a spinning worker has that core",
            first.number
        )),
        None => Item::new("irq-affinity", found, uses).better("leave a core to the interrupts: --cores without it"),
    }
}

fn text(cores: &[usize]) -> String {
    format!("core {}", list(&cores.iter().map(|core| *core as u64).collect::<Vec<_>>()))
}

/// Those that serve receive queues, as far as their names tell.
fn interrupts(files: &Files, folder: Option<&str>, interface: &str) -> Vec<Interrupt> {
    let Some(folder) = folder else { return Vec::new() };
    let device = files.link(format!("{folder}/device"));
    let of_device = files.names(format!("{folder}/device/msi_irqs"));
    let table = files.read("proc/interrupts").unwrap_or_default();
    let line = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        let number: u32 = number.trim().parse().ok()?;
        let name = rest.split_whitespace().last()?.to_owned();
        let named = is_named(&name, interface) || device.as_deref().is_some_and(|device| is_named(&name, device));
        if !(named || of_device.contains(&number.to_string())) || !receives(&name) {
            return None;
        }
        let read = |file| files.read(format!("proc/irq/{number}/{file}"));
        let cores =
            read("effective_affinity_list").filter(|list| !list.is_empty()).or_else(|| read("smp_affinity_list"));
        Some(Interrupt { number, name, cores: numbers(&cores.unwrap_or_default()) })
    };
    table.lines().filter_map(line).collect()
}

/// Whether an interrupt's name is of `owner`: `eth1-rx-0` is not of `eth1-rx` nor of `eth`.
fn is_named(name: &str, owner: &str) -> bool {
    let mut parts =
        name.match_indices(owner).map(|(at, _)| (name[..at].chars().last(), name[at + owner.len()..].chars().next()));
    parts.any(|(before, after)| {
        let apart = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
        apart(before) && apart(after)
    })
}

fn receives(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !["config", "output", "control", "async", "misc", "mgmnt", "-tx-"].iter().any(|other| name.contains(other))
}

/// Whether device and workers are on the same node of memory.
pub(crate) fn numa(files: &Files, folder: Option<&str>, cores: &[usize]) -> Item {
    let nodes = files.names("sys/devices/system/node");
    let nodes: Vec<_> = nodes.iter().filter_map(|name| name.strip_prefix("node")?.parse::<usize>().ok()).collect();
    let node = folder.and_then(|folder| files.read(format!("{folder}/device/numa_node")));
    let node = node.and_then(|node| node.parse::<usize>().ok());
    let uses = "memory of the node that the worker runs on";
    let (Some(node), true) = (node, nodes.len() > 1) else {
        return Item::new("numa", if nodes.len() > 1 { "the device names no node" } else { "one node" }, uses);
    };
    let near = files.read(format!("sys/devices/system/node/node{node}/cpulist")).unwrap_or_default();
    let near_cores = numbers(&near);
    let far = cores.is_empty() || cores.iter().any(|core| !near_cores.contains(core));
    Item::new("numa", format!("the device is on node {node} of {}", nodes.len()), uses)
        .better_if(far, format!("--cores from {near}, which are on that node"))
}

#[cfg(test)]
mod tests {
    use super::super::files::made_up::MadeUp;
    use super::super::item::Verdict;
    use super::*;

    const TABLE: &str = "           CPU0       CPU1
 24:          1          0  IO-APIC   5-edge      ACPI:Ged
 60:          0          9 PCI-MSIX-0000:00:03.0   0-edge      eth1-config
 61:          0      10387 PCI-MSIX-0000:00:03.0   1-edge      eth1-TxRx-0
 62:       7558          0 PCI-MSIX-0000:00:03.0   2-edge      eth1-TxRx-1
 63:       7558          0 PCI-MSIX-0000:00:04.0   2-edge      eth11-TxRx-0
NMI:          0          0   Non-maskable interrupts
";

    fn files(more: &[(&str, &str)]) -> MadeUp {
        let mut all = vec![
            ("proc/interrupts", TABLE),
            ("proc/irq/61/smp_affinity_list", "0-1"),
            ("proc/irq/61/effective_affinity_list", "1"),
            ("proc/irq/62/smp_affinity_list", "0"),
            ("sys/devices/system/cpu/online", "0-3"),
            ("net/device/numa_node", "1"),
        ];
        all.extend(more);
        MadeUp::new(&all)
    }

    #[test]
    fn the_queues_interrupts_are_found_by_name_and_where_they_are_served() {
        let found = interrupts(&files(&[]), Some("net"), "eth1");
        let interrupt = |number, name: &str, core| Interrupt { number, name: name.into(), cores: vec![core] };
        assert_eq!(found, [interrupt(61, "eth1-TxRx-0", 1), interrupt(62, "eth1-TxRx-1", 0)]);
        let by_device = files(&[("net/device/msi_irqs/63", "msi")]);
        assert_eq!(interrupts(&by_device, Some("net"), "other")[0].number, 63);
        assert!(is_named("virtio2-input.0", "virtio2") && is_named("mlx5_comp0@pci:0000:01:00.0", "0000:01:00.0"));
        assert!(!is_named("virtio21-input.0", "virtio2"));
    }

    #[test]
    fn a_worker_does_not_share_its_core_with_an_interrupt() {
        let item = |cores: &[usize]| affinity(&files(&[]), Some("net"), "eth1", cores);
        assert_eq!(item(&[2, 3]).verdict, Verdict::Ok);
        assert!(item(&[1]).improve.unwrap().starts_with("echo 0 > /proc/irq/61/smp_affinity_list"));
        assert!(item(&[0, 1, 2, 3]).improve.unwrap().contains("leave a core"));
        assert_eq!(affinity(&files(&[]), Some("net"), "veth0", &[1]).found, "no interrupts of its own");
        let balanced = affinity(&files(&[("proc/77/comm", "irqbalance")]), Some("net"), "eth1", &[2]);
        assert!(balanced.improve.unwrap().contains("irqbalance"));
    }

    #[test]
    fn cores_are_to_be_on_the_devices_node() {
        let files = files(&[
            ("sys/devices/system/node/node0/cpulist", "0-1"),
            ("sys/devices/system/node/node1/cpulist", "2-3"),
        ]);
        assert_eq!(numa(&files, Some("net"), &[2]).verdict, Verdict::Ok);
        assert!(numa(&files, Some("net"), &[1, 2]).improve.unwrap().contains("2-3"));
        assert_eq!(numa(&files, None, &[1]).verdict, Verdict::Ok);
    }
}
