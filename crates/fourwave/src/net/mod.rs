//! Sockets: [`TcpListener`] and [`TcpStream`], usable where those of `mio::net` are, over a stack or over the kernel.
//!
//! A program on mio changes its imports, and says once what its sockets are of:
//!
//! * [`Stack::sockets`](crate::Stack::sockets): a stack on threads of its own. Between a shard and the program's threads
//!   are two lock-free rings for each stream.
//! * [`Stack::drive`](crate::Stack::drive): a stack in the program's own loop, turned by a [`Driver`].
//! * [`Net::kernel`]: the kernel's sockets, mio's own.
//!
//! With the feature `tokio` the same sockets are there for tasks, as `fourwave::net::tokio`.
//!
//! | what happened | read | write |
//! |---|---|---|
//! | the peer closed in order | the rest, then 0 | goes on |
//! | we shut down writing | goes on | `BrokenPipe` |
//! | we shut down reading, and the peer still sends | the rest, then 0; the peer is reset | `ConnectionReset` once, then `BrokenPipe` |
//! | the peer sent RST | the rest, then `ConnectionReset` once, then 0 | `ConnectionReset` once, then `BrokenPipe` |
//! | the same, behind its FIN | the rest, then 0 | `BrokenPipe` |
//! | nobody answers any more | the rest, then `TimedOut` once, then 0 | `TimedOut` once, then `BrokenPipe` |
//! | an open was refused | `ConnectionRefused` once, then 0 | `ConnectionRefused` once, then `BrokenPipe` |
//! | an open found no way | `HostUnreachable`, `NetworkUnreachable` … once, then 0 | the same, then `BrokenPipe` |
//! | the stack has ended | the rest, then `ConnectionAborted` once, then 0 | `ConnectionAborted` once, then `BrokenPipe` |
//! | the open is not over | `WouldBlock` | `WouldBlock` |
//!
//! "Once" is for the stream: whoever asks first is told, by a read, a write or [`TcpStream::take_error`].

mod driver;
mod handle;
mod link;
mod listening;
mod options;
mod ready;
mod shared;
mod sockets;
mod stream;
mod tcp;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tokio")]
mod waiters;

#[cfg(test)]
mod tests;

pub use driver::Driver;
pub(crate) use handle::Limits;
pub use handle::Net;
pub use tcp::{TcpListener, TcpStream};
