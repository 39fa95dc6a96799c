//! From options to a running stack.

mod kernel_only;

use crate::capture;
use crate::claim;
use crate::clock::Clock;
use crate::control::{self, ControlSocket, Source};
use crate::ending::Ending;
use crate::endpoints::Endpoints;
use crate::error::Error;
use crate::handoff::{Handoff, PARCELS};
use crate::idle::Idle;
use crate::interface;
use crate::kernel::{self, Reservation};
use crate::landing::{FirstLook, LandingWatch, probe};
use crate::metrics::{Listening, Monitor, Server};
use crate::neighbours::{Mailbox, Mirror};
use crate::options::{Address, KernelSockets, Options};
use crate::overhear::Overhearing;
use crate::post::{Post, Poster};
use crate::privileges::Privileges;
use crate::pulse::Pulse;
use crate::secret;
use crate::trace::{self, Faults, Tracer};
use crate::worker::{ENODEV, Finished, Unserved, Worker};
use core_affinity::CoreId;
use crossbeam::channel::{Receiver, bounded};
use mio::Waker;
use socket2::Socket;
use stack::{App, Landing, LocalAddress, MacAddr, Place, Route, Settings, Shard, ShardConfig, TcpConfig, Via};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use xdp::facts::{InterfaceAddress, InterfaceFacts, Validity};
use xdp::{Port, Report, Steering, XskConfig, XskPort};

/// What the kernel says of an interface that is gone (linux/errno.h).
const ENXIO: i32 = 6;
/// Commands that may wait for a loop.
const COMMANDS: usize = 1024;
/// Addresses that may wait to be resolved.
const RESOLVES: usize = 256;
/// What a shard without active opens chooses from.
#[expect(clippy::reversed_empty_ranges, reason = "there is none")]
const NO_PORTS: RangeInclusive<u16> = 1..=0;
/// How long an address may be tentative: up to a second before the kernel asks, and one for the answer.
const TENTATIVE: Duration = Duration::from_secs(2);

/// A running stack. Dropping it stops it, without a drain time.
#[derive(Debug)]
pub struct Running<A> {
    ending: Arc<Ending>,
    /// `None`: there is no interface.
    endpoints: Option<Endpoints>,
    wakers: Vec<Arc<Waker>>,
    poster: Poster,
    /// One for each shard, in their order; empty once they are joined.
    workers: Vec<JoinHandle<io::Result<Finished<A>>>>,
    report: Option<Arc<Report>>,
    listening: Vec<SocketAddr>,
    monitor: Monitor,
    trace_directory: Option<PathBuf>,
    /// In the order in which they must end: the workers have been joined by then.
    metrics: Option<Server>,
    _control: Option<ControlSocket>,
    _mirror: Option<Mirror>,
    _overhearing: Option<Overhearing>,
    _landing: Option<LandingWatch>,
    /// Behind the mirror, which would tell of it as of somebody else's doing.
    _attached: Option<Attached>,
    _held: Option<Held>,
}

/// The steering program, which is off the interface once this is dropped, whoever has its maps still.
#[derive(Debug)]
struct Attached(Arc<Mutex<Steering>>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).detach();
    }
}

/// What is held in the kernel while the stack runs.
#[derive(Debug)]
struct Held {
    /// The addresses shared with it.
    shared: Vec<IpAddr>,
    /// Ports that are listened on; or the membership of an owned address's group.
    _sockets: Vec<Socket>,
    _ephemeral: Option<Reservation>,
}

impl Held {
    fn of(options: &Options, facts: &InterfaceFacts, shards: &[Shard]) -> Result<Self, Error> {
        if options.address.is_some() {
            let group = options.owned().filter_map(|own| kernel::join_group(facts.ifindex, own.ip)).collect();
            return Ok(Self { shared: Vec::new(), _sockets: group, _ephemeral: None });
        }
        let addresses = shards.first().map(|shard| &shard.config().addresses);
        let shared: Vec<_> = addresses.into_iter().flatten().map(|a| a.ip).collect();
        let ports = options.ports.as_ref();
        let ephemeral = kernel::take_ports(ports);
        ports.map_or(Ok(()), |ports| kernel::check_ports(ports, &shared))?;
        Ok(Self { _sockets: kernel::reserve(&options.listen)?, shared, _ephemeral: ephemeral })
    }
}

