//! Why a stack could not start, or ended.

use crate::kernel::Holder;
use std::any::Any;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// An error of the runtime: one sentence that says what to do. It is its `Debug` as well, for that is what a `main` prints
/// that returns it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device layer refused.
    #[error(transparent)]
    Device(#[from] xdp::Error),
    /// A TCP setting is out of its range.
    #[error(transparent)]
    Config(#[from] stack::ConfigError),
    /// An option that is not allowed, by itself or with the others.
    #[error("{field} is {value}, allowed is {allowed}")]
    Option {
        /// Its name.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed, or why this is not.
        allowed: &'static str,
    },
    /// No network that frames have addresses on: loopback, a tunnel.
    #[error(
        "{interface} is no Ethernet interface (it has no MAC address), and AF_XDP serves frames of Ethernet: use a network \
         card or a veth; for a server on this machine alone, the kernel's sockets (--stack kernel)"
    )]
    NoEthernet {
        /// The interface.
        interface: String,
    },
    /// Bare frames over several queues.
    #[error("bare frames go over one queue, and {interface} has {queues}: `ethtool -L {interface} {channels} 1`")]
    OneQueue {
        /// The interface.
        interface: String,
        /// How many it has.
        queues: usize,
        /// What its driver calls them.
        channels: &'static str,
    },
    /// Cores that don't fit the queues.
    #[error(
        "{cores} core(s) are named for {queues} queue(s) of {interface}, allowed is one for each, or none: a queue's rings \
         have one producer, so one core serves it. Name one for each, or give it as many queues as cores (`ethtool -L {interface} \
         {channels} {cores}`)"
    )]
    Cores {
        /// How many were named.
        cores: usize,
        /// How many queues are served.
        queues: usize,
        /// The interface.
        interface: String,
        /// What its driver calls them.
        channels: &'static str,
    },
    /// Nothing can be written into the directory for traces.
    #[error(
        "the trace directory {} can't be written to: {source}; make it, give it to the user of this process, or name another",
        directory.display()
    )]
    TraceDirectory {
        /// What was named.
        directory: std::path::PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A loop turned by its owner serves one queue.
    #[error(
        "{interface} has {queues} receive queues, and a stack that is driven in the program's own loop serves one: give it \
         one (`ethtool -L {interface} combined 1`, for a veth `rx 1`), or let the stack have threads of its own"
    )]
    Queues {
        /// The interface.
        interface: String,
        /// How many it has.
        queues: usize,
    },
    /// A core that doesn't exist.
    #[error("core {core} does not exist or is not allowed to this process, allowed are {allowed:?}")]
    NoCore {
        /// What was asked for.
        core: usize,
        /// What there is.
        allowed: Vec<usize>,
    },
    /// The interface has no address to share.
    #[error(
        "interface {0} has no address to share: give it one (`ip addr add`), or the stack one of its own (--address)"
    )]
    NoAddress(String),
    /// The address to listen on is not the stack's.
    #[error(
        "{ip} is not an address of {interface} ({has}): listen on one of those, or own it with --address {ip}/PREFIX"
    )]
    NotOurs {
        /// The address asked for.
        ip: IpAddr,
        /// The interface.
        interface: String,
        /// What it has.
        has: String,
    },
    /// The address to listen on while the stack runs is not the stack's.
    #[error(
        "{ip} is not an address of the stack, which has {has}: listen on one of those, or restart with another interface"
    )]
    NotShared {
        /// The address asked for.
        ip: IpAddr,
        /// What the stack has.
        has: String,
    },
    /// The kernel still asks whether the address is somebody else's.
    #[error(
        "{ip} is still tentative on {interface}: the kernel's duplicate address detection is not over; start again when \
         `ip addr` does not say `tentative` any more"
    )]
    Tentative {
        /// The address asked for.
        ip: IpAddr,
        /// The interface.
        interface: String,
    },
    /// The address is somebody else's.
    #[error(
        "{ip} of {interface} is a duplicate: another station has answered for it (`ip addr`: `dadfailed`); find that station, \
         or listen on another address"
    )]
    DadFailed {
        /// The address asked for.
        ip: IpAddr,
        /// The interface.
        interface: String,
    },
    /// The address to own is the kernel's.
    #[error(
        "{ip} is the kernel's own address on {interface}: leave --address out to share it, or own one that nobody has"
    )]
    KernelHas {
        /// The address asked for.
        ip: IpAddr,
        /// The interface.
        interface: String,
    },
    /// Frames would not fit.
    #[error("the MTU of {interface} is {mtu}, AF_XDP carries {most} at most: `ip link set {interface} mtu {most}`")]
    Mtu {
        /// The interface.
        interface: String,
        /// Its MTU, bytes.
        mtu: u32,
        /// The largest that fits.
        most: u32,
    },
    /// Somebody else listens there.
    #[error("{address} is in use {}", in_use(holder))]
    InUse {
        /// Where.
        address: SocketAddr,
        /// Who has it.
        holder: Holder,
    },
    /// Nobody listens there, but the kernel's TIME-WAIT forbids it.
    #[error(
        "{0} is held by the kernel for connections in TIME-WAIT, of a server without SO_REUSEADDR: wait for a minute"
    )]
    Lingering(SocketAddr),
    /// The kernel gives ports of active opens to its own.
    #[error(
        "ports {ours} of active opens are ephemeral ports of the kernel as well (net.ipv4.ip_local_port_range is \
         {kernel}), and reserving them failed: add them to net.ipv4.ip_local_reserved_ports, or choose ports outside of that range"
    )]
    PortsOverlap {
        /// Those that both would use, first to last.
        ours: String,
        /// The kernel's range.
        kernel: String,
    },
    /// Another station answered when the stack asked whether anybody has its address.
    #[error("{ip} is in use by {mac}: choose an address that nobody has, or end that station's use of it")]
    Duplicate {
        /// The address to own.
        ip: IpAddr,
        /// Who has it.
        mac: stack::MacAddr,
    },
    /// The kernel has sockets on ports of active opens.
    #[error(
        "port {port} of those for active opens ({ours}) is in use on the kernel's sockets by {holder}: stop that, or choose \
         ports outside of that range"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// All of ours, first to last.
        ours: String,
        /// Who has it.
        holder: Holder,
    },
    /// The interface was there, and is no longer.
    #[error("interface {0} is gone: it was deleted, or moved to another network namespace, while the stack ran on it")]
    Gone(String),
    /// The listener could not be made.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        reason: stack::ListenError,
    },
    /// Metrics can't be served where they were to be.
    #[error("metrics can't be told at {address}: {why}")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why not, and what to do.
        why: String,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The start was not waited for.
    #[error("interrupted before the stack had started: nothing of it is left")]
    Interrupted,
    /// One of the stack's own threads was to wait for the end of all of them.
    #[error("a thread of the stack's own cannot wait for the stack's end: join on another thread, or drop the handle")]
    OwnThread,
    /// A shard's thread panicked: a bug of ours or of the application.
    #[error(
        "shard {shard} panicked, in the application's code or in the stack's ({message}): its connections were reset, and the \
         other shards ended"
    )]
    Panicked {
        /// Which one.
        shard: usize,
        /// What it said, on one line.
        message: String,
    },
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let why = error.to_string();
            if !text.contains(&why) {
                text = format!("{text}: {why}");
            }
            cause = error.source();
        }
        f.write_str(&text)
    }
}

