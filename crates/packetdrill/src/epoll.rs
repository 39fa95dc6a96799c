//! poll(2) and epoll(7).

use crate::{
    errno::{Errno, Result},
    socket::{Key, Role, Socket},
    user,
    world::{Handle, World},
};
use libc::{EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLRDHUP, c_int, c_void};
use std::collections::BTreeMap;

/// The bytes of one `struct epoll_event`: packed on x86-64.
const EVENT: usize = size_of::<libc::epoll_event>();
const DATA_AT: usize = EVENT - 8;
/// The bytes of one `struct pollfd`.
const POLLFD: usize = size_of::<libc::pollfd>();

#[derive(Debug)]
struct Item {
    /// What is waited for, EPOLLERR and EPOLLHUP always; nothing once a one-shot has been reported.
    events: c_int,
    data: [u8; 8],
    /// Something happened, or may have, since it was last reported.
    ready: bool,
}

/// One epoll instance.
#[derive(Debug, Default)]
pub(crate) struct Epoll {
    items: BTreeMap<Key, Item>,
}

impl Epoll {
    /// Something has happened to a socket.
    pub(crate) fn edge(&mut self, key: Key, events: c_int) {
        if let Some(item) = self.items.get_mut(&key) {
            item.ready |= events & item.events != 0;
        }
    }

    /// The socket is closed.
    pub(crate) fn forget(&mut self, key: Key) {
        self.items.remove(&key);
    }
}

impl World {
    /// What tcp_poll of Linux says of a socket.
    pub(crate) fn readiness(&mut self, key: Key) -> c_int {
        let buffer = self.settings(|s| s.send_buffer_bytes).unwrap_or(0);
        if let Some(Socket { role: Role::Listening { first: None, .. }, .. }) = self.sockets.get(&key) {
            let waiting = self.take_waiting(key);
            if let Some(Socket { role: Role::Listening { first, .. }, .. }) = self.sockets.get_mut(&key) {
                *first = waiting;
            }
        }
        let Some(socket) = self.sockets.get(&key) else { return 0 };
        let (eof, shut_read, shut_write) = (socket.eof, socket.shut_read, socket.shut_write);
        let mut ready = if socket.error.is_some() { EPOLLERR } else { 0 };
        match &socket.role {
            Role::Listening { first, .. } => return if first.is_none() { ready } else { ready | EPOLLIN },
            Role::Fresh => return ready | EPOLLOUT | EPOLLHUP,
            Role::Connecting(_) => return ready,
            Role::Over => ready |= EPOLLHUP | EPOLLIN | EPOLLRDHUP | EPOLLOUT,
            Role::Open(conn) => {
                let conn = *conn;
                let queued =
                    self.on_conn(|io| io.info(conn)).map_or((0, 0), |i| (i.receive_queue_bytes, i.send_queue_bytes));
                ready |= if queued.0 > 0 { EPOLLIN } else { 0 };
                // sk_stream_is_writeable: a third of the buffer is free.
                ready |= if shut_write || queued.1 < buffer / 3 * 2 { EPOLLOUT } else { 0 };
            }
        }
        if eof || shut_read {
            ready |= EPOLLIN | EPOLLRDHUP;
        }
        if (eof || shut_read) && shut_write {
            ready |= EPOLLHUP;
        }
        ready
    }

    fn epoll(&mut self, epfd: c_int) -> Result<&mut Epoll> {
        match self.fds.get(&epfd) {
            Some(Handle::Epoll) => self.epolls.get_mut(&epfd).ok_or(Errno(libc::EBADF)),
            Some(Handle::Socket(_)) => Err(Errno(libc::EINVAL)),
            None => Err(Errno(libc::EBADF)),
        }
    }

