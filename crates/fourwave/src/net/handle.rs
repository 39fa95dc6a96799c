//! The handle of a stack, and the process's default.

use super::link::{Link, MAX_LISTENERS};
use super::listening::{Listener, Release};
use super::sockets::Sockets;
use super::stream::Stream;
use super::tcp::{TcpListener, TcpStream};
use crate::{Error, Report, Running, Stack};
use runtime::Endpoints;
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

/// What waits to be accepted; as mio asks of the kernel.
const BACKLOG: usize = 1024;
/// How long the end may take to give the connections what was written before.
const FLUSH: Duration = Duration::from_secs(1);
/// Linux's ephemeral ports, for listeners that don't mind which.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// What the process's `bind` and `connect` use.
static DEFAULT: RwLock<Option<Net>> = RwLock::new(None);

/// Sizes of what is between a shard and a program's threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) ring_bytes: usize,
    pub(crate) max_streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ring_bytes: 64 << 10, max_streams: 65_536 }
    }
}

impl Limits {
    fn check(self) -> Result<(), Error> {
        let within = |field, value: usize, most: usize, least: usize, allowed| {
            let refused = || Error::Option { field, value: value.to_string(), allowed };
            (least..=most).contains(&value).then_some(()).ok_or_else(refused)
        };
        within("stream_ring_bytes", self.ring_bytes, 64 << 20, 1 << 10, "1 KiB to 64 MiB")?;
        within("max_streams", self.max_streams, 1 << 24, 1, "1 to 2^24")
    }
}

/// The handle of a stack whose connections are sockets: [`TcpListener`]s and [`TcpStream`]s, usable from any thread. Clones
/// are handles of the same one. It runs until the last of its handles, listeners and streams is dropped; then, or at
/// [`Net::finish`], its connections are closed in order.
///
/// ```no_run
/// use fourwave::{Stack, net::TcpListener};
///
/// let net = Stack::on("eth0").sockets()?;
/// // Named:
/// let listener = net.bind("10.0.0.1:7".parse()?)?;
/// // Or as the process's default, where a program names none:
/// net.install();
/// let other = TcpListener::bind("10.0.0.1:8".parse()?)?;
/// # net.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The same program on the kernel's sockets, without an interface or privileges of its own:
///
/// ```
/// use fourwave::net::{Net, TcpListener};
///
/// Net::kernel().install();
/// let listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
/// assert_ne!(listener.local_addr()?.port(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Net(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Kernel,
    Stack(Arc<Sharded>),
}

/// A stack's shards, seen from the program's threads.
#[derive(Debug)]
pub(crate) struct Sharded {
    links: Vec<Arc<Link>>,
    /// The shard that opens the next connection.
    next: AtomicUsize,
    next_port: AtomicU16,
    /// Addresses that are listened on.
    bound: Mutex<Vec<SocketAddr>>,
    /// The stack's addresses; empty: any may be bound.
    addresses: Vec<IpAddr>,
    endpoints: Option<Endpoints>,
    report: Option<Report>,
    /// The shards have threads of their own: they can be waited for.
    threaded: bool,
    /// `None`: somebody else has the loops, or they have ended.
    running: Mutex<Option<Running<Sockets>>>,
}

impl Stack {
    /// Starts the stack on threads of its own for programs that use sockets: [`net::TcpListener`](crate::net::TcpListener)
    /// and [`net::TcpStream`](crate::net::TcpStream). It may connect to others ([`Stack::active_opens`]) unless its ports are
    /// given. What is listened on is for [`TcpListener::bind`](crate::net::TcpListener::bind) to say. Of [`Stack::kernel`]
    /// nothing is started: its sockets are the kernel's own, as of [`Net::kernel`].
    ///
    /// # Errors
    /// As [`Stack::start`]; [`Stack::listen`] was called.
    pub fn sockets(self) -> Result<Net, Error> {
        let stack = self.for_sockets()?;
        if stack.is_kernel() {
            return Ok(Net::kernel());
        }
        let limits = stack.limits;
        let mut links = Vec::new();
        let running = stack.start_each(|place| {
            let link = Link::new(place.index.into(), limits.max_streams, limits.ring_bytes);
            links.push(Arc::clone(&link));
            Sockets::new(link)
        })?;
        links.iter().zip(running.wakers()).for_each(|(link, waker)| link.set_waker(waker));
        let (endpoints, report) = (running.endpoints(), running.report().cloned());
        Ok(Net::over(links, endpoints, report, true, Some(running)))
    }

    /// Bytes of each of the two rings between a stream and its shard: what may be received and not yet read, beside the
    /// connection's own buffer, and what was written and not yet taken over by it. 1 KiB to 64 MiB; default:
    /// 64 KiB.
    #[must_use]
    pub const fn stream_ring_bytes(mut self, bytes: usize) -> Self {
        self.limits.ring_bytes = bytes;
        self
    }

