//! How a stack is started.

use crate::{
    Address, App, CopyMode, Dad, Duration, Error, Idle, ListenOptions, Place, Running, Settings, SynLimit, TxChecksum,
    XdpMode, metrics::Endpoint, raw,
};
use runtime::{KernelSockets, Options, stack::DEFAULT_PORTS};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a stack is to be; an interface's name is enough.
#[derive(Debug, Clone)]
pub struct Stack {
    pub(crate) options: Options,
    pub(crate) limits: crate::net::Limits,
}

impl Stack {
    /// A stack on an interface, sharing its addresses with the kernel.
    #[must_use]
    pub fn on(interface: impl Into<String>) -> Self {
        Self { options: Options::new(interface), limits: crate::net::Limits::default() }
    }

    /// A stack without an interface, over the kernel's sockets: no privilege is needed, and the same [`App`] runs on it. It has
    /// one shard, or as many as [`Stack::shards`] says; what needs an interface is refused when it starts.
    ///
    /// ```
    /// use fourwave::{App, ConnId, Io, Stack};
    ///
    /// #[derive(Clone)]
    /// struct Echo;
    ///
    /// impl App for Echo {
    ///     fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
    ///         io.send(conn, data).unwrap_or(data.len())
    ///     }
    /// }
    ///
    /// let running = Stack::kernel().listen("127.0.0.1:0".parse()?).start(Echo)?;
    /// println!("listening on {}", running.listening()[0]);
    /// running.stop();
    /// running.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn kernel() -> Self {
        Self { options: Options::kernel(), limits: crate::net::Limits::default() }
    }

    /// How many shards a stack without an interface has, 1 to 65,535: each is a thread, and they share the ports listened on
    /// (`SO_REUSEPORT`). Default: one for each core named, or one. An interface has one for each queue.
    #[must_use]
    pub const fn shards(mut self, shards: u16) -> Self {
        self.options.shards = Some(shards);
        self
    }

    pub(crate) const fn is_kernel(&self) -> bool {
        matches!(self.options.kernel_sockets, KernelSockets::Only)
    }

    /// A start that takes its time, waiting for the carrier or asking whether anybody has the address, ends with
    /// [`Error::Interrupted`] once this is set.
    #[must_use]
    pub fn interrupt(mut self, interrupt: Arc<AtomicBool>) -> Self {
        self.options.interrupt = Some(interrupt);
        self
    }

    /// Gives the application the kernel's sockets as well, in the same loop: [`Io::connect_via`](crate::Io::connect_via) and
    /// [`Io::listen_via`](crate::Io::listen_via) with [`Via::Kernel`](crate::Via::Kernel). What names no way goes by the stack.
    #[must_use]
    pub const fn with_kernel_sockets(mut self) -> Self {
        if !matches!(self.options.kernel_sockets, KernelSockets::Only) {
            self.options.kernel_sockets = KernelSockets::Beside;
        }
        self
    }

    /// Listens on an address and port; `0.0.0.0` and `::` mean all addresses of the stack.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.options.listen.push(address);
        self
    }

    /// Backlog, SYN cookies and the like of what [`Stack::listen`] names; checked when the stack starts. An accept queue is
    /// for listeners that the application opens itself ([`Io::listen`](crate::Io::listen)).
    #[must_use]
    pub fn listen_options(mut self, options: ListenOptions) -> Self {
        self.options.listen_options = options;
        self
    }

    /// Owns an address instead of sharing the interface's: the stack answers ARP, NDP and ICMP echo for it.
    #[must_use]
    pub const fn address(mut self, address: Address) -> Self {
        self.options.address = Some(address);
        self
    }

    /// Owns more addresses, in the network of [`Stack::address`] and by its gateway: up to 1023.
    /// [`Io::connect_from`](crate::Io::connect_from) opens from any of them, each of which has all ports; who names none opens
    /// from the first.
    #[must_use]
    pub fn more_addresses(mut self, more: impl IntoIterator<Item = IpAddr>) -> Self {
        self.options.more_addresses = more.into_iter().collect();
        self
    }

    /// How it is found out that nobody else has the address that the stack is to own: [`Stack::start`] returns once that is
    /// clear, or fails with the other station's MAC address. Default: one question, and a second for the answer;
    /// [`Dad::RFC_5227`] asks three times.
    #[must_use]
    pub const fn dad(mut self, dad: Dad) -> Self {
        self.options.dad = dad;
        self
    }

    /// Sends what is no reply with the tag of a VLAN, 1 to 4094: active opens, and the search for their next hop. Default:
    /// untagged. What comes in a VLAN is answered in it either way. Only with an [`address`](Self::address) of the stack's own.
    #[must_use]
    pub const fn vlan(mut self, identifier: u16) -> Self {
        self.options.vlan = Some(identifier);
        self
    }

    /// Lets the application connect to others, from ports 61000 to 65535: above Linux's ephemeral range. Default: it does not
    /// ([`Io::connect`](crate::Io::connect) finds no port), and on a shared address every port not listened on stays the
    /// kernel's.
    #[must_use]
    pub const fn active_opens(self) -> Self {
        self.ports(DEFAULT_PORTS)
    }

    /// As [`Stack::active_opens`], from ports of your choice. Those of a shared address may not be ephemeral ports of the
    /// kernel.
    #[must_use]
    pub const fn ports(mut self, ports: RangeInclusive<u16>) -> Self {
        self.options.ports = Some(ports);
        self
    }

    /// Receive queues to serve, a shard for each. Default: all that the interface has; none may be left out, so this is for
    /// who wants to be sure how many there are.
    #[must_use]
    pub fn queues(mut self, queues: impl IntoIterator<Item = u32>) -> Self {
        self.options.queues = queues.into_iter().collect();
        self
    }

    /// Cores to run on, one per queue, in their order. Default: wherever the kernel puts them.
    #[must_use]
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.options.cores = cores.into_iter().collect();
        self
    }

    /// What to do while there is nothing to do. Default: adaptive.
    #[must_use]
    pub const fn idle(mut self, idle: Idle) -> Self {
        self.options.idle = idle;
        self
    }

    /// Over the kernel's sockets alone, with [`Idle::Busy`]: while there are eight connections at most they are read from without
    /// being told by epoll that something has come, which saves a system call each time. What is urgent is told late then, or
    /// not at all ([`App::on_urgent`](crate::App::on_urgent)).
    #[must_use]
    pub const fn unasked_reads(mut self) -> Self {
        self.options.unasked_reads = true;
        self
    }

    /// How long the applications go on with their connections once the end was asked for ([`Running::stop`],
    /// [`Io::finish`](crate::Io::finish)): listeners are closed, [`App::on_drain`] is called, and nothing else changes until no
    /// connection is left or the time is over. Then what is left is closed in order, and a second later reset. Default: zero,
    /// all connections are closed at once.
    ///
    /// ```no_run
    /// use fourwave::{App, ConnId, ConnMap, Duration, Io, ListenerId, Stack};
    ///
    /// /// An echo server that closes idle connections when it ends, and the others when they have had their answer.
    /// #[derive(Clone, Default)]
    /// struct Echo {
    ///     idle: ConnMap<()>,
    ///     drains: bool,
    /// }
    ///
    /// impl App for Echo {
    ///     fn on_accept(&mut self, _: &mut Io<'_>, conn: ConnId, _: ListenerId) {
    ///         self.idle.insert(conn, ());
    ///     }
    ///     fn on_data(&mut self, io: &mut Io<'_>, conn: ConnId, data: &[u8]) -> usize {
    ///         self.idle.remove(conn);
    ///         let taken = io.send(conn, data).unwrap_or(data.len());
    ///         if self.drains && taken == data.len() {
    ///             let _ = io.close(conn);
    ///         }
    ///         taken
    ///     }
    ///     fn on_drain(&mut self, io: &mut Io<'_>) {
    ///         self.drains = true;
    ///         for (conn, ()) in std::mem::take(&mut self.idle).iter() {
    ///             let _ = io.close(conn);
    ///         }
    ///     }
    /// }
    ///
    /// let running = Stack::on("eth0")
    ///     .listen("10.0.0.1:7".parse()?)
    ///     .drain_time(Duration::from_secs(30))
    ///     .start(Echo::default())?;
    /// // ... and when a signal has come:
    /// running.stop();
    /// running.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn drain_time(mut self, time: Duration) -> Self {
        self.options.drain_time = time;
        self
    }

    /// Where the XDP program runs. Default: negotiated, and reported.
    #[must_use]
    pub const fn xdp_mode(mut self, mode: XdpMode) -> Self {
        self.options.xdp_mode = mode;
        self
    }

    /// Limits new connections by where they come from: beyond the limit the XDP program drops a SYN that would come to the stack,
    /// which then costs nothing else. What is the kernel's, and what is no SYN, is not touched. Checked when the stack starts.
    /// Default: no limit.
    ///
    /// ```no_run
    /// use fourwave::{Stack, SynLimit};
    ///
    /// // A hundred a second, and as many at once, from each /24 (IPv4) and /56 (IPv6); and from each address.
    /// let of_networks = Stack::on("eth0").syn_limit(SynLimit::per_second(100.0));
    /// let of_addresses = SynLimit { prefix_v4: 32, prefix_v6: 64, burst: 20, ..SynLimit::per_second(5.0) };
    /// # let _ = (of_networks, of_addresses);
    /// ```
    #[must_use]
    pub const fn syn_limit(mut self, limit: SynLimit) -> Self {
        self.options.syn_limit = Some(limit);
        self
    }

    /// Zero-copy or copied. Default: negotiated, and reported.
    #[must_use]
    pub const fn copy_mode(mut self, mode: CopyMode) -> Self {
        self.options.copy_mode = mode;
        self
    }

    /// Who writes the checksums of segments that are sent: the stack or the device. Default: the device where frames are not
    /// copied and its driver does it for AF_XDP; reported.
    #[must_use]
    pub const fn tx_checksum(mut self, who: TxChecksum) -> Self {
        self.options.tx_checksum = who;
        self
    }

    /// Settings of the connections; checked when the stack starts. Those over the kernel's sockets are as the kernel is set
    /// (`net.ipv4.tcp_*`); of them as many bytes lie unread in the stack as `receive_buffer_start_bytes` says.
    #[must_use]
    pub const fn tcp(mut self, settings: Settings) -> Self {
        self.options.tcp = settings;
        self
    }

    /// Lets the stack's threads, and so the application on them, keep the capabilities of the thread that starts the stack.
    /// Default: they give up what they don't need, and what they execute gains none; the starting thread's are not touched
    /// ([`drop_privileges`](crate::drop_privileges) is for those).
    #[must_use]
    pub const fn keep_privileges(mut self) -> Self {
        self.options.keep_privileges = true;
        self
    }

    /// Where files of what happened to connections are written; the start is refused if they can't be. Default: where control sockets are.
    #[must_use]
    pub fn trace_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.options.trace_directory = Some(directory.into());
        self
    }

    /// A loop that fails, by its application's panic or the device's failure, writes a file of what happened to its connections.
    /// Default: it doesn't; [`Running::tracer`] writes one at any time.
    #[must_use]
    pub const fn trace_faults(mut self) -> Self {
        self.options.trace_faults = true;
        self
    }

    /// Serves metrics over HTTP, as Prometheus reads them (`/metrics`, and `/healthz`), on a kernel socket by a thread of its own
    /// ([`metrics`](crate::metrics); docs/METRICS.md). They are for whoever can reach that address. Default: nowhere;
    /// [`Running::monitor`] asks without a socket.
    ///
    /// ```
    /// use fourwave::metrics::{Endpoint, PATIENCE};
    /// use fourwave::{App, ConnId, Io, Stack};
    ///
    /// #[derive(Clone)]
    /// struct Discard;
    ///
    /// impl App for Discard {
    ///     fn on_data(&mut self, _: &mut Io<'_>, _: ConnId, data: &[u8]) -> usize {
    ///         data.len()
    ///     }
    /// }
    ///
    /// let running = Stack::kernel().metrics(Endpoint::new("127.0.0.1:0".parse()?)).start(Discard)?;
    /// println!("http://{}/metrics", running.metrics_address().unwrap());
    /// let now = running.monitor().metrics(PATIENCE);
    /// let shard = now.shards[0].as_ref().expect("it answers within a second");
    /// assert_eq!(shard.counters.sockets.open, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn metrics(mut self, endpoint: Endpoint) -> Self {
        self.options.metrics = Some(endpoint);
        self
    }

    /// Whether [`Stack::keep_privileges`] was asked for.
    #[must_use]
    pub const fn keeps_privileges(&self) -> bool {
        self.options.keep_privileges
    }

    /// Starts the stack with `app` on it, in the network namespace of the calling thread. Each shard has a copy of its own: they
    /// share what `A` shares when it is cloned, such as an [`Arc`](std::sync::Arc).
    ///
    /// # Errors
    /// One sentence that says what is missing or wrong, and what to do.
    pub fn start<A: App + Clone + Send + 'static>(self, app: A) -> Result<Running<A>, Error> {
        runtime::start(self.options, app)
    }

    /// As [`Stack::start`], with an application made for each shard: its own connections to open, say, or what is no `Clone`.
    /// `make` is called for each shard, in their order, before any of them runs.
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub fn start_each<A: App + Send + 'static>(self, make: impl FnMut(Place) -> A) -> Result<Running<A>, Error> {
        runtime::start_each(self.options, make)
    }

    /// Opens the interface for bare frames that are sent back: the answering end of a measurement without TCP.
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub fn raw_server(&self) -> Result<raw::Raw, Error> {
        raw::Raw::server(&self.options)
    }

    /// Opens the interface for bare frames to the station that has `target`: the asking end.
    ///
    /// # Errors
    /// As [`Stack::start`]; or nobody on the link has `target`.
    pub fn raw_client(&self, target: IpAddr, message_bytes: usize) -> Result<(raw::Raw, raw::RawPing), Error> {
        raw::Raw::client(&self.options, target, message_bytes)
    }

    /// As [`Stack::raw_client`], with so many frames under way at once.
    ///
    /// # Errors
    /// As [`Stack::raw_client`].
    pub fn raw_window(
        &self,
        target: IpAddr,
        message_bytes: usize,
        frames: u32,
    ) -> Result<(raw::Raw, raw::RawWindow), Error> {
        raw::Raw::window(&self.options, target, message_bytes, frames)
    }

    /// Opens the interface to send frames as long as its MTU allows, one way, with so many under way.
    ///
    /// # Errors
    /// As [`Stack::raw_client`].
    pub fn raw_sender(&self, target: IpAddr, frames: u32) -> Result<(raw::Raw, raw::RawSender), Error> {
        raw::Raw::sender(&self.options, target, frames)
    }
}
