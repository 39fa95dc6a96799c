//! Connections that are not the stack's own: the kernel's, behind the same [`Io`](crate::Io) and [`App`](crate::App).
//!
//! A shard does no input or output. What does, over the kernel's sockets, is the runtime's; this is what the shard asks of it.

use crate::{
    app::ConnectError,
    handle::ConnId,
    listen::{ListenError, ListenOptions, ListenerId},
    shard::ConnectionInfo,
};
use alloc::vec::Vec;
use core::fmt::Debug;
use core::net::{IpAddr, SocketAddr};
use tcp::{Detail, Error, Half, Info, Keepalive, Profile, SoftError};
use wheel::{Duration, Instant};

/// What [`Sockets::next_event`] tells, to be passed on to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketEvent {
    /// A listener without an accept queue has accepted it.
    Accepted(ConnId, ListenerId),
    /// A listener's accept queue, which was empty, is not any more.
    Acceptable(ListenerId),
    /// An active open has succeeded.
    Connected(ConnId),
    /// So many bytes arrived and are in the buffer; nothing is queued before them. [`Sockets::delivered`] must follow.
    Data(ConnId, usize),
    /// Bytes were queued behind those left unread.
    Readable(ConnId),
    /// There is room again.
    Writable(ConnId),
    /// The peer marks data as urgent, or more of it: so many octets from the next one the application is given.
    Urgent(ConnId, u32),
    /// An ICMP error about a connection that goes on.
    SoftError(ConnId, SoftError),
    /// The peer's FIN, behind all its data.
    PeerClosed(ConnId),
    /// The end; [`Sockets::ended`] must follow.
    Closed(ConnId, Option<Error>),
}

/// How bytes are to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// As they are.
    Plain,
    /// More follows soon.
    More,
    /// Urgent.
    Urgent,
}

/// What can be set for a connection: see the verbs of [`Io`](crate::Io) of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketOption {
    /// [`Io::set_nodelay`](crate::Io::set_nodelay).
    Nodelay(bool),
    /// [`Io::set_quick_ack`](crate::Io::set_quick_ack).
    QuickAck(bool),
    /// [`Io::set_profile`](crate::Io::set_profile).
    Profile(Profile),
    /// [`Io::set_cork`](crate::Io::set_cork).
    Cork(bool),
    /// [`Io::set_linger`](crate::Io::set_linger).
    Linger(Option<Duration>),
    /// [`Io::set_user_timeout`](crate::Io::set_user_timeout).
    UserTimeout(Option<Duration>),
    /// [`Io::set_keepalive`](crate::Io::set_keepalive).
    Keepalive(Option<Keepalive>),
    /// [`Io::set_traffic_class`](crate::Io::set_traffic_class).
    TrafficClass(u8),
    /// [`Io::set_soft_error_reports`](crate::Io::set_soft_error_reports).
    SoftErrorReports(bool),
}

/// What is counted of connections over the kernel's sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Active opens begun.
    pub connected: u64,
    /// Connections that ended, however.
    pub closed: u64,
    /// Connections that ended by an error.
    pub failed: u64,
    /// Times that a connection waited to be accepted, and there was no descriptor or no memory for it. It is tried again.
    pub accept_failed: u64,
    /// Active opens for which there was no descriptor, no memory or no room.
    pub connect_refused: u64,
    /// Connections there are: a gauge.
    pub open: u64,
}

impl SocketCounters {
    /// Every counter by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("kernel_accepted", self.accepted),
            ("kernel_connected", self.connected),
            ("kernel_closed", self.closed),
            ("kernel_failed", self.failed),
            ("kernel_accept_failed", self.accept_failed),
            ("kernel_connect_refused", self.connect_refused),
            ("state_kernel", self.open),
        ]
        .into_iter()
    }
}

/// Connections and listeners over the kernel's sockets. The verbs are those of [`Io`](crate::Io), with the same meaning, errors
/// and rules of closing; what happens is told by [`Sockets::next_event`], of each connection in the order in which the
/// stack's own are told of.
#[expect(clippy::missing_errors_doc, reason = "they are those of Io's verbs")]
pub trait Sockets: Debug + Send {
    /// Begins an active open.
    fn connect(&mut self, now: Instant, local: Option<IpAddr>, remote: SocketAddr) -> Result<ConnId, ConnectError>;

    /// Opens a listener; port 0: any that is free.
    fn listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<ListenerId, ListenError>;

