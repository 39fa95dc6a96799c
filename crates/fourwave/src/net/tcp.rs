//! The two types that programs use: each is the stack's, or the kernel's own.

use super::handle::Net;
use super::listening::Listener;
use super::options::{WholeKeepalive, check_user_timeout, set_kernels_keepalive};
use super::stream::Stream;
use crate::{Keepalive, Profile};
use mio::{Interest, Registry, Token, event};
use socket2::SockRef;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// TTL or hop limit of what a stack sends (RFC 1700).
pub(crate) const TTL: u32 = 64;

/// A TCP connection: mio's `TcpStream`, over a stack or over the kernel ([`Net`]).
///
/// Nothing blocks: what can't be done now is [`WouldBlock`](io::ErrorKind::WouldBlock), and once that was met, readiness is
/// told once (mio's rules: register, try until `WouldBlock`, wait for an event). What a call returns when the connection ends
/// is what Linux returns: data first, then the end (0) or the error, once; writing behind it is `BrokenPipe`.
///
/// Dropping it closes in the background: what was written is sent; if data was left unread, the connection is reset, behind as
/// much of that as can leave at once.
///
/// ```no_run
/// use fourwave::net::{Net, TcpStream};
/// use mio::{Events, Interest, Poll, Token};
/// use std::io::{Read, Write};
///
/// Net::kernel().install();
/// let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(8));
/// let mut stream = TcpStream::connect("127.0.0.1:7".parse()?)?;
/// poll.registry().register(&mut stream, Token(0), Interest::READABLE | Interest::WRITABLE)?;
/// while stream.peer_addr().is_err() {
///     poll.poll(&mut events, None)?;
///     stream.take_error()?.map_or(Ok(()), Err)?;
/// }
/// stream.write_all(b"hello")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Readiness of a stack's stream comes from event descriptors, one for reading and one for writing, so the two are told as
/// separate events of the same token. They can't tell an end: [`Event::is_read_closed`](mio::event::Event::is_read_closed)
/// and its like are always false, and what is portable is a readable event and a read of 0.
#[derive(Debug)]
pub struct TcpStream(StreamOf);

#[derive(Debug)]
enum StreamOf {
    Kernel(mio::net::TcpStream),
    Stack(Stream),
}

impl TcpStream {
    pub(crate) const fn of_kernel(stream: mio::net::TcpStream) -> Self {
        Self(StreamOf::Kernel(stream))
    }

    pub(crate) const fn of_stack(stream: Stream) -> Self {
        Self(StreamOf::Stack(stream))
    }

    /// The stack's; or the kernel's.
    #[allow(dead_code, reason = "for sockets of tasks")]
    pub(crate) fn into_stack(self) -> Result<Stream, mio::net::TcpStream> {
        match self.0 {
            StreamOf::Kernel(stream) => Err(stream),
            StreamOf::Stack(stream) => Ok(stream),
        }
    }

