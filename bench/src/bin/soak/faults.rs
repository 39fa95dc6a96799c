//! What is done to processes and paths meanwhile.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use impairment::Impairments;
use rustix::process::Signal;
use sim::Rng;

use crate::world::{Run, World};

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and a new process at once
    Kill,
    /// SIGSTOP, and SIGCONT a second later
    Stop,
    /// The link at the process's end goes down for a third of a second
    LinkHere,
    /// The one at the kernel's end
    LinkThere,
    /// A smaller MTU at both ends for some seconds
    Mtu,
    /// Both ends forget each other's MAC address
    Neighbours,
    /// Nonsense at the control socket, and clients that say nothing
    Garbage,
    /// A configuration with a mistake, and SIGHUP; then a good one
    Reload,
}

const ALL: [Fault; 8] = [
    Fault::Kill,
    Fault::Stop,
    Fault::LinkHere,
    Fault::LinkThere,
    Fault::Mtu,
    Fault::Neighbours,
    Fault::Garbage,
    Fault::Reload,
];

/// What a path does, by turns.
pub(crate) const PHASES: [(&str, Impairments); 5] = [
    ("clean", impairments(0, 0.0, 0.0, 0.0, 0.0, 0)),
    ("1 % lost", impairments(200, 0.01, 0.0, 0.0, 0.0, 0)),
    ("5 % reordered, 0.5 % doubled", impairments(1000, 0.001, 0.05, 0.005, 0.0, 0)),
    ("1 % with a bit changed", impairments(0, 0.001, 0.01, 0.0, 0.01, 0)),
    ("50 Mbit/s, 64 KiB of queue", impairments(2000, 0.0, 0.0, 0.0, 0.0, 50_000_000)),
];

const fn impairments(
    delay_us: u64,
    loss: f64,
    reorder: f64,
    duplicate: f64,
    corrupt: f64,
    rate_bit_s: u64,
) -> Impairments {
    let (delay, reorder_by) = (Duration::from_micros(delay_us), Duration::from_micros(500));
    let queue_bytes = if rate_bit_s == 0 { u64::MAX } else { 64 << 10 };
    Impairments { rate_bit_s, queue_bytes, delay, loss, reorder, reorder_by, duplicate, corrupt }
}

/// Faults one behind the other, and phases, until the end.
pub(crate) fn run(run: &Run, worlds: &[Arc<World>], seconds: u64, seed: u64) {
    let mut rng = Rng::new(seed);
    let slots = (seconds / 20).clamp(20, 10_000);
    let slot = Duration::from_millis(seconds * 1000 / slots);
    for (number, step) in steps(worlds.len(), slots, &mut rng).into_iter().enumerate() {
        if number % 4 == 0 {
            phases(run, worlds, number / 4);
        }
        run.pause(slot);
        if run.stops() {
            return;
        }
        let (fault, at) = step;
        let world = &worlds[at];
        if let Err(error) = fault.inject(run, world, &mut rng) {
            world.book.deviation(format!("{fault:?} could not be done: {error:#}"));
        }
    }
}

/// What is done in each slot, and to which world: all that there is in an order by chance, again and again. Processes are
/// killed in the first quarter, so that each has the rest to itself: it is that which must not grow. The third one is killed
/// at any time.
fn steps(worlds: usize, slots: u64, rng: &mut Rng) -> Vec<(Fault, usize)> {
    let mut early: Vec<_> = (0..worlds).map(|at| (Fault::Kill, at)).collect();
    let mut steps = Vec::new();
    let slots = usize::try_from(slots).unwrap_or(usize::MAX);
    while steps.len() < slots {
        let others = ALL.iter().flat_map(|fault| (0..worlds).map(|at| (*fault, at)));
        let mut deck: Vec<_> = others.filter(|(fault, at)| *fault != Fault::Kill || *at == 2).collect();
        for place in (1..deck.len()).rev() {
            deck.swap(place, rng.index(place + 1));
        }
        steps.extend(deck);
    }
    for place in (1..early.len()).rev() {
        early.swap(place, rng.index(place + 1));
    }
    // Every second step of the first quarter, or of so much as they need.
    let quarter = (slots / 4).max(early.len());
    let gap = (quarter / early.len().max(1)).max(1);
    for (place, kill) in early.into_iter().enumerate() {
        steps.insert((place * gap).min(steps.len()), kill);
    }
    steps.truncate(slots);
    steps
}

/// Each world has another phase.
fn phases(run: &Run, worlds: &[Arc<World>], turn: usize) {
    for (at, world) in worlds.iter().enumerate() {
        let (name, impairments) = PHASES[(turn + at) % PHASES.len()];
        world.impair(impairments, impairments);
        run.event(world.name, format!("path: {name}"));
    }
}

