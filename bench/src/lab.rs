//! Three network namespaces in a row: two ends, and between them the one where frames are forwarded, or not.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, thread};

use anyhow::{Context, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What a veth pair leaves unfinished for the far end: checksums, super-frames, tags. All frames are to be as on a wire.
const OFFLOADS: [&str; 6] = ["tx", "tso", "gso", "gro", "rxvlan", "txvlan"];

/// One end of the path.
#[derive(Debug, Clone)]
pub struct End {
    /// Its network namespace.
    pub namespace: String,
    /// Its interface there.
    pub interface: String,
    /// The interface's IPv4 address.
    pub ipv4: String,
    /// The interface's IPv6 address.
    pub ipv6: String,
    /// The forwarder's interface towards it.
    pub(crate) gate: String,
}

/// The namespaces `NAME-a`, `NAME-f` (where a [`Forwarder`](crate::Forwarder) works) and `NAME-b`, joined by two veth pairs.
/// Dropping it removes them.
///
/// The ends are 10.79.0.1/24 and 10.79.0.2/24, fd79::1/64 and fd79::2/64, on one link as it seems. Each knows the other's MAC
/// address for good, so nothing but their packets goes over the path.
#[derive(Debug)]
pub struct Lab {
    name: String,
    ends: [End; 2],
}

impl Lab {
    /// Builds it; what is there by these names, left by a crash, is removed first.
    ///
    /// # Errors
    /// Privileges or a program (`ip`, `ethtool`) are missing, or a command failed: its words.
    pub fn build(name: &str) -> anyhow::Result<Self> {
        let end = |letter, number| End {
            namespace: format!("{name}-{letter}"),
            interface: format!("{name}-{letter}0"),
            ipv4: format!("10.79.0.{number}"),
            ipv6: format!("fd79::{number}"),
            gate: format!("{name}-f{letter}"),
        };
        if name.len() > 10 {
            bail!("`{name}` is too long a name for interfaces: 10 characters at most");
        }
        let lab = Self { name: name.into(), ends: [end('a', 1), end('b', 2)] };
        lab.remove()?;
        // From here on a failure drops the lab, and with it what was built.
        lab.set_up().context("cannot build the namespaces")?;
        Ok(lab)
    }

    /// The first end.
    #[must_use]
    pub const fn a(&self) -> &End {
        &self.ends[0]
    }

    /// The second end.
    #[must_use]
    pub const fn b(&self) -> &End {
        &self.ends[1]
    }

    /// The namespace in the middle.
    #[must_use]
    pub fn middle(&self) -> String {
        format!("{}-f", self.name)
    }

    fn namespaces(&self) -> [String; 3] {
        [self.ends[0].namespace.clone(), self.middle(), self.ends[1].namespace.clone()]
    }

    fn set_up(&self) -> anyhow::Result<()> {
        for namespace in self.namespaces() {
            run(&["ip", "netns", "add", &namespace])?;
            run(&["ip", "-n", &namespace, "link", "set", "lo", "up"])?;
            // Nobody asked for router solicitations and the like, and they would disturb.
            let quiet = "cd /proc/sys/net/ipv6/conf/default 2>/dev/null || exit 0; \
                echo 0 > accept_ra; echo 0 > autoconf; echo 0 > router_solicitations; echo 0 > accept_dad";
            run(&["ip", "netns", "exec", &namespace, "sh", "-c", quiet])?;
        }
        let middle = self.middle();
        for end in &self.ends {
            let End { namespace, interface, gate, .. } = end;
            let mut link = vec!["ip", "link", "add", "name", interface, "netns", namespace];
            link.extend(["numtxqueues", "1", "numrxqueues", "1", "type", "veth", "peer", "name", gate]);
            link.extend(["netns", &middle, "numtxqueues", "1", "numrxqueues", "1"]);
            run(&link)?;
            for (namespace, interface) in [(namespace, interface), (&middle, gate)] {
                let mut ethtool = vec!["ip", "netns", "exec", namespace, "ethtool", "-K", interface];
                ethtool.extend(OFFLOADS.iter().flat_map(|offload| [*offload, "off"]));
                run(&ethtool)?;
            }
            for address in [format!("{}/24", end.ipv4), format!("{}/64", end.ipv6)] {
                run(&["ip", "-n", namespace, "address", "add", &address, "dev", interface])?;
            }
            run(&["ip", "-n", namespace, "link", "set", interface, "up"])?;
            run(&["ip", "-n", &middle, "link", "set", gate, "up"])?;
        }
        let [a, b] = &self.ends;
        for (end, other) in [(a, b), (b, a)] {
            let mac = mac_address(other)?;
            for address in [&other.ipv4, &other.ipv6] {
                let neighbour = ["neighbour", "replace", address, "lladdr", &mac, "nud", "permanent"];
                let mut command = vec!["ip", "-n", &end.namespace];
                command.extend(neighbour);
                command.extend(["dev", &end.interface]);
                run(&command)?;
            }
        }
        Ok(())
    }

    fn remove(&self) -> anyhow::Result<()> {
        for namespace in self.namespaces() {
            if Path::new("/run/netns").join(&namespace).exists() {
                // A process that still runs there would keep the namespace, and with it the links.
                for end in &self.ends {
                    let _ = run(&["ip", "-n", &namespace, "link", "delete", &end.interface]);
                }
                run(&["ip", "netns", "delete", &namespace])?;
            }
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("the namespaces of {} are left: {error:#}", self.name);
        }
    }
}

pub(crate) fn mac_address(end: &End) -> anyhow::Result<String> {
    let path = format!("/sys/class/net/{}/address", end.interface);
    // `ip netns exec` mounts the namespace's /sys.
    Ok(run(&["ip", "netns", "exec", &end.namespace, "cat", &path])?.trim().to_owned())
}

/// Runs a command to its good end; what it printed.
fn run(command: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{}`: iproute2 and ethtool are needed", command[0]))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}`: {}", command.join(" "), said.lines().next().unwrap_or("it said nothing"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `work` on a thread of its own in a network namespace; threads it starts are there as well.
///
/// # Errors
/// There is no such namespace, or it may not be entered.
///
/// # Panics
/// If `work` does.
pub fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    let place = fs::canonicalize(Path::new("/run/netns").join(namespace))
        .and_then(File::open)
        .with_context(|| format!("there is no namespace {namespace}"))?;
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot enter the namespace {namespace}"))?;
            Ok(work())
        });
        there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
