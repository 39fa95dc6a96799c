//! Socket options. What the stack can't do is refused (ENOPROTOOPT) rather than remembered and ignored; what only the
//! kernel around it does (routing, buffers of its own sizes) is remembered.

use crate::{
    errno::{Errno, Result},
    socket::{Key, Role},
    user,
    world::World,
};
use libc::{c_int, c_void, socklen_t};
use stack::{Duration, Keepalive};
use std::collections::BTreeMap;

// <linux/tcp.h>, where libc's crate lacks them.
const TCP_NOTSENT_LOWAT: c_int = 25;
const TCP_CC_INFO: c_int = 26;
const SO_MEMINFO: c_int = 55;

// Linux's defaults: seconds, seconds, probes.
const KEEPIDLE: c_int = 7200;
const KEEPINTVL: c_int = 75;
const KEEPCNT: c_int = 9;

/// Options that have been set, by level and name.
#[derive(Debug, Default, Clone)]
pub(crate) struct Options {
    set: BTreeMap<(c_int, c_int), c_int>,
    /// `SO_LINGER`: on, and for how many seconds.
    pub(crate) linger: Option<(c_int, c_int)>,
}

impl Options {
    fn get(&self, level: c_int, name: c_int, default: c_int) -> c_int {
        self.set.get(&(level, name)).copied().unwrap_or(default)
    }

    /// How long a close waits for its outcome (`SO_LINGER` on, with some seconds).
    pub(crate) fn lingers(&self) -> Option<Duration> {
        let (on, seconds) = self.linger?;
        u64::try_from(seconds).ok().filter(|seconds| on != 0 && *seconds > 0).map(Duration::from_secs)
    }

    /// `TCP_KEEPIDLE` and the others; `None` while `SO_KEEPALIVE` is off.
    fn keepalive(&self) -> Option<Keepalive> {
        let seconds = |name, default| u64::try_from(self.get(libc::SOL_TCP, name, default)).unwrap_or(1);
        (self.get(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 0) != 0).then(|| Keepalive {
            idle: Duration::from_secs(seconds(libc::TCP_KEEPIDLE, KEEPIDLE)),
            interval: Duration::from_secs(seconds(libc::TCP_KEEPINTVL, KEEPINTVL)),
            // The stack insists on two.
            probes: u8::try_from(self.get(libc::SOL_TCP, libc::TCP_KEEPCNT, KEEPCNT)).unwrap_or(u8::MAX).max(2),
        })
    }

    /// Whether two sockets may be bound to one address; the other one `listens`.
    pub(crate) fn shares_with(&self, other: &Self, listens: bool) -> bool {
        let both = |name| [self, other].iter().all(|o| o.get(libc::SOL_SOCKET, name, 0) != 0);
        both(libc::SO_REUSEPORT) || (both(libc::SO_REUSEADDR) && !listens)
    }

    /// A close resets the connection (`SO_LINGER` on, with zero seconds).
    pub(crate) fn aborts(&self) -> bool {
        matches!(self.linger, Some((on, 0)) if on != 0)
    }
}

/// What is remembered and nothing else: its default.
fn remembered(level: c_int, name: c_int) -> Option<c_int> {
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_REUSEADDR | libc::SO_REUSEPORT | libc::SO_PRIORITY | libc::SO_MARK) => Some(0),
        (libc::SOL_IP, libc::IP_MTU_DISCOVER) => Some(libc::IP_PMTUDISC_WANT),
        (libc::SOL_IP, libc::IP_FREEBIND) | (libc::SOL_IPV6, libc::IPV6_V6ONLY) => Some(0),
        // A hint that Linux forgets as well: the stack acknowledges at once as long as quick ACKs last.
        (libc::SOL_TCP, libc::TCP_QUICKACK) => Some(1),
        _ => None,
    }
}

impl World {
    pub(crate) fn setsockopt(
        &mut self,
        fd: c_int,
        level: c_int,
        name: c_int,
        from: *const c_void,
        len: socklen_t,
    ) -> Result<()> {
        let key = self.key(fd)?;
        if (level, name) == (libc::SOL_SOCKET, libc::SO_LINGER) {
            if (len as usize) < size_of::<libc::linger>() {
                return Err(Errno(libc::EINVAL));
            }
            let (on, seconds) = (user::int(from)?, user::int(from.wrapping_byte_add(4))?);
            self.socket(key)?.options.linger = Some((on, seconds));
            return Ok(());
        }
        let value = if len >= 4 {
            user::int(from)?
        } else if len >= 1 && matches!(level, libc::SOL_IP) {
            user::array::<1>(from)?[0].into()
        } else {
            // Of options without a value none is known.
            user::read(from, len as usize)?;
            return Err(Errno(libc::EINVAL));
        };
        self.check(level, name, value)?;
        self.socket(key)?.options.set.insert((level, name), value);
        self.apply(key, level, name, value)
    }

