//! The interface, its driver, and what it offers to AF_XDP.

use fourwave::device::{DeviceFeatures, DriverFacts, InterfaceFacts, MacAddr, Offloads, RssFacts, XdpFeatures};
use fourwave::{CopyMode, XdpMode};

use super::Config;
use super::files::Files;
use super::item::{Item, list, yes_no};
use super::trial::Trial;

/// What was asked of the kernel about an interface.
#[derive(Clone, Debug)]
pub(crate) struct Nic {
    pub(crate) facts: InterfaceFacts,
    pub(crate) driver: DriverFacts,
    pub(crate) rss: RssFacts,
    /// `None`: the kernel is too old to tell.
    pub(crate) xdp: Option<XdpFeatures>,
    pub(crate) features: Option<DeviceFeatures>,
    pub(crate) offloads: Offloads,
    /// Those to be served.
    pub(crate) queues: Vec<u32>,
}

impl Nic {
    pub(crate) fn read(config: &Config) -> anyhow::Result<Self> {
        let facts = InterfaceFacts::read(&config.interface)?;
        Ok(Self {
            driver: DriverFacts::read(&facts.name)?,
            rss: RssFacts::read(&facts.name)?,
            xdp: XdpFeatures::read(&facts)?,
            features: DeviceFeatures::read(&facts)?,
            offloads: Offloads::read(&facts.name)?,
            queues: config.queues.clone().unwrap_or_else(|| (0..facts.rx_queues).collect()),
            facts,
        })
    }

    /// Why frames of Ethernet can't be sent there at all, if they can't.
    pub(crate) fn no_ethernet(&self) -> Option<String> {
        let name = &self.facts.name;
        let why = || format!("{name} has no Ethernet address, and the stack speaks Ethernet: use another interface");
        (self.facts.mac == MacAddr::default()).then(why)
    }

    pub(crate) fn items(&self, config: &Config, trial: &Trial, files: &Files) -> Vec<Item> {
        let folder = files.interface(&self.facts.name, self.facts.ifindex);
        vec![
            self.interface(),
            self.driver(),
            self.queues(),
            self.rss(),
            self.xdp_mode(config.xdp_mode, trial),
            self.zero_copy(config.copy_mode, trial),
            self.multi_buffer(trial),
            self.tx_metadata(trial),
            need_wakeup(trial),
            busy_poll(files, folder.as_deref()),
            self.offloads(trial),
        ]
    }

    fn interface(&self) -> Item {
        let facts = &self.facts;
        let name = &facts.name;
        let state = match (facts.up, facts.running) {
            (false, _) => "down",
            (true, false) => "up, without a carrier",
            (true, true) => "up",
        };
        let item = Item::new("interface", format!("{name}, {state}, {}, mtu {}", facts.mac, facts.mtu), "");
        if self.no_ethernet().is_some() {
            return item
                .wrong("an interface with an Ethernet address: `fourwave lab up` makes a pair to try things on");
        }
        if !facts.up {
            return item.wrong(format!("ip link set {name} up"));
        }
        if !facts.running {
            return item.wrong("a cable, or the other end up: nothing can be sent");
        }
        if facts.addresses.is_empty() {
            let item = Item { uses: "an address of the stack's own".into(), ..item };
            return item.better(format!("ip addr add IP/PREFIX dev {name}, or --address IP/PREFIX for the stack"));
        }
        let addresses: Vec<_> = facts.addresses.iter().map(|a| format!("{}/{}", a.address, a.prefix_len)).collect();
        Item { uses: format!("{}, shared with the kernel", addresses.join(", ")), ..item }
    }

    fn driver(&self) -> Item {
        let DriverFacts { name, firmware, bus, .. } = &self.driver;
        let mut found = if name.is_empty() { "unknown".to_owned() } else { name.clone() };
        for (word, text) in [("at", bus), ("firmware", firmware)] {
            if !text.is_empty() && text != "N/A" {
                found += &format!(", {word} {text}");
            }
        }
        Item::new("driver", found, "")
    }

    fn queues(&self) -> Item {
        let (name, there) = (&self.facts.name, self.facts.rx_queues);
        let most = self.driver.max_rx_queues.map(|most| format!(", up to {most}")).unwrap_or_default();
        let channels = self.driver.channels;
        let item = Item::new("queues", format!("{there} to receive on{most}"), format!("queue {}", list(&self.queues)));
        let served = self.queues.iter().filter(|queue| **queue < there).count();
        if u32::try_from(served).is_ok_and(|served| served < there) {
            return item.wrong(format!("serve all of them, or ethtool -L {name} {channels} {served}"));
        }
        item
    }

