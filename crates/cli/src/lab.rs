//! The lab: two network namespaces joined by a veth pair, or by a path that loses frames.
//!
//! Names and addresses are fixed, so that examples can be typed as they are written. Building is idempotent: what is
//! there is compared with what is asked for, and anything else (another size, half of it left by a crash) is taken away
//! and built anew.

mod inspect;
mod lossy;

use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use crate::args::{LabArgs, LabCommand};
use crate::out;

/// Where the servers of demo and bench run.
pub(crate) const A: End = End { namespace: "fw-a", interface: "fw-a0", ipv4: "10.77.0.1", ipv6: "fd77::1" };

/// Where the clients of demo and bench run.
pub(crate) const B: End = End { namespace: "fw-b", interface: "fw-b0", ipv4: "10.77.0.2", ipv6: "fd77::2" };

const RUN_DIRECTORY: &str = "/run/fourwave";
const NAMESPACES: &str = "/run/netns";

/// What a veth pair leaves unfinished for the far end, which AF_XDP would then see: checksums, super-frames, tags.
const OFFLOADS: [(&str, &str); 6] = [
    ("tx", "tx-checksumming"),
    ("tso", "tcp-segmentation-offload"),
    ("gso", "generic-segmentation-offload"),
    ("gro", "generic-receive-offload"),
    ("rxvlan", "rx-vlan-offload"),
    ("txvlan", "tx-vlan-offload"),
];

/// One end of the lab.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) namespace: &'static str,
    pub(crate) interface: &'static str,
    pub(crate) ipv4: &'static str,
    pub(crate) ipv6: &'static str,
}

/// What can be chosen about the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LabConfig {
    /// Receive and transmit queues of each end.
    pub(crate) queues: u32,
    /// Bytes per packet.
    pub(crate) mtu: u32,
    /// Frames that are lost each way, of a million.
    pub(crate) loss_ppm: u32,
}

impl Default for LabConfig {
    fn default() -> Self {
        Self { queues: 1, mtu: 1500, loss_ppm: 0 }
    }
}

impl fmt::Display for LabConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} queue(s), mtu {}", self.queues, self.mtu)?;
        if self.loss_ppm > 0 {
            write!(f, ", {} % of the frames lost each way", f64::from(self.loss_ppm) / 1e4)?;
        }
        Ok(())
    }
}

/// How `up` found the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// As asked for.
    Ready,
    /// Not at all.
    Nothing,
    /// Half-built, changed or with other parameters: built anew.
    Other,
}

/// What is there now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// Complete and as it should be.
    pub(crate) up: bool,
    /// Its parameters, as far as it has any.
    pub(crate) config: Option<LabConfig>,
    /// What keeps it from being complete; empty as well if there is nothing at all.
    pub(crate) problems: Vec<String>,
}

/// `lab status` found no lab that could be used, and has said so.
#[derive(Debug)]
pub(crate) struct NotUp;

impl fmt::Display for NotUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lab is not as it should be")
    }
}

impl std::error::Error for NotUp {}

/// `fourwave lab`.
pub(crate) fn run(args: &LabArgs) -> anyhow::Result<()> {
    match &args.command {
        LabCommand::Up(up) => {
            let config = up.resolve();
            let lab = Lab::claim("lab up")?;
            let found = lab.up(config)?;
            lab.keep();
            let how = match found {
                Found::Ready => "was up already",
                Found::Nothing => "is up",
                Found::Other => "was incomplete or different, and is built anew",
            };
            out::result(&format!(
                "the lab {how}: {} {} {}/24 <-> {} {} {}/24, {config}",
                A.namespace, A.interface, A.ipv4, B.namespace, B.interface, B.ipv4
            ));
            Ok(())
        }
        LabCommand::Down => {
            let lab = Lab::claim("lab down")?;
            out::result(if lab.down()? { "the lab is down" } else { "there was no lab" });
            lab.keep();
            Ok(())
        }
        LabCommand::Status { json } => {
            require_root("lab status")?;
            let status = inspect::status()?;
            print_status(&status, *json)?;
            // What it says is the result, on stdout; scripts see by the end whether there is a lab to use.
            if status.up { Ok(()) } else { Err(NotUp.into()) }
        }
    }
}