/// Starts a stack with a copy of `app` on each shard: there is one for each receive queue. To be called in the network
/// namespace of the interface.
///
/// # Errors
/// One sentence: privileges, interface, addresses, ports in use, queues, cores, the kernel's refusal.
pub fn start<A: App + Clone + Send + 'static>(options: Options, app: A) -> Result<Running<A>, Error> {
    start_each(options, |_| app.clone())
}

/// As [`start`], with an application for each shard: `make` is called for each, in their order, before any of them runs.
///
/// # Errors
/// As [`start`].
pub fn start_each<A: App + Send + 'static>(
    options: Options,
    make: impl FnMut(Place) -> A,
) -> Result<Running<A>, Error> {
    if options.kernel_sockets == KernelSockets::Only {
        options.check()?;
        return kernel_only::start(&options, Privileges::of(&options), make);
    }
    let Prepared { workers, cores, privileges, mut running } = prepare(options, make)?;
    running.spawn(workers, cores, privileges)?;
    Ok(running)
}

/// Everything but the threads that turn the loops.
pub(crate) struct Prepared<A> {
    pub(crate) workers: Vec<Worker<XskPort, A>>,
    cores: Vec<Option<CoreId>>,
    privileges: Privileges,
    pub(crate) running: Running<A>,
}

pub(crate) fn prepare<A: App>(options: Options, make: impl FnMut(Place) -> A) -> Result<Prepared<A>, Error> {
    options.check()?;
    options.check_interface()?;
    let privileges = Privileges::of(&options);
    trace::check(options.trace_directory.as_deref(), privileges)?;
    let metrics = options.metrics.as_ref().map(Listening::open).transpose()?;
    let Up { clock, queues, cores, held, follow, first_look, steering, report, ports, shards } = bring_up(&options)?;
    let ends = ports.into_iter().zip(shards);
    let Loops { mut workers, mailboxes, wakers, poster, wanted } = loops(&options, clock, ends, make)?;
    let mirror = Mirror::start(follow, wanted, mailboxes.clone(), privileges)?;
    workers.iter_mut().for_each(|worker| worker.set_resolver(mirror.waker()));
    let hear = |own: Address| Overhearing::start(report.ifindex, own.ip, options.vlan, mailboxes.clone(), privileges);
    let overhearing = options.address.map(hear).transpose()?;
    let landing = first_look.follow(mailboxes.clone(), privileges)?;
    let steering = Arc::new(Mutex::new(steering));
    let attached = Attached(Arc::clone(&steering));
    let endpoints = Endpoints::new(&options, &held.shared, Arc::clone(&steering));
    let report = Arc::new(report);
    workers.iter_mut().take(1).for_each(|first| first.set_unserved(Unserved::new(Arc::clone(&steering), &report)));
    let of_interface = Some((Arc::clone(&steering), Arc::clone(&report)));
    let monitor = Monitor::new(mailboxes.clone(), of_interface, options.kernel_sockets == KernelSockets::Beside);
    let metrics = metrics.map(|listening| listening.serve(monitor.clone(), privileges)).transpose()?;
    let control = ControlSocket::open(
        Source {
            shards: mailboxes,
            steering: Some(steering),
            endpoints: Some(endpoints.clone()),
            interface: Some(capture::Interface { name: report.interface.clone(), queues, clock }),
            clients: Arc::clone(&monitor.clients),
        },
        privileges,
    )?;
    let running = Running {
        ending: Arc::new(Ending::new()),
        endpoints: Some(endpoints),
        wakers,
        poster,
        workers: Vec::with_capacity(workers.len()),
        report: Some(report),
        listening: options.listen.clone(),
        monitor,
        trace_directory: options.trace_directory.clone(),
        metrics,
        _control: Some(control),
        _mirror: Some(mirror),
        _overhearing: overhearing,
        _landing: landing,
        _attached: Some(attached),
        _held: Some(held),
    };
    Ok(Prepared { workers, cores, privileges, running })
}

