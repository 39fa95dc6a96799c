//! What accepts.

use super::super::handle::ipv6_alone;
use super::super::listening::Listener;
use super::super::waiters::Waiting;
use super::{Net, Of, TcpStream, cooperate, cooperative, or_wait};
use ::tokio::net::{ToSocketAddrs, lookup_host};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

/// Listens for connections: tokio's `TcpListener`, over a stack or over the kernel ([`Net`]).
///
/// ```
/// use fourwave::net::{Net, tokio::{TcpListener, TcpStream}};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// Net::kernel().install();
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut client = TcpStream::connect(listener.local_addr()?).await?;
/// let (mut server, peer) = listener.accept().await?;
/// assert_eq!(peer, client.local_addr()?);
/// client.write_all(b"hello").await?;
/// let mut buf = [0; 5];
/// server.read_exact(&mut buf).await?;
/// assert_eq!(&buf, b"hello");
/// # Ok(())
/// # }
/// ```
///
/// Dropping it closes it; who has connected and was not accepted is reset. On an address that a stack shares with the kernel
/// the port stays the stack's until that ends, for the connections that live on; it can be bound again.
#[derive(Debug)]
pub struct TcpListener(Of<::tokio::net::TcpListener, Listener>);

impl TcpListener {
    /// Listens, on what is installed ([`Net::install`]), at the first of the addresses that can be had.
    ///
    /// # Errors
    /// As [`Net::bind`]; nothing is installed; a name is not known.
    pub async fn bind<A: ToSocketAddrs>(address: A) -> io::Result<Self> {
        Self::bind_on(&Net::installed()?, address).await
    }

    /// As [`bind`](Self::bind), on a stack that is named.
    ///
    /// # Errors
    /// As [`Net::bind`]; a name is not known.
    pub async fn bind_on<A: ToSocketAddrs>(net: &Net, address: A) -> io::Result<Self> {
        let mut last = None;
        for address in lookup_host(address).await? {
            match Self::bind_one(net, address).await {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(super::no_address))
    }

    async fn bind_one(net: &Net, address: SocketAddr) -> io::Result<Self> {
        if net.is_kernel() && address.is_ipv6() {
            return ::tokio::net::TcpListener::from_std(ipv6_alone(address)?)
                .map(|listener| Self(Of::Kernel(listener)));
        }
        if net.is_kernel() {
            return ::tokio::net::TcpListener::bind(address).await.map(|listener| Self(Of::Kernel(listener)));
        }
        // The shards are waited for.
        let net = net.clone();
        ::tokio::task::spawn_blocking(move || net.bind(address)).await.map_err(io::Error::other)??.try_into()
    }

    /// The next connection, and the peer's address. Any number of tasks may accept at once.
    ///
    /// # Errors
    /// `NetworkDown`: the stack has ended, and nothing will come any more. The kernel's.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.0 {
            Of::Kernel(listener) => listener.accept().await.map(|(stream, from)| (TcpStream::of_kernel(stream), from)),
            Of::Stack(listener) => {
                let next = Waiting::new(listener.reading(), || or_wait(listener.accept()));
                cooperative(next).await.map(|(stream, from)| (TcpStream::of_stack(stream), from))
            }
        }
    }

    /// As [`accept`](Self::accept), for one task: that of the last call is woken.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        match &self.0 {
            Of::Kernel(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, from)| (TcpStream::of_kernel(stream), from))
            }
            Of::Stack(listener) => cooperate(cx, |cx| listener.poll_accept(cx))
                .map_ok(|(stream, from)| (TcpStream::of_stack(stream), from)),
        }
    }

    /// Where it listens; with the port that was chosen.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Of::Kernel(listener) => listener.local_addr(),
            Of::Stack(listener) => Ok(listener.local_addr()),
        }
    }

    /// Sets the TTL of what is sent. That of a stack is 64 for all.
    ///
    /// # Errors
    /// The kernel's; `Unsupported` by a stack, except 64.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        match &self.0 {
            Of::Kernel(listener) => listener.set_ttl(ttl),
            Of::Stack(_) => super::super::tcp::only_ttl(ttl),
        }
    }

    /// The TTL of what is sent.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ttl(&self) -> io::Result<u32> {
        match &self.0 {
            Of::Kernel(listener) => listener.ttl(),
            Of::Stack(_) => Ok(super::super::tcp::TTL),
        }
    }
}

impl TryFrom<crate::net::TcpListener> for TcpListener {
    type Error = io::Error;

    /// A listener that was not registered with mio.
    ///
    /// # Errors
    /// The kernel's.
    fn try_from(listener: crate::net::TcpListener) -> io::Result<Self> {
        Ok(Self(match listener.into_stack() {
            Ok(listener) => Of::Stack(listener),
            Err(listener) => Of::Kernel(::tokio::net::TcpListener::from_std(listener.into())?),
        }))
    }
}