    /// Streams that may be open at once, for each shard. Beyond it connections wait to be accepted, and opens fail (`EMFILE`)
    /// where no shard has room. 1 to 2^24; default: 65,536.
    #[must_use]
    pub const fn max_streams(mut self, streams: usize) -> Self {
        self.limits.max_streams = streams;
        self
    }

    pub(crate) fn for_sockets(self) -> Result<Self, Error> {
        self.limits.check()?;
        if let Some(address) = self.options.listen.first() {
            let allowed = "nothing: that is for an App, and of a stack's sockets TcpListener::bind listens";
            return Err(Error::Option { field: "listen", value: address.to_string(), allowed });
        }
        Ok(if self.options.ports.is_some() { self } else { self.active_opens() })
    }
}

impl Net {
    /// The kernel's sockets, behind the same types: mio's own.
    #[must_use]
    pub const fn kernel() -> Self {
        Self(Kind::Kernel)
    }

    pub(crate) fn over(
        links: Vec<Arc<Link>>,
        endpoints: Option<Endpoints>,
        report: Option<Report>,
        threaded: bool,
        running: Option<Running<Sockets>>,
    ) -> Self {
        Self(Kind::Stack(Arc::new(Sharded {
            links,
            next: AtomicUsize::new(0),
            next_port: AtomicU16::new(0),
            bound: Mutex::default(),
            addresses: endpoints.as_ref().map(|e| e.addresses().to_vec()).unwrap_or_default(),
            endpoints,
            report,
            threaded,
            running: Mutex::new(running),
        })))
    }

    /// Makes this the one that [`TcpListener::bind`] and [`TcpStream::connect`] use in this process. It is kept until
    /// another is installed; so call [`Net::finish`] before the process ends, or its connections don't end in order.
    pub fn install(&self) {
        *DEFAULT.write().unwrap_or_else(PoisonError::into_inner) = Some(self.clone());
    }

    /// The one that is installed.
    ///
    /// # Errors
    /// None is: it is never chosen silently.
    pub fn installed() -> io::Result<Self> {
        let installed = DEFAULT.read().unwrap_or_else(PoisonError::into_inner).clone();
        installed.ok_or_else(|| {
            let what =
                "no stack is installed in this process: call install() on what Stack::sockets or Net::kernel gives";
            io::Error::new(io::ErrorKind::NotConnected, what)
        })
    }

    /// Whether these are the kernel's sockets.
    #[must_use]
    pub const fn is_kernel(&self) -> bool {
        matches!(self.0, Kind::Kernel)
    }

    /// What was negotiated with the kernel; `None` for its own sockets.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        match &self.0 {
            Kind::Kernel => None,
            Kind::Stack(stack) => stack.report.as_ref(),
        }
    }

    /// Listens, on all shards. `0.0.0.0` and `::` mean all addresses of their family, port 0 one that is free.
    ///
    /// # Errors
    /// `AddrInUse`, also if it is the kernel's on an address that is shared with it; `AddrNotAvailable`.
    pub fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        match &self.0 {
            Kind::Kernel if address.is_ipv6() => {
                Ok(TcpListener::of_kernel(mio::net::TcpListener::from_std(ipv6_alone(address)?)))
            }
            Kind::Kernel => Ok(TcpListener::of_kernel(mio::net::TcpListener::bind(address)?)),
            Kind::Stack(stack) => Ok(TcpListener::of_stack(stack.bind(address)?)),
        }
    }

    /// Begins to connect: the stream is writable once that is over, one way or the other. An error at once is a local one; of
    /// a stack even those, such as that there is no route, are told by [`TcpStream::take_error`].
    ///
    /// # Errors
    /// No memory, no descriptors, or the stack has ended.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        match &self.0 {
            Kind::Kernel => Ok(TcpStream::of_kernel(mio::net::TcpStream::connect(address)?)),
            Kind::Stack(stack) => Ok(TcpStream::of_stack(stack.connect(address)?)),
        }
    }

    /// Ends the stack, whoever has handles of it: what was written is sent and the connections are closed in order, for at most
    /// two seconds; then what is left is reset. Streams that are still held fail with `ConnectionAborted`. The kernel's
    /// sockets are not touched. If the stack is driven by a [`Driver`](crate::net::Driver) it is that one's to end.
    ///
    /// # Errors
    /// The device failed before.
    pub fn finish(&self) -> Result<(), Error> {
        match &self.0 {
            Kind::Kernel => Ok(()),
            Kind::Stack(stack) => stack.finish(),
        }
    }
}

