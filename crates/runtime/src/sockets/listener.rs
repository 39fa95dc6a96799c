//! A listener of the kernel's.

use super::{errors, open};
use rustix::io::Errno;
use rustix::net::{self, SocketFlags, sockopt};
use stack::{ListenOptions, Profile, Waiting};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use xdp::sockets::TcpInfo;

/// Connections that one listener accepts in one turn.
const PER_TURN: u32 = 64;

/// What came of an attempt to accept.
#[derive(Debug)]
pub(super) enum Accept<T> {
    Taken(T),
    /// Nobody waits.
    Empty,
    /// There is no room for it now.
    Later,
}

#[derive(Debug)]
pub(super) struct Listener {
    fd: OwnedFd,
    address: SocketAddr,
    /// Connections wait for the application to accept them.
    pub(super) queues: bool,
    /// It is in the queue of those that may have something to tell.
    pub(super) ready: bool,
    /// The application was told so.
    told: bool,
    accepted: u32,
    /// The application would have accepted more in this turn.
    more: bool,
}

impl Listener {
    /// `several`: other shards listen there as well.
    pub(super) fn open(address: SocketAddr, options: &ListenOptions, several: bool) -> rustix::io::Result<Self> {
        let fd = open(address)?;
        // Connections in TIME-WAIT are no obstacle; who listens there is.
        sockopt::set_socket_reuseaddr(&fd, true)?;
        if several {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&fd, true)?;
        }
        if options.profile == Profile::Latency {
            // What it accepts has it from here.
            sockopt::set_tcp_nodelay(&fd, true)?;
        }
        net::bind(&fd, &address)?;
        let backlog = options.accept_queue.unwrap_or(options.backlog);
        net::listen(&fd, i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let address = net::getsockname(&fd)?.try_into()?;
        let queues = options.accept_queue.is_some();
        Ok(Self { fd, address, queues, ready: false, told: false, accepted: 0, more: false })
    }

    pub(super) const fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Of a listener the kernel tells in these places who waits, and how many may; of who is half open nothing.
    pub(super) fn waiting(&self) -> Waiting {
        let kernel = TcpInfo::of(self.fd.as_fd()).ok();
        let (waits, most) = kernel.map_or((0, 0), |kernel| (kernel.unacked(), kernel.sacked()));
        Waiting { accept_queue: waits, accept_queue_limit: self.queues.then_some(most), half_open: 0, backlog: most }
    }

    /// Whether it may accept one more in this turn.
    pub(super) fn has_turn(&self) -> bool {
        self.accepted < PER_TURN
    }

    /// Whether it is to be told now that somebody waits.
    pub(super) const fn tells_once(&mut self) -> bool {
        !std::mem::replace(&mut self.told, true)
    }

    /// A turn is over. Whether there may be more to accept in the next one.
    pub(super) fn begin_turn(&mut self) -> bool {
        let goes_on = std::mem::take(&mut self.more) || (!self.queues && self.accepted >= PER_TURN);
        self.told &= !(self.queues && goes_on);
        self.accepted = 0;
        goes_on
    }

    /// Whether the application is to wait for the next turn before it accepts one more: it will be told again.
    pub(super) fn holds_back(&mut self) -> bool {
        self.more |= !self.has_turn();
        self.more
    }

    /// There was no room, and may be now.
    pub(super) const fn try_again(&mut self) {
        self.told = false;
    }

    pub(super) fn accept(&mut self) -> Accept<(OwnedFd, SocketAddr)> {
        loop {
            self.accepted += 1;
            match net::acceptfrom_with(&self.fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((fd, remote)) => {
                    if let Some(Ok(remote)) = remote.map(SocketAddr::try_from) {
                        return Accept::Taken((fd, remote));
                    }
                }
                Err(Errno::AGAIN) => {
                    self.told = false;
                    return Accept::Empty;
                }
                Err(errno) if errors::is_scarcity(errno) => return Accept::Later,
                // It was reset while it waited, or the network has something to say of it (accept(2)).
                Err(_) if self.accepted < PER_TURN => {}
                Err(_) => return Accept::Later,
            }
        }
    }
}