impl Fault {
    fn inject(self, run: &Run, world: &Arc<World>, rng: &mut Rng) -> anyhow::Result<()> {
        let serves = world.args.is_some();
        let (a, b) = (world.lab.a(), world.lab.b());
        let what = match self {
            Self::Kill if !serves => {
                world.kill_client();
                "SIGKILL of the client"
            }
            Self::Kill => {
                world.kill()?;
                "SIGKILL, and a new process"
            }
            Self::Stop => {
                world.signal(Signal::STOP);
                thread::sleep(Duration::from_secs(1));
                world.signal(Signal::CONT);
                "SIGSTOP, SIGCONT 1 s later"
            }
            Self::LinkHere => {
                flap(world, &a.namespace, &a.interface, rng)?;
                "its link down for a moment"
            }
            Self::LinkThere => {
                flap(world, &b.namespace, &b.interface, rng)?;
                "the peer's link down for a moment"
            }
            Self::Mtu => {
                set_mtu(world, "1300")?;
                run.pause(Duration::from_secs(4));
                set_mtu(world, "1500")?;
                "MTU 1300 for 4 s"
            }
            Self::Neighbours => {
                for end in [a, b] {
                    // Those that are being resolved stay: what waits for them would fail.
                    for state in ["permanent", "reachable", "stale", "delay"] {
                        ip(&["-n", &end.namespace, "neigh", "flush", "dev", &end.interface, "nud", state])?;
                    }
                }
                "neighbours forgotten"
            }
            Self::Garbage => {
                let Some(pid) = world.pid() else { return Ok(()) };
                garbage(&format!("/run/fourwave/{pid}.sock"), rng)?;
                "nonsense at the control socket"
            }
            Self::Reload => {
                let Some(file) = world.args.as_ref().and_then(|args| configuration(args)) else { return Ok(()) };
                reload(world, file)?;
                "two configurations, one with a mistake"
            }
        };
        run.event(world.name, what);
        Ok(())
    }
}

/// Down, and up again after a third of a second or so.
fn flap(world: &World, namespace: &str, interface: &str, rng: &mut Rng) -> anyhow::Result<()> {
    world.link_changes();
    ip(&["-n", namespace, "link", "set", interface, "down"])?;
    thread::sleep(Duration::from_millis(200 + rng.below(300)));
    ip(&["-n", namespace, "link", "set", interface, "up"])?;
    world.link_changes();
    Ok(())
}

fn set_mtu(world: &World, mtu: &str) -> anyhow::Result<()> {
    for end in [world.lab.a(), world.lab.b()] {
        ip(&["-n", &end.namespace, "link", "set", &end.interface, "mtu", mtu])?;
    }
    Ok(())
}

/// What nobody should say there, a hundred times; it may be refused at any time.
fn garbage(socket: &str, rng: &mut Rng) -> anyhow::Result<()> {
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut bytes: Vec<u8> = (0..rng.below(3000)).map(|_| rng.bits64().to_le_bytes()[0]).collect();
        match rng.below(4) {
            0 => bytes.push(b'\n'),
            1 => bytes = b"{\"list\":{\"what\":\"\n".to_vec(),
            2 => bytes = [b"[".repeat(2000), b"\n".to_vec()].concat(),
            _ => {}
        }
        let _ = stream.write_all(&bytes);
        if rng.percent(20) {
            silent.push(stream);
        } else {
            let _ = stream.read(&mut [0; 100]);
        }
    }
    Ok(())
}

/// The file of `-c FILE`.
fn configuration(args: &[String]) -> Option<&Path> {
    let at = args.iter().position(|arg| arg == "-c")?;
    args.get(at + 1).map(Path::new)
}

/// With a mistake it goes on as before.
fn reload(world: &World, file: &Path) -> anyhow::Result<()> {
    let good = fs::read_to_string(file)?;
    fs::write(file, good.replace("retries = 5", "retries = \"many\""))?;
    world.signal(Signal::HUP);
    thread::sleep(Duration::from_millis(500));
    fs::write(file, good)?;
    world.signal(Signal::HUP);
    Ok(())
}

pub(crate) fn ip(args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "`ip {}`: {}", args.join(" "), said.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each world but the third is killed once, and before the first third is over; every other fault comes to every world.
    #[test]
    fn a_long_run_has_every_fault_and_kills_early() {
        let steps = steps(6, 90, &mut Rng::new(3));
        assert_eq!(steps.len(), 90);
        for world in 0..6 {
            let of = |fault| {
                let there = steps.iter().enumerate().filter(move |(_, step)| **step == (fault, world));
                there.map(|(place, _)| place).collect::<Vec<_>>()
            };
            if world == 2 {
                assert!(of(Fault::Kill).len() >= 2);
            } else {
                assert!(matches!(of(Fault::Kill)[..], [place] if place < 30), "{:?}", of(Fault::Kill));
            }
            for fault in ALL {
                assert!(!of(fault).is_empty(), "{fault:?}");
            }
        }
    }
}