    /// Begins to connect, on what is installed ([`Net::install`]). The connection is open when the stream is writable,
    /// [`take_error`](Self::take_error) has nothing, and [`peer_addr`](Self::peer_addr) answers; before, that is
    /// `NotConnected`.
    ///
    /// # Errors
    /// As [`Net::connect`]; nothing is installed.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Net::installed()?.connect(address)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `NotConnected`: not yet, or no longer.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            StreamOf::Kernel(stream) => stream.peer_addr(),
            StreamOf::Stack(stream) => stream.peer_addr(),
        }
    }

    /// Our address. Of a stack's stream, the unspecified one until the shard has begun to connect.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            StreamOf::Kernel(stream) => stream.local_addr(),
            StreamOf::Stack(stream) => Ok(stream.local_addr()),
        }
    }

    /// Shuts down one direction or both. What was written is sent first. Of a stack's stream, what arrives after reading was
    /// shut down resets the connection. A stream that is still being opened is given up, as Linux does it, whatever `how` is:
    /// whoever asks first is told `ConnectionReset`, and all others that it is not connected.
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.0 {
            StreamOf::Kernel(stream) => stream.shutdown(how),
            StreamOf::Stack(stream) => stream.shutdown(how),
        }
    }

    /// Switches Nagle's algorithm off (`TCP_NODELAY`).
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match &self.0 {
            StreamOf::Kernel(stream) => stream.set_nodelay(nodelay),
            StreamOf::Stack(stream) => {
                stream.set_nodelay(nodelay);
                Ok(())
            }
        }
    }

    /// What the connection is for, where shorter waits cost frames and fewer frames cost waits. Nagle's algorithm is part of it,
    /// and may be set otherwise behind it; of the kernel's stream nothing else is.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_profile(&self, profile: Profile) -> io::Result<()> {
        match &self.0 {
            StreamOf::Kernel(stream) => stream.set_nodelay(profile == Profile::Latency),
            StreamOf::Stack(stream) => {
                stream.set_profile(profile);
                Ok(())
            }
        }
    }

    /// Whether Nagle's algorithm is off.
    ///
    /// # Errors
    /// The kernel's.
    pub fn nodelay(&self) -> io::Result<bool> {
        match &self.0 {
            StreamOf::Kernel(stream) => stream.nodelay(),
            StreamOf::Stack(stream) => Ok(stream.nodelay()),
        }
    }

    /// What dropping the stream does about what the peer has not acknowledged (`SO_LINGER`). Zero: the connection is reset.
    /// Any other time: of a stack's stream as `None`, for nothing blocks; of the kernel's, the drop waits.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        match &self.0 {
            StreamOf::Kernel(stream) => SockRef::from(stream).set_linger(linger),
            StreamOf::Stack(stream) => {
                stream.set_linger(linger);
                Ok(())
            }
        }
    }

    /// What [`set_linger`](Self::set_linger) has set.
    ///
    /// # Errors
    /// The kernel's.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        match &self.0 {
            StreamOf::Kernel(stream) => SockRef::from(stream).linger(),
            StreamOf::Stack(stream) => Ok(stream.linger()),
        }
    }

    /// How long what was sent may stay without an acknowledgment, and an open without an answer, before the connection is given
    /// up with `TimedOut` (`TCP_USER_TIMEOUT`, RFC 5482): 1 ms to 24 days. `None`: as the stack, or the kernel, is set. It
    /// takes the place of the number of keep-alives, too.
    ///
    /// # Errors
    /// `InvalidInput`: out of its range. The kernel's.
    pub fn set_user_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        let checked = check_user_timeout(time)?;
        match &self.0 {
            StreamOf::Kernel(stream) => SockRef::from(stream).set_tcp_user_timeout(time),
            StreamOf::Stack(stream) => {
                stream.set_user_timeout(checked);
                Ok(())
            }
        }
    }

    /// Asks a peer that has long been silent whether it is still there, and gives the connection up with `TimedOut` if it does
    /// not answer (`SO_KEEPALIVE`, RFC 9293 section 3.8.4): times of 1 to 32,767 s, rounded up to whole ones, 1 to 127 probes.
    /// `None`, the default: it is not asked. A stack sends two probes at least.
    ///
    /// # Errors
    /// `InvalidInput`: out of its range. The kernel's.
    pub fn set_keepalive(&self, settings: Option<Keepalive>) -> io::Result<()> {
        let whole = settings.map(WholeKeepalive::of).transpose()?;
        match &self.0 {
            StreamOf::Kernel(stream) => set_kernels_keepalive(&SockRef::from(stream), whole),
            StreamOf::Stack(stream) => {
                stream.set_keepalive(whole);
                Ok(())
            }
        }
    }

    /// Sets the TTL of what is sent. That of a stack is 64 for all.
    ///
    /// # Errors
    /// The kernel's; `Unsupported` by a stack, except 64.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        match &self.0 {
            StreamOf::Kernel(stream) => stream.set_ttl(ttl),
            StreamOf::Stack(_) => only_ttl(ttl),
        }
    }

    /// The TTL of what is sent.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ttl(&self) -> io::Result<u32> {
        match &self.0 {
            StreamOf::Kernel(stream) => stream.ttl(),
            StreamOf::Stack(_) => Ok(TTL),
        }
    }

    /// The error that nobody was told of yet, once (`SO_ERROR`).
    ///
    /// # Errors
    /// The kernel's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match &self.0 {
            StreamOf::Kernel(stream) => stream.take_error(),
            StreamOf::Stack(stream) => Ok(stream.take_error()),
        }
    }

    /// As a read, and what is read stays.
    ///
    /// # Errors
    /// Those of a read.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            StreamOf::Kernel(stream) => stream.peek(buf),
            StreamOf::Stack(stream) => stream.peek(buf),
        }
    }

    /// Calls `f`, which does I/O of its own on the stream and says `WouldBlock` when there is nothing to do: mio's `try_io`.
    /// Of a stack's stream readiness follows from what `f` calls on it, and this adds nothing.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn try_io<F, T>(&self, f: F) -> io::Result<T>
    where
        F: FnOnce() -> io::Result<T>,
    {
        match &self.0 {
            StreamOf::Kernel(stream) => stream.try_io(f),
            StreamOf::Stack(_) => f(),
        }
    }
}

