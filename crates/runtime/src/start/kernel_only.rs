//! A stack over the kernel's sockets: shards without an interface; or the sockets for shards that have one.

use super::{Loops, Running, loops, secrets, these_cores};
use crate::clock::Clock;
use crate::control::{ControlSocket, Source};
use crate::ending::Ending;
use crate::error::Error;
use crate::idle::Idle;
use crate::kernel::Holder;
use crate::metrics::{Listening, Monitor};
use crate::options::Options;
use crate::privileges::Privileges;
use crate::sockets::{self, KernelSockets, NoPort};
use crate::trace;
use socket2::{Domain, Socket, Type};
use stack::{App, ListenError, MacAddr, Place, Shard, ShardConfig, TcpConfig, Via};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use xdp::Capability;

/// The MTU of a shard without an interface, which sends nothing.
const NO_MTU: u16 = 1500;

/// Gives each shard the kernel's sockets.
pub(super) fn give(options: &Options, shards: &mut [Shard], default: Via) -> Result<(), Error> {
    let several = shards.len() > 1;
    for shard in shards {
        let config = sockets::Config {
            several,
            queue_bytes: options.tcp.receive_buffer_start_bytes.min(options.tcp.receive_buffer_bytes) as usize,
            most: shard.config().max_connections,
        };
        let mut sockets = KernelSockets::new(config).map_err(Error::system("opening an epoll descriptor"))?;
        if options.unasked_reads && options.idle == Idle::Busy && default == Via::Kernel {
            sockets.read_unasked();
        }
        shard.set_sockets(Box::new(sockets), default);
    }
    Ok(())
}

/// Starts it.
pub(super) fn start<A: App + Send + 'static>(
    options: &Options,
    privileges: Privileges,
    make: impl FnMut(Place) -> A,
) -> Result<Running<A>, Error> {
    trace::check(options.trace_directory.as_deref(), privileges)?;
    let metrics = options.metrics.as_ref().map(Listening::open).transpose()?;
    let count = options.shards.unwrap_or_else(|| u16::try_from(options.cores.len()).unwrap_or(u16::MAX).max(1));
    let cores = if options.cores.is_empty() { vec![None; count.into()] } else { these_cores(&options.cores)? };
    let clock = Clock::new();
    let mut shards = shards(options, &clock, count)?;
    give(options, &mut shards, Via::Kernel)?;
    let listening = listen(options, &mut shards)?;
    let ends = shards.into_iter().map(|shard| (NoPort, shard));
    // Nobody resolves anything.
    let Loops { workers, mailboxes, wakers, poster, wanted: _ } = loops(options, clock, ends, make)?;
    let monitor = Monitor::new(mailboxes.clone(), None, true);
    let clients = Arc::clone(&monitor.clients);
    let metrics = metrics.map(|listening| listening.serve(monitor.clone(), privileges)).transpose()?;
    let control = ControlSocket::open(
        Source { shards: mailboxes, steering: None, endpoints: None, interface: None, clients },
        privileges,
    )?;
    let mut running = Running {
        ending: Arc::new(Ending::new()),
        endpoints: None,
        wakers,
        poster,
        workers: Vec::with_capacity(workers.len()),
        report: None,
        listening,
        monitor,
        trace_directory: options.trace_directory.clone(),
        metrics,
        _control: Some(control),
        _mirror: None,
        _overhearing: None,
        _landing: None,
        _attached: None,
        _held: None,
    };
    running.spawn(workers, cores, privileges)?;
    Ok(running)
}

fn shards(options: &Options, clock: &Clock, count: u16) -> Result<Vec<Shard>, Error> {
    let secrets = secrets()?;
    let shard = |index| {
        let mut config = ShardConfig::new(MacAddr::default(), NO_MTU, Vec::new(), secrets);
        config.tcp = TcpConfig::new(options.tcp.clone())?;
        config.place = Place { index, count };
        options.limits.apply(&mut config);
        Ok(Shard::new(config, clock.now())?)
    };
    (0..count).map(shard).collect()
}

/// Every shard listens on everything; the addresses, with the ports that were left open.
fn listen(options: &Options, shards: &mut [Shard]) -> Result<Vec<SocketAddr>, Error> {
    let mut listening = Vec::with_capacity(options.listen.len());
    for address in &options.listen {
        if shards.len() > 1 {
            alone(*address)?;
        }
        let mut address = *address;
        for shard in &mut *shards {
            let opened = shard.listen_via(Via::Kernel, address, options.listen_options.clone());
            let opened = opened.and_then(|id| shard.listener_address(id));
            address = opened.map_err(|reason| match reason {
                ListenError::InUse => Error::InUse { address, holder: Holder::of(address) },
                reason => Error::Listen { address, reason },
            })?;
        }
        listening.push(address);
    }
    Ok(listening)
}

/// Shards share a port by `SO_REUSEPORT`, which would let them share it with another program that does so, too.
fn alone(address: SocketAddr) -> Result<(), Error> {
    match can_listen(address) {
        in_use @ Err(Error::InUse { .. }) => in_use,
        // Whatever else is wrong is told of the listeners.
        _ => Ok(()),
    }
}

/// Whether a socket that is to listen could be bound now: beside connections, but not beside who listens.
pub(super) fn can_listen(address: SocketAddr) -> Result<(), Error> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())
    };
    bind().map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Error::InUse { address, holder: Holder::of(address) },
        io::ErrorKind::PermissionDenied => {
            xdp::Error::privilege("listening on a port below 1024", &[Capability::NetBindService]).into()
        }
        _ => Error::system(format!("listening on {address}"))(error),
    })
}
