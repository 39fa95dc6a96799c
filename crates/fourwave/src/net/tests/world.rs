//! A server's and a client's stack, joined by a cable in memory; or both on the kernel's loopback.

use crate::net::driver::Turned;
use crate::net::link::Link;
use crate::net::listening::Listener;
use crate::net::sockets::Sockets;
use crate::net::stream::Stream;
use crate::net::{Net, TcpListener, TcpStream};
use crossbeam::channel::{Receiver, Sender, bounded};
use mio::{Events, Interest, Poll, Token, event::Source};
use runtime::stack::{LocalAddress, MacAddr, Shard, ShardConfig};
use runtime::xdp::{Frame, MemoryConfig, MemoryPort, Port, PortStats};
use runtime::{Clock, Command, Driven, Ending, Idle, Worker};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Without an event for so long, one was lost.
const LOST: Duration = Duration::from_secs(20);
pub(super) const SERVER: [u8; 4] = [10, 0, 0, 1];
const CLIENT: [u8; 4] = [10, 0, 0, 2];
/// Ring bytes of the streams under test: small, so that they are full often.
pub(super) const RING: usize = 16 << 10;

/// A port in memory with a descriptor to sleep on.
#[derive(Debug)]
pub(super) struct Cabled {
    port: MemoryPort,
    bell: Arc<OwnedFd>,
    other_bell: Arc<OwnedFd>,
}

impl Cabled {
    fn pair() -> (Self, Self) {
        let (one, two) =
            MemoryPort::pair(MemoryConfig { frame_count: 2048, ring_size: 1024, ..MemoryConfig::default() });
        let bell = || Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let (a, b) = (bell(), bell());
        let cabled = |port, bell, other_bell| Self { port, bell, other_bell };
        (cabled(one, Arc::clone(&a), Arc::clone(&b)), cabled(two, b, a))
    }
}

impl Port for Cabled {
    fn receive(&mut self, out: &mut Vec<Frame>, max: usize) -> usize {
        self.port.receive(out, max)
    }
    fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.port.bytes(frame)
    }
    fn buffer<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.port.buffer(frame)
    }
    fn allocate(&mut self) -> Option<Frame> {
        self.port.allocate()
    }
    fn recycle(&mut self, frame: Frame) {
        self.port.recycle(frame);
    }
    fn transmit(&mut self, frame: Frame, len: usize) -> Result<(), Frame> {
        self.port.transmit(frame, len)
    }
    fn flush(&mut self) -> io::Result<()> {
        if self.port.needs_flush() {
            self.port.flush()?;
            let _ = rustix::io::write(&*self.other_bell, &1u64.to_ne_bytes());
        }
        Ok(())
    }
    fn needs_flush(&self) -> bool {
        self.port.needs_flush()
    }
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.as_fd())
    }
    fn frame_bytes(&self) -> usize {
        self.port.frame_bytes()
    }
    fn stats(&self) -> PortStats {
        self.port.stats()
    }
}

/// Where a worker's commands and questions would go.
type Ends = (Sender<Command>, Receiver<IpAddr>);

fn worker(ip: [u8; 4], port: Cabled) -> (Worker<Cabled, Sockets>, Arc<Link>, Ends) {
    let own = LocalAddress { ip: ip.into(), prefix_len: 24, owned: true };
    let config = ShardConfig::new(MacAddr([2, 0, 0, 0, 0, ip[3]]), 1500, vec![own], [[ip[3]; 16]; 4]);
    let clock = Clock::new();
    let shard = Shard::new(config, clock.now()).unwrap();
    let ((commands, inbox), (resolve, wanted)) = (bounded(1), bounded(1));
    let link = Link::new(0, 4096, RING);
    let app = Sockets::new(Arc::clone(&link));
    let worker = Worker::new(port, shard, app, clock, Idle::Sleep, inbox, resolve).unwrap();
    link.set_waker(worker.waker());
    (worker, link, (commands, wanted))
}

/// A stack on a thread.
#[derive(Debug)]
pub(super) struct Threaded {
    ending: Arc<Ending>,
    waker: Arc<mio::Waker>,
    pub(super) link: Arc<Link>,
    thread: Option<JoinHandle<()>>,
    _ends: Ends,
}

impl Threaded {
    fn start(ip: [u8; 4], port: Cabled) -> (Self, Net) {
        let (worker, link, ends) = worker(ip, port);
        let (waker, ending) = (worker.waker(), Arc::new(Ending::new()));
        let asked = Arc::clone(&ending);
        let thread = std::thread::spawn(move || worker.run(&asked).map(|_| ()).unwrap());
        let net = Net::over(vec![Arc::clone(&link)], None, None, true, None);
        (Self { ending, waker, link, thread: Some(thread), _ends: ends }, net)
    }

