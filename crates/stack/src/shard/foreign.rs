//! Connections over the kernel's sockets in a shard: its verbs go there, and their events to its application.

use super::{
    App, ConnId, ConnectError, ConnectionInfo, Error, Instant, Io, ListenError, ListenOptions, ListenerId, Shard,
};
use crate::{
    handle::Via,
    sockets::{SocketCounters, SocketEvent, Sockets},
};
use alloc::{boxed::Box, vec, vec::Vec};
use core::net::{IpAddr, SocketAddr};
use wheel::Duration;

/// What one read takes at most.
const READ_BYTES: usize = 64 << 10;

/// The kernel's sockets, and what their data is read into.
#[derive(Debug)]
pub(crate) struct Foreign {
    sockets: Box<dyn Sockets>,
    /// Empty while the application looks at it.
    buffer: Box<[u8]>,
}

impl Foreign {
    pub(super) fn connections(&self) -> usize {
        self.sockets.connections()
    }

    pub(super) fn counters(&self) -> SocketCounters {
        self.sockets.counters()
    }

    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        self.sockets.next_wakeup()
    }

    pub(super) fn list(&self, now: Instant, from: u32, max: u32, out: &mut Vec<ConnectionInfo>) -> Option<u32> {
        self.sockets.list(now, from, max, out)
    }
}

impl Shard {
    /// Gives the shard the kernel's sockets. `default` is what [`Io::connect`] and [`Io::listen`] use.
    pub fn set_sockets(&mut self, sockets: Box<dyn Sockets>, default: Via) {
        self.foreign = Some(Foreign { sockets, buffer: vec![0; READ_BYTES].into() });
        self.via = default;
    }

    /// What [`Io::connect`] and [`Io::listen`] use.
    #[must_use]
    pub const fn default_via(&self) -> Via {
        self.via
    }

    /// Readable when there is something for [`poll_sockets`](Self::poll_sockets) to do.
    #[must_use]
    pub fn sockets_descriptor(&self) -> Option<i32> {
        self.foreign.as_ref().map(|foreign| foreign.sockets.descriptor())
    }

    /// Whether there are connections or listeners over the kernel's sockets.
    #[must_use]
    pub fn has_sockets(&self) -> bool {
        self.foreign.as_ref().is_some_and(|foreign| !foreign.sockets.is_empty())
    }

    /// Has [`wait_for_sockets`](Self::wait_for_sockets) end when this descriptor, of an epoll instance, becomes readable as well;
    /// false if it can't be, or there are no kernel's sockets.
    pub fn watch_beside_sockets(&mut self, descriptor: i32) -> bool {
        self.foreign.as_mut().is_some_and(|foreign| foreign.sockets.watch(descriptor))
    }

    /// Sleeps until there is something for [`poll_sockets`](Self::poll_sockets) to do, until the descriptor that is watched
    /// becomes readable, or for so long; `None`: for ever. True: it was the descriptor.
    pub fn wait_for_sockets(&mut self, most: Option<Duration>) -> bool {
        self.foreign.as_mut().is_some_and(|foreign| foreign.sockets.wait(most))
    }

    /// The kernel's sockets, for a handle that says it is theirs.
    pub(crate) fn sockets(&mut self) -> Result<&mut (dyn Sockets + 'static), Error> {
        self.foreign.as_mut().map(|foreign| &mut *foreign.sockets).ok_or(Error::NotConnected)
    }

    pub(crate) fn sockets_ref(&self) -> Result<&(dyn Sockets + 'static), Error> {
        self.foreign.as_ref().map(|foreign| &*foreign.sockets).ok_or(Error::NotConnected)
    }

    /// A copy of the first `most` queued octets, or of all.
    pub(crate) fn copy_queued(&mut self, now: Instant, conn: ConnId, most: usize) -> Result<Vec<u8>, Error> {
        if conn.is_kernel() {
            let front = self.sockets_ref()?.front(conn)?;
            return Ok(front[..front.len().min(most)].to_vec());
        }
        self.with(now, conn, |c, env| c.queued(env, most))
    }

    /// What has happened on the kernel's sockets is told to the application. Returns 0 if there was nothing.
    pub fn poll_sockets(&mut self, now: Instant, app: &mut impl App) -> usize {
        let Ok(sockets) = self.sockets() else { return 0 };
        let mut told = sockets.poll(now);
        while let Some(Foreign { sockets, buffer }) = &mut self.foreign {
            let Some(event) = sockets.next_event(now, buffer) else { break };
            told += 1;
            self.tell_socket(now, event, app);
        }
        told
    }