/// The interface is ours, and is heard.
struct Up {
    clock: Clock,
    /// Those that are served.
    queues: Vec<u32>,
    /// Of each queue's thread.
    cores: Vec<Option<CoreId>>,
    held: Held,
    follow: interface::Start,
    first_look: FirstLook,
    steering: Steering,
    report: Report,
    ports: Vec<XskPort>,
    shards: Vec<Shard>,
}

fn bring_up(options: &Options) -> Result<Up, Error> {
    let facts = InterfaceFacts::read(&options.interface)?;
    if facts.mac == xdp::facts::MacAddr::default() {
        return Err(Error::NoEthernet { interface: facts.name });
    }
    let facts = await_listened(options, facts)?;
    let queues = queues(options, &facts);
    let cores = cores(options, &facts, queues.len())?;
    let clock = Clock::new();
    let mut shards = shards(options, &facts, &clock, queues.len())?;
    let held = Held::of(options, &facts, &shards)?;
    let most = largest_mtu(facts.mtu);
    let follow = interface::Start { facts, shared: held.shared.clone(), most };
    // Where the link goes down for a moment the kernel forgets its neighbours.
    let target = probe::target(options, &follow.facts, &shards);
    let (steering, mut ports, report) = open(options, &queues, &shards)?;
    await_carrier(options)?;
    let mut first_look = FirstLook::new(report.ifindex, &queues)?;
    settle(&mut first_look, target, &mut ports, &mut shards, &clock, &|| options.is_interrupted())?;
    options.check_interrupt()?;
    if options.kernel_sockets == KernelSockets::Beside {
        kernel_only::give(options, &mut shards, Via::Stack)?;
    }
    Ok(Up { clock, queues, cores, held, follow, first_look, steering, report, ports, shards })
}

/// The loops, joined to each other, and the ways to them.
struct Loops<P, A> {
    workers: Vec<Worker<P, A>>,
    mailboxes: Vec<Mailbox>,
    wakers: Vec<Arc<Waker>>,
    poster: Poster,
    /// Addresses that they want resolved.
    wanted: Receiver<IpAddr>,
}

/// Makes a loop for each port and shard.
fn loops<P: Port, A: App>(
    options: &Options,
    clock: Clock,
    ends: impl Iterator<Item = (P, Shard)>,
    mut make: impl FnMut(Place) -> A,
) -> Result<Loops<P, A>, Error> {
    let (resolve, wanted) = bounded(RESOLVES);
    let (mut workers, mut mailboxes, mut messages) = (Vec::new(), Vec::new(), 1);
    for (port, shard) in ends {
        let (commands, inbox) = bounded(COMMANDS);
        messages = shard.config().max_messages as usize;
        let app = make(shard.config().place);
        let mut worker = Worker::new(port, shard, app, clock, options.idle, inbox, resolve.clone())
            .map_err(Error::system("setting up the loop's sleep"))?;
        worker.set_drain_time(options.drain_time);
        if options.trace_faults {
            worker.set_faults(Faults { directory: options.trace_directory.clone() });
        }
        mailboxes.push(Mailbox { shard: mailboxes.len(), commands, waker: worker.waker() });
        workers.push(worker);
    }
    let wakers: Vec<_> = workers.iter().map(Worker::waker).collect();
    if workers.len() > 1 {
        let ends = Handoff::ring(wakers.clone(), PARCELS);
        workers.iter_mut().zip(ends).for_each(|(worker, end)| worker.set_handoff(end));
    }
    let (posts, poster) = Post::offices(wakers.clone(), messages);
    workers.iter_mut().zip(posts).for_each(|(worker, post)| worker.set_post(post));
    Ok(Loops { workers, mailboxes, wakers, poster, wanted })
}

/// Waits for the carrier: some drivers restart the link when a program is attached.
fn await_carrier(options: &Options) -> Result<(), Error> {
    let carrier = xdp::probe::await_carrier(&options.interface, &|| options.is_interrupted())?;
    options.check_interrupt()?;
    if !carrier {
        tracing::warn!("{} has no carrier: nothing can be sent before it has", options.interface);
    }
    Ok(())
}

