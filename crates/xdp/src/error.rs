//! What can go wrong with a device, and whose fault it is.

use std::io;

use crate::privileges::{self, Capability};

/// Whose fault an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller's: a configuration or an argument.
    Configuration,
    /// The process lacks a privilege.
    Privilege,
    /// The interface: missing, down, or unable.
    Interface,
    /// Another program has what we need.
    Conflict,
    /// The kernel: too old, or refused for a reason of its own.
    Kernel,
}

/// An error of the device layer: one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of the configuration.
    #[error("{field} = {value:?} is not allowed: use {allowed}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The process may not do this.
    #[error("{action} {refusal}")]
    Privilege {
        /// What was tried.
        action: &'static str,
        /// What is missing, and what gives it.
        refusal: String,
    },
    /// The frames are more memory than the process may lock.
    #[error(
        "{bytes} bytes of frames are above the limit on locked memory: raise it (`ulimit -l`, LimitMEMLOCK= of systemd), \
         give the program CAP_IPC_LOCK with `{command}`, or take fewer frames (--frames)"
    )]
    Locked {
        /// Bytes asked for.
        bytes: u64,
        /// What gives it the privilege.
        command: String,
    },
    /// No such interface.
    #[error("there is no interface {interface:?} in this network namespace: `ip link` lists those there are")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// The interface is down.
    #[error("interface {interface} is down: bring it up with `ip link set {interface} up`")]
    InterfaceDown {
        /// Its name.
        interface: String,
    },
    /// The interface has no such queue.
    #[error("interface {interface} has no receive queue {queue}: it has {queues}, numbered from 0")]
    QueueOutOfRange {
        /// Name of the interface.
        interface: String,
        /// The queue asked for.
        queue: u32,
        /// How many there are.
        queues: u32,
    },
    /// Frames would arrive on queues without a port.
    #[error(
        "interface {interface} spreads what it receives over {available} queues, and on those that are not served the \
         kernel would reset the stack's connections: serve all of them, or `ethtool -L {interface} {channels} {served}`"
    )]
    QueuesUnserved {
        /// Name of the interface.
        interface: String,
        /// How many it has.
        available: u32,
        /// How many were to be served.
        served: usize,
        /// What `ethtool -L` calls them.
        channels: &'static str,
    },
    /// The program's table of sockets has no place for so many.
    #[error(
        "interface {interface} has {available} receive queues, and the steering program has places for {most}: `ethtool -L \
         {interface} {channels} {most}`"
    )]
    TooManyQueues {
        /// Name of the interface.
        interface: String,
        /// How many it has.
        available: u32,
        /// How many there can be.
        most: u32,
        /// What `ethtool -L` calls them.
        channels: &'static str,
    },
    /// The interface's MTU is larger than what can be received.
    #[error("the MTU of {interface} is {mtu}, and {reason}: `ip link set {interface} mtu {most}`")]
    MtuTooLarge {
        /// Name of the interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// The largest that can be had.
        most: u32,
        /// What limits it.
        reason: String,
    },
    /// The queue already has an AF_XDP socket.
    #[error("queue {queue} of {interface} already has an AF_XDP socket: stop the other program, or use another queue")]
    QueueTaken {
        /// Name of the interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// Another XDP program is attached.
    #[error(
        "interface {interface} already runs XDP program {program_id}: stop the process that holds it (`fourwave ss` shows \
         one of ours; one stack serves an interface){remedy}; `bpftool prog show id {program_id}` tells more"
    )]
    OtherProgram {
        /// Name of the interface.
        interface: String,
        /// The kernel's id of the program; 0 if it could not be read.
        program_id: u32,
        /// What else takes it off.
        remedy: String,
    },
    /// The XDP mode asked for isn't to be had.
    #[error(
        "interface {interface} (driver {driver}, MTU {mtu}, {queues} receive queue(s)) refuses XDP in {mode} mode ({answer}): \
         use --xdp-mode {instead}"
    )]
    ModeUnsupported {
        /// Name of the interface.
        interface: String,
        /// Its driver.
        driver: String,
        /// Its MTU: many drivers have a limit in native mode.
        mtu: u32,
        /// Its receive queues: some drivers want more of them to send by in native mode.
        queues: u32,
        /// The mode asked for.
        mode: &'static str,
        /// What to use.
        instead: &'static str,
        /// The kernel's answer.
        answer: io::Error,
    },
    /// Zero-copy was asked for, and isn't to be had.
    #[error("queue {queue} of {interface} (driver {driver}) can't do zero-copy: use --copy auto")]
    ZeroCopyUnsupported {
        /// Name of the interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// Its driver.
        driver: String,
        /// The kernel's answer; it tells no more than the sentence does.
        answer: io::Error,
    },
    /// Checksum offload was asked for, and isn't to be had.
    #[error("{interface} (driver {driver}) can't write checksums for AF_XDP: {reason}; use --tx-checksum auto")]
    TxChecksumUnsupported {
        /// Name of the interface.
        interface: String,
        /// Its driver.
        driver: String,
        /// Why not.
        reason: String,
    },
    /// The kernel attaches XDP programs only in a way that outlives the process.
    #[error(
        "this kernel can't attach an XDP program by bpf_link, so it would outlive the process: Linux 5.9 or newer is needed"
    )]
    NoBpfLink,
    /// No memory for the frames.
    #[error("no memory for {bytes} bytes of frames: take fewer (--frames), or allow the process more")]
    Memory {
        /// Bytes asked for.
        bytes: u64,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A map of the steering program is full.
    #[error("the steering program's table of {what} is full ({limit} entries)")]
    TableFull {
        /// Which table.
        what: &'static str,
        /// Its size.
        limit: u32,
    },
    /// The kernel refused the program.
    #[error("the kernel refused the steering program: {message}")]
    Program {
        /// Its reason, with the verifier's last words.
        message: String,
    },
    /// A system call failed.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Config { .. }
            | Self::MtuTooLarge { .. }
            | Self::QueueOutOfRange { .. }
            | Self::QueuesUnserved { .. }
            | Self::TooManyQueues { .. }
            | Self::TableFull { .. } => Fault::Configuration,
            Self::Privilege { .. } | Self::Locked { .. } => Fault::Privilege,
            Self::NoInterface { .. }
            | Self::InterfaceDown { .. }
            | Self::ModeUnsupported { .. }
            | Self::ZeroCopyUnsupported { .. }
            | Self::TxChecksumUnsupported { .. } => Fault::Interface,
            Self::QueueTaken { .. } | Self::OtherProgram { .. } => Fault::Conflict,
            Self::NoBpfLink | Self::Memory { .. } | Self::Program { .. } | Self::System { .. } => Fault::Kernel,
        }
    }

    /// A failed system call: a missing privilege is told apart.
    pub(crate) fn system(action: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::privilege(action, &privileges::DEVICE),
            _ => Self::System { action, source },
        }
    }

    /// Something was refused that takes `needed`: those that the calling thread lacks are named.
    #[must_use]
    pub fn privilege(action: &'static str, needed: &[Capability]) -> Self {
        Self::Privilege { action, refusal: privileges::refusal(needed) }
    }
}