    /// The connection that has waited longest.
    fn accept(&mut self, now: Instant, listener: ListenerId) -> Option<ConnId>;

    /// Closes a listener.
    fn close_listener(&mut self, listener: ListenerId) -> Result<(), ListenError>;

    /// Where a listener listens.
    fn listener_address(&self, listener: ListenerId) -> Result<SocketAddr, ListenError>;

    /// The listener that listens there.
    fn listener_on(&self, local: SocketAddr) -> Option<ListenerId>;

    /// Takes bytes to send.
    fn send(&mut self, conn: ConnId, bytes: &[u8], how: Sending) -> Result<usize, Error>;

    /// Takes bytes to send that lie in several places.
    fn send_vectored(&mut self, conn: ConnId, parts: &[&[u8]]) -> Result<usize, Error>;

    /// All queued bytes.
    fn front(&self, conn: ConnId) -> Result<&[u8], Error>;

    /// Throws away the first `n` queued bytes, at most all.
    fn skip(&mut self, conn: ConnId, n: usize) -> Result<(), Error>;

    /// Octets up to the end of what the peer marked as urgent, as far as that was told.
    fn urgent(&self, conn: ConnId) -> Result<Option<u32>, Error>;

    /// What is wrong on the way to the peer.
    fn soft_error(&self, conn: ConnId) -> Result<Option<SoftError>, Error>;

    /// Shuts down a direction or both.
    fn shutdown(&mut self, now: Instant, conn: ConnId, half: Half) -> Result<(), Error>;

    /// Gives the connection up.
    fn close(&mut self, now: Instant, conn: ConnId) -> Result<(), Error>;

    /// Resets the connection.
    fn abort(&mut self, conn: ConnId) -> Result<(), Error>;

    /// Sets an option.
    fn set(&mut self, conn: ConnId, option: SocketOption) -> Result<(), Error>;

    /// What is known of the connection.
    fn info(&self, conn: ConnId) -> Result<Info, Error>;

    /// The state of loss recovery and the timers.
    fn detail(&self, conn: ConnId) -> Result<Detail, Error>;

    /// Our address and the peer's.
    fn addresses(&self, conn: ConnId) -> Result<(SocketAddr, SocketAddr), Error>;

    /// Looks what has happened, and returns how much that was: what there is to tell in this turn comes from
    /// [`Sockets::next_event`].
    fn poll(&mut self, now: Instant) -> usize;

    /// The next thing to tell in this turn. `buffer` is where data goes.
    fn next_event(&mut self, now: Instant, buffer: &mut [u8]) -> Option<SocketEvent>;

    /// The application was given data, and has left `rest`.
    fn delivered(&mut self, conn: ConnId, rest: &[u8]);

    /// The application was told of the end.
    fn ended(&mut self, conn: ConnId);

    /// When to poll even if the descriptor is not readable.
    fn next_wakeup(&self) -> Option<Instant>;

    /// Connections: those that linger are some.
    fn connections(&self) -> usize;

    /// Whether there is anything to poll for: a connection, or a listener.
    fn is_empty(&self) -> bool;

    /// The counters.
    fn counters(&self) -> SocketCounters;

    /// Closes listeners, and every connection as [`Sockets::close`] does, but for those that linger.
    fn drain(&mut self, now: Instant);

    /// Those that linger.
    fn lingering(&self) -> Vec<ConnId>;

    /// The time of one that lingers is over before its time. It is to be told: [`Sockets::ended`] must follow.
    fn end_linger(&mut self, conn: ConnId);

    /// Closes the listeners.
    fn close_listeners(&mut self);

    /// Resets every connection.
    fn abort_all(&mut self);

    /// Adds what there is of the slots from `from` on, of `max` of them; the number of the next slot, or `None` behind the last.
    fn list(&self, now: Instant, from: u32, max: u32, out: &mut Vec<ConnectionInfo>) -> Option<u32>;

    /// A descriptor that is readable when there is something to poll for.
    fn descriptor(&self) -> i32;

    /// Has [`Sockets::wait`] end when this descriptor, of an epoll instance, becomes readable as well; false if it can't be.
    fn watch(&mut self, descriptor: i32) -> bool;

    /// Sleeps until there is something to poll for, until the descriptor that is watched becomes readable, or for so long; `None`:
    /// for ever. True: it was the descriptor. The next [`Sockets::poll`] knows what there is.
    fn wait(&mut self, most: Option<Duration>) -> bool;
}