    fn tell_socket(&mut self, now: Instant, event: SocketEvent, app: &mut impl App) {
        let io = &mut Io { shard: self, now };
        match event {
            SocketEvent::Accepted(conn, listener) => app.on_accept(io, conn, listener),
            SocketEvent::Acceptable(listener) => app.on_acceptable(io, listener),
            SocketEvent::Connected(conn) => app.on_connected(io, conn),
            SocketEvent::Readable(conn) => app.on_readable(io, conn),
            SocketEvent::Writable(conn) => app.on_writable(io, conn),
            SocketEvent::Urgent(conn, octets) => app.on_urgent(io, conn, octets),
            SocketEvent::SoftError(conn, error) => app.on_soft_error(io, conn, error),
            SocketEvent::PeerClosed(conn) => app.on_peer_closed(io, conn),
            SocketEvent::Data(conn, len) => self.hand_over(now, conn, len, app),
            SocketEvent::Closed(conn, error) => {
                app.on_closed(io, conn, error);
                if let Ok(sockets) = self.sockets() {
                    sockets.ended(conn);
                }
            }
        }
    }

    /// Hands bytes over in place, and keeps what the application leaves.
    fn hand_over(&mut self, now: Instant, conn: ConnId, len: usize, app: &mut impl App) {
        let Some(foreign) = &mut self.foreign else { return };
        let buffer = core::mem::take(&mut foreign.buffer);
        let data = &buffer[..len];
        let taken = app.on_data(&mut Io { shard: self, now }, conn, data).min(len);
        if let Some(foreign) = &mut self.foreign {
            foreign.sockets.delivered(conn, &data[taken..]);
            foreign.buffer = buffer;
        }
    }

    /// The end of the time for an orderly end: who lingers waits no longer, and is told as at the end
    /// of the linger time.
    pub fn end_lingering(&mut self, now: Instant, app: &mut impl App) {
        for slot in 0..self.conns.slots() {
            // Who lingers does not rest.
            if self.conns.awake(slot).is_some_and(|entry| !entry.dead && entry.conn.lingers()) {
                self.tell(now, slot, app, |app, io, conn| app.on_closed(io, conn, Some(Error::TimedOut)));
            }
        }
        for conn in self.sockets().map(|sockets| sockets.lingering()).unwrap_or_default() {
            if let Ok(sockets) = self.sockets() {
                sockets.end_linger(conn);
                self.tell_socket(now, SocketEvent::Closed(conn, Some(Error::TimedOut)), app);
            }
        }
    }

    pub(crate) fn connect_via(
        &mut self,
        now: Instant,
        via: Via,
        local: Option<IpAddr>,
        remote: SocketAddr,
    ) -> Result<ConnId, ConnectError> {
        match (via, &mut self.foreign) {
            (Via::Stack, _) => self.connect(now, local, remote),
            (Via::Kernel, Some(foreign)) => foreign.sockets.connect(now, local, remote),
            (Via::Kernel, None) => Err(ConnectError::NoSockets),
        }
    }

    /// As [`listen`](Self::listen), by a way of choice.
    ///
    /// # Errors
    /// Those of [`listen`](Self::listen); [`ListenError::NoSockets`], [`ListenError::Forbidden`].
    pub fn listen_via(
        &mut self,
        via: Via,
        local: SocketAddr,
        options: impl Into<ListenOptions>,
    ) -> Result<ListenerId, ListenError> {
        let options = options.into();
        match (via, &mut self.foreign) {
            (Via::Stack, _) => self.listen(local, options),
            (Via::Kernel, Some(foreign)) => {
                options.check().map_err(ListenError::Invalid)?;
                foreign.sockets.listen(local, &options)
            }
            (Via::Kernel, None) => Err(ListenError::NoSockets),
        }
    }

    /// The listener that takes connections to this address, by the default way.
    pub(crate) fn listener_on(&self, local: SocketAddr) -> Option<ListenerId> {
        match self.default_via() {
            Via::Stack => self.listeners.find(local),
            Via::Kernel => self.sockets_ref().ok()?.listener_on(local),
        }
    }

    /// Where a listener listens: with its port, if that was left open.
    ///
    /// # Errors
    /// [`ListenError::Closed`].
    pub fn listener_address(&self, listener: ListenerId) -> Result<SocketAddr, ListenError> {
        if listener.via() == Via::Kernel {
            return self.sockets_ref().map_err(|_| ListenError::Closed)?.listener_address(listener);
        }
        self.listeners.address(listener).ok_or(ListenError::Closed)
    }
}