fn print_status(status: &Status, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(status);
    }
    match (status.up, status.config) {
        (true, Some(config)) => out::result(&format!("the lab is up: {config}")),
        _ if status.problems.is_empty() => out::result("there is no lab: `fourwave lab up`"),
        _ => {
            out::result("the lab is incomplete, `fourwave lab up` repairs it:");
            for problem in &status.problems {
                out::result(&format!("  {problem}"));
            }
        }
    }
    Ok(())
}

/// The claim on the lab: nobody else builds, removes or measures in it meanwhile. Dropping it takes the lab down, unless
/// it was told to [`Lab::keep`] it.
#[derive(Debug)]
pub(crate) struct Lab {
    keep: bool,
    /// Held for the lock on it. It is gone with the process, by whatever signal.
    _lock: File,
}

impl Lab {
    /// Claims the lab for `who`, which is named where something is missing.
    pub(crate) fn claim(who: &str) -> anyhow::Result<Self> {
        require_root(who)?;
        std::fs::create_dir_all(RUN_DIRECTORY).with_context(|| format!("cannot make {RUN_DIRECTORY}"))?;
        let path = format!("{RUN_DIRECTORY}/lab.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {path}"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { keep: false, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!("another `fourwave demo`, `bench` or `lab` is using the lab: wait for it to end, or end it")
            }
            Err(error) => Err(error).with_context(|| format!("cannot lock {path}")),
        }
    }

    /// Makes the lab be there with these parameters.
    pub(crate) fn up(&self, config: LabConfig) -> anyhow::Result<Found> {
        let status = inspect::status()?;
        if status.up && status.config == Some(config) {
            return Ok(Found::Ready);
        }
        let found = if self.down()? { Found::Other } else { Found::Nothing };
        build(config).context("cannot build the lab")?;
        let status = inspect::status()?;
        if !status.up {
            bail!("the lab was built but is not as it should be: {}", status.problems.join(", "));
        }
        Ok(found)
    }

    /// Makes the lab for this command alone, which takes it down at the end: not one in which somebody may be at work.
    /// What a crash left half-built is nobody's.
    pub(crate) fn up_alone(&mut self, who: &str) -> anyhow::Result<()> {
        if inspect::status()?.up {
            self.keep = true;
            bail!("there is a lab already, which `fourwave {who}` would take down: `fourwave lab down` first");
        }
        self.up(LabConfig::default()).map(|_| ())
    }

    /// Makes the lab be there with whatever parameters; leaves it at the end if it was there before.
    pub(crate) fn use_or_up(&mut self) -> anyhow::Result<()> {
        if inspect::status()?.up {
            self.keep = true;
            return Ok(());
        }
        self.up(LabConfig::default()).map(|_| ())
    }

    /// Takes away what there is of the lab; whether there was anything.
    pub(crate) fn down(&self) -> anyhow::Result<bool> {
        let mut anything = false;
        for end in [A, B] {
            if !Path::new(NAMESPACES).join(end.namespace).exists() {
                continue;
            }
            anything = true;
            // A process that still runs in the namespace would keep the pair alive. Its peer end goes with it. What a
            // crash left may lack the interface, or even be no namespace: then only the name is left to remove.
            let link = ["-n", end.namespace, "link", "delete", end.interface];
            if let Err(error) = run_quietly("ip", &link) {
                tracing::debug!("{error:#}");
            }
            run_quietly("ip", &["netns", "delete", end.namespace]).context("cannot take the lab down")?;
        }
        if lossy::exists() {
            anything = true;
            run_quietly("ip", &["netns", "delete", lossy::NAMESPACE]).context("cannot take the lab down")?;
        }
        Ok(anything)
    }

    /// Gives up the claim and leaves the lab as it is.
    pub(crate) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = self.down() {
            crate::say!("fourwave: {}; `fourwave lab down` tries again", out::sentence(&error));
        }
    }
}

/// Changes the MTU of a lab that is up, which must be claimed. Dropping it puts it back.
#[derive(Debug)]
pub(crate) struct Mtu {
    before: u32,
    now: u32,
}

impl Mtu {
    /// As it is.
    pub(crate) fn now() -> anyhow::Result<Self> {
        let config = inspect::status()?.config.context("there is no lab to measure in")?;
        Ok(Self { before: config.mtu, now: config.mtu })
    }