    /// Ends it, as the drop of a stack does.
    pub(super) fn end(&mut self) {
        self.ending.ask();
        self.waker.wake().unwrap();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Threaded {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    /// The kernel's loopback.
    Kernel,
    /// Both stacks on threads.
    Threads,
    /// The server in the test's own loop.
    Driven,
}

/// What a test runs in.
#[derive(Debug)]
pub(super) struct World {
    pub(super) backend: Backend,
    pub(super) server: Net,
    pub(super) client: Net,
    pub(super) poll: Poll,
    events: Events,
    driver: Option<(Turned<Cabled>, Ends)>,
    pub(super) stacks: Vec<Threaded>,
    tokens: usize,
}

impl World {
    pub(super) fn new(backend: Backend) -> Self {
        let (server, client, driver, stacks) = match backend {
            Backend::Kernel => (Net::kernel(), Net::kernel(), None, Vec::new()),
            Backend::Threads => {
                let (near, far) = Cabled::pair();
                let (one, server) = Threaded::start(SERVER, near);
                let (two, client) = Threaded::start(CLIENT, far);
                (server, client, None, vec![one, two])
            }
            Backend::Driven => {
                let (near, far) = Cabled::pair();
                let (worker, link, ends) = worker(SERVER, near);
                let turned = Turned::new(Driven::over(worker), link);
                let (two, client) = Threaded::start(CLIENT, far);
                (turned.net.clone(), client, Some((turned, ends)), vec![two])
            }
        };
        let mut world = Self { server, driver, stacks, ..Self::on(backend, client) };
        if let Some((driver, _)) = &mut world.driver {
            driver.register(world.poll.registry(), Token(usize::MAX), Interest::READABLE).unwrap();
        }
        world
    }

    /// The loop of another thread.
    pub(super) fn on(backend: Backend, net: Net) -> Self {
        let (poll, events) = (Poll::new().unwrap(), Events::with_capacity(256));
        let server = net.clone();
        Self { backend, server, client: net, poll, events, driver: None, stacks: Vec::new(), tokens: 0 }
    }

    /// The interface of the driven stack is deleted: what the program's loop says.
    pub(super) fn lose_interface(&mut self) -> io::Error {
        let Some((driver, (commands, _))) = &mut self.driver else { panic!("nobody drives") };
        commands.send(Command::Gone).unwrap();
        loop {
            match driver.poll(&mut self.poll, &mut self.events, Some(LOST)) {
                Ok(()) => {}
                Err(error) => return error,
            }
        }
    }

    /// A listener of the stack without a loop.
    pub(super) fn listen_bare(&self) -> (Listener, SocketAddr) {
        let listener = self.server.bind((SERVER, 0).into()).unwrap().into_stack().unwrap();
        let address = listener.local_addr();
        (listener, address)
    }

    pub(super) fn connect_bare(&self, address: SocketAddr) -> Stream {
        self.client.connect(address).unwrap().into_stack().unwrap()
    }

    /// Waits for an event; panics if none comes. The tokens that have one.
    pub(super) fn wait(&mut self) -> Vec<(Token, bool, bool)> {
        self.wait_for(LOST);
        assert!(!self.events.is_empty(), "no event came: {:?}", self.backend);
        self.seen()
    }

    pub(super) fn wait_for(&mut self, time: Duration) -> bool {
        match &mut self.driver {
            Some((driver, _)) => driver.poll(&mut self.poll, &mut self.events, Some(time)).unwrap(),
            None => self.poll.poll(&mut self.events, Some(time)).unwrap(),
        }
        !self.seen().is_empty()
    }

    pub(super) fn seen(&self) -> Vec<(Token, bool, bool)> {
        let own = Token(usize::MAX);
        let theirs = self.events.iter().filter(|event| event.token() != own);
        theirs.map(|event| (event.token(), event.is_readable(), event.is_writable())).collect()
    }

    pub(super) fn register(&mut self, source: &mut impl Source) -> Token {
        self.tokens += 1;
        let (token, both) = (Token(self.tokens), Interest::READABLE | Interest::WRITABLE);
        self.poll.registry().register(source, token, both).unwrap();
        token
    }

    /// Tries until it is no longer `WouldBlock`; between two tries there is an event.
    pub(super) fn until<T>(&mut self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => drop(self.wait()),
                result => return result,
            }
        }
    }

    pub(super) fn listen(&mut self) -> (TcpListener, SocketAddr) {
        let ip = if self.backend == Backend::Kernel { [127, 0, 0, 1] } else { SERVER };
        let mut listener = self.server.bind((ip, 0).into()).unwrap();
        self.register(&mut listener);
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// As mio's documentation says: writable, `take_error`, `peer_addr`.
    pub(super) fn connect(&mut self, address: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = self.client.connect(address)?;
        self.register(&mut stream);
        self.until(|| match stream.take_error()? {
            Some(error) => Err(error),
            None => stream.peer_addr().map_err(|error| match error.kind() {
                io::ErrorKind::NotConnected => io::ErrorKind::WouldBlock.into(),
                _ => error,
            }),
        })?;
        Ok(stream)
    }

    /// A client's stream, and the server's.
    pub(super) fn pair(&mut self) -> (TcpStream, TcpStream) {
        let (listener, address) = self.listen();
        let client = self.connect(address).unwrap();
        let (mut server, from) = self.until(|| listener.accept()).unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        self.register(&mut server);
        (client, server)
    }

    pub(super) fn read(&mut self, stream: &TcpStream) -> io::Result<Vec<u8>> {
        let mut buf = vec![0; 64 << 10];
        let n = self.until(|| io::Read::read(&mut &*stream, &mut buf))?;
        buf.truncate(n);
        Ok(buf)
    }

    /// Reads so many bytes.
    pub(super) fn read_exact(&mut self, stream: &TcpStream, n: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < n {
            let some = self.read(stream).unwrap();
            assert!(!some.is_empty(), "the end, behind {} of {n} bytes", all.len());
            all.extend(some);
        }
        all
    }

    pub(super) fn write(&mut self, stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            done += self.until(|| io::Write::write(&mut &*stream, &bytes[done..]))?;
        }
        Ok(())
    }
}

/// Runs a test on every backend.
pub(super) fn everywhere(test: impl Fn(&mut World)) {
    for backend in [Backend::Kernel, Backend::Threads, Backend::Driven] {
        test(&mut World::new(backend));
    }
}
