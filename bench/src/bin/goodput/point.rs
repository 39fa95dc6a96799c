//! One measurement: a sender, a receiver, and the forwarder between them.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use impairment::{End, Forwarded, Forwarder, Impairments, Lab, Placement};
use serde::Serialize;

use crate::end::{READY, Received, Sent, Tcp};
use crate::sweep::RunArgs;

/// Beyond the measured time: for starting, the handshake through heavy loss, and ending.
const PATIENCE: Duration = Duration::from_secs(30);

/// A path, and whose TCP is at its ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Point {
    pub(crate) rtt_us: u64,
    pub(crate) loss_percent: f64,
    pub(crate) sender: Tcp,
    pub(crate) receiver: Tcp,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Outcome {
    #[serde(flatten)]
    pub(crate) point: Point,
    pub(crate) round: u32,
    pub(crate) seed: u64,
    pub(crate) mbit_s: f64,
    pub(crate) retransmits: u64,
    pub(crate) forwarder: Forwarded,
}

/// A child that ends with its pipe, or is killed.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(args: &RunArgs, role: &str, end: &End, tcp: Tcp, at: &str, core: usize) -> anyhow::Result<Self> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &end.namespace]).arg(std::env::current_exe()?).arg(role);
        command.args(["--tcp", if tcp == Tcp::Kernel { "kernel" } else { "fourwave" }, "--at", at]);
        command.args(["--interface", &end.interface, "--core", &core.to_string()]);
        command.args(["--milliseconds", &args.milliseconds.to_string(), "--idle", args.idle_name()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot run `ip`")?;
        let output = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self { child, output })
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }

    /// Waits for its good end; the rest of what it printed.
    fn end(&mut self, limit: Duration, stop: &AtomicBool) -> anyhow::Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let mut text = String::new();
                self.output.read_to_string(&mut text)?;
                if !status.success() {
                    bail!("an end of the connection failed: {status}");
                }
                return Ok(text);
            }
            if stop.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            if Instant::now() > deadline {
                bail!("an end of the connection did not end within {limit:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures a point once.
pub(crate) fn measure(
    args: &RunArgs,
    lab: &Lab,
    point: Point,
    round: u32,
    stop: &AtomicBool,
) -> anyhow::Result<Outcome> {
    let path = path(args, point);
    // Both ends' stacks see the same path, and every loss rate its own part of one sequence of chances.
    let seed = args.seed.wrapping_add(u64::from(round) << 32).wrapping_add(point.rtt_us);
    let placement = Placement { core: Some(args.receiver_core), realtime: true };
    let forwarder = Forwarder::start(lab, path, path, seed, placement)?;
    let at = format!("{}:{}", lab.a().ipv4, args.port(round, point));
    let mut sender = Process::start(args, "send", lab.a(), point.sender, &at, args.sender_core)?;
    if sender.line()?.trim() != READY {
        bail!("the sender does not listen");
    }
    let mut receiver = Process::start(args, "receive", lab.b(), point.receiver, &at, args.receiver_core)?;
    let limit = Duration::from_millis(args.milliseconds) + PATIENCE;
    let received: Received = serde_json::from_str(&receiver.end(limit, stop)?)?;
    let sent: Sent = serde_json::from_str(&sender.end(PATIENCE, stop)?)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let mbit_s = received.bytes as f64 * 8.0 / received.seconds / 1e6;
    Ok(Outcome { point, round, seed, mbit_s, retransmits: sent.retransmits, forwarder: forwarder.stop()? })
}

/// The bottleneck's queue holds what is under way on an empty path, or 64 KiB if that is more.
fn path(args: &RunArgs, point: Point) -> Impairments {
    let rate_bit_s = args.rate_mbit * 1_000_000;
    let under_way = rate_bit_s / 8 * point.rtt_us / 1_000_000;
    Impairments {
        rate_bit_s,
        queue_bytes: under_way.max(64 << 10),
        delay: Duration::from_micros(point.rtt_us / 2),
        loss: point.loss_percent / 100.0,
        ..Impairments::default()
    }
}
