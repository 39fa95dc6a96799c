//! Sockets for tasks of [tokio](https://docs.rs/tokio)'s (feature `tokio`): [`TcpListener`] and [`TcpStream`], usable where
//! those of `tokio::net` are, over a stack or over the kernel.
//!
//! A program changes its imports, and says once what its sockets are of ([`Net`]):
//!
//! ```no_run
//! use fourwave::net::{Net, tokio::TcpListener};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! // Or the kernel's: Net::kernel().install()
//! fourwave::Stack::on("eth0").sockets()?.install();
//! let listener = TcpListener::bind("10.0.0.1:7").await?;
//! loop {
//!     let (mut stream, _) = listener.accept().await?;
//!     tokio::spawn(async move {
//!         let mut buf = [0; 1024];
//!         while let Ok(n @ 1..) = stream.read(&mut buf).await {
//!             stream.write_all(&buf[..n]).await?;
//!         }
//!         Ok::<(), std::io::Error>(())
//!     });
//! }
//! # }
//! ```
//!
//! Over the kernel they are tokio's own. Over a stack there is no descriptor: the shard puts bytes into the stream's ring, and
//! wakes the task that waits for them. Such sockets need no I/O driver of tokio's, and work on runtimes of any number of
//! threads. What a call returns when a connection ends is in the [table](crate::net) that all sockets here have in common.
//!
//! All futures here may be dropped before they are over: nothing is lost, and another task that waits is still woken. A
//! [`connect`](TcpStream::connect) that is dropped gives the connection up.
//!
//! When the last handle of a stack is dropped its connections are closed in order, which may take two seconds of the thread
//! that drops it. A program that ends calls [`Net::finish`] itself, where waiting does no harm.

mod listener;
mod stream;
pub mod tcp;

pub use listener::TcpListener;
pub use stream::TcpStream;

/// What `bind` and `connect` take, and what finds addresses of names: tokio's own, so that a program's imports change as a whole.
pub use ::tokio::net::{ToSocketAddrs, lookup_host};

use super::Net;
use super::stream::{Sink, Stream};
use super::waiters::Waiting;
use ::tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use ::tokio::task::coop;
use std::borrow::Borrow;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

/// A stream, or a half of one: tokio's, or something by which the stack's is known.
#[derive(Debug)]
pub(crate) enum Of<K, S> {
    Kernel(K),
    Stack(S),
}

impl Sink for ReadBuf<'_> {
    fn room(&self) -> usize {
        self.remaining()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

/// Takes its turn from the task's budget, so that one that always finds something to do lets others run.
fn cooperate<T>(cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    let turn = ready!(coop::poll_proceed(cx));
    let result = poll(cx);
    if result.is_ready() {
        turn.made_progress();
    }
    result
}

/// A future of the stack's that takes its turn from the task's budget.
async fn cooperative<F: Future + Unpin>(mut future: F) -> F::Output {
    poll_fn(|cx| cooperate(cx, |cx| Pin::new(&mut future).poll(cx))).await
}

fn or_wait<T>(result: io::Result<T>) -> Option<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        result => Some(result),
    }
}

/// As tokio: who is closed already needs no shutdown.
fn shut_down_writing(stream: &Stream) -> io::Result<()> {
    match stream.shutdown(Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

impl<K: AsyncRead + Unpin, S: Borrow<Stream> + Unpin> AsyncRead for Of<K, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Kernel(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Stack(stream) => {
                let stream: &Stream = (*stream).borrow();
                cooperate(cx, |cx| stream.poll_read(cx, buf)).map_ok(|_| ())
            }
        }
    }
}

impl<K: AsyncWrite + Unpin, S: Borrow<Stream> + Unpin> AsyncWrite for Of<K, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Kernel(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Stack(stream) => {
                let stream: &Stream = (*stream).borrow();
                cooperate(cx, |cx| stream.poll_write(cx, &[IoSlice::new(buf)]))
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Kernel(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Stack(stream) => {
                let stream: &Stream = (*stream).borrow();
                cooperate(cx, |cx| stream.poll_write(cx, bufs))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Kernel(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Stack(stream) => Poll::Ready(shut_down_writing((*stream).borrow())),
        }
    }
}

/// Gives a wrapper what its field can do: to read.
macro_rules! reads {
    ($type:ty) => {
        impl ::tokio::io::AsyncRead for $type {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut ::tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.0).poll_read(cx, buf)
            }
        }
    };
}

/// To write.
macro_rules! writes {
    ($type:ty) => {
        impl ::tokio::io::AsyncWrite for $type {
            fn poll_write(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut self.0).poll_write(cx, buf)
            }

            fn poll_write_vectored(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                self.0.is_write_vectored()
            }

            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(Ok(()))
            }

            fn poll_shutdown(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
            }
        }
    };
}

/// Addresses, of a stream and of its halves.
macro_rules! addresses {
    () => {
        /// The peer's address.
        ///
        /// # Errors
        /// `NotConnected`: no longer.
        pub fn peer_addr(&self) -> std::io::Result<std::net::SocketAddr> {
            match &self.0 {
                Of::Kernel(stream) => stream.peer_addr(),
                Of::Stack(stream) => stream.peer_addr(),
            }
        }

        /// Our address.
        ///
        /// # Errors
        /// The kernel's.
        pub fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
            match &self.0 {
                Of::Kernel(stream) => stream.local_addr(),
                Of::Stack(stream) => Ok(stream.local_addr()),
            }
        }
    };
}

