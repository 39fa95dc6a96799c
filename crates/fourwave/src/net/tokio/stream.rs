//! A connection.

use super::super::options::{WholeKeepalive, check_user_timeout, set_kernels_keepalive};
use super::super::stream::Stream;
use super::super::tcp::{TTL, only_ttl};
use super::tcp::{self, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use super::{Net, Of, addresses, cooperate, read_tries, readies, reads, write_tries, writes};
use crate::Profile;
use ::tokio::io::{Interest, ReadBuf};
use ::tokio::net::{ToSocketAddrs, lookup_host};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

/// A TCP connection: tokio's `TcpStream`, over a stack or over the kernel ([`Net`]).
///
/// ```no_run
/// use fourwave::net::tokio::TcpStream;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # async fn ask() -> std::io::Result<()> {
/// let mut stream = TcpStream::connect("10.0.0.1:7").await?;
/// stream.write_all(b"hello").await?;
/// stream.shutdown().await?;
/// let mut answer = Vec::new();
/// stream.read_to_end(&mut answer).await?;
/// # Ok(())
/// # }
/// ```
///
/// One task may read while another writes: [`split`](Self::split), [`into_split`](Self::into_split). Shutting down
/// (`AsyncWriteExt::shutdown`) closes the direction to the peer; what was written is sent
/// first.
///
/// Dropping it closes in the background: what was written is sent; if data was left unread, the connection is reset, behind as
/// much of that as can leave at once.
#[derive(Debug)]
pub struct TcpStream(pub(super) Of<::tokio::net::TcpStream, Stream>);

reads!(TcpStream);
writes!(TcpStream);

impl TcpStream {
    pub(super) const fn of_kernel(stream: ::tokio::net::TcpStream) -> Self {
        Self(Of::Kernel(stream))
    }

    pub(super) const fn of_stack(stream: Stream) -> Self {
        Self(Of::Stack(stream))
    }

    /// Connects, on what is installed ([`Net::install`]), to the first of the addresses that answers.
    ///
    /// # Errors
    /// `ConnectionRefused`, `TimedOut`, `HostUnreachable`, `NetworkUnreachable`, `AddrNotAvailable` …: of the last address.
    /// Nothing is installed; a name is not known.
    pub async fn connect<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        Self::connect_on(&Net::installed()?, address).await
    }

    /// As [`connect`](Self::connect), on a stack that is named.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_on<A: ToSocketAddrs>(net: &Net, address: A) -> io::Result<Self> {
        let mut last = None;
        for address in lookup_host(address).await? {
            match Self::connect_one(net, address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(super::no_address))
    }

    async fn connect_one(net: &Net, address: SocketAddr) -> io::Result<Self> {
        if net.is_kernel() {
            return ::tokio::net::TcpStream::connect(address).await.map(Self::of_kernel);
        }
        let stream = Self::try_from(net.connect(address)?)?;
        if let Of::Stack(stream) = &stream.0 {
            poll_fn(|cx| cooperate(cx, |cx| stream.poll_connected(cx))).await?;
        }
        Ok(stream)
    }

    addresses!();
    readies!();
    read_tries!();
    write_tries!();

    /// Reads what is there, and leaves it there: the task waits until there is something.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Of::Kernel(stream) => stream.peek(buf).await,
            Of::Stack(stream) => super::peek(stream, buf).await,
        }
    }

    /// As [`peek`](Self::peek), for the one task that reads: that of the last call is woken.
    ///
    /// # Errors
    /// Those of a read.
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        match &self.0 {
            Of::Kernel(stream) => stream.poll_peek(cx, buf),
            Of::Stack(stream) => cooperate(cx, |cx| stream.poll_peek(cx, buf)),
        }
    }

    /// Whether a read would give something; for the one task that reads: that of the last call is woken.
    ///
    /// # Errors
    /// The kernel's.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Of::Kernel(stream) => stream.poll_read_ready(cx),
            Of::Stack(stream) => cooperate(cx, |cx| stream.poll_readable(cx)).map(Ok),
        }
    }

    /// Whether a write would take something; for the one task that writes: that of the last call is woken.
    ///
    /// # Errors
    /// The kernel's.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Of::Kernel(stream) => stream.poll_write_ready(cx),
            Of::Stack(stream) => cooperate(cx, |cx| stream.poll_writable(cx)).map(Ok),
        }
    }

    /// Calls `f`, which does I/O of its own on the stream and says `WouldBlock` when there is nothing to do. Of a stack's
    /// stream readiness follows from what `f` calls on it, and this adds nothing.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn try_io<R>(&self, interest: Interest, f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match &self.0 {
            Of::Kernel(stream) => stream.try_io(interest, f),
            Of::Stack(_) => f(),
        }
    }

    /// As [`try_io`](Self::try_io), and waits while there is nothing to do.
    ///
    /// # Errors
    /// Those of `f`, but `WouldBlock`.
    pub async fn async_io<R>(&self, interest: Interest, mut f: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        loop {
            self.ready(interest).await?;
            match self.try_io(interest, &mut f) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Halves for two tasks, or two futures of one; they can't outlive the stream.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        match &mut self.0 {
            Of::Kernel(stream) => {
                let (read, write) = stream.split();
                (ReadHalf(Of::Kernel(read)), WriteHalf(Of::Kernel(write)))
            }
            Of::Stack(stream) => (ReadHalf(Of::Stack(stream)), WriteHalf(Of::Stack(stream))),
        }
    }

    /// Halves for two tasks. Dropping the one that writes shuts down writing.
    #[must_use]
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        match self.0 {
            Of::Kernel(stream) => tcp::of_kernel(stream.into_split()),
            Of::Stack(stream) => tcp::of_stack(stream),
        }
    }

    /// Switches Nagle's algorithm off (`TCP_NODELAY`).
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match &self.0 {
            Of::Kernel(stream) => stream.set_nodelay(nodelay),
            Of::Stack(stream) => {
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
            Of::Kernel(stream) => stream.set_nodelay(profile == Profile::Latency),
            Of::Stack(stream) => {
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
            Of::Kernel(stream) => stream.nodelay(),
            Of::Stack(stream) => Ok(stream.nodelay()),
        }
    }

    /// What dropping the stream does about what the peer has not acknowledged (`SO_LINGER`). Zero: the connection is reset.
    /// Any other time: of a stack's stream as `None`, for nothing blocks; of the kernel's, the drop waits, and the thread's
    /// other tasks with it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        match &self.0 {
            Of::Kernel(stream) => socket2::SockRef::from(stream).set_linger(linger),
            Of::Stack(stream) => {
                stream.set_linger(linger);
                Ok(())
            }
        }
    }

    /// Resets the connection when the stream is dropped: [`set_linger`](Self::set_linger) of zero, which never blocks.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// What [`set_linger`](Self::set_linger) has set.
    ///
    /// # Errors
    /// The kernel's.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        match &self.0 {
            Of::Kernel(stream) => stream.linger(),
            Of::Stack(stream) => Ok(stream.linger()),
        }
    }

    /// How long the peer may be silent before the connection is given up, as of
    /// [`net::TcpStream`](crate::net::TcpStream::set_user_timeout).
    ///
    /// # Errors
    /// `InvalidInput`: out of its range. The kernel's.
    pub fn set_user_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        let checked = check_user_timeout(time)?;
        match &self.0 {
            Of::Kernel(stream) => socket2::SockRef::from(stream).set_tcp_user_timeout(time),
            Of::Stack(stream) => {
                stream.set_user_timeout(checked);
                Ok(())
            }
        }
    }

    /// Whether, and when, a silent peer is asked if it is still there, as of
    /// [`net::TcpStream`](crate::net::TcpStream::set_keepalive).
    ///
    /// # Errors
    /// `InvalidInput`: out of its range. The kernel's.
    pub fn set_keepalive(&self, settings: Option<crate::Keepalive>) -> io::Result<()> {
        let whole = settings.map(WholeKeepalive::of).transpose()?;
        match &self.0 {
            Of::Kernel(stream) => set_kernels_keepalive(&socket2::SockRef::from(stream), whole),
            Of::Stack(stream) => {
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
            Of::Kernel(stream) => stream.set_ttl(ttl),
            Of::Stack(_) => only_ttl(ttl),
        }
    }

    /// The TTL of what is sent.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ttl(&self) -> io::Result<u32> {
        match &self.0 {
            Of::Kernel(stream) => stream.ttl(),
            Of::Stack(_) => Ok(TTL),
        }
    }

    /// The error that nobody was told of yet, once (`SO_ERROR`).
    ///
    /// # Errors
    /// The kernel's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match &self.0 {
            Of::Kernel(stream) => stream.take_error(),
            Of::Stack(stream) => Ok(stream.take_error()),
        }
    }
}

impl TryFrom<crate::net::TcpStream> for TcpStream {
    type Error = io::Error;

    /// A stream that was not registered with mio.
    ///
    /// # Errors
    /// The kernel's.
    fn try_from(stream: crate::net::TcpStream) -> io::Result<Self> {
        Ok(Self(match stream.into_stack() {
            Ok(stream) => Of::Stack(stream),
            Err(stream) => Of::Kernel(::tokio::net::TcpStream::from_std(stream.into())?),
        }))
    }
}
