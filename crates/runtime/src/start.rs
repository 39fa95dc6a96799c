//! From options to a running stack.

use crate::clock::Clock;
use crate::control::{ControlSocket, Source};
use crate::error::Error;
use crate::kernel;
use crate::neighbours::{Mailbox, Mirror};
use crate::options::Options;
use crate::worker::{Finished, Worker};
use crossbeam::channel::bounded;
use mio::Waker;
use socket2::Socket;
use stack::{App, LocalAddress, MacAddr, Route, Shard, ShardConfig, TcpConfig};
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use xdp::facts::InterfaceFacts;
use xdp::{Report, Steering, XskConfig, XskPort};

/// What the kernel says of an interface that is gone (linux/errno.h).
const ENXIO: i32 = 6;
const ENODEV: i32 = 19;
/// Commands that may wait for a loop.
const COMMANDS: usize = 1024;
/// Addresses that may wait to be resolved.
const RESOLVES: usize = 256;
/// What a shard without active opens chooses from.
#[expect(clippy::reversed_empty_ranges, reason = "there is none")]
const NO_PORTS: RangeInclusive<u16> = 1..=0;

/// A running stack. Dropping it stops it.
#[derive(Debug)]
pub struct Running<A> {
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    worker: Option<JoinHandle<io::Result<Finished<A>>>>,
    report: Report,
    /// In the order in which they must end: the worker has been joined by then.
    _control: Option<ControlSocket>,
    _mirror: Option<Mirror>,
    _reserved: Vec<Socket>,
}

/// Starts a stack with `app` on it. To be called in the network namespace of the interface.
///
/// # Errors
/// One sentence: privileges, interface, addresses, ports in use, cores, the kernel's refusal.
pub fn start<A: App + Send + 'static>(options: Options, app: A) -> Result<Running<A>, Error> {
    let core = core(&options)?;
    let facts = InterfaceFacts::read(&options.interface)?;
    let clock = Clock::new();
    let shard = shard(&options, &facts, &clock)?;
    let reserved = match (&options.address, &options.ports) {
        (Some(_), _) => Vec::new(),
        (None, ports) => {
            ports.as_ref().map_or(Ok(()), kernel::check_ports)?;
            kernel::reserve(&options.listen)?
        }
    };
    let (steering, port, report) = open(&options, &shard)?;
    let (commands, inbox) = bounded(COMMANDS);
    let (resolve, wanted) = bounded(RESOLVES);
    let mut worker = Worker::new(port, shard, app, clock, options.idle, inbox, resolve)
        .map_err(Error::system("setting up the loop's sleep"))?;
    let waker = worker.waker();
    let mailbox = Mailbox { commands, waker: Arc::clone(&waker) };
    let mirror = match options.address {
        Some(_) => None,
        None => Some(Mirror::start(report.ifindex, wanted, mailbox.clone())?),
    };
    if let Some(mirror) = &mirror {
        worker.set_resolver(mirror.waker());
    }
    let control = ControlSocket::open(Source { shards: vec![mailbox], steering: Arc::new(Mutex::new(steering)) })?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let run = move || {
        if let Some(core) = core.filter(|core| !core_affinity::set_for_current(*core)) {
            tracing::warn!(core = core.id, "the worker could not be pinned");
        }
        worker.run(&stopped)
    };
    let worker = std::thread::Builder::new()
        .name("fw-shard-0".into())
        .spawn(run)
        .map_err(Error::system("starting the worker"))?;
    Ok(Running {
        stop,
        waker,
        worker: Some(worker),
        report,
        _control: Some(control),
        _mirror: mirror,
        _reserved: reserved,
    })
}

impl<A> Running<A> {
    /// What was negotiated with the kernel.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Whether the worker has ended: its application asked for it, or the device failed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.worker.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks the worker to end: connections are closed in order within a second.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
    }

    /// Waits for the end of the worker; the program is then detached and the control socket gone.
    ///
    /// # Errors
    /// The device failed, or the worker panicked.
    pub fn join(mut self) -> Result<Finished<A>, Error> {
        let Some(worker) = self.worker.take() else { return Err(Error::Panicked) };
        let finished = worker.join().map_err(|_| Error::Panicked)?;
        finished.map_err(|error| match error.raw_os_error() {
            Some(ENXIO | ENODEV) => Error::Gone(self.report.interface.clone()),
            _ => Error::system(format!("the device {} failed", self.report.interface))(error),
        })
    }
}