impl Sharded {
    /// By the shard whose turn it is; one that is full, or over, leaves it to another.
    fn connect(self: &Arc<Self>, address: SocketAddr) -> io::Result<Stream> {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.links.len().max(1);
        let (later, first) = self.links.split_at(next);
        let mut living = first.iter().chain(later).filter(|link| !link.is_dead()).peekable();
        if living.peek().is_none() {
            return Err(errno(Errno::NETDOWN));
        }
        let link = living.find(|link| link.enter()).ok_or_else(|| errno(Errno::MFILE))?;
        Ok(Stream::connect(link, address, Arc::clone(self) as _))
    }

    fn bind(self: &Arc<Self>, address: SocketAddr) -> io::Result<Listener> {
        let address = self.reserve(address)?;
        let stack = Arc::downgrade(self);
        let release = Release(Box::new(move |address| forget(&stack, address)));
        let keep = Arc::clone(self) as _;
        let (listener, answers) = Listener::open(&self.links, address, BACKLOG, keep, release);
        if self.threaded {
            listener.wait(&answers)?;
        }
        Ok(listener)
    }

    /// Takes the address for a listener: in this stack, and of the kernel where it is shared.
    fn reserve(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let any = address.ip().is_unspecified();
        if !any && !self.addresses.is_empty() && !self.addresses.contains(&address.ip()) {
            return Err(errno(Errno::ADDRNOTAVAIL));
        }
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if bound.len() >= MAX_LISTENERS {
            return Err(errno(Errno::NFILE));
        }
        let taken = |wanted: SocketAddr| {
            let any = any || wanted.ip().is_unspecified();
            bound.iter().any(|b| {
                let clash = any || b.ip().is_unspecified() || b.ip() == wanted.ip();
                b.port() == wanted.port() && b.is_ipv4() == wanted.is_ipv4() && clash
            })
        };
        let shared = self.endpoints.as_ref().is_some_and(|endpoints| !endpoints.owned());
        let address = if address.port() == 0 && !shared { self.choose(address, taken)? } else { address };
        if address.port() != 0 && taken(address) {
            return Err(errno(Errno::ADDRINUSE));
        }
        let opened = self.endpoints.as_ref().map(|endpoints| endpoints.open(address)).transpose().map_err(into_io)?;
        let address = opened.unwrap_or(address);
        bound.push(address);
        Ok(address)
    }

    fn choose(&self, address: SocketAddr, taken: impl Fn(SocketAddr) -> bool) -> io::Result<SocketAddr> {
        let count = EPHEMERAL.end() - EPHEMERAL.start() + 1;
        let ports = (0..count).map(|_| EPHEMERAL.start() + self.next_port.fetch_add(1, Ordering::Relaxed) % count);
        let mut free = ports.map(|port| SocketAddr::new(address.ip(), port)).filter(|address| !taken(*address));
        free.next().ok_or_else(|| errno(Errno::ADDRINUSE))
    }

    pub(crate) fn ask_to_finish(&self) {
        self.links.iter().for_each(|link| link.ask_to_finish());
    }

    fn finish(&self) -> Result<(), Error> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return Ok(()) };
        self.ask_to_finish();
        if !running.is_on_a_shard() {
            return end(&self.links, running);
        }
        // The last handle went with a task, where its shard woke that: the shard can't wait for itself.
        let links = self.links.clone();
        let ending = std::thread::Builder::new().name("fw-end".into()).spawn(move || end(&links, running));
        // Without a thread what runs was dropped, which ends it as well.
        ending.map(drop).or(Ok(()))
    }
}

/// Gives the connections what was written before, for a while, and ends the stack in order.
fn end(links: &[Arc<Link>], running: Running<Sockets>) -> Result<(), Error> {
    let began = Instant::now();
    while !links.iter().all(|link| link.is_flushed()) && began.elapsed() < FLUSH {
        std::thread::sleep(Duration::from_millis(1));
    }
    running.stop();
    running.join().map(|_| ())
}

impl Drop for Sharded {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// A listener of the kernel's, as mio and tokio make it, but that `::` is nobody's IPv4 address: as of a stack.
pub(crate) fn ipv6_alone(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_only_v6(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn forget(stack: &Weak<Sharded>, address: SocketAddr) {
    if let Some(stack) = stack.upgrade() {
        let mut bound = stack.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.retain(|other| *other != address);
    }
}

fn errno(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw_os_error())
}

/// An error of the start as an I/O error of its kind.
fn into_io(error: Error) -> io::Error {
    let kind = match &error {
        Error::InUse { .. } | Error::Lingering(_) | Error::PortTaken { .. } => io::ErrorKind::AddrInUse,
        Error::System { source, .. } => source.kind(),
        Error::NotOurs { .. } => io::ErrorKind::AddrNotAvailable,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