/// Nothing can be bound to an IPv6 address before the kernel has found that nobody else has it (RFC 4862 section 5.4), which
/// takes it a second or two from the start of the link: who listens there waits for that.
fn await_listened(options: &Options, mut facts: InterfaceFacts) -> Result<InterfaceFacts, Error> {
    let end = Instant::now() + TENTATIVE;
    let mut said = false;
    loop {
        let listened = |a: &&InterfaceAddress| options.listen.iter().any(|on| on.ip() == a.address);
        let unsure = |a: &&InterfaceAddress| matches!(a.validity, Validity::Tentative | Validity::Duplicate);
        let Some(found) = facts.addresses.iter().filter(listened).find(unsure) else { return Ok(facts) };
        let (ip, interface) = (found.address, facts.name.clone());
        if found.validity == Validity::Duplicate {
            return Err(Error::DadFailed { ip, interface });
        }
        if Instant::now() >= end {
            return Err(Error::Tentative { ip, interface });
        }
        if !std::mem::replace(&mut said, true) {
            tracing::warn!("{ip} is tentative on {interface}: waiting for the kernel's duplicate address detection");
        }
        std::thread::sleep(Duration::from_millis(50));
        options.check_interrupt()?;
        facts = InterfaceFacts::read(&options.interface)?;
    }
}

/// What is asked of the network before the shards run: whether the address is free, and whether flows land as planned.
fn settle(
    first_look: &mut FirstLook,
    target: Option<probe::Target>,
    ports: &mut [XskPort],
    shards: &mut [Shard],
    clock: &Clock,
    interrupted: &dyn Fn() -> bool,
) -> Result<(), Error> {
    let landing = first_look.landing();
    // Before the first frame: what is told later is a change.
    shards.iter_mut().for_each(|shard| shard.set_landing(landing.clone()));
    if let Some(first) = shards.first_mut() {
        claim::confirm(ports, first, clock, interrupted)?;
    }
    if probe::refutes(&landing, target, ports, shards, clock) {
        first_look.refute();
        shards.iter_mut().for_each(|shard| shard.set_landing(Landing::Unknown));
    }
    Ok(())
}

/// Runs a loop on a thread of its own, which is named for its shard.
fn spawn<P: Port + Send + 'static, A: App + Send + 'static>(
    index: usize,
    worker: Worker<P, A>,
    core: Option<CoreId>,
    privileges: Privileges,
    ending: Arc<Ending>,
) -> Result<JoinHandle<io::Result<Finished<A>>>, Error> {
    let run = move || {
        privileges.give_up()?;
        if let Some(core) = core.filter(|core| !core_affinity::set_for_current(*core)) {
            tracing::warn!(core = core.id, "the worker could not be pinned");
        }
        worker.run(&ending)
    };
    std::thread::Builder::new()
        .name(format!("fw-shard-{index}"))
        .spawn(run)
        .map_err(Error::system("starting the worker"))
}

impl<A: App + Send + 'static> Running<A> {
    /// Runs each loop on a thread of its own. If one can't be started, those that were are ended by the drop of what runs.
    fn spawn<P: Port + Send + 'static>(
        &mut self,
        workers: Vec<Worker<P, A>>,
        cores: Vec<Option<CoreId>>,
        privileges: Privileges,
    ) -> Result<(), Error> {
        for (index, (worker, core)) in workers.into_iter().zip(cores).enumerate() {
            self.workers.push(spawn(index, worker, core, privileges, Arc::clone(&self.ending))?);
        }
        Ok(())
    }
}

