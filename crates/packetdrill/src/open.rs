//! Calls that make, name, connect and end sockets. What would block answers `None`.

use crate::{
    errno::{Errno, Result},
    socket::{Key, Role, Socket},
    world::{Handle, World},
};
use libc::c_int;
use stack::{Half, ListenOptions};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// The kernel's default for net.core.somaxconn.
const SOMAXCONN: u32 = 4096;

/// A real file descriptor, because packetdrill closes what is left at the end by itself.
fn new_fd() -> Result<c_int> {
    let file = File::open("/dev/null").map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EMFILE)))?;
    Ok(file.into_raw_fd())
}

fn close_fd(fd: c_int) {
    // SAFETY: it came from `new_fd`, is taken out of our table just now, and nobody else closes it before.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

impl World {
    pub(crate) fn new_socket(&mut self, domain: c_int, kind: c_int, protocol: c_int) -> Result<c_int> {
        if !matches!(domain, libc::AF_INET | libc::AF_INET6) {
            return Err(Errno(libc::EAFNOSUPPORT));
        }
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        if kind & !flags != libc::SOCK_STREAM || !matches!(protocol, 0 | libc::IPPROTO_TCP) {
            return Err(Errno(libc::EPROTONOSUPPORT));
        }
        self.begin()?;
        let nonblocking = kind & libc::SOCK_NONBLOCK != 0;
        let key = self.add(Socket { nonblocking, ..Socket::new(domain, Role::Fresh) });
        self.give_fd(key)
    }

    fn give_fd(&mut self, key: Key) -> Result<c_int> {
        let fd = new_fd()?;
        self.fds.insert(fd, Handle::Socket(key));
        self.socket(key)?.fd = Some(fd);
        Ok(fd)
    }

    pub(crate) fn new_epoll(&mut self, size: c_int) -> Result<c_int> {
        if size <= 0 {
            return Err(Errno(libc::EINVAL));
        }
        let fd = new_fd()?;
        self.fds.insert(fd, Handle::Epoll);
        self.epolls.insert(fd, Default::default());
        Ok(fd)
    }

    pub(crate) fn bind(&mut self, fd: c_int, address: Option<SocketAddr>) -> Result<()> {
        let key = self.key(fd)?;
        let address = address.ok_or(Errno(libc::EAFNOSUPPORT))?;
        let socket = self.socket(key)?;
        if socket.bound.is_some() || !matches!(socket.role, Role::Fresh) {
            return Err(Errno(libc::EINVAL));
        }
        if socket.family == libc::AF_INET && address.is_ipv6() {
            return Err(Errno(libc::EAFNOSUPPORT));
        }
        self.check_ours(address)?;
        if address.port() != 0 && self.is_taken(key, address)? {
            return Err(Errno(libc::EADDRINUSE));
        }
        self.socket(key)?.bound = Some(address);
        Ok(())
    }

    /// Another socket is bound there. As on Linux `SO_REUSEADDR` of both lets them share it unless one listens, `SO_REUSEPORT` of
    /// both always.
    fn is_taken(&mut self, key: Key, address: SocketAddr) -> Result<bool> {
        let ours = self.socket(key)?.options.clone();
        Ok(self.sockets.iter().any(|(other, socket)| {
            let Some(bound) = socket.bound.filter(|_| *other != key) else { return false };
            let same = bound.ip() == address.ip() || bound.ip().is_unspecified() || address.ip().is_unspecified();
            let listens = matches!(socket.role, Role::Listening { .. });
            same && bound.port() == address.port() && !ours.shares_with(&socket.options, listens)
        }))
    }

    pub(crate) fn listen(&mut self, fd: c_int, backlog: c_int) -> Result<()> {
        let key = self.key(fd)?;
        let socket = self.socket(key)?;
        match socket.role {
            Role::Fresh => {}
            // Linux changes the backlog; ours keeps what it has.
            Role::Listening { .. } => return Ok(()),
            _ => return Err(Errno(libc::EINVAL)),
        }
        let local = socket.bound.ok_or(Errno(libc::EADDRNOTAVAIL))?;
        // Linux has one number for both, at most net.core.somaxconn, and takes a negative one for the most.
        let backlog = u32::try_from(backlog).unwrap_or(SOMAXCONN).min(SOMAXCONN);
        let options =
            ListenOptions { backlog: backlog.max(1), accept_queue: Some(backlog), ..ListenOptions::default() };
        let listener = self.io(|io| io.listen(local, options))??;
        self.set_role(key, Role::Listening { listener, first: None });
        Ok(())
    }

    /// The next connection of a listener: its file descriptor, its peer, and the listener's family.
    pub(crate) fn accept(&mut self, fd: c_int) -> Result<Option<(c_int, SocketAddr, c_int)>> {
        let key = self.key(fd)?;
        let Socket { role: Role::Listening { first, .. }, family, .. } = self.socket(key)? else {
            return Err(Errno(libc::EINVAL));
        };
        let (first, family) = (first.take(), *family);
        let Some(child) = first.or_else(|| self.take_waiting(key)) else { return Ok(None) };
        let fd = self.give_fd(child)?;
        let peer = match self.socket(child)?.conn() {
            Some(conn) => self.on_conn(|io| io.addresses(conn))?.1,
            None => SocketAddr::from(([0; 4], 0)),
        };
        Ok(Some((fd, peer, family)))
    }

    /// Begins to connect; `None` while it is under way.
    pub(crate) fn connect(&mut self, fd: c_int, family: c_int, remote: Option<SocketAddr>) -> Result<Option<()>> {
        let key = self.key(fd)?;
        if family == libc::AF_UNSPEC {
            return self.disconnect(key).map(Some);
        }
        let socket = self.socket(key)?;
        match socket.role {
            Role::Fresh => {}
            Role::Connecting(_) => return Err(Errno(libc::EALREADY)),
            Role::Open(_) if std::mem::take(&mut socket.connecting) => return Ok(Some(())),
            Role::Open(_) | Role::Listening { .. } => return Err(Errno(libc::EISCONN)),
            Role::Over => {
                let error = socket.error.take();
                socket.renew();
                return Err(error.unwrap_or(Errno(libc::ECONNABORTED)));
            }
        }
        let remote = remote.ok_or(Errno(libc::EAFNOSUPPORT))?;
        let local = self.socket(key)?.bound.map(|bound| bound.ip()).filter(|ip| !ip.is_unspecified());
        let conn = match local {
            Some(local) => self.io(|io| io.connect_from(local, remote))??,
            None => self.io(|io| io.connect(remote))??,
        };
        self.set_role(key, Role::Connecting(conn));
        self.socket(key)?.connecting = true;
        self.apply_options(key);
        Ok(None)
    }

    /// How a connect that was begun has ended; `None` while it has not.
    pub(crate) fn connected(&mut self, fd: c_int) -> Result<Option<()>> {
        let key = self.key(fd)?;
        let socket = self.socket(key)?;
        match (&socket.role, socket.error.take()) {
            (Role::Connecting(_), None) => Ok(None),
            (Role::Open(_), None) => {
                socket.connecting = false;
                Ok(Some(()))
            }
            (_, error) => {
                socket.renew();
                Err(error.unwrap_or(Errno(libc::ECONNABORTED)))
            }
        }
    }

    /// `connect` to AF_UNSPEC: the socket is as new.
    fn disconnect(&mut self, key: Key) -> Result<()> {
        let socket = self.socket(key)?;
        let role = std::mem::replace(&mut socket.role, Role::Fresh);
        socket.renew();
        self.end(role, true);
        Ok(())
    }

    pub(crate) fn shutdown(&mut self, fd: c_int, how: c_int) -> Result<()> {
        let key = self.key(fd)?;
        let (read, write) = match how {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(Errno(libc::EINVAL)),
        };
        let socket = self.socket(key)?;
        let Some(conn) = socket.conn() else { return Err(Errno(libc::ENOTCONN)) };
        // Linux notes SHUT_RD and goes on taking data. The stack's own shutdown of reading, which answers data by a reset,
        // is not what these scripts are about.
        socket.shut_read |= read;
        socket.shut_write |= write;
        if write {
            self.on_conn(|io| io.shutdown(conn, Half::Write))?;
        }
        self.edge(key, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP);
        Ok(())
    }

    /// Closes a file descriptor. Answers the socket whose end is to be waited for (`SO_LINGER` with a time).
    pub(crate) fn close(&mut self, fd: c_int) -> Result<Option<Key>> {
        let lingering = match self.fds.remove(&fd) {
            None => return Err(Errno(libc::EBADF)),
            Some(Handle::Epoll) => {
                self.epolls.remove(&fd);
                None
            }
            Some(Handle::Socket(key)) if self.lingers(key) => Some(key),
            Some(Handle::Socket(key)) => {
                self.close_socket(key);
                None
            }
        };
        close_fd(fd);
        Ok(lingering)
    }

    /// Closes a connection whose outcome is waited for; false if nobody does.
    fn lingers(&mut self, key: Key) -> bool {
        let Some(socket) = self.sockets.get(&key) else { return false };
        let (Role::Open(conn), Some(time)) = (&socket.role, socket.options.lingers()) else { return false };
        let conn = *conn;
        self.on_conn(|io| io.set_linger(conn, Some(time)).and_then(|()| io.close(conn))).is_ok()
    }

    /// Whether what was waited for has come.
    pub(crate) fn lingered(&mut self, key: Key) -> Option<()> {
        let over = self.sockets.get(&key).is_none_or(|socket| matches!(socket.role, Role::Over));
        over.then(|| drop(self.remove(key)))
    }

    fn close_socket(&mut self, key: Key) {
        let Some(socket) = self.remove(key) else { return };
        self.end(socket.role, socket.options.aborts());
    }

    /// Gives back what a socket had of the shard's.
    fn end(&mut self, role: Role, aborts: bool) {
        match role {
            Role::Fresh | Role::Over => {}
            Role::Connecting(conn) | Role::Open(conn) => {
                self.by_conn.remove(&conn);
                // A dead handle has nothing left to close.
                let _ = self.on_conn(|io| if aborts { io.abort(conn) } else { io.close(conn) });
            }
            Role::Listening { listener, first } => {
                if let Some(conn) = first.and_then(|first| self.remove(first)).and_then(|child| child.conn()) {
                    let _ = self.on_conn(|io| io.abort(conn));
                }
                let _ = self.io(|io| io.close_listener(listener));
            }
        }
    }
}