impl Error {
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    pub(crate) fn metrics(address: SocketAddr, error: io::Error) -> Self {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("it is in use {}", in_use(&Holder::of(address)))
            }
            io::ErrorKind::AddrNotAvailable => {
                "it is no address of this machine or namespace (`ip address`): choose one of the kernel's, such as 127.0.0.1".into()
            }
            io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose another port".into(),
            _ => error.to_string(),
        };
        Self::Metrics { address, why }
    }

    /// Of what [`JoinHandle::join`](std::thread::JoinHandle::join) returned.
    pub(crate) fn panicked(shard: usize, panic: &(dyn Any + Send)) -> Self {
        let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let words: Vec<_> = said.unwrap_or("no message").split_whitespace().collect();
        Self::Panicked { shard, message: words.join(" ") }
    }
}

/// By whom, and what to do about it.
fn in_use(holder: &Holder) -> String {
    if holder.is_self() {
        return "by this process itself: choose another port, or restart it to change the address".into();
    }
    format!("{} {holder}: stop that, or choose another port", holder.how())
}

/// The `std::io` name of a connection's end (docs/ARCHITECTURE.md has the table).
#[must_use]
pub const fn io_error_kind(error: stack::Error) -> io::ErrorKind {
    match error {
        stack::Error::Reset => io::ErrorKind::ConnectionReset,
        stack::Error::Refused => io::ErrorKind::ConnectionRefused,
        stack::Error::TimedOut => io::ErrorKind::TimedOut,
        stack::Error::HostUnreachable => io::ErrorKind::HostUnreachable,
        stack::Error::NetworkUnreachable => io::ErrorKind::NetworkUnreachable,
        stack::Error::Aborted => io::ErrorKind::ConnectionAborted,
        stack::Error::BrokenPipe => io::ErrorKind::BrokenPipe,
        stack::Error::NotConnected => io::ErrorKind::NotConnected,
    }
}