impl<A> Running<A> {
    /// What was negotiated with the kernel; `None` over the kernel's sockets alone.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        self.report.as_deref()
    }

    /// Asks the shards how things are, from any thread, as long as there are any.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Where metrics are served, with the port that was got where that was 0; `None`: nowhere.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Server::address)
    }

    /// What the stack was started to listen on; over the kernel's sockets with the port it has got, where that was 0.
    #[must_use]
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// What ends the sleep of each shard's loop, in their order.
    #[must_use]
    pub fn wakers(&self) -> Vec<Arc<Waker>> {
        self.wakers.clone()
    }

    /// Opens ports to listeners that the application opens while the stack runs; `None` over the kernel's sockets alone, where a
    /// listener needs nothing else.
    #[must_use]
    pub fn endpoints(&self) -> Option<Endpoints> {
        self.endpoints.clone()
    }

    /// How many shards there are: one for each queue.
    #[must_use]
    pub const fn shards(&self) -> usize {
        self.workers.len()
    }

    /// Whether the stack ends by itself: an application asked for it, or the device failed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.workers.is_empty() || self.workers.iter().any(JoinHandle::is_finished)
    }

    /// Takes a port from the kernel, so that its segments come to the shards, where [`Io::listen`](stack::Io::listen) opens
    /// listeners while the stack runs. Nothing is to be done for what was listened on from the start, again for what was taken
    /// before, or for an address of the stack's own: then the answer is false. So it is over the kernel's sockets alone, where
    /// nothing is taken, and what makes listening impossible is an error all the same: also that a shard listens there already.
    ///
    /// # Errors
    /// Somebody else has the port, or it is below 1024 and the privilege was given up; the address is none of the stack's.
    pub fn claim(&self, address: SocketAddr) -> Result<bool, Error> {
        match &self.endpoints {
            Some(endpoints) => endpoints.claim(address).map(|(_, taken)| taken),
            None if self.listening.contains(&address) => Ok(false),
            None => kernel_only::can_listen(address).map(|()| false),
        }
    }

    /// Gives a port back that [`claim`](Self::claim) has just taken, and that no shard has been told to listen on. One that was listened
    /// on may still have connections: it stays the stack's until that ends.
    ///
    /// # Errors
    /// The program's table can't be changed.
    pub fn give_back(&self, address: SocketAddr) -> Result<(), Error> {
        self.endpoints.as_ref().map_or(Ok(()), |endpoints| endpoints.give_back(address))
    }

    /// Whether the calling thread is one of the stack's own: it can't wait for the end that it is itself to bring.
    #[must_use]
    pub fn is_on_a_shard(&self) -> bool {
        let current = std::thread::current().id();
        self.workers.iter().any(|worker| worker.thread().id() == current)
    }

    /// For messages to the applications on the shards ([`App::on_message`]).
    #[must_use]
    pub fn poster(&self) -> Poster {
        self.poster.clone()
    }

    /// For who watches over the process: the way to ask the loops whether they turn.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        Pulse::of(&self.monitor.shards)
    }

    /// For who wants what happened to the connections in a file.
    #[must_use]
    pub fn tracer(&self) -> Tracer {
        Tracer { shards: self.monitor.shards.clone(), directory: self.trace_directory.clone() }
    }

    /// Asks the workers to end ([`App::on_drain`]): after the drain time ([`Options::drain_time`]), or as soon as no connection
    /// is left, connections are closed in order within a second. Asking again cuts the drain time short.
    pub fn stop(&self) {
        self.ending.ask();
        self.wake();
    }

    fn wake(&self) {
        for waker in &self.wakers {
            let _ = waker.wake();
        }
    }

    /// Waits for the end of the workers, of which one brings that of all; the program is then detached and the control socket
    /// gone. What remains of each shard, in their order.
    ///
    /// # Errors
    /// The device failed, or an application panicked. On one of the stack's own threads there is no waiting: the stack ends as
    /// if the handle were dropped.
    pub fn join(mut self) -> Result<Vec<Finished<A>>, Error> {
        if self.is_on_a_shard() {
            return Err(Error::OwnThread);
        }
        // All have ended before anything else goes.
        let ended: Vec<_> = self.workers.drain(..).map(JoinHandle::join).collect();
        let interface = self.report.as_ref().map_or("of the kernel's sockets", |report| &report.interface);
        let finished = |(shard, ended): (usize, std::thread::Result<io::Result<Finished<A>>>)| {
            ended.map_err(|panic| Error::panicked(shard, &*panic))?.map_err(|error| match error.raw_os_error() {
                Some(ENXIO | ENODEV) => Error::Gone(interface.into()),
                _ => Error::system(format!("the device {interface} failed"))(error),
            })
        };
        ended.into_iter().enumerate().map(finished).collect()
    }
}

