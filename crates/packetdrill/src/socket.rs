//! What stands behind a file descriptor.

use crate::{errno::Errno, options::Options};
use libc::c_int;
use stack::{ConnId, ListenerId};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A socket's number in our table; unlike its file descriptor it has one before it is accepted.
pub(crate) type Key = usize;

#[derive(Debug)]
pub(crate) enum Role {
    /// Neither listening nor connected.
    Fresh,
    Listening {
        listener: ListenerId,
        /// A connection that was taken off the listener's queue to see that there is one.
        first: Option<Key>,
    },
    Connecting(ConnId),
    Open(ConnId),
    /// The connection is over; what it left can still be read.
    Over,
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) family: c_int,
    pub(crate) fd: Option<c_int>,
    pub(crate) nonblocking: bool,
    pub(crate) options: Options,
    pub(crate) bound: Option<SocketAddr>,
    pub(crate) role: Role,
    /// A connect under way has not told its outcome: the next one does.
    pub(crate) connecting: bool,
    /// What the next call returns, once (`SO_ERROR`).
    pub(crate) error: Option<Errno>,
    /// Nothing more will come.
    pub(crate) eof: bool,
    /// The peer's FIN has come (`SOCK_DONE` of Linux): who reads hears of no error any more.
    pub(crate) done: bool,
    pub(crate) shut_read: bool,
    pub(crate) shut_write: bool,
    /// What was unread when the connection ended.
    pub(crate) rest: VecDeque<u8>,
}

impl Socket {
    pub(crate) fn new(family: c_int, role: Role) -> Self {
        Self {
            family,
            fd: None,
            nonblocking: false,
            options: Options::default(),
            bound: None,
            role,
            connecting: false,
            error: None,
            eof: false,
            done: false,
            shut_read: false,
            shut_write: false,
            rest: VecDeque::new(),
        }
    }

    /// The connection has come to nothing, or is given up: what the script has set stays.
    pub(crate) fn renew(&mut self) {
        let fresh = Self {
            fd: self.fd,
            nonblocking: self.nonblocking,
            bound: self.bound,
            options: std::mem::take(&mut self.options),
            ..Self::new(self.family, Role::Fresh)
        };
        *self = fresh;
    }

    /// The connection, if there is a living one.
    pub(crate) const fn conn(&self) -> Option<ConnId> {
        match self.role {
            Role::Connecting(conn) | Role::Open(conn) => Some(conn),
            _ => None,
        }
    }
}
