//! Reading and writing. What would block answers `None`.

use crate::{
    errno::{Errno, Result},
    socket::{Key, Role},
    user::{self, Pieces},
    world::World,
};
use libc::{MSG_PEEK, c_int, c_ulong, c_void};

/// Flags that change nothing here.
const HARMLESS_OUT: c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
const HARMLESS_IN: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_CMSG_CLOEXEC;

impl World {
    /// Whether a call on this socket must not block.
    pub(crate) fn never_blocks(&mut self, fd: c_int, flags: c_int) -> bool {
        let key = self.key(fd);
        flags & libc::MSG_DONTWAIT != 0 || key.is_ok_and(|key| self.sockets.get(&key).is_some_and(|s| s.nonblocking))
    }

    /// tcp_recvmsg: what is queued, up to the room there is.
    pub(crate) fn receive(&mut self, fd: c_int, to: &Pieces, flags: c_int) -> Result<Option<usize>> {
        let key = self.key(fd)?;
        if flags & !(HARMLESS_IN | MSG_PEEK | libc::MSG_TRUNC | libc::MSG_WAITALL) != 0 {
            return Err(Errno(libc::EINVAL));
        }
        let room: usize = to.iter().map(|(_, len)| *len).sum();
        match self.socket(key)?.role {
            Role::Fresh | Role::Listening { .. } => return Err(Errno(libc::ENOTCONN)),
            _ if room == 0 => return Ok(Some(0)),
            Role::Connecting(_) => return Ok(None),
            Role::Open(_) | Role::Over => {}
        }
        let n = self.unread(key)?.min(room);
        if n == 0 {
            let socket = self.socket(key)?;
            // tcp_recvmsg of Linux: the end comes before what happened behind it.
            return match if socket.done { None } else { socket.error.take() } {
                Some(error) => Err(error),
                None if socket.eof || socket.shut_read => Ok(Some(0)),
                None => Ok(None),
            };
        }
        if flags & libc::MSG_WAITALL != 0 && n < room && !self.socket(key)?.eof {
            return Ok(None);
        }
        let discard = flags & libc::MSG_TRUNC != 0;
        if !discard {
            // What is taken from the queue can't be put back: a bad buffer must be known before.
            user::scatter(to, &vec![0; n])?;
        }
        let bytes = self.take(key, n, flags & MSG_PEEK != 0)?;
        if !discard {
            user::scatter(to, &bytes)?;
        }
        Ok(Some(bytes.len()))
    }

    /// Bytes queued for reading.
    fn unread(&mut self, key: Key) -> Result<usize> {
        let socket = self.socket(key)?;
        match socket.role {
            Role::Open(conn) => self.on_conn(|io| io.unread(conn)),
            _ => Ok(socket.rest.len()),
        }
    }

    /// The first `n` bytes to read. If they are to stay queued, only those that lie together are found.
    fn take(&mut self, key: Key, n: usize, peek: bool) -> Result<Vec<u8>> {
        let socket = self.socket(key)?;
        let Role::Open(conn) = socket.role else {
            let bytes = socket.rest.iter().take(n).copied().collect();
            socket.rest.drain(..if peek { 0 } else { n });
            return Ok(bytes);
        };
        let mut bytes = vec![0; n];
        let n = self.on_conn(|io| if peek { io.peek(conn, &mut bytes) } else { io.read(conn, &mut bytes) })?;
        bytes.truncate(n);
        Ok(bytes)
    }

    /// tcp_sendmsg: as many bytes as there is room for; `None` if there is none.
    ///
    /// `done` bytes of a blocking call have been taken before.
    pub(crate) fn transmit(&mut self, fd: c_int, from: &Pieces, done: usize, flags: c_int) -> Result<Option<usize>> {
        let key = self.key(fd)?;
        if flags & !(HARMLESS_OUT | libc::MSG_MORE) != 0 {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        let socket = self.socket(key)?;
        let conn = match (socket.error.take(), &socket.role) {
            (Some(error), _) => return Err(error),
            (None, Role::Connecting(_)) => return Ok(None),
            (None, Role::Open(conn)) if !socket.shut_write => *conn,
            _ => return Err(Errno(libc::EPIPE)),
        };
        let rest = user::gather(from, done)?;
        let more = flags & libc::MSG_MORE != 0;
        let taken = self.on_conn(|io| if more { io.send_more(conn, &rest) } else { io.send(conn, &rest) })?;
        Ok((taken > 0 || rest.is_empty()).then_some(taken))
    }

    pub(crate) fn fcntl(&mut self, fd: c_int, command: c_int, argument: c_int) -> Result<c_int> {
        let key = self.key(fd)?;
        let socket = self.socket(key)?;
        match command {
            libc::F_GETFL => Ok(libc::O_RDWR | if socket.nonblocking { libc::O_NONBLOCK } else { 0 }),
            libc::F_SETFL => {
                socket.nonblocking = argument & libc::O_NONBLOCK != 0;
                Ok(0)
            }
            libc::F_GETFD | libc::F_SETFD => Ok(0),
            _ => Err(Errno(libc::EINVAL)),
        }
    }

    pub(crate) fn ioctl(&mut self, fd: c_int, request: c_ulong, argument: *mut c_void) -> Result<()> {
        // SIOCINQ and SIOCOUTQ have the values of these.
        const SIOCINQ: c_ulong = libc::FIONREAD;
        const SIOCOUTQ: c_ulong = libc::TIOCOUTQ;
        let key = self.key(fd)?;
        let socket = self.socket(key)?;
        if matches!(socket.role, Role::Listening { .. }) {
            return Err(Errno(libc::EINVAL));
        }
        let (conn, rest) = (socket.conn(), socket.rest.len());
        let value = match (request, conn) {
            (libc::FIONBIO, _) => {
                socket.nonblocking = user::int(argument)? != 0;
                return Ok(());
            }
            (SIOCINQ, None) => rest,
            (SIOCINQ, Some(conn)) => self.on_conn(|io| io.unread(conn))?,
            (SIOCOUTQ, None) => 0,
            (SIOCOUTQ, Some(conn)) => self.on_conn(|io| io.info(conn))?.send_queue_bytes as usize,
            _ => return Err(Errno(libc::ENOTTY)),
        };
        user::write(argument, &c_int::try_from(value).unwrap_or(c_int::MAX).to_ne_bytes())
    }
}