impl<A> Drop for Running<A> {
    fn drop(&mut self) {
        self.ending.hasten();
        self.wake();
        let current = std::thread::current().id();
        for worker in self.workers.drain(..) {
            // On a shard's own thread, where an application drops it: that one ends behind this.
            if worker.thread().id() != current {
                let _ = worker.join();
            }
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
            let route = Route::new(prefix, prefix_len, None);
            (route.matches(ip)).then_some(prefix_len)
        };
        let longest = prefixes(&facts).into_iter().filter_map(matching).max();
        longest.map(|prefix_len| (prefix_len, facts.name))
    };
    facts.filter_map(best).max_by_key(|(prefix_len, _)| *prefix_len).map(|(_, name)| name)
}

/// The queues to serve.
pub(crate) fn queues(options: &Options, facts: &InterfaceFacts) -> Vec<u32> {
    if options.queues.is_empty() { (0..facts.rx_queues).collect() } else { options.queues.clone() }
}

/// What `ethtool -L` calls the receive queues.
pub(crate) fn channels(facts: &InterfaceFacts) -> &'static str {
    if facts.driver == "veth" { "rx" } else { "combined" }
}

/// The core of each queue's worker.
pub(crate) fn cores(options: &Options, facts: &InterfaceFacts, queues: usize) -> Result<Vec<Option<CoreId>>, Error> {
    let cores = options.cores.len();
    if cores == 0 {
        return Ok(vec![None; queues]);
    }
    if cores != queues {
        let (interface, channels) = (facts.name.clone(), channels(facts));
        return Err(Error::Cores { cores, queues, interface, channels });
    }
    these_cores(&options.cores)
}

/// Cores by their numbers.
fn these_cores(wanted: &[usize]) -> Result<Vec<Option<CoreId>>, Error> {
    let all = core_affinity::get_core_ids().unwrap_or_default();
    let found = |wanted: &usize| {
        let allowed = || all.iter().map(|core| core.id).collect();
        let core = all.iter().find(|core| core.id == *wanted).copied();
        core.map(Some).ok_or_else(|| Error::NoCore { core: *wanted, allowed: allowed() })
    };
    wanted.iter().map(found).collect()
}

/// A loop that sleeps would be woken for an ACK that waits for company, and sleeps longer than that at the least.
fn tcp_settings(options: &Options) -> Settings {
    let settings = options.tcp.clone();
    if options.idle == Idle::Sleep { Settings { ack_gather: stack::Duration::ZERO, ..settings } } else { settings }
}

/// The shards, with their listeners.
fn shards(options: &Options, facts: &InterfaceFacts, clock: &Clock, count: usize) -> Result<Vec<Shard>, Error> {
    // A cookie may come back to another shard, and a flow that is opened again may land on another.
    let secrets = secrets()?;
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    (0..count).map(|index| shard(options, facts, clock, Place { index, count }, secrets)).collect()
}