    fn check(&self, level: c_int, name: c_int, value: c_int) -> Result<()> {
        let allowed = match (level, name) {
            (libc::SOL_TCP, libc::TCP_NODELAY | libc::TCP_CORK) | (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => true,
            (libc::SOL_SOCKET, libc::SO_SNDBUF | libc::SO_RCVBUF) => true,
            (libc::SOL_TCP, libc::TCP_USER_TIMEOUT) => value >= 0,
            (libc::SOL_TCP, libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL) => (1..=32_767).contains(&value),
            (libc::SOL_TCP, libc::TCP_KEEPCNT) => (1..=127).contains(&value),
            (libc::SOL_IP, libc::IP_TOS) | (libc::SOL_IPV6, libc::IPV6_TCLASS) => (-1..=255).contains(&value),
            (level, name) if remembered(level, name).is_some() => true,
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        };
        if allowed { Ok(()) } else { Err(Errno(libc::EINVAL)) }
    }

    /// Passes an option on to the connection, if there is one.
    fn apply(&mut self, key: Key, level: c_int, name: c_int, value: c_int) -> Result<()> {
        let Some(conn) = self.socket(key)?.conn() else { return Ok(()) };
        match (level, name) {
            (libc::SOL_TCP, libc::TCP_NODELAY) => self.on_conn(|io| io.set_nodelay(conn, value != 0)),
            (libc::SOL_TCP, libc::TCP_CORK) => self.on_conn(|io| io.set_cork(conn, value != 0)),
            (libc::SOL_TCP, libc::TCP_USER_TIMEOUT) => {
                let time = u64::try_from(value).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
                self.on_conn(|io| io.set_user_timeout(conn, time))
            }
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE)
            | (libc::SOL_TCP, libc::TCP_KEEPIDLE | libc::TCP_KEEPINTVL | libc::TCP_KEEPCNT) => {
                let keepalive = self.socket(key)?.options.keepalive();
                self.on_conn(|io| io.set_keepalive(conn, keepalive))
            }
            (libc::SOL_IP, libc::IP_TOS) | (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
                // The ECN bits are TCP's own; -1 is the default.
                let dscp = u8::try_from(value).unwrap_or(0) >> 2;
                self.on_conn(|io| io.set_traffic_class(conn, dscp))
            }
            _ => Ok(()),
        }
    }

    /// Passes on what was set before there was a connection.
    pub(crate) fn apply_options(&mut self, key: Key) {
        let Some(socket) = self.sockets.get(&key) else { return };
        for ((level, name), value) in socket.options.set.clone() {
            // The connection may be over already; then there is nobody to tell.
            let _ = self.apply(key, level, name, value);
        }
    }

    pub(crate) fn getsockopt(
        &mut self,
        fd: c_int,
        level: c_int,
        name: c_int,
        to: *mut c_void,
        len: *mut socklen_t,
    ) -> Result<()> {
        let key = self.key(fd)?;
        let room = usize::try_from(user::int(len.cast())?).map_err(|_| Errno(libc::EINVAL))?;
        let value = self.option(key, level, name)?;
        let n = value.len().min(room);
        user::write(to, &value[..n])?;
        user::write(len.cast(), &i32::try_from(n).unwrap_or(i32::MAX).to_ne_bytes())
    }

    fn option(&mut self, key: Key, level: c_int, name: c_int) -> Result<Vec<u8>> {
        match (level, name) {
            (libc::SOL_TCP, libc::TCP_INFO) => return self.tcp_info(key),
            (libc::SOL_TCP, TCP_CC_INFO) => return Ok(Vec::new()),
            (libc::SOL_SOCKET, SO_MEMINFO) => return self.memory_info(key),
            (libc::SOL_SOCKET, libc::SO_LINGER) => {
                let (on, seconds) = self.socket(key)?.options.linger.unwrap_or_default();
                return Ok([on.to_ne_bytes(), seconds.to_ne_bytes()].concat());
            }
            _ => {}
        }
        let value = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => self.socket(key)?.error.take().map_or(0, |errno| errno.0),
            (libc::SOL_SOCKET, libc::SO_TYPE) => libc::SOCK_STREAM,
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => libc::IPPROTO_TCP,
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => self.socket(key)?.family,
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => matches!(self.socket(key)?.role, Role::Listening { .. }).into(),
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => self.buffer(key, name)?,
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => self.buffer(key, name)?,
            (libc::SOL_TCP, libc::TCP_MAXSEG) => self.maxseg(key)?,
            _ => {
                let default = match (level, name) {
                    (libc::SOL_TCP, libc::TCP_KEEPIDLE) => KEEPIDLE,
                    (libc::SOL_TCP, libc::TCP_KEEPINTVL) => KEEPINTVL,
                    (libc::SOL_TCP, libc::TCP_KEEPCNT) => KEEPCNT,
                    (libc::SOL_TCP, libc::TCP_NODELAY | libc::TCP_CORK | libc::TCP_USER_TIMEOUT) => 0,
                    // The socket's own bound, not the sysctl's that holds without one.
                    (libc::SOL_TCP, TCP_NOTSENT_LOWAT) => 0,
                    (libc::SOL_SOCKET, libc::SO_KEEPALIVE) | (libc::SOL_IP, libc::IP_TOS) => 0,
                    (libc::SOL_IPV6, libc::IPV6_TCLASS) => 0,
                    _ => remembered(level, name).ok_or(Errno(libc::ENOPROTOOPT))?,
                };
                self.socket(key)?.options.get(level, name, default)
            }
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    /// What was set, twice, as Linux answers; otherwise what every connection has.
    fn buffer(&mut self, key: Key, name: c_int) -> Result<c_int> {
        let default =
            self.settings(|s| if name == libc::SO_SNDBUF { s.send_buffer_bytes } else { s.receive_buffer_bytes });
        let set = self.socket(key)?.options.get(libc::SOL_SOCKET, name, 0);
        Ok(if set > 0 { set.saturating_mul(2) } else { default.and_then(|n| c_int::try_from(n).ok()).unwrap_or(0) })
    }

    fn maxseg(&mut self, key: Key) -> Result<c_int> {
        // TCP_MSS_DEFAULT of Linux.
        let Some(conn) = self.socket(key)?.conn() else { return Ok(536) };
        Ok(self.on_conn(|io| io.info(conn))?.send_mss.into())
    }
}