    /// Sets that of both ends, in bytes.
    pub(crate) fn set(&mut self, mtu: u32) -> anyhow::Result<()> {
        if mtu == self.now {
            return Ok(());
        }
        for end in [A, B] {
            let set = ["-n", end.namespace, "link", "set", end.interface, "mtu", &mtu.to_string()];
            run_quietly("ip", &set).context("cannot change the lab's MTU")?;
        }
        self.now = mtu;
        Ok(())
    }
}

impl Drop for Mtu {
    fn drop(&mut self) {
        if let Err(error) = self.set(self.before) {
            tracing::debug!("{error:#}");
        }
    }
}

/// Refuses in one sentence what only root can do.
pub(crate) fn require_root(who: &str) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!("`fourwave {who}` needs root for its network namespaces: run it again with sudo")
}

fn build(config: LabConfig) -> anyhow::Result<()> {
    for end in [A, B] {
        run_quietly("ip", &["netns", "add", end.namespace])?;
        run_quietly("ip", &["-n", end.namespace, "link", "set", "lo", "up"])?;
        quiet_ipv6(end)?;
    }
    if config.loss_ppm > 0 {
        lossy::build(config)?
    } else {
        join(config)?
    }
    for end in [A, B] {
        addresses(end)?;
        offloads_off(end)?;
        run_quietly("ip", &["-n", end.namespace, "link", "set", end.interface, "up"])?;
    }
    Ok(())
}

/// The veth pair.
fn join(config: LabConfig) -> anyhow::Result<()> {
    let (queues, mtu) = (config.queues.to_string(), config.mtu.to_string());
    let sizes = ["mtu", &mtu, "numtxqueues", &queues, "numrxqueues", &queues];
    // Both ends are made where they belong: a crash leaves nothing in the host's own namespace.
    let mut link = vec!["link", "add", "name", A.interface, "netns", A.namespace];
    link.extend(sizes);
    link.extend(["type", "veth", "peer", "name", B.interface, "netns", B.namespace]);
    link.extend(sizes);
    run_quietly("ip", &link)
}

/// No router solicitations, no autoconfiguration, no duplicate address detection: the lab has no router, and packets that
/// nobody asked for disturb measurements. All other settings stay the kernel's defaults; it is to be an honest peer.
fn quiet_ipv6(end: End) -> anyhow::Result<()> {
    if !ipv6() {
        return Ok(());
    }
    let script = "cd /proc/sys/net/ipv6/conf/default && echo 0 > accept_ra && echo 0 > autoconf && \
        echo 0 > router_solicitations && echo 0 > accept_dad";
    run_quietly("ip", &["netns", "exec", end.namespace, "sh", "-c", script])
}

fn addresses(end: End) -> anyhow::Result<()> {
    let ipv4 = format!("{}/24", end.ipv4);
    run_quietly("ip", &["-n", end.namespace, "address", "add", &ipv4, "dev", end.interface])?;
    if !ipv6() {
        return Ok(());
    }
    let ipv6 = format!("{}/64", end.ipv6);
    run_quietly("ip", &["-n", end.namespace, "address", "add", &ipv6, "dev", end.interface, "nodad"])
}

fn offloads_off(end: End) -> anyhow::Result<()> {
    let mut ethtool = vec!["netns", "exec", end.namespace, "ethtool", "-K", end.interface];
    for (short, _) in OFFLOADS {
        ethtool.extend([short, "off"]);
    }
    run_quietly("ip", &ethtool)
}

fn ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Runs a command; its stdout. In a process group of its own, so that Ctrl-C doesn't interrupt it half-way.
fn output_of(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).process_group(0).output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing(program)),
        other => other.with_context(|| format!("cannot run `{program}`"))?,
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    if args.contains(&"ethtool") && stderr.contains("No such file") {
        return Err(missing("ethtool"));
    }
    let reason = stderr.lines().next().unwrap_or("it said nothing").trim();
    bail!("`{program} {}`: {reason}", args.join(" "))
}

fn run_quietly(program: &str, args: &[&str]) -> anyhow::Result<()> {
    output_of(program, args).map(|_| ())
}

fn missing(program: &str) -> anyhow::Error {
    let package = if ["ip", "tc"].contains(&program) { "iproute2" } else { program };
    anyhow::anyhow!("the `{program}` command is missing: install it with `apt-get install {package}`")
}