fn shard(
    options: &Options,
    facts: &InterfaceFacts,
    clock: &Clock,
    place: Place,
    secrets: [[u8; 16]; 4],
) -> Result<Shard, Error> {
    let addresses = addresses(options, facts)?;
    let most = XskConfig::default().most_mtu();
    let mtu = u16::try_from(facts.mtu).ok().filter(|mtu| u32::from(*mtu) <= most);
    let mtu = mtu.ok_or_else(|| Error::Mtu { interface: facts.name.clone(), mtu: facts.mtu, most })?;
    let mut config = ShardConfig::new(MacAddr(facts.mac.0), mtu, addresses, secrets);
    config.ports = options.ports.clone().unwrap_or(NO_PORTS);
    config.vlan = options.vlan;
    // The first shard asks for all, before any of them runs.
    config.dad = (place.index == 0).then_some(options.dad);
    config.tcp = TcpConfig::new(tcp_settings(options))?;
    config.routes = routes(options, facts)?;
    config.place = place;
    options.limits.apply(&mut config);
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

/// The largest MTU that ports which were opened at this one can carry: their large frames, if they have any, are as large as
/// was needed then.
fn largest_mtu(opened_at: u32) -> u32 {
    XskConfig::default().single_buffer_mtu().max(opened_at)
}

fn addresses(options: &Options, facts: &InterfaceFacts) -> Result<Vec<LocalAddress>, Error> {
    if options.address.is_some() {
        let own = |own: Address| match facts.addresses.iter().any(|a| a.address == own.ip) {
            true => Err(Error::KernelHas { ip: own.ip, interface: facts.name.clone() }),
            false => Ok(LocalAddress { ip: own.ip, prefix_len: own.prefix_len, owned: true }),
        };
        return options.owned().map(own).collect();
    }
    let link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let shared: Vec<_> = facts
        .addresses
        .iter()
        .filter(|a| !link_local(a.address))
        .map(|a| LocalAddress { ip: a.address, prefix_len: a.prefix_len, owned: false })
        // The kernel lets an interface have addresses of loopback: nobody else could answer them.
        .filter(LocalAddress::is_of_a_link)
        .collect();
    if shared.is_empty() { Err(Error::NoAddress(facts.name.clone())) } else { Ok(shared) }
}

/// Routes beyond the link: the gateway given, or the kernel's routes of the interface.
fn routes(options: &Options, facts: &InterfaceFacts) -> Result<Vec<Route>, Error> {
    let Some(own) = options.address else {
        return Ok(xdp::neighbours::routes(facts.ifindex)?.iter().map(interface::route).collect());
    };
    let anywhere: IpAddr = if own.ip.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let default = |gateway| Route::new(anywhere, 0, Some(gateway));
    Ok(own.gateway.map(default).into_iter().collect())
}

fn secrets() -> Result<[[u8; 16]; 4], Error> {
    let mut secrets = [[0; 16]; 4];
    for secret in &mut secrets {
        getrandom::fill(secret)
            .map_err(|e| Error::system("asking the system for random bytes")(io::Error::other(e.to_string())))?;
    }
    // That of initial sequence numbers and timestamps outlives the process. Where that can't be, nothing is worse than a restart.
    match control::claim().and_then(|directory| secret::shared(&directory, secrets[1])) {
        Ok(shared) => secrets[1] = shared,
        Err(error) => tracing::info!(%error, "initial sequence numbers begin anew with this process"),
    }
    Ok(secrets)
}

/// Attaches the steering program with our addresses and endpoints, which all shards have alike, and opens a port for each
/// queue.
fn open(options: &Options, queues: &[u32], shards: &[Shard]) -> Result<(Steering, Vec<XskPort>, Report), Error> {
    let config = XskConfig {
        interface: options.interface.clone(),
        xdp_mode: options.xdp_mode,
        syn_limit: options.syn_limit,
        copy_mode: options.copy_mode,
        tx_checksum: options.tx_checksum,
        ..options.limits.of_port()
    };
    let local = |a: &LocalAddress| match a.owned {
        true => xdp::LocalAddress::owned(a.ip),
        false => xdp::LocalAddress::shared(a.ip, options.ports.clone()),
    };
    let shard = shards.first();
    let addresses: Vec<_> = shard.iter().flat_map(|shard| &shard.config().addresses).map(local).collect();
    let (mut steering, ports, report) = xdp::open(&config, queues, &addresses)?;
    for endpoint in shard.iter().flat_map(|shard| shard.listening()) {
        for address in &addresses {
            let any = endpoint.ip().is_unspecified() && endpoint.is_ipv4() == address.address.is_ipv4();
            if any || endpoint.ip() == address.address {
                steering.add_endpoint(address.address, endpoint.port())?;
            }
        }
    }
    Ok((steering, ports, report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_are_not_gathered_by_a_loop_that_sleeps() {
        for (idle, gathers) in [(Idle::Busy, true), (Idle::Adaptive, true), (Idle::Sleep, false)] {
            let settings = tcp_settings(&Options { idle, ..Options::new("eth0") });
            assert_eq!(!settings.ack_gather.is_zero(), gathers, "{idle:?}");
            assert_eq!(Settings { ack_gather: Settings::default().ack_gather, ..settings }, Settings::default());
        }
    }
}
