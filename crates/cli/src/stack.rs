//! From flags to a running stack, for every command that needs one.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use fourwave::control::Count;
use fourwave::metrics::Endpoint;
use fourwave::trace::Tracer;
use fourwave::{Address, App, ConnId, Dad, Error, Io, Keepalive, ListenOptions, Place, Running, Settings, Stack};

use crate::args::{
    self, Congestion, CopyMode, Ecn, Idle, KernelWait, LimitArgs, Profile, Queues, StackConfig, SynCookies, TcpConfig,
    TxChecksum, XdpMode,
};
use crate::notify::Supervisor;
use crate::say;
use crate::stop::Stop;

/// How often a running stack is looked after: to see that it has ended by itself.
const LOOK: Duration = Duration::from_millis(50);
/// The same while it ends, which without connections takes no longer.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// A stack as the flags say. `peer` or local address `near` finds the interface where none is named.
pub(crate) fn builder(at: &StackConfig, near: IpAddr) -> anyhow::Result<Stack> {
    let interface = match &at.interface {
        Some(name) => name.clone(),
        None => fourwave::interface_for(near)
            .with_context(|| format!("no interface has or reaches {near}: name one with --interface"))?,
    };
    let queues = match &at.queues {
        Queues::All => Vec::new(),
        Queues::These(queues) => queues.clone(),
    };
    let stack = Stack::on(interface).queues(queues).cores(at.cores.iter().copied());
    let stack = stack.idle(idle(at.idle)).xdp_mode(xdp_mode(at.xdp_mode)).copy_mode(copy_mode(at.copy));
    let stack = stack.tx_checksum(tx_checksum(at.tx_checksum));
    let stack = stack.tcp(settings(&at.tcp)).listen_options(listen_options(&at.tcp));
    let stack = at.vlan.into_iter().fold(stack, Stack::vlan);
    let dad = |stack: Stack, probes| stack.dad(Dad { probes, ..Dad::default() });
    let stack = at.dad_probes.into_iter().fold(stack, dad);
    let stack = if at.keep_privileges { stack.keep_privileges() } else { stack };
    let stack = at.syn_limit.into_iter().fold(stack, Stack::syn_limit);
    let stack = limited(with_traces(with_metrics(stack, at), at), &at.limits);
    Ok(match at.address {
        Some(own) => stack.address(Address { ip: own.address, prefix_len: own.bits, gateway: at.gateway }),
        None => stack,
    })
}

/// The same over the kernel's sockets, a shard for each core.
pub(crate) fn over_kernel(at: &StackConfig) -> Stack {
    let stack = Stack::kernel().cores(at.cores.iter().copied()).idle(idle(at.idle));
    let stack = stack.tcp(settings(&at.tcp)).listen_options(listen_options(&at.tcp));
    let stack =
        at.limits.max_connections.into_iter().fold(with_traces(with_metrics(stack, at), at), Stack::max_connections);
    if at.keep_privileges { stack.keep_privileges() } else { stack }
}

fn with_traces(stack: Stack, at: &StackConfig) -> Stack {
    let stack = at.trace_records.into_iter().fold(stack.trace_faults(), Stack::trace_records);
    at.trace_directory.iter().fold(stack, |stack, directory| stack.trace_directory(directory))
}

/// SIGUSR2 writes what happened to the connections into a file, and says where.
pub(crate) fn trace_on_signal<A: Send + 'static>(running: &Running<A>, stop: &Stop) {
    let tracer = running.tracer();
    stop.on_user(move || say_trace(&tracer, "signal"));
}

/// Writes such a file, and says where it is.
pub(crate) fn say_trace(tracer: &Tracer, reason: &str) {
    match tracer.write(reason) {
        Ok(path) => say!("what happened to the connections is in {}", path.display()),
        Err(error) => say!("what happened to the connections can't be written down: {error}"),
    }
}

fn with_metrics(stack: Stack, at: &StackConfig) -> Stack {
    at.metrics.into_iter().fold(stack, |stack, address| stack.metrics(Endpoint::new(address)))
}

fn limited(stack: Stack, limits: &LimitArgs) -> Stack {
    let stack = limits.max_connections.into_iter().fold(stack, Stack::max_connections);
    let pool_bytes = limits.pool_bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let stack = pool_bytes.into_iter().fold(stack, Stack::pool_bytes);
    let stack = limits.frames.into_iter().fold(stack, Stack::frames);
    limits.ring.into_iter().fold(stack, Stack::ring)
}

/// Says where the metrics are, if they are anywhere.
pub(crate) fn say_metrics<A>(running: &Running<A>) {
    if let Some(address) = running.metrics_address() {
        say!("metrics at http://{address}/metrics");
    }
}