impl<A> Drop for Running<A> {
    fn drop(&mut self) {
        self.stop();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// The interface that has `ip`, or whose network `ip` is in, or that has a route to it; the longest prefix wins.
#[must_use]
pub fn interface_for(ip: IpAddr) -> Option<String> {
    let facts = InterfaceFacts::names().ok()?.into_iter().filter_map(|name| InterfaceFacts::read(&name).ok());
    let prefixes = |facts: &InterfaceFacts| {
        let on_link = facts.addresses.iter().map(|a| (a.address, if a.address == ip { 129 } else { a.prefix_len }));
        let routed = xdp::neighbours::routes(facts.ifindex).unwrap_or_default();
        on_link.chain(routed.iter().map(|r| (r.prefix, r.prefix_len))).collect::<Vec<_>>()
    };
    let best = |facts: InterfaceFacts| {
        let matching = |(prefix, prefix_len)| {
            let route = Route { prefix, prefix_len, gateway: None };
            (route.matches(ip)).then_some(prefix_len)
        };
        let longest = prefixes(&facts).into_iter().filter_map(matching).max();
        longest.map(|prefix_len| (prefix_len, facts.name))
    };
    facts.filter_map(best).max_by_key(|(prefix_len, _)| *prefix_len).map(|(_, name)| name)
}

pub(crate) fn core(options: &Options) -> Result<Option<core_affinity::CoreId>, Error> {
    if options.queues.len() != 1 {
        return Err(Error::OneQueue(options.queues.clone()));
    }
    let Some(wanted) = options.cores.first().copied() else { return Ok(None) };
    let all = core_affinity::get_core_ids().unwrap_or_default();
    let found = all.iter().find(|core| core.id == wanted).copied();
    let allowed = || all.iter().map(|core| core.id).collect();
    found.map(Some).ok_or_else(|| Error::NoCore { core: wanted, allowed: allowed() })
}

/// The shard, with its listeners.
fn shard(options: &Options, facts: &InterfaceFacts, clock: &Clock) -> Result<Shard, Error> {
    let addresses = addresses(options, facts)?;
    let most = XskConfig::default().most_mtu();
    let mtu = u16::try_from(facts.mtu).ok().filter(|mtu| u32::from(*mtu) <= most);
    let mtu = mtu.ok_or_else(|| Error::Mtu { interface: facts.name.clone(), mtu: facts.mtu, most })?;
    let mut config = ShardConfig::new(MacAddr(facts.mac.0), mtu, addresses, secrets()?);
    config.ports = options.ports.clone().unwrap_or(NO_PORTS);
    config.vlan = options.vlan;
    config.tcp = TcpConfig::new(options.tcp.clone())?;
    config.routes = routes(options, facts)?;
    let mut shard = Shard::new(config, clock.now())?;
    for address in &options.listen {
        let known = |ip| shard.config().addresses.iter().any(|a| a.ip == ip);
        if !address.ip().is_unspecified() && !known(address.ip()) {
            let has = shard.config().addresses.iter().map(|a| a.ip.to_string()).collect::<Vec<_>>().join(", ");
            return Err(Error::NotOurs { ip: address.ip(), interface: facts.name.clone(), has });
        }
        let opened = shard.listen(*address, options.listen_options.clone());
        opened.map_err(|reason| Error::Listen { address: *address, reason })?;
    }
    Ok(shard)
}

fn addresses(options: &Options, facts: &InterfaceFacts) -> Result<Vec<LocalAddress>, Error> {
    if let Some(own) = options.address {
        if facts.addresses.iter().any(|a| a.address == own.ip) {
            return Err(Error::KernelHas { ip: own.ip, interface: facts.name.clone() });
        }
        return Ok(vec![LocalAddress { ip: own.ip, prefix_len: own.prefix_len, owned: true }]);
    }
    let link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let shared: Vec<_> = facts
        .addresses
        .iter()
        .filter(|a| !link_local(a.address))
        .map(|a| LocalAddress { ip: a.address, prefix_len: a.prefix_len, owned: false })
        .collect();
    if shared.is_empty() { Err(Error::NoAddress(facts.name.clone())) } else { Ok(shared) }
}

/// Routes beyond the link: the gateway given, or the kernel's routes of the interface.
fn routes(options: &Options, facts: &InterfaceFacts) -> Result<Vec<Route>, Error> {
    let Some(own) = options.address else {
        let kernel = xdp::neighbours::routes(facts.ifindex)?;
        let route =
            |r: &xdp::neighbours::Route| Route { prefix: r.prefix, prefix_len: r.prefix_len, gateway: r.gateway };
        return Ok(kernel.iter().map(route).collect());
    };
    let anywhere: IpAddr = if own.ip.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let default = |gateway| Route { prefix: anywhere, prefix_len: 0, gateway: Some(gateway) };
    Ok(own.gateway.map(default).into_iter().collect())
}

fn secrets() -> Result<[[u8; 16]; 4], Error> {
    let mut secrets = [[0; 16]; 4];
    for secret in &mut secrets {
        getrandom::fill(secret)
            .map_err(|e| Error::system("asking the system for random bytes")(io::Error::other(e.to_string())))?;
    }
    Ok(secrets)
}

/// Attaches the steering program with our addresses and endpoints, and opens the port.
fn open(options: &Options, shard: &Shard) -> Result<(Steering, XskPort, Report), Error> {
    let config = XskConfig {
        interface: options.interface.clone(),
        xdp_mode: options.xdp_mode,
        copy_mode: options.copy_mode,
        ..XskConfig::default()
    };
    let local = |a: &LocalAddress| match a.owned {
        true => xdp::LocalAddress::owned(a.ip),
        false => xdp::LocalAddress::shared(a.ip, options.ports.clone()),
    };
    let addresses: Vec<_> = shard.config().addresses.iter().map(local).collect();
    let (mut steering, ports, report) = xdp::open(&config, &options.queues, &addresses)?;
    for endpoint in shard.listening() {
        for address in &addresses {
            let any = endpoint.ip().is_unspecified() && endpoint.is_ipv4() == address.address.is_ipv4();
            if any || endpoint.ip() == address.address {
                steering.add_endpoint(address.address, endpoint.port())?;
            }
        }
    }
    // One queue was asked for, so one port is there.
    let port = ports.into_iter().next().ok_or_else(|| Error::OneQueue(options.queues.clone()))?;
    Ok((steering, port, report))
}
