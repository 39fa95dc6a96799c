//! What a programme does with a connection, at whatever level.

use fourwave::Keepalive;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// Without an answer for so long, none comes.
pub(crate) const LOST: Duration = Duration::from_secs(30);

/// What a call returned, or what came of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Done,
    Bytes(usize),
    /// The end, in order.
    End,
    Failed(ErrorKind),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Bytes(n) => write!(f, "{n}"),
            Self::End => f.write_str("end"),
            Self::Failed(kind) => write!(f, "{kind:?}"),
        }
    }
}

pub(crate) fn said<T>(result: io::Result<T>, what: impl Fn(T) -> Said) -> Said {
    result.map_or_else(|error| Said::Failed(error.kind()), what)
}

/// One connection after another.
pub(crate) trait Party {
    /// Connects, and waits for what comes of it.
    fn connect(&mut self, to: SocketAddr, give_up: Option<Duration>) -> Said;
    /// Waits for data, or the end; at level 1 for what is told of it.
    fn read(&mut self) -> Said;
    /// Writes one byte.
    fn write(&mut self) -> Said;
    fn shutdown(&mut self, how: Shutdown) -> Said;
    fn peer_addr(&mut self) -> Said;
    /// Waits for data and leaves it.
    fn await_data(&mut self);
    /// Waits until the connection is over, and asks for nothing.
    fn hear_of_the_end(&mut self);
    fn set_keepalive(&mut self, settings: Keepalive);
    fn set_user_timeout(&mut self, time: Duration);
    /// An open that fails may leave nothing to ask.
    fn has_handle(&self) -> bool {
        true
    }
    fn close(&mut self) -> Said;
    fn abort(&mut self) -> Said;
}