pub(crate) fn only_ttl(ttl: u32) -> io::Result<()> {
    let what = "the TTL of what a stack sends is 64";
    if ttl == TTL { Ok(()) } else { Err(io::Error::new(io::ErrorKind::Unsupported, what)) }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            StreamOf::Kernel(stream) => (&mut &*stream).read(buf),
            StreamOf::Stack(stream) => stream.read(buf),
        }
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match &self.0 {
            StreamOf::Kernel(stream) => (&mut &*stream).read_vectored(bufs),
            StreamOf::Stack(stream) => stream.read_vectored(bufs),
        }
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &self.0 {
            StreamOf::Kernel(stream) => (&mut &*stream).write(buf),
            StreamOf::Stack(stream) => stream.write(&[IoSlice::new(buf)]),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.0 {
            StreamOf::Kernel(stream) => (&mut &*stream).write_vectored(bufs),
            StreamOf::Stack(stream) => stream.write(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl event::Source for TcpStream {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match &mut self.0 {
            StreamOf::Kernel(stream) => stream.register(registry, token, interests),
            StreamOf::Stack(stream) => stream.register(registry, token, interests),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match &mut self.0 {
            StreamOf::Kernel(stream) => stream.reregister(registry, token, interests),
            StreamOf::Stack(stream) => stream.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.0 {
            StreamOf::Kernel(stream) => stream.deregister(registry),
            StreamOf::Stack(stream) => stream.deregister(registry),
        }
    }
}

/// Listens for connections: mio's `TcpListener`, over a stack or over the kernel ([`Net`]).
///
/// ```
/// use fourwave::net::{Net, TcpListener};
/// use mio::{Interest, Poll, Token};
///
/// Net::kernel().install();
/// let poll = Poll::new()?;
/// let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
/// poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
/// match listener.accept() {
///     Ok((stream, peer)) => println!("{peer}"),
///     Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => println!("nobody yet"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping it closes it; who has connected and was not accepted is reset. On an address that a stack shares with the kernel
/// the port stays the stack's until that ends, for the connections that live on; it can be bound again.
#[derive(Debug)]
pub struct TcpListener(ListenerOf);

#[derive(Debug)]
enum ListenerOf {
    Kernel(mio::net::TcpListener),
    Stack(Listener),
}

impl TcpListener {
    pub(crate) const fn of_kernel(listener: mio::net::TcpListener) -> Self {
        Self(ListenerOf::Kernel(listener))
    }

    pub(crate) const fn of_stack(listener: Listener) -> Self {
        Self(ListenerOf::Stack(listener))
    }

    /// The stack's; or the kernel's.
    #[allow(dead_code, reason = "for sockets of tasks")]
    pub(crate) fn into_stack(self) -> Result<Listener, mio::net::TcpListener> {
        match self.0 {
            ListenerOf::Kernel(listener) => Err(listener),
            ListenerOf::Stack(listener) => Ok(listener),
        }
    }

    /// Listens, on what is installed ([`Net::install`]).
    ///
    /// # Errors
    /// As [`Net::bind`]; nothing is installed.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Net::installed()?.bind(address)
    }

    /// The next connection, and the peer's address.
    ///
    /// # Errors
    /// `WouldBlock`: there is none now. `NetworkDown`: the stack has ended, and nothing will come any more.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.0 {
            ListenerOf::Kernel(listener) => {
                listener.accept().map(|(stream, from)| (TcpStream::of_kernel(stream), from))
            }
            ListenerOf::Stack(listener) => listener.accept().map(|(stream, from)| (TcpStream::of_stack(stream), from)),
        }
    }

    /// Where it listens; with the port that was chosen.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            ListenerOf::Kernel(listener) => listener.local_addr(),
            ListenerOf::Stack(listener) => Ok(listener.local_addr()),
        }
    }

    /// Sets the TTL of what is sent. That of a stack is 64 for all.
    ///
    /// # Errors
    /// The kernel's; `Unsupported` by a stack, except 64.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        match &self.0 {
            ListenerOf::Kernel(listener) => listener.set_ttl(ttl),
            ListenerOf::Stack(_) => only_ttl(ttl),
        }
    }

    /// The TTL of what is sent.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ttl(&self) -> io::Result<u32> {
        match &self.0 {
            ListenerOf::Kernel(listener) => listener.ttl(),
            ListenerOf::Stack(_) => Ok(TTL),
        }
    }

    /// The error that nobody was told of yet, once (`SO_ERROR`).
    ///
    /// # Errors
    /// The kernel's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match &self.0 {
            ListenerOf::Kernel(listener) => listener.take_error(),
            ListenerOf::Stack(listener) => Ok(listener.take_error()),
        }
    }
}

impl event::Source for TcpListener {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match &mut self.0 {
            ListenerOf::Kernel(listener) => listener.register(registry, token, interests),
            ListenerOf::Stack(listener) => listener.register(registry, token, interests),
        }
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match &mut self.0 {
            ListenerOf::Kernel(listener) => listener.reregister(registry, token, interests),
            ListenerOf::Stack(listener) => listener.reregister(registry, token, interests),
        }
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.0 {
            ListenerOf::Kernel(listener) => listener.deregister(registry),
            ListenerOf::Stack(listener) => listener.deregister(registry),
        }
    }
}
