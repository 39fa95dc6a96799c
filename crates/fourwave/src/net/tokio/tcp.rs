//! Halves of a stream, each for a task of its own.

use super::super::stream::Stream;
use super::{Of, TcpStream, addresses, cooperate, peek, read_tries, reads, shut_down_writing, write_tries, writes};
use ::tokio::io::ReadBuf;
use ::tokio::net::tcp as kernel;
use std::borrow::Borrow;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The half that reads ([`TcpStream::split`]).
#[derive(Debug)]
pub struct ReadHalf<'a>(pub(super) Of<kernel::ReadHalf<'a>, &'a Stream>);

/// The half that writes ([`TcpStream::split`]).
#[derive(Debug)]
pub struct WriteHalf<'a>(pub(super) Of<kernel::WriteHalf<'a>, &'a Stream>);

/// The half that reads ([`TcpStream::into_split`]).
#[derive(Debug)]
pub struct OwnedReadHalf(Of<kernel::OwnedReadHalf, Arc<Stream>>);

/// The half that writes ([`TcpStream::into_split`]). Dropping it shuts down writing.
#[derive(Debug)]
pub struct OwnedWriteHalf(Of<kernel::OwnedWriteHalf, Closing>);

/// Shuts down writing when it is dropped.
#[derive(Debug)]
struct Closing {
    stream: Arc<Stream>,
    forgotten: bool,
}

impl Deref for Closing {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.stream
    }
}

impl Borrow<Stream> for Closing {
    fn borrow(&self) -> &Stream {
        &self.stream
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if !self.forgotten {
            let _ = shut_down_writing(&self.stream);
        }
    }
}

reads!(ReadHalf<'_>);
writes!(WriteHalf<'_>);
reads!(OwnedReadHalf);
writes!(OwnedWriteHalf);

/// Looking at what is there, of both read halves.
macro_rules! peeks {
    () => {
        /// As [`TcpStream::peek`].
        ///
        /// # Errors
        /// Those of a read.
        pub async fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match &mut self.0 {
                Of::Kernel(stream) => stream.peek(buf).await,
                Of::Stack(stream) => peek(stream, buf).await,
            }
        }

        /// As [`TcpStream::poll_peek`].
        ///
        /// # Errors
        /// Those of a read.
        pub fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
            match &mut self.0 {
                Of::Kernel(stream) => stream.poll_peek(cx, buf),
                Of::Stack(stream) => cooperate(cx, |cx| stream.poll_peek(cx, buf)),
            }
        }
    };
}

impl ReadHalf<'_> {
    addresses!();
    read_tries!();
    peeks!();
}

impl WriteHalf<'_> {
    addresses!();
    write_tries!();
}

impl OwnedReadHalf {
    addresses!();
    read_tries!();
    peeks!();

    /// The stream of both halves.
    ///
    /// # Errors
    /// They are halves of two streams.
    pub fn reunite(self, other: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        reunite(self, other)
    }
}

impl OwnedWriteHalf {
    addresses!();
    write_tries!();

    /// The stream of both halves.
    ///
    /// # Errors
    /// They are halves of two streams.
    pub fn reunite(self, other: OwnedReadHalf) -> Result<TcpStream, ReuniteError> {
        reunite(other, self)
    }

    /// Drops it without shutting down.
    pub fn forget(self) {
        match self.0 {
            Of::Kernel(half) => half.forget(),
            Of::Stack(mut closing) => closing.forgotten = true,
        }
    }
}

/// The halves are of two streams; here they are.
#[derive(Debug)]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl std::fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("these are halves of two streams: reunite those that one into_split() gave")
    }
}

impl std::error::Error for ReuniteError {}

pub(super) fn of_kernel(
    (read, write): (kernel::OwnedReadHalf, kernel::OwnedWriteHalf),
) -> (OwnedReadHalf, OwnedWriteHalf) {
    (OwnedReadHalf(Of::Kernel(read)), OwnedWriteHalf(Of::Kernel(write)))
}

pub(super) fn of_stack(stream: Stream) -> (OwnedReadHalf, OwnedWriteHalf) {
    let stream = Arc::new(stream);
    let closing = Closing { stream: Arc::clone(&stream), forgotten: false };
    (OwnedReadHalf(Of::Stack(stream)), OwnedWriteHalf(Of::Stack(closing)))
}

fn reunite(read: OwnedReadHalf, write: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
    match (read.0, write.0) {
        (Of::Kernel(read), Of::Kernel(write)) => match read.reunite(write) {
            Ok(stream) => Ok(TcpStream::of_kernel(stream)),
            Err(kernel::ReuniteError(read, write)) => {
                let (read, write) = of_kernel((read, write));
                Err(ReuniteError(read, write))
            }
        },
        (Of::Stack(read), Of::Stack(mut write)) if Arc::ptr_eq(&read, &write.stream) => {
            write.forgotten = true;
            drop(write);
            match Arc::try_unwrap(read) {
                Ok(stream) => Ok(TcpStream::of_stack(stream)),
                Err(_) => unreachable!("a stream has two halves"),
            }
        }
        (read, write) => Err(ReuniteError(OwnedReadHalf(read), OwnedWriteHalf(write))),
    }
}