/// Whichever was asked for. Over the kernel's sockets programs are compared by how they wait: asleep, as servers do, or never.
pub(crate) fn of_choice(at: &StackConfig, near: IpAddr, wait: KernelWait) -> anyhow::Result<Stack> {
    match (at.stack, wait) {
        (args::Stack::Kernel, KernelWait::Epoll) => Ok(over_kernel(at).idle(fourwave::Idle::Sleep)),
        (args::Stack::Kernel, KernelWait::Spin) => Ok(over_kernel(at).idle(fourwave::Idle::Busy).unasked_reads()),
        _ => builder(at, near),
    }
}

/// Whether the loops of [`of_choice`] never sleep.
pub(crate) fn spins(at: &StackConfig, wait: KernelWait) -> bool {
    match at.stack {
        args::Stack::Kernel => wait == KernelWait::Spin,
        _ => at.idle == Idle::Busy,
    }
}

const fn idle(idle: Idle) -> fourwave::Idle {
    match idle {
        Idle::Busy => fourwave::Idle::Busy,
        Idle::Adaptive => fourwave::Idle::Adaptive,
        Idle::Sleep => fourwave::Idle::Sleep,
    }
}

/// What was typed, as the device layer calls it.
pub(crate) const fn xdp_mode(mode: XdpMode) -> fourwave::XdpMode {
    match mode {
        XdpMode::Auto => fourwave::XdpMode::Auto,
        XdpMode::Native => fourwave::XdpMode::Native,
        XdpMode::Generic => fourwave::XdpMode::Generic,
    }
}

/// What was typed, as the device layer calls it.
pub(crate) const fn copy_mode(copy: CopyMode) -> fourwave::CopyMode {
    match copy {
        CopyMode::Auto => fourwave::CopyMode::Auto,
        CopyMode::ZeroCopy => fourwave::CopyMode::ZeroCopy,
        CopyMode::Copied => fourwave::CopyMode::Copy,
    }
}

/// What was typed, as the device layer calls it.
pub(crate) const fn tx_checksum(who: TxChecksum) -> fourwave::TxChecksum {
    match who {
        TxChecksum::Auto => fourwave::TxChecksum::Auto,
        TxChecksum::Offload => fourwave::TxChecksum::Offload,
        TxChecksum::Compute => fourwave::TxChecksum::Compute,
        TxChecksum::Software => fourwave::TxChecksum::Software,
    }
}

fn settings(tcp: &TcpConfig) -> Settings {
    let default = Settings::default();
    Settings {
        time_wait: tcp.time_wait.map_or(default.time_wait, duration),
        ecn: match tcp.ecn {
            Ecn::Off => fourwave::Ecn::Off,
            Ecn::Answer => fourwave::Ecn::Answer,
            Ecn::Ask => fourwave::Ecn::Ask,
        },
        congestion: match tcp.congestion {
            Congestion::Cubic => fourwave::Congestion::Cubic,
            Congestion::Newreno => fourwave::Congestion::NewReno,
        },
        min_rto: tcp.min_rto.map_or(default.min_rto, duration),
        receive_buffer_bytes: tcp.receive_buffer.unwrap_or(default.receive_buffer_bytes),
        send_buffer_bytes: tcp.send_buffer.unwrap_or(default.send_buffer_bytes),
        ..default
    }
}

pub(crate) fn listen_options(tcp: &TcpConfig) -> ListenOptions {
    let default = ListenOptions::default();
    ListenOptions {
        backlog: tcp.backlog.unwrap_or(default.backlog),
        syn_cookies: match tcp.syn_cookies {
            SynCookies::Never => fourwave::SynCookies::Never,
            SynCookies::WhenFull => fourwave::SynCookies::WhenFull,
            SynCookies::Always => fourwave::SynCookies::Always,
            SynCookies::From(n) => fourwave::SynCookies::From(n),
        },
        profile: profile(tcp).unwrap_or(default.profile),
        ..default
    }
}

/// What is set for each connection that is accepted, whatever its application has set of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Accepted {
    keepalive: Option<Keepalive>,
    user_timeout: Option<fourwave::Duration>,
    profile: Option<fourwave::Profile>,
}

/// What was typed, as the stack calls it.
pub(crate) const fn profile(tcp: &TcpConfig) -> Option<fourwave::Profile> {
    match tcp.profile {
        None => None,
        Some(Profile::Latency) => Some(fourwave::Profile::Latency),
        Some(Profile::Throughput) => Some(fourwave::Profile::Throughput),
    }
}