/// The `std::io` name of why an active open could not begin, as connect(2) has it (docs/ERRORS.md has the table). Of
/// [`ConnectError::TooMany`](stack::ConnectError::TooMany), Linux's `ENFILE`, it is `Other`: `std` has no name for it.
#[must_use]
pub const fn connect_error_kind(error: stack::ConnectError) -> io::ErrorKind {
    use stack::ConnectError as E;
    match error {
        E::NoPort | E::NotOurs | E::Tentative => io::ErrorKind::AddrNotAvailable,
        E::NoRoute => io::ErrorKind::NetworkUnreachable,
        E::BadAddress | E::NoSockets => io::ErrorKind::InvalidInput,
        E::TooMany => io::ErrorKind::Other,
    }
}

/// The `std::io` name of why a listener could not be opened, as bind(2) and listen(2) have it (docs/ERRORS.md has the table). Of
/// [`ListenError::TooMany`](stack::ListenError::TooMany) it is `Other`, too.
#[must_use]
pub const fn listen_error_kind(error: stack::ListenError) -> io::ErrorKind {
    use stack::ListenError as E;
    match error {
        E::InUse => io::ErrorKind::AddrInUse,
        E::NotOurs => io::ErrorKind::AddrNotAvailable,
        E::Invalid(_) | E::NoSockets => io::ErrorKind::InvalidInput,
        E::Closed => io::ErrorKind::NotConnected,
        E::Forbidden => io::ErrorKind::PermissionDenied,
        E::TooMany => io::ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Holder};

    /// It can't stop itself, and has no other port to choose if only its address is to change.
    #[test]
    fn a_port_that_this_process_has_itself_is_said_to_be_its_own() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ([0, 0, 0, 0], listener.local_addr().unwrap().port()).into();
        let said = Error::InUse { address, holder: Holder::of(address) }.to_string();
        assert!(said.starts_with(&format!("{address} is in use by this process itself: ")), "{said}");
    }

    /// What a `main` prints that returns the error.
    #[test]
    fn an_error_is_its_sentence_in_debug_too_with_a_cause_once() {
        let error = Error::System { what: "opening it".into(), source: std::io::ErrorKind::NotFound.into() };
        assert_eq!(format!("{error:?}"), "opening it: entity not found");
    }
}