/// Waiting for either direction, of a stream and of its halves.
macro_rules! readies {
    () => {
        /// Waits until at least one of what is asked for can be done, and tells which can. Of a stack's stream, readable and
        /// writable are told, and errors to who asks for them; an end is readable. Of what is urgent nothing is told: who asks
        /// for that (`PRIORITY`) is told that nothing more comes (`READ_CLOSED`).
        ///
        /// # Errors
        /// The kernel's.
        pub async fn ready(&self, interest: ::tokio::io::Interest) -> std::io::Result<::tokio::io::Ready> {
            match &self.0 {
                Of::Kernel(stream) => stream.ready(interest).await,
                Of::Stack(stream) => Ok(crate::net::tokio::when_ready(stream, interest).await),
            }
        }
    };
}

/// Waiting to read, and reading without waiting: of a stream and of its read half.
macro_rules! read_tries {
    () => {
        /// Waits until a read would give something: data, the end, or an error. Any number of tasks may wait.
        ///
        /// # Errors
        /// The kernel's.
        pub async fn readable(&self) -> std::io::Result<()> {
            match &self.0 {
                Of::Kernel(stream) => stream.readable().await,
                Of::Stack(stream) => {
                    crate::net::tokio::readable(stream).await;
                    Ok(())
                }
            }
        }

        /// Reads what is there.
        ///
        /// # Errors
        /// `WouldBlock`, and those of a read.
        pub fn try_read(&self, buf: &mut [u8]) -> std::io::Result<usize> {
            match &self.0 {
                Of::Kernel(stream) => stream.try_read(buf),
                Of::Stack(stream) => stream.read(buf),
            }
        }

        /// As [`try_read`](Self::try_read), into several buffers.
        ///
        /// # Errors
        /// `WouldBlock`, and those of a read.
        pub fn try_read_vectored(&self, bufs: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
            match &self.0 {
                Of::Kernel(stream) => stream.try_read_vectored(bufs),
                Of::Stack(stream) => stream.read_vectored(bufs),
            }
        }
    };
}

/// Waiting to write, and writing without waiting: of a stream and of its write half.
macro_rules! write_tries {
    () => {
        /// Waits until a write would take something, or fail. Any number of tasks may wait.
        ///
        /// # Errors
        /// The kernel's.
        pub async fn writable(&self) -> std::io::Result<()> {
            match &self.0 {
                Of::Kernel(stream) => stream.writable().await,
                Of::Stack(stream) => {
                    crate::net::tokio::writable(stream).await;
                    Ok(())
                }
            }
        }

        /// Writes what has room.
        ///
        /// # Errors
        /// `WouldBlock`, and those of a write.
        pub fn try_write(&self, buf: &[u8]) -> std::io::Result<usize> {
            self.try_write_vectored(&[std::io::IoSlice::new(buf)])
        }

        /// As [`try_write`](Self::try_write), from several buffers.
        ///
        /// # Errors
        /// `WouldBlock`, and those of a write.
        pub fn try_write_vectored(&self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
            match &self.0 {
                Of::Kernel(stream) => stream.try_write_vectored(bufs),
                Of::Stack(stream) => stream.write(bufs),
            }
        }
    };
}

use {addresses, read_tries, readies, reads, write_tries, writes};

async fn readable(stream: &Stream) {
    until_read(stream, |stream| stream.reading().1).await;
}

/// Waits for something that the direction which is read tells of.
async fn until_read(stream: &Stream, is_so: impl Fn(&Stream) -> bool + Unpin) {
    let (direction, _) = stream.reading();
    cooperative(Waiting::new(direction, || is_so(stream).then_some(()))).await;
}

async fn writable(stream: &Stream) {
    let (direction, _) = stream.writing();
    cooperative(Waiting::new(direction, || stream.writing().1.then_some(()))).await;
}

async fn when_ready(stream: &Stream, interest: Interest) -> Ready {
    let (mut read, mut write) = (pin!(readable(stream)), pin!(writable(stream)));
    let (mut end, mut error) =
        (pin!(until_read(stream, Stream::is_read_closed)), pin!(until_read(stream, Stream::has_failed)));
    poll_fn(|cx| {
        let mut ready = Ready::EMPTY;
        if interest.is_readable() && read.as_mut().poll(cx).is_ready() {
            ready |= Ready::READABLE;
        }
        if interest.is_writable() && write.as_mut().poll(cx).is_ready() {
            ready |= Ready::WRITABLE;
        }
        // As tokio's: who waits for what is urgent hears that nothing more comes.
        if interest.is_priority() && end.as_mut().poll(cx).is_ready() {
            ready |= Ready::READ_CLOSED;
        }
        if interest.is_error() && error.as_mut().poll(cx).is_ready() {
            ready |= Ready::ERROR;
        }
        if ready.is_empty() { Poll::Pending } else { Poll::Ready(ready) }
    })
    .await
}

async fn peek(stream: &Stream, buf: &mut [u8]) -> io::Result<usize> {
    let (direction, _) = stream.reading();
    cooperative(Waiting::new(direction, || or_wait(stream.peek(buf)))).await
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the name has no address")
}
