//! One end of a connection, in a process of its own: so nothing of one end disturbs the other but the machine.

use std::io::Read;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

use crate::{kernel, ours};

/// Whose TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tcp {
    /// The kernel's
    Kernel,
    /// fourwave
    Fourwave,
}

/// How fourwave waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Idle {
    /// Spins for 0.1 ms, then sleeps
    Adaptive,
    /// Sleeps at once
    Sleep,
}

#[derive(Debug, Args)]
pub(crate) struct EndArgs {
    #[arg(long, value_enum)]
    pub(crate) tcp: Tcp,
    /// The sender's address, which listens
    #[arg(long)]
    pub(crate) at: SocketAddr,
    #[arg(long)]
    pub(crate) interface: String,
    #[arg(long)]
    pub(crate) core: usize,
    #[arg(long, value_enum)]
    pub(crate) idle: Idle,
    /// Of the receiver
    #[arg(long, default_value_t = 0)]
    pub(crate) milliseconds: u64,
}

/// What the receiver has got since the connection was open.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
}

/// What the sender says at its end.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Segments sent again.
    pub(crate) retransmits: u64,
}

/// Bytes that either stack may buffer each way. Far more than a path of these measurements holds.
pub(crate) const BUFFER_BYTES: u32 = 4 << 20;
/// What is sent.
pub(crate) static BLOCK: [u8; 1 << 16] = [b'4'; 1 << 16];
/// The line by which the sender says that it listens.
pub(crate) const READY: &str = "ready";

pub(crate) fn send(args: &EndArgs) -> anyhow::Result<()> {
    prepare(args)?;
    let sent = match args.tcp {
        Tcp::Kernel => kernel::send(args.at)?,
        Tcp::Fourwave => ours::send(args)?,
    };
    println!("{}", serde_json::to_string(&sent)?);
    Ok(())
}

pub(crate) fn receive(args: &EndArgs) -> anyhow::Result<()> {
    prepare(args)?;
    let time = Duration::from_millis(args.milliseconds);
    let received = match args.tcp {
        Tcp::Kernel => kernel::receive(args.at, time)?,
        Tcp::Fourwave => ours::receive(args, time)?,
    };
    println!("{}", serde_json::to_string(&received)?);
    Ok(())
}

/// On its core, ahead of what else the machine does, and gone with its parent.
fn prepare(args: &EndArgs) -> anyhow::Result<()> {
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
    let mut set = CpuSet::new();
    set.set(args.core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {}", args.core))?;
    // The kernel's TCP runs in interrupts, whatever the machine is busy with; fourwave must not wait behind others either. The
    // forwarder goes first.
    impairment::realtime(5)
}