    fn rss(&self) -> Item {
        let found = match &self.rss {
            RssFacts::Known(rss) => rss.to_string(),
            RssFacts::Unknown(why) => why.clone(),
        };
        if self.facts.rx_queues == 1 {
            return Item::new("rss", found, "nothing of it: there is one queue");
        }
        match self.rss.obstacle() {
            None => {
                Item::new("rss", found, "source ports by the key and table, so that answers arrive at their own shard")
            }
            Some(why) => {
                let uses = "what each flow's first answer shows: frames for another shard are handed over";
                let item = Item::new("rss", found.clone(), uses);
                let advice = format!("a NIC whose driver tells a Toeplitz key and table{}", because(&found, &why));
                item.better(advice)
            }
        }
    }

    fn xdp_mode(&self, wished: XdpMode, trial: &Trial) -> Item {
        let native = self.xdp.map(|features| features.native && features.redirect);
        let found = match native {
            Some(true) => "native and generic",
            Some(false) => "generic",
            None => "generic; this kernel doesn't tell whether native",
        };
        let Some(report) = trial.report() else {
            let item = Item::new("xdp-mode", found, "nothing yet, see the proof");
            return if wished == XdpMode::Native && native == Some(false) {
                item.wrong("--xdp-mode auto")
            } else {
                item
            };
        };
        let item = Item::new("xdp-mode", found, format!("{}: {}", report.xdp_mode, report.xdp_mode_reason));
        let generic = report.xdp_mode == fourwave::device::AttachMode::Generic && self.facts.driver != "veth";
        item.better_if(generic && wished == XdpMode::Auto, "a NIC whose driver has native XDP with redirection")
    }

    fn zero_copy(&self, wished: CopyMode, trial: &Trial) -> Item {
        let offered = self.xdp.map(|features| features.zero_copy);
        let found = match offered {
            Some(true) => "offered by the driver",
            Some(false) => "not offered by the driver",
            None => "this kernel doesn't tell",
        };
        let Some(report) = trial.report() else {
            let item = Item::new("zero-copy", found, "nothing yet, see the proof");
            let refused = wished == CopyMode::ZeroCopy && offered == Some(false);
            return if refused { item.wrong("--copy auto, or a NIC whose driver has it") } else { item };
        };
        let copy = if report.zero_copy { "zero-copy" } else { "copied" };
        let item = Item::new("zero-copy", found, format!("{copy}: {}", report.copy_mode_reason));
        match (report.zero_copy, offered) {
            (false, Some(true)) if wished != CopyMode::Copy => item.better("--xdp-mode native --copy zero-copy"),
            (false, _) if wished != CopyMode::Copy => {
                item.better("a NIC whose driver has it (ice, i40e, ixgbe, mlx5, igc)")
            }
            _ => item,
        }
    }

    fn multi_buffer(&self, trial: &Trial) -> Item {
        let found = match self.xdp {
            None => "this kernel doesn't tell".to_owned(),
            Some(f) if f.multi_buffer_rx || f.multi_buffer_tx || f.zero_copy_segments > 1 => format!(
                "receiving: {}, sending: {}, zero-copy: {}",
                yes_no(f.multi_buffer_rx),
                yes_no(f.multi_buffer_tx),
                if f.zero_copy_segments > 1 { format!("{} buffers", f.zero_copy_segments) } else { "no".to_owned() }
            ),
            Some(_) => "not offered by the driver".to_owned(),
        };
        let uses = trial.report().map_or("nothing yet, see the proof", |report| &report.multi_buffer_reason);
        Item::new("multi-buffer", found, uses)
    }

    fn tx_metadata(&self, trial: &Trial) -> Item {
        let found = match self.xdp {
            None => "this kernel doesn't tell".to_owned(),
            Some(f) => {
                let all =
                    [("checksum", f.tx_checksum), ("timestamp", f.tx_timestamp), ("launch time", f.tx_launch_time)];
                let offered: Vec<_> = all.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
                if offered.is_empty() { "not offered by the driver".to_owned() } else { offered.join(", ") }
            }
        };
        let Some(report) = trial.report() else {
            return Item::new("tx-metadata", found, "nothing yet, see the proof");
        };
        let who = if report.tx_checksum { "checksums by the device" } else { "checksums computed by the stack" };
        Item::new("tx-metadata", found, format!("{who}: {}", report.tx_checksum_reason))
    }