/// Sets up a connection of a client that asks: nothing it sends is held back, unless it was typed what the connection is for.
pub(crate) fn set_asking(io: &mut Io<'_>, conn: ConnId, tcp: &TcpConfig) {
    let _ = match profile(tcp) {
        None => io.set_nodelay(conn, true),
        Some(profile) => io.set_profile(conn, profile),
    };
}

impl Accepted {
    pub(crate) fn of(tcp: &TcpConfig) -> Self {
        let default = Keepalive::default();
        let keepalive = tcp.keepalive.map(duration);
        Self {
            keepalive: keepalive.map(|idle| Keepalive { idle, interval: idle.min(default.interval), ..default }),
            user_timeout: tcp.user_timeout.map(duration),
            profile: profile(tcp),
        }
    }

    /// For an application that sets them itself.
    pub(crate) const fn settings(self) -> (Option<Keepalive>, Option<fourwave::Duration>) {
        (self.keepalive, self.user_timeout)
    }

    pub(crate) fn set(&self, io: &mut Io<'_>, conn: ConnId) {
        if let Some(profile) = self.profile {
            let _ = io.set_profile(conn, profile);
        }
        if self.keepalive.is_some() {
            let _ = io.set_keepalive(conn, self.keepalive);
        }
        if self.user_timeout.is_some() {
            let _ = io.set_user_timeout(conn, self.user_timeout);
        }
    }
}

/// As the stack has it.
pub(crate) fn duration(time: Duration) -> fourwave::Duration {
    fourwave::Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Starts a stack; not if the end is asked for meanwhile.
pub(crate) fn started<A: App + Send + 'static>(
    stack: Stack,
    make: impl FnMut(Place) -> A,
    stop: &Stop,
) -> Result<Running<A>, Error> {
    let running = stack.interrupt(stop.flag()).start_each(make)?;
    if stop.requested() { Err(Error::Interrupted) } else { Ok(running) }
}

/// Runs an application on each shard until the end is asked for, or until one ends by itself; gives them back.
pub(crate) fn run_to_end<A: App + Send + 'static>(
    stack: Stack,
    make: impl FnMut(Place) -> A,
    stop: &Stop,
    ready: impl FnOnce(&Running<A>),
) -> anyhow::Result<Vec<A>> {
    run_and_count(stack, make, stop, ready).map(|(apps, _)| apps)
}

/// The same, with what the shards counted.
pub(crate) fn run_and_count<A: App + Send + 'static>(
    stack: Stack,
    make: impl FnMut(Place) -> A,
    stop: &Stop,
    ready: impl FnOnce(&Running<A>),
) -> anyhow::Result<(Vec<A>, Vec<Count>)> {
    let keep = stack.keeps_privileges();
    let running = started(stack, make, stop)?;
    // What is open needs none any more, and nothing is to be opened.
    if !keep {
        fourwave::drop_privileges()?;
    }
    let report = running.report();
    for warning in report.into_iter().flat_map(|report| &report.warnings) {
        tracing::warn!("{warning}");
    }
    ready(&running);
    say_metrics(&running);
    trace_on_signal(&running, stop);
    let mut supervisor = Supervisor::ready(&running);
    while !stop.requested() && !running.is_finished() {
        supervisor.look();
        stop.sleep(LOOK);
    }
    // Asked for again, the end comes now.
    let mut again = stop.again();
    running.stop();
    supervisor.stopping();
    while !running.is_finished() {
        if again.asked() {
            running.stop();
        }
        supervisor.look();
        std::thread::sleep(DRAIN_LOOK);
    }
    let shards = running.join()?;
    let counts = fourwave::totals(&shards);
    Ok((shards.into_iter().map(|shard| shard.app).collect(), counts))
}

/// Where and how a stack runs, for its ready line.
pub(crate) fn place<A>(running: &Running<A>) -> String {
    let shards = match running.shards() {
        1 => "1 shard".to_owned(),
        shards => format!("{shards} shards"),
    };
    match running.report() {
        Some(report) => {
            let copy = if report.zero_copy { "zero-copy" } else { "copied" };
            format!("fourwave on {}, {shards}, XDP {}, {copy}", report.interface, report.xdp_mode)
        }
        None => format!("the kernel's sockets, {shards}"),
    }
}

/// Runs a server until the end is asked for.
pub(crate) fn run<A: App + Clone + Send + 'static>(
    stack: Stack,
    app: A,
    stop: &Stop,
    ready: impl FnOnce(&Running<A>),
) -> anyhow::Result<()> {
    run_to_end(stack, |_| app.clone(), stop, ready)?;
    if !stop.requested() {
        bail!("the stack ended by itself: is the interface gone?");
    }
    Ok(())
}