    pub(crate) fn epoll_ctl(&mut self, epfd: c_int, op: c_int, fd: c_int, event: *const c_void) -> Result<()> {
        let event = if op == libc::EPOLL_CTL_DEL { None } else { Some(user::array::<EVENT>(event)?) };
        let Some(handle) = self.fds.get(&fd).copied() else { return Err(Errno(libc::EBADF)) };
        let Handle::Socket(key) = handle else { return Err(Errno(libc::EINVAL)) };
        let known = self.epoll(epfd)?.items.contains_key(&key);
        let item = event.map(|raw| {
            let mut data = [0; 8];
            data.copy_from_slice(&raw[DATA_AT..]);
            // Whatever is ready already is reported once.
            let events = i32::from_ne_bytes([raw[0], raw[1], raw[2], raw[3]]) | EPOLLERR | EPOLLHUP;
            Item { events, data, ready: true }
        });
        let items = &mut self.epoll(epfd)?.items;
        match (op, item) {
            (libc::EPOLL_CTL_ADD, Some(_)) if known => Err(Errno(libc::EEXIST)),
            (libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL, _) if !known => Err(Errno(libc::ENOENT)),
            (libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD, Some(item)) => {
                items.insert(key, item);
                Ok(())
            }
            (libc::EPOLL_CTL_DEL, _) => {
                items.remove(&key);
                Ok(())
            }
            _ => Err(Errno(libc::EINVAL)),
        }
    }

    /// The events that are due, written to `to`; `None` while there are none.
    pub(crate) fn epoll_wait(&mut self, epfd: c_int, to: *mut c_void, max: c_int) -> Result<Option<c_int>> {
        let max = usize::try_from(max).ok().filter(|max| *max > 0).ok_or(Errno(libc::EINVAL))?;
        let waiting: Vec<(Key, c_int)> =
            self.epoll(epfd)?.items.iter().map(|(key, item)| (*key, item.events)).collect();
        let mut out = Vec::new();
        for (key, wanted) in waiting {
            let ready = self.readiness(key) & wanted;
            let Some(item) = self.epoll(epfd)?.items.get_mut(&key) else { continue };
            if !item.ready || out.len() == max * EVENT {
                continue;
            }
            // Level-triggered: it stays due as long as it is ready. Edge-triggered: until something happens again.
            item.ready = wanted & EPOLLET == 0;
            if ready == 0 {
                continue;
            }
            if wanted & EPOLLONESHOT != 0 {
                item.events = 0;
            }
            let mut event = [0; EVENT];
            event[..4].copy_from_slice(&ready.to_ne_bytes());
            event[DATA_AT..].copy_from_slice(&item.data);
            out.extend(event);
        }
        if out.is_empty() {
            return Ok(None);
        }
        user::write(to, &out)?;
        Ok(c_int::try_from(out.len() / EVENT).ok())
    }

    /// The answers of poll(2), written to `fds`; `None` while there are none.
    pub(crate) fn poll(&mut self, fds: *mut c_void, count: usize, last: bool) -> Result<Option<c_int>> {
        if count > 1024 {
            return Err(Errno(libc::EINVAL));
        }
        let mut table = user::read(fds, count * POLLFD)?;
        let mut due = 0;
        for entry in table.chunks_exact_mut(POLLFD) {
            let fd = c_int::from_ne_bytes([entry[0], entry[1], entry[2], entry[3]]);
            let wanted = c_int::from(i16::from_ne_bytes([entry[4], entry[5]]));
            let answer = match self.key(fd) {
                _ if fd < 0 => 0,
                // The values of POLLIN and the like are those of EPOLLIN.
                Ok(key) => self.readiness(key) & (wanted | EPOLLERR | EPOLLHUP),
                Err(_) => libc::POLLNVAL.into(),
            };
            due += c_int::from(answer != 0);
            entry[6..8].copy_from_slice(&i16::try_from(answer).unwrap_or(0).to_ne_bytes());
        }
        if due == 0 && !last {
            return Ok(None);
        }
        user::write(fds, &table)?;
        Ok(Some(due))
    }
}