    fn offloads(&self, trial: &Trial) -> Item {
        let name = &self.facts.name;
        let Some(features) = &self.features else {
            return Item::new("offloads", "this kernel doesn't tell", "");
        };
        let named = [
            ("rx-gro", "GRO"),
            ("rx-gro-hw", "GRO in hardware"),
            ("rx-lro", "LRO"),
            ("tx-tcp-segmentation", "TSO"),
            ("rx-vlan-hw-parse", "VLAN tags taken off"),
        ];
        let on: Vec<_> =
            named.iter().filter(|(feature, _)| features.active.contains(*feature)).map(|(_, name)| *name).collect();
        let found = if on.is_empty() { "none that matters".to_owned() } else { format!("on: {}", on.join(", ")) };
        let item = Item::new("offloads", found, "frames as they are on the wire, whole, with their checksums");
        if self.facts.offload_warning(&self.offloads).is_some() {
            return item.wrong(format!(
                "ethtool -K {name} tx off tso off gso off, and the same on its peer: the peer's frames come unfinished"
            ));
        }
        if let Some(mode) = trial.report().map(|report| report.xdp_mode)
            && let Some(warning) = self.facts.unfinished_warning(mode, &self.offloads)
        {
            return item.better(warning);
        }
        let on = |feature: &str| features.active.contains(feature) && features.switchable.contains(feature);
        let generic = trial.report().is_none_or(|report| report.xdp_mode == fourwave::device::AttachMode::Generic);
        match (on("rx-lro"), on("rx-gro-hw"), on("rx-vlan-hw-parse")) {
            (true, ..) => {
                item.better(format!("ethtool -K {name} lro off: merged frames are larger than those of AF_XDP"))
            }
            // In native mode the driver does without.
            (_, true, _) if generic => {
                item.better(format!("ethtool -K {name} rx-gro-hw off: merged frames are larger than those of AF_XDP"))
            }
            (.., true) if generic => {
                item.better(format!("ethtool -K {name} rxvlan off, if an owned address is in a VLAN"))
            }
            _ => item,
        }
    }
}

/// A reason that wasn't said already.
fn because(said: &str, why: &str) -> String {
    if said == why { String::new() } else { format!(": {why}") }
}

fn need_wakeup(trial: &Trial) -> Item {
    match trial.report() {
        Some(report) if report.need_wakeup => {
            Item::new("need-wakeup", "offered", "a system call only when the kernel asks for one")
        }
        Some(_) => Item::new("need-wakeup", "not offered", "a system call for each batch").better("Linux 5.4 or later"),
        None => Item::new("need-wakeup", "not tried", "a system call only when the kernel asks for one"),
    }
}

/// What `/sys` and the sysctls say about putting interrupts off. The stack looks at its rings, and polls no driver.
fn busy_poll(files: &Files, folder: Option<&str>) -> Item {
    let number = |path: String| files.read(path).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let of = |name: &str| folder.map_or(0, |folder| number(format!("{folder}/{name}")));
    let (put_off, timeout) = (of("napi_defer_hard_irqs"), of("gro_flush_timeout"));
    let sysctl = |name: &str| number(format!("proc/sys/net/core/{name}"));
    let found = format!(
        "napi_defer_hard_irqs {put_off}, gro_flush_timeout {timeout} ns; net.core.busy_poll {}, busy_read {}",
        sysctl("busy_poll"),
        sysctl("busy_read")
    );
    let item = Item::new("busy-poll", found, "its own rings, which it spins on; interrupts feed them");
    match folder {
        Some(folder) if put_off > 0 && timeout > 0 => item.better(format!(
            "echo 0 > /{folder}/napi_defer_hard_irqs: nobody polls the driver, so frames wait for up to {timeout} ns"
        )),
        _ => item,
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::made_up::MadeUp;
    use super::super::item::Verdict;
    use super::*;

    #[test]
    fn interrupts_that_are_put_off_delay_frames() {
        let item = |defer, timeout| {
            let files = MadeUp::new(&[
                ("net/napi_defer_hard_irqs", defer),
                ("net/gro_flush_timeout", timeout),
                ("proc/sys/net/core/busy_poll", "50"),
            ]);
            busy_poll(&files, Some("net"))
        };
        assert_eq!(item("0", "0").verdict, Verdict::Ok);
        let late = item("2", "200000");
        assert!(
            late.found.contains("200000 ns; net.core.busy_poll 50") && late.verdict == Verdict::CouldBeBetter,
            "{late:?}"
        );
        assert!(busy_poll(&MadeUp::new(&[]), None).improve.is_none());
    }

    #[test]
    fn a_reason_is_said_once() {
        assert_eq!((because("x", "x"), because("x", "y")), (String::new(), ": y".to_owned()));
    }
}
